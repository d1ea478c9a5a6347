"""Photos in, faces with their emotions out: every kind of picture, none, several, and the command line."""

import csv
import io
import json

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from fer_core import cli
from fer_core.errors import ConfigError, DataError, RunError
from fer_core.labels import EMOTIONS
from fer_core.predict import NOT_SURE, Predictor, grey_pixels
from fer_core.prediction_export import annotated, face_label, predictions_csv
from fer_core.run_model import load_model
from fer_core.runs import find_run
from fer_core.views import predict_logits
from tests.scenes import SHIPPED, drawn_faces, scene

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def shipped_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("FER_SHIPPED", SHIPPED)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture(scope="module")
def predictor():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_SHIPPED", SHIPPED)
        return Predictor.load()


def saved(picture_HW, path, **options):
    Image.fromarray(picture_HW).save(path, **options)
    return path


def boxes(prediction):
    return np.array([face.box for face in prediction.faces])


# --- what a prediction says -------------------------------------------------------------------------------------------


def test_a_photo_has_its_faces_boxes_scores_and_probabilities(predictor, tmp_path):
    picture, places = scene(3)
    found = predictor.predict(saved(picture, tmp_path / "three.png"))
    assert (found.width, found.height, len(found.faces), found.whole) == (*picture.shape[::-1], 3, False)
    assert found.name == str(tmp_path / "three.png") and found.seconds > 0
    for face, (left, top, side) in zip(found.faces, places, strict=True):
        assert left < (face.box[0] + face.box[2]) / 2 < left + side and top < face.box[3] < top + 1.2 * side
        assert 0.8 < face.score <= 1 and abs(face.roll) < 20
        assert face.probabilities_K.sum() == pytest.approx(1, abs=1e-5) and face.classes == EMOTIONS
        assert face.emotion == EMOTIONS[face.probabilities_K.argmax()]
        assert face.probability == face.probabilities_K.max()


def test_the_emotions_are_those_of_what_was_cut(predictor):
    found = predictor.predict(scene(3)[0])
    again = predictor.predict_faces(np.stack([face.image_SS for face in found.faces]))
    np.testing.assert_allclose([face.probabilities_K for face in found.faces], again, atol=1e-6)


def test_faces_that_are_cut_are_answered_as_in_the_evaluation(predictor):
    faces = drawn_faces()
    expected = predict_logits(load_model(find_run("fer2013-small")), torch.from_numpy(faces)).softmax(1)
    np.testing.assert_allclose(predictor.predict_faces(faces), expected, atol=1e-5)


def test_one_by_one_equals_batched(predictor):
    faces = np.concatenate([drawn_faces(), np.random.default_rng(0).integers(0, 256, (150, 48, 48), dtype=np.uint8)])
    together = predictor.predict_faces(faces)
    alone = np.concatenate([predictor.predict_faces(faces[place : place + 1]) for place in range(len(faces))])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert np.array_equal(alone.argmax(1), together.argmax(1))


def test_a_list_of_pictures_is_answered_in_its_order(predictor):
    two, none = scene(2)[0], np.full((80, 80), 90, np.uint8)
    found = predictor.predict([two, none, two])
    assert [len(one.faces) for one in found] == [2, 0, 2]
    assert np.array_equal(boxes(found[0]), boxes(found[2]))


def test_where_there_is_no_face_the_picture_may_be_taken_whole(predictor):
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    assert predictor.predict(noise).faces == ()
    found = predictor.predict(noise, whole=True)
    [face] = found.faces
    assert found.whole and face.box is None and face.score is None and face.roll is None
    assert np.array_equal(face.image_SS, noise)
    np.testing.assert_allclose(face.probabilities_K, predictor.predict_faces(noise[None])[0], atol=1e-6)
    assert not predictor.predict(scene(1)[0], whole=True).whole


def test_a_view_and_a_saved_decision_are_used(monkeypatch):
    once, twice = (Predictor.load(view=view).predict_faces(drawn_faces()) for view in ("none", "flip"))
    mirrored = Predictor.load(view="flip").predict_faces(drawn_faces()[:, :, ::-1])
    assert np.abs(once - twice).max() > 1e-3
    np.testing.assert_allclose(twice, mirrored, atol=1e-5)


def test_a_face_below_the_threshold_is_not_sure(predictor):
    [face] = predictor.predict(scene(1)[0]).faces
    assert face.said(face.probability) == face.emotion
    assert face.said(face.probability + 0.001) == NOT_SURE


# --- every kind of picture --------------------------------------------------------------------------------------------


def test_a_camera_that_was_held_sideways_is_no_matter(predictor, tmp_path):
    """EXIF's orientation 6: to be shown turned by 90 degrees with the clock."""
    picture, _ = scene(2)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(np.rot90(picture).copy(), tmp_path / "a.png", exif=exif)
    found = predictor.predict(path)
    assert (found.width, found.height) == picture.shape[::-1]
    np.testing.assert_allclose(boxes(found), boxes(predictor.predict(picture)), atol=1e-3)


KINDS = {
    "rgb": lambda image: image.convert("RGB"),
    "transparent": lambda image: image.convert("RGBA"),
    "cmyk": lambda image: image.convert("CMYK"),
    "palette": lambda image: image.convert("P"),
    "16 bits": lambda image: Image.fromarray(np.asarray(image).astype(np.uint16) * 257),
}
SUFFIX = {"rgb": "jpg", "transparent": "png", "cmyk": "tif", "palette": "gif", "16 bits": "png"}


@pytest.mark.parametrize("kind", KINDS)
def test_colours_alpha_cmyk_palettes_and_16_bits_show_the_same_faces(kind, predictor, tmp_path):
    picture, _ = scene(2)
    path = tmp_path / f"a.{SUFFIX[kind]}"
    KINDS[kind](Image.fromarray(picture)).save(path)
    np.testing.assert_allclose(boxes(predictor.predict(path)), boxes(predictor.predict(picture)), atol=6)


def test_of_an_animation_the_first_picture_counts(predictor, tmp_path):
    first, second = Image.fromarray(scene(2)[0]), Image.fromarray(np.full(scene(2)[0].shape, 90, np.uint8))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert len(predictor.predict(tmp_path / "a.gif").faces) == 2


def test_a_dim_picture_has_the_faces_that_it_has_in_full_light(predictor):
    picture, _ = scene(2)
    bright, dim = predictor.predict(picture), predictor.predict((picture * 0.2).astype(np.uint8))
    np.testing.assert_allclose(boxes(dim), boxes(bright), atol=5)
    for one, other in zip(dim.faces, bright.faces, strict=True):
        assert one.emotion == other.emotion
        assert one.image_SS.mean() > other.image_SS.mean() / 2, "not a fifth"


@pytest.mark.parametrize("times", [0.4, 6])
def test_a_picture_of_another_size_has_the_same_faces(times, predictor):
    picture, _ = scene(2)
    size = [round(side * times) for side in picture.shape[::-1]]
    other = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    found = predictor.predict(other)
    np.testing.assert_allclose(boxes(found) / times, boxes(predictor.predict(picture)), atol=15)


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (500, 2)])
def test_the_smallest_pictures_have_no_face_and_can_be_taken_whole(size, predictor):
    assert predictor.predict(np.zeros(size, np.uint8)).faces == ()
    assert len(predictor.predict(np.zeros(size, np.uint8), whole=True).faces) == 1


def test_files_arrays_pillow_and_open_files_say_the_same(predictor, tmp_path):
    picture, _ = scene(2)
    path = saved(picture, tmp_path / "a.png")
    expected = boxes(predictor.predict(picture))
    colour = np.repeat(picture[:, :, None], 3, axis=2)
    ways = [path, str(path), io.BytesIO(path.read_bytes()), Image.open(path), colour]
    for found in predictor.predict(ways):
        np.testing.assert_allclose(boxes(found), expected, atol=0.5)


@pytest.mark.parametrize("array", [np.zeros((3, 48, 48), np.uint8), np.zeros((48, 48)), np.zeros((0, 4), np.uint8)])
def test_an_array_that_is_no_picture_says_what_is_one(array):
    with pytest.raises(DataError, match=r"a picture is uint8 of shape \(height, width\).* this is \w+ of shape"):
        grey_pixels(array)


@pytest.mark.parametrize("array", [np.zeros((48, 48), np.uint8), np.zeros((1, 48, 48)), np.zeros((1, 0, 48), np.uint8)])
def test_an_array_that_holds_no_faces_says_what_does(array, predictor):
    with pytest.raises(DataError, match=r"faces are uint8 of shape \(N, height, width\); these are"):
        predictor.predict_faces(array)


HOSTILE = {
    "a text": b"nope",
    "nothing": b"",
    "a web page called jpg": b"<html>" + b"x" * 100,
    "a bomb": None,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_one_line(kind, predictor, tmp_path):
    path = tmp_path / "a.jpg"
    if HOSTILE[kind] is None:
        Image.new("1", (10_000, 10_000)).save(path, "PNG")
    else:
        path.write_bytes(HOSTILE[kind])
    with pytest.raises(DataError) as caught:
        predictor.predict(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_run_without_weights_and_one_that_is_not_there_are_refused():
    with pytest.raises(RunError, match="no run named 'nobody'"):
        Predictor.load("nobody")
    with pytest.raises(ConfigError, match="no view named 'both'"):
        Predictor.load(view="both")


def test_a_thousand_pictures_leave_nothing_behind(predictor):
    picture = np.asarray(Image.fromarray(scene(1)[0]).resize((80, 96)))
    process = psutil.Process()

    def look(times):
        for _ in range(times):
            predictor.predict(picture)
        return process.memory_info().rss

    before = look(200)
    assert look(800) - before < 20_000_000


# --- what is made of it -----------------------------------------------------------------------------------------------


def test_the_table_has_a_line_a_face_and_one_for_a_picture_without(predictor):
    found = predictor.predict([scene(2)[0], np.full((50, 60), 90, np.uint8)])
    rows = list(csv.DictReader(io.StringIO(predictions_csv(found, predictor.classes, threshold=1.0))))
    assert [(row["width"], row["face"], row["emotion"]) for row in rows] == [
        ("450", "1", NOT_SURE), ("450", "2", NOT_SURE), ("60", "", ""),
    ]  # fmt: skip
    assert sum(float(rows[0][name]) for name in EMOTIONS) == pytest.approx(1, abs=1e-5)
    assert float(rows[1]["left"]) == pytest.approx(found[0].faces[1].box[0], abs=0.1)


def test_boxes_are_drawn_in_the_emotions_colours_onto_a_copy(predictor):
    picture, _ = scene(1)
    photo = Image.fromarray(picture)
    found = predictor.predict(photo)
    drawn = np.asarray(annotated(photo, found)).astype(int)
    left, top, _, bottom = (round(edge) for edge in found.faces[0].box)
    column = drawn[(top + bottom) // 2, left]
    assert np.ptp(column) > 30, "a colour, not grey"
    small = photo.resize((photo.width // 2, photo.height // 2))
    half = np.asarray(annotated(small, found)).astype(int)
    assert np.ptp(half[(top + bottom) // 4, left // 2]) > 30
    assert np.array_equal(np.asarray(photo), picture)


def test_a_label_has_a_number_where_there_are_several(predictor):
    [face] = predictor.predict(scene(1)[0]).faces
    assert face_label(face, 1, 1) == f"{face.emotion} {face.probability:.0%}"
    assert face_label(face, 2, 3, threshold=1.0) == f"2 not sure {face.probability:.0%}"


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def call(capsys):
    def run(*words):
        code = cli.main(["predict", *(str(word) for word in words)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    saved(scene(2)[0], tmp_path / "pictures" / "a.png")
    saved(scene(1)[0], tmp_path / "pictures" / "more" / "a.jpg")
    (tmp_path / "pictures" / "notes.txt").write_text("not a picture")
    return tmp_path / "pictures"


def test_a_folder_is_looked_through(call, pictures):
    code, out, err = call(pictures)
    assert code == 0 and err == "note: fer2013-small predicts\n"
    lines = out.splitlines()
    assert lines[0].startswith(f"{pictures}/a.png: 2 faces, ") and lines[1].startswith("  1  ")
    assert lines[3].startswith(f"{pictures}/more/a.jpg: 1 face, ") and len(lines) == 5


def test_a_bad_file_is_told_and_the_rest_go_on(call, pictures):
    (pictures / "b.jpg").write_text("nope")
    code, out, err = call(pictures, pictures / "missing.png", "--json")
    assert code == 1
    assert [len(one["faces"]) for one in json.loads(out)] == [2, 1]
    assert f"failed: {pictures}/b.jpg: not a readable" in err
    assert f"failed: {pictures}/missing.png: cannot be read (No such file or directory)" in err
    assert err.endswith("error: 2 of 4 pictures failed; the others are done.\n")


def test_json_says_what_the_library_says(call, pictures, predictor):
    [said] = json.loads(call(pictures / "a.png", "--json")[1])
    found = predictor.predict(pictures / "a.png")
    assert said["width"] == found.width and [face["emotion"] for face in said["faces"]] == [
        face.emotion for face in found.faces
    ]
    assert said["faces"][0]["probabilities"] == pytest.approx(
        dict(zip(EMOTIONS, found.faces[0].probabilities_K.tolist(), strict=True)), abs=1e-5
    )


def test_csv_has_a_line_a_face(call, pictures):
    code, out, _ = call(pictures, "--csv", "--threshold", "1")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and [row["emotion"] for row in rows] == [NOT_SURE] * 3


def test_pictures_with_boxes_keep_their_places(call, pictures, tmp_path):
    saved(scene(1)[0], pictures / "a.bmp")
    assert call(pictures, "--annotate", tmp_path / "drawn")[0] == 0
    found = sorted(str(path.relative_to(tmp_path / "drawn")) for path in (tmp_path / "drawn").rglob("*.*"))
    assert found == ["a-2.jpg", "a.jpg", "more/a.jpg"]
    assert Image.open(tmp_path / "drawn" / "more" / "a.jpg").mode == "RGB"


def test_the_first_word_may_be_a_run(call, pictures):
    assert "note: fer2013-small-balanced predicts" in call("fer2013-small-balanced", pictures / "a.png")[2]
    code, _, err = call("fer2013-small")
    assert (code, err) == (2, "error: fer2013-small is a run; name the pictures or folders to look at after it.\n")


def test_a_picture_that_is_called_like_a_run_is_a_picture(call, pictures, tmp_path):
    saved(scene(1)[0], tmp_path / "work" / "fer2013-small", format="PNG")
    code, out, _ = call("fer2013-small")
    assert code == 0 and out.startswith("fer2013-small: 1 face")


def test_whole_takes_a_face_that_is_cut_already(call, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    path = saved(noise, tmp_path / "face.png")
    assert call(path)[1].startswith(f"{path}: no face found, ")
    assert call(path, "--whole")[1].startswith(f"{path}: taken whole, ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["{empty}"], "{empty}: no pictures in there (.bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp)."),
        (["{a}", "--json", "--csv"], "--json and --csv do not go together."),
        (["{a}", "--view", "flop"], "no view named 'flop'. Did you mean 'flip'? Known: flip, none, ten-crop."),
        (["{a}", "--annotate", "{full}"], "{full} is there already, and nothing is overwritten."),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(call, pictures, tmp_path, words, line):
    (tmp_path / "empty").mkdir()
    names = {"empty": tmp_path / "empty", "a": pictures / "a.png", "full": pictures}
    code, out, err = call(*(word.format(**names) for word in words))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {line.format(**names)}") and err.count("\n") == 1
