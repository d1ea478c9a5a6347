"""The comparison of face detectors: its pictures show what they say they show, and its counts are right."""

import json

import numpy as np
import pytest

from benchmarks import detectors, found_crops
from benchmarks.detectors import PHOTOS, SETTINGS, compared, make_scenes
from benchmarks.detectors_text import detectors_text
from benchmarks.face_finders import finders, ours
from benchmarks.found_crops import beside, symmetric
from benchmarks.scenes import HEIGHT, KINDS, WIDTH, Kind, Scene, clear_rows, enlarged, make_scene, matched
from fer_core.face_crop import _POINTS
from fer_core.labels import FERPLUS_COLUMNS
from tests.faces import store_of
from tests.scenes import SHIPPED, drawn_faces

pytestmark = pytest.mark.usefixtures("one_thread")

WHITE = np.full((3, 48, 48), 255, np.uint8)
BOX = np.array([[100, 100, 200, 200]], dtype=np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def faces_store(count=8):
    faces = np.concatenate([drawn_faces(), drawn_faces()])[:count]
    return store_of(faces, [3, 5] * (count // 2), [1] * count)


def finds(*boxes):
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


# --- scenes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_boxes_are_where_the_faces_are(kind):
    scene, empty = (make_scene(faces, KINDS[kind], rng()) for faces in (WHITE, WHITE[:0]))
    assert scene.picture_HW.shape == empty.picture_HW.shape == (HEIGHT, WIDTH)
    brightest = scene.picture_HW.max()
    for left, top, right, bottom in scene.boxes_F4.astype(int):
        inside = scene.picture_HW[top:bottom, left:right]
        assert (inside == brightest).mean() > 0.5, "white, but for its soft border"
        assert KINDS[kind].sides[0] <= right - left == bottom - top <= KINDS[kind].sides[1]


def test_no_face_lies_over_another():
    for seed in range(5):
        boxes = make_scene(WHITE, KINDS["large"], rng(seed)).boxes_F4
        for place, (left, top, right, bottom) in enumerate(boxes):
            for x, y, far, low in boxes[place + 1 :]:
                assert left >= far or right <= x or top >= low or bottom <= y


def test_equal_seeds_make_equal_scenes():
    one, other, third = (make_scene(WHITE, Kind(), rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.picture_HW, other.picture_HW)
    assert not np.array_equal(one.picture_HW, third.picture_HW)


def test_dark_scenes_are_dark_and_bright_ones_bright():
    means = {kind: make_scene(WHITE[:1], KINDS[kind], rng()).picture_HW.mean() for kind in ("dark", "bright")}
    normal = make_scene(WHITE[:1], Kind(), rng()).picture_HW.mean()
    assert means["dark"] == pytest.approx(normal / 4, abs=1) and means["bright"] > normal + 50


def test_a_face_enlarged_three_times_keeps_its_pixels_in_the_mean():
    face = drawn_faces()[0]
    large = enlarged(face, 144)
    means = large.reshape(48, 3, 48, 3).mean((1, 3))
    assert np.abs(means - face).mean() < 5


def test_a_face_is_turned_with_the_clock_about_its_middle():
    face = np.zeros((48, 48), np.uint8)
    face[:6, 20:28] = 255  # above the middle
    turned = enlarged(face, 96, 90)
    assert turned[44:52, -8:].mean() > 200 and turned[:8].mean() < 20  # at the right now


def test_beyond_its_frame_a_faces_last_pixels_go_on():
    face = drawn_faces()[0]
    wide = enlarged(face, 48, reach=0.5)
    assert wide.shape == (96, 96)
    np.testing.assert_array_equal(wide[24:72, 24:72], face)
    np.testing.assert_array_equal(wide[24:72, :24], np.repeat(face[:, :1], 24, axis=1))


def test_faces_that_taggers_call_no_face_are_left_out():
    votes = np.zeros((8, len(FERPLUS_COLUMNS)), np.uint8)
    votes[2, FERPLUS_COLUMNS.index("NF")] = 1
    assert clear_rows(faces_store(), "public").tolist() == list(range(8))
    store = store_of(np.zeros((8, 48, 48), np.uint8), [0] * 8, [1] * 8, votes_NV=votes)
    assert clear_rows(store, "public").tolist() == [0, 1, 3, 4, 5, 6, 7]


# --- counting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (finds(), (0, 0)),
        (finds((100, 100, 200, 200)), (1, 0)),
        (finds((110, 90, 190, 210)), (1, 0)),
        (finds((130, 130, 170, 170)), (0, 0)),  # inside, but a sixth of it: missed, yet no false alarm
        (finds((190, 190, 290, 290)), (0, 1)),  # its centre is elsewhere
        (finds((400, 400, 500, 500), (100, 100, 200, 200)), (1, 1)),
        (finds((100, 100, 200, 200), (105, 100, 205, 200)), (1, 1)),  # the same face twice
        (finds((130, 130, 170, 170), (100, 100, 200, 200)), (1, 1)),
    ],
)
def test_finds_are_counted_as_hits_and_false_alarms(found, expected):
    assert matched(found, BOX) == expected


def test_every_find_is_a_false_alarm_where_there_is_no_face():
    assert matched(finds((0, 0, 9, 9), (5, 5, 20, 20)), finds()) == (0, 2)


def test_candidates_are_counted_over_all_pictures_and_begin_by_turns():
    asked = []

    def finder(name, boxes):
        def find(picture_HW):
            asked.append(name)
            return boxes

        return find

    scenes = [Scene(np.zeros((300, 300), np.uint8), BOX)] * 3
    values = compared(scenes, {"good": finder("good", BOX), "blind": finder("blind", finds())})
    assert asked == ["good", "blind", *["good", "blind", "blind", "good", "good", "blind"]]
    assert values["candidates"]["good"]["found"] == 3 and values["candidates"]["blind"]["found"] == 0
    assert values["pictures"] == 3 and values["candidates"]["good"]["false_alarms"] == 0


def test_every_kind_shows_the_same_faces():
    made = make_scenes(faces_store(), 2, seed=0)
    assert list(made) == list(KINDS)
    assert {len(scene.boxes_F4) for some in made.values() for scene in some} == {3}


def test_each_setting_names_a_constant_that_is_there():
    for owner, constants in SETTINGS.values():
        assert all(hasattr(owner, name) for name in constants)


def test_a_setting_holds_while_its_finder_looks_and_no_longer():
    scene = make_scene(drawn_faces()[:3], KINDS["large"], rng(3))
    none = detectors._with(detectors.detect, {"_LEAST_SCORES": (1.0, 1.0, 1.0)})
    before = len(ours(scene.picture_HW))
    assert len(none(scene.picture_HW)) == 0
    assert len(ours(scene.picture_HW)) == before > 0


def test_the_photos_are_there_and_one_of_them_shows_a_face():
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    photos = detectors.bundled_photos()
    assert len(photos) == len(PHOTOS) and sum(len(photo.boxes_F4) for photo in photos) == 1
    for find in finders().values():
        assert matched(find(photos[0].picture_HW), photos[0].boxes_F4)[0] == 1, "the astronaut"


def test_a_missing_package_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(detectors.sys.modules, "cv2", None)
    monkeypatch.setattr(detectors, "open_store", lambda data: faces_store())
    assert detectors.main(["--only", "scenes", "--scenes", "1", "--out", str(tmp_path)]) == 2
    assert "cv2 is missing" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


# --- crops ------------------------------------------------------------------------------------------------------------


def test_differences_are_paired():
    labels, given, found = np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0]), np.array([0, 0, 0, 3])
    values = beside(found, given, labels)
    assert values["accuracy"] == 0.5 and values["delta"] == pytest.approx(-0.25) and values["agree"] == 0.25
    low, high = values["delta_ci95"]
    assert low < -0.25 < high


def test_points_are_made_symmetric():
    points = np.array([[0.3, 0.4], [0.6, 0.3], [0.4, 0.6], [0.3, 0.8], [0.7, 0.8]])
    expected = [[0.35, 0.35], [0.65, 0.35], [0.5, 0.6], [0.3, 0.8], [0.7, 0.8]]
    np.testing.assert_allclose(symmetric(points), expected)


def test_the_points_by_which_faces_are_cut_are_those_that_were_measured():
    frame = json.loads((detectors.FOLDER / "detectors.json").read_text())["crops"]["frame"]
    np.testing.assert_allclose(_POINTS, frame["symmetric"], atol=0.005)


def test_what_finding_costs_is_measured_for_each_case(monkeypatch):
    monkeypatch.setenv("FER_SHIPPED", SHIPPED)
    monkeypatch.setattr(found_crops, "CASES", (found_crops.CASES[0], found_crops.CASES[-1]))
    values = found_crops.crops(faces_store(4), "fer2013-small", 4, seed=0)
    assert values["faces"] == 4 and values["frame"]["n"] == 4
    bright, dark = values["cases"].values()
    assert set(bright["ways"]) == {found_crops.UPRIGHT, found_crops.NOT_TURNED}
    assert set(dark["ways"]) == {found_crops.UPRIGHT, found_crops.NOT_SPREAD}
    assert np.abs(np.array(list(values["frame"]["points"].values()))[:, 0] - np.array(_POINTS)[:, 0]).max() < 0.15


def test_the_text_has_a_line_for_each_kind_setting_and_case(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FER_SHIPPED", SHIPPED)
    monkeypatch.setattr(detectors, "open_store", lambda data: faces_store())
    monkeypatch.setattr(detectors, "finders", lambda: {"MTCNN": ours, "blind": lambda picture_HW: finds()})
    monkeypatch.setattr(detectors, "KINDS", {"tiny": KINDS["tiny"], "turned 30": KINDS["turned 30"]})
    monkeypatch.setattr(detectors, "bundled_photos", lambda: [Scene(np.zeros((90, 90), np.uint8), finds())])
    monkeypatch.setattr(found_crops, "CASES", found_crops.CASES[:1])
    monkeypatch.setattr(detectors, "SETTINGS", {"as it is": (detectors.detect, {})})
    words = ["--scenes", "1", "--faces", "4", "--out", str(tmp_path)]
    assert detectors.main([*words, "--only", "scenes", "photos"]) == 0
    assert detectors.main([*words, "--only", "crops"]) == 0, "the other parts stay"
    text = (tmp_path / "detectors.md").read_text()
    assert text in capsys.readouterr().out
    for line in ("| tiny | 3 |", "| turned 30 | 3 |", "| all | 6 |", "| blind | 0 of 0 | 0 |", "as we do it"):
        assert line in text
    assert text == detectors_text(json.loads((tmp_path / "detectors.json").read_text()))


def test_a_run_that_is_not_there_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(detectors, "open_store", lambda data: faces_store())
    assert detectors.main(["--only", "crops", "--run", "nobody", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
