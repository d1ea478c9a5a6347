"""A run as an ONNX file: it answers as the run does, is refused where it does not, and costs in 8 bits what is said.

Shapes: N faces, H x W pixels, K classes.
"""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from fer_core import cli, cli_export, onnx_export
from fer_core.adjust import Adjustment
from fer_core.data import open_store
from fer_core.errors import DataError, FerError, RunError
from fer_core.labels import EMOTIONS
from fer_core.models import FaceClassifier
from fer_core.onnx_export import PACKAGES, Check, check_export, face_size, require_same, to_onnx, with_facts
from fer_core.onnx_int8 import to_int8
from fer_core.pipeline import Pipeline, load_pipeline
from fer_core.run_adjustment import SavedAdjustment, write_adjustment
from fer_core.run_model import architecture, make_model
from fer_core.runs import create_run
from fer_core.train.checkpoint import save_weights
from fer_core.views import predict_logits
from tests.faces import write_run
from tests.toy import ToyNet, toy_config, toy_csv

REPO = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(tmp_path_factory, one_thread):
    """A run whose kept decision moves its answers, its data, and its two files with what the command said of them."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_RUNS", str(folder / "runs"))
        patch.setenv("FER_CACHE", str(folder / "cache"))
        patch.setenv("FER_SHIPPED", str(folder / "shipped"))
        data = toy_csv(folder / "fer2013.csv", train=10, public=40)
        store = open_store(str(data))
        run = undecided_run(toy_config(model="small", image_size=24, data=str(data)), store)
        prior = (0.4, 0.02, 0.1, 0.2, 0.02, 0.06, 0.2)
        write_adjustment(run, SavedAdjustment(Adjustment(1.0, 0.8), EMOTIONS, prior, "hand", "public"))
        patch.setattr(onnx_export, "to_onnx", once(to_onnx))
        exported = {kind: exported_by(folder / f"{kind}.onnx", run, kind) for kind in ("float", "int8")}
    return SimpleNamespace(folder=folder, run=run, data=data, store=store, said=exported)


def undecided_run(config, store):
    """A run whose net has never been trained, and whose answers differ from face to face by little."""
    torch.manual_seed(0)
    images = torch.from_numpy(np.array(store.images_NHW))
    model = make_model(config, store, images)
    with torch.no_grad():
        logits = predict_logits(model, images)
        model.head.weight /= logits.std(0)[:, None]
        model.head.bias.copy_((model.head.bias - logits.mean(0)) / logits.std(0))
    run = create_run(config, "toy")
    save_weights(run.best, model, 1, architecture(config, 7, store.image_size))
    run.write_environment({"data": {"classes": list(EMOTIONS), "image_size": store.image_size}})
    return run


def once(function):
    """The function, whose first answer stands for all: both files are made of one net."""
    given = []

    def call(*arguments):
        given.extend([] if given else [function(*arguments)])
        return given[0]

    return call


def exported_by(path, run, kind):
    """What the command says; its standard output holds that alone."""
    words = ["export", run.path, "--view", "flip", "--out", path, "--json", *(["--int8"] if kind == "int8" else [])]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main([str(word) for word in words]) == 0
    return json.loads(out.getvalue())


@pytest.fixture
def file(made):
    return made.folder / "float.onnx"


@pytest.fixture
def complaint(capfd, monkeypatch, tmp_path):
    """A command that must fail in an empty folder, and leave it so; gives its one line."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*words):
        assert cli.main([str(word) for word in words]) == 2
        out, err = capfd.readouterr()
        assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
        assert list(Path().iterdir()) == []
        return err[7:-1]

    return run


def asked(file, images_NHW):
    """What onnxruntime answers by a file, or by its bytes."""
    source = file if isinstance(file, bytes) else str(file)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"faces": images_NHW})[0]


def noise(n, side=48, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side), dtype=np.uint8)


def faces_of(made, split="public"):
    return np.array(made.store.images_NHW[made.store.rows(split)])


# --- what the file answers


@pytest.mark.parametrize("n", [0, 1, 7, 100])
def test_the_file_answers_as_the_run_does_for_any_number_of_faces(made, file, n):
    images = np.concatenate([faces_of(made)[: n // 2], noise(n - n // 2)])
    found = asked(file, images)
    expected = load_pipeline(made.run, "flip").in_batches(torch.from_numpy(images)).numpy()
    assert (found.shape, found.dtype) == ((n, 7), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_the_file_decides_by_what_was_kept_with_the_run(made, file):
    images = faces_of(made)
    kept = load_pipeline(made.run, "flip")
    own = Pipeline(load_pipeline(made.run).nets, EMOTIONS, view="flip")(torch.from_numpy(images)).detach().numpy()
    found = asked(file, images)
    assert (found.argmax(1) != own.argmax(1)).any()
    logits = np.log(own.astype(np.float64)) / 0.8 + kept.shift_K.double().numpy()
    by_hand = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, by_hand, atol=1e-4)


def test_the_view_is_in_the_file(made, file):
    images = faces_of(made)
    np.testing.assert_allclose(asked(file, images), asked(file, images[:, :, ::-1].copy()), atol=1e-5)
    assert np.abs(asked(file, images) - load_pipeline(made.run)(torch.from_numpy(images)).detach().numpy()).max() > 1e-3


def test_a_window_of_a_face_does_not_fix_the_number_of_faces():
    """`len` of a tensor would do so while the net is traced. Ten crops are such windows too."""
    torch.manual_seed(0)
    pipeline = Pipeline([FaceClassifier(ToyNet(), image_size=12, crop=0.25)], EMOTIONS)
    model = to_onnx(pipeline, (20, 16))
    assert shape_of(onnx.load_from_string(model).graph.input[0]) == ["N", 20, 16]
    images = np.random.default_rng(1).integers(0, 256, (70, 20, 16), dtype=np.uint8)
    assert check_export(model, pipeline, images).passed


def shape_of(value):
    return [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]


# --- what it says of itself


def test_the_file_says_what_it_is(made, file):
    facts = onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == list(EMOTIONS)
    assert json.loads(facts["image_size"]) == [48, 48]
    assert (facts["run"], facts["view"], facts["decision"]) == ("toy", "flip", "tau 1, temperature 0.8")
    assert facts["precision"] == "float32" and facts["code"].startswith("fer2013-explorer ")
    assert "not what anybody feels" in facts["limits"]
    assert "licence" not in facts  # the weights are the user's


def test_inputs_and_outputs_are_named_and_open(file):
    graph = onnx.load(file).graph
    assert [(one.name, shape_of(one)) for one in (*graph.input, *graph.output)] == [
        ("faces", ["N", 48, 48]),
        ("probabilities", ["N", 7]),
    ]


@pytest.mark.parametrize("kind", ["float", "int8"])
def test_nothing_of_this_machine_is_in_the_file(made, kind):
    content = (made.folder / f"{kind}.onnx").read_bytes()
    places = [str(REPO), str(made.folder), str(Path(torch.__file__).parent), "pipeline.py"]
    assert [place for place in places if place.encode() in content] == []


def test_what_the_command_says_is_what_was_done(made):
    said, checked = made.said["float"], made.said["float"]["check"]
    assert (said["run"], said["view"], said["image_size"], said["int8"]) == ("toy", "flip", [48, 48], None)
    assert said["bytes"] == (made.folder / "float.onnx").stat().st_size
    assert (checked["faces"], checked["of"]) == (1000, f"350 faces of {made.data} and 650 pictures of noise")
    assert checked["worst"] <= 1e-4 and checked["same_top"] == 1


def test_a_face_has_the_size_that_the_run_records_else_fer2013s():
    run = write_run("one")
    assert face_size(run) == (48, 48)
    run.write_environment({"data": {"image_size": [64, 56]}})
    assert face_size(run) == (64, 56)


def test_faces_of_another_size_are_brought_to_the_files(made):
    rows = made.store.rows("public")[:3]
    assert (cli_export._images(made.store, rows, (48, 48)) == made.store.images_NHW[rows]).all()
    smaller = cli_export._images(made.store, rows, (24, 24)).astype(int)
    means = made.store.images_NHW[rows].reshape(3, 24, 2, 24, 2).mean((2, 4))
    assert smaller.shape == (3, 24, 24) and np.abs(smaller - means).mean() < 20  # a wider filter than a plain mean's


# --- refused


def test_a_file_that_answers_otherwise_is_never_there(made, file, complaint, monkeypatch):
    model = onnx.load(file)
    bias = next(one for one in model.graph.initializer if one.name.endswith("head.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.eye(7, dtype="f4")[2], bias.name))
    monkeypatch.setattr(onnx_export, "to_onnx", lambda pipeline, size: model.SerializeToString())
    line = complaint("export", made.run.path, "--view", "flip", "--data", made.data)
    assert line.startswith(
        "the exported file does not answer as the net does: on 1,000 faces, a probability differs by"
    )
    assert "allowed: 0.0001" in line and "Nothing was written" in line


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        ([0.5, 0.3, 0.2], True),
        ([0.50009, 0.29991, 0.2], True),
        ([0.50011, 0.29989, 0.2], False),
        ([np.nan, 0.3, 0.2], False),
    ],
)
def test_a_probability_may_be_off_by_a_ten_thousandth(monkeypatch, found, passed):
    assert beside(monkeypatch, found, [0.5, 0.3, 0.2]).passed is passed


@pytest.mark.parametrize(("gap", "passed"), [(0.00008, True), (0.00015, False)])
def test_another_top_emotion_is_excused_only_where_two_are_as_good_as_equal(monkeypatch, gap, passed):
    check = beside(monkeypatch, [0.4, 0.4 + 1e-6, 0.2], [0.4 + gap / 2, 0.4 - gap / 2, 0.2])
    assert (check.passed, check.same_top, check.worst <= 1e-4) == (passed, 0.0, True)


def beside(monkeypatch, found, expected) -> Check:
    """The check of one face with these probabilities."""
    monkeypatch.setattr(onnx_export, "answers", lambda *_: np.array([found], dtype=np.float32))
    pipeline = SimpleNamespace(in_batches=lambda images: torch.tensor([expected]))
    return check_export(b"", pipeline, noise(1))


def test_a_passed_check_passes():
    require_same(Check(10, 1e-7, 1.0, True))
    with pytest.raises(RunError, match="0.01 .* 90.0%"):
        require_same(Check(10, 0.01, 0.9, False))


class Undecided(nn.Module):
    """Its way through depends on the pixels; one net cannot be written down for all faces."""

    def __init__(self, by_length: bool) -> None:
        super().__init__()
        self.head, self.by_length = nn.Linear(144, 7), by_length

    def forward(self, x_BCHW):
        flat = x_BCHW.flatten(1)
        if self.by_length:
            return self.head(flat) + torch.zeros(len(flat), 7)
        return self.head(flat if flat.mean() > 0 else -flat)


@pytest.mark.parametrize("by_length", [True, False])
def test_a_net_that_cannot_be_exported_is_one_line(by_length, capfd):
    pipeline = Pipeline([FaceClassifier(Undecided(by_length), image_size=12)], EMOTIONS)
    with pytest.raises(
        RunError, match="^this net cannot be exported to ONNX .*; predict with the run itself.$"
    ) as told:
        to_onnx(pipeline, (12, 12))
    assert "\n" not in str(told.value) and ("len(x)" in str(told.value)) is by_length
    assert capfd.readouterr() == ("", "")


def test_a_file_that_onnxruntime_cannot_run_is_one_line(made, file):
    model = onnx.load(file)
    next(node for node in model.graph.node if node.op_type == "Conv").op_type = "Convolve"
    with pytest.raises(RunError, match="^onnxruntime cannot run this net .*Convolve") as told:
        onnx_export.answers(model.SerializeToString(), noise(1))
    assert "\n" not in str(told.value)


def test_a_missing_package_is_one_line(made, complaint, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert complaint("export", made.run.path) == (
        'an export to ONNX needs onnxscript, which is missing: pip install "onnxscript>=0.4,<1"'
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(FerError, match="needs onnxscript and onnxruntime"):
        onnx_export.require_packages()


def test_the_packages_are_those_of_the_requirements():
    lines = (REPO / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {line.split()[0] for line in lines if line.startswith("onnx")} == set(PACKAGES.values())


def test_a_file_that_is_there_is_kept(made, tmp_path, capsys):
    target = tmp_path / "mine.onnx"
    target.write_text("mine")
    assert cli.main(["export", str(made.run.path), "--out", str(target)]) == 2
    assert "is there already, and nothing is overwritten" in capsys.readouterr().err
    assert target.read_text() == "mine"


def test_what_is_typed_wrongly_is_one_line(made, complaint):
    missing = complaint("export", made.run.path, "--out", "no/where.onnx")
    assert missing == "no: no such folder. Make it, or name a file in another one by --out."
    assert "no view named 'flop'. Did you mean 'flip'?" in complaint("export", made.run.path, "--view", "flop")
    assert "no format named 'tflite'. Known: onnx." in complaint("export", made.run.path, "--format", "tflite")
    assert complaint("export", "nobody").startswith("no run named 'nobody'")
    assert "Did you mean --int8?" in complaint("export", made.run.path, "--int9")


def test_a_full_disk_leaves_nothing(made, file, complaint, monkeypatch):
    def full(path, write):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx_export, "to_onnx", lambda pipeline, size: file.read_bytes())
    monkeypatch.setattr(cli_export, "write_atomic", full)
    line = complaint("export", made.run.path, "--view", "flip", "--data", made.data)
    assert "cannot be written to (No space left on device)" in line


# --- the faces that it is checked on


def test_without_the_runs_own_data_the_data_that_is_there_will_do(made, monkeypatch, tmp_path):
    gone = create_run(toy_config(data=str(tmp_path / "gone.csv")), "gone")
    monkeypatch.setenv("FER_DATA", str(made.data))
    assert cli_export._open(gone, None, required=False).source == str(made.data)
    with pytest.raises(DataError, match="gone.csv: no such file"):
        cli_export._open(gone, None, required=True)
    with pytest.raises(DataError, match="other.csv: no such file"):
        cli_export._open(gone, str(tmp_path / "other.csv"), required=False)


def test_int8_is_not_calibrated_on_the_sample_unless_that_was_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(cli_export, "open_store", lambda data, *_, **__: SimpleNamespace(kind="sample"))
    shipped = write_run("small")
    monkeypatch.setenv("FER_SHIPPED", str(tmp_path / "runs"))
    assert shipped.shipped
    with pytest.raises(DataError, match="^--int8 needs faces to calibrate on .* give your FER2013 by --data.$"):
        cli_export._open(shipped, None, required=True)
    assert cli_export._open(shipped, "sample", required=True).kind == "sample"
    assert cli_export._open(shipped, None, required=False).kind == "sample"
    monkeypatch.setenv("FER_SHIPPED", str(tmp_path / "shipped"))
    assert cli_export._open(shipped, None, required=True).kind == "sample"  # what it was trained on


# --- in 8 bits


def test_the_loss_that_is_said_is_that_of_the_two_files(made):
    said, labels = made.said["int8"]["int8"], made.store.labels_N[made.store.rows("public")]
    before, after = (asked(made.folder / f"{kind}.onnx", faces_of(made)).argmax(1) for kind in ("float", "int8"))
    right = [float((answer == labels).mean()) for answer in (before, after)]
    assert (said["split"], said["n"], said["calibrated_on"]) == ("public", 280, 70)
    assert [said["accuracy_float"], said["accuracy_int8"]] == pytest.approx(right)
    assert said["accuracy_delta"] == pytest.approx(right[1] - right[0])
    assert said["same_top"] == pytest.approx((before == after).mean()) and said["same_top"] < 1
    low, high = said["accuracy_delta_ci95"]
    assert low < said["accuracy_delta"] < high
    facts = onnxruntime.InferenceSession(str(made.folder / "int8.onnx")).get_modelmeta().custom_metadata_map
    assert facts["precision"] == "int8"
    assert f"280 faces: float {right[0]:.2%}, int8 {right[1]:.2%}" in facts["measured"]


def test_8_bits_are_near_the_net_and_a_quarter_of_its_size(made):
    images = faces_of(made)
    before, after = (asked(made.folder / f"{kind}.onnx", images) for kind in ("float", "int8"))
    assert np.abs(before - after).max() > 0 and np.abs(before - after).mean() < 0.03
    assert made.said["int8"]["bytes"] < 0.3 * made.said["float"]["bytes"]


def test_the_layers_at_both_ends_stay_as_they_are(made):
    graph = onnx.load(made.folder / "int8.onnx").graph
    weighted = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    plain = {one.name for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    floats = [node for node in weighted if node.input[1] in plain]
    looks = 2  # of the face, and of its mirror image
    assert (len(weighted), [node.op_type for node in floats]) == (looks * 13, ["Conv"] * looks + ["Gemm"] * looks)


def test_a_net_that_has_nothing_between_its_ends_stays_as_it_is():
    torch.manual_seed(0)
    model = to_onnx(Pipeline([FaceClassifier(ToyNet(), image_size=12)], EMOTIONS), (12, 12))
    images = noise(20, side=12)
    np.testing.assert_allclose(asked(to_int8(model, images), images), asked(model, images), atol=1e-6)


def test_weights_have_7_bits_and_those_of_depthwise_filters_8():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(144, 7)
    model = to_onnx(Pipeline([FaceClassifier(nn.Sequential(*layers), image_size=12)], EMOTIONS), (12, 12))
    graph = onnx.load_from_string(to_int8(model, noise(20, side=12))).graph
    weights = [onnx.numpy_helper.to_array(one) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8]
    filters = {values.shape: np.abs(values.astype(int)).max() for values in weights if values.ndim == 4}
    assert filters == {(4, 1, 3, 3): 127, (4, 4, 3, 3): 64}


def test_other_emotions_cannot_judge_the_run(made):
    with pytest.raises(DataError, match="has the emotions angry, .*, the run angry, contempt.$"):
        cli_export._quantised(b"", made.run, made.store, ("angry", "contempt"), (48, 48))


# --- the example


def test_the_example_names_the_emotion_with_onnxruntime_alone(made, file, tmp_path):
    face = faces_of(made)[5]
    Image.fromarray(face).convert("RGB").save(tmp_path / "face.png")
    script = REPO / "examples" / "run_onnx.py"
    command = [sys.executable, str(script), str(file), "face.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    expected = load_pipeline(made.run, "flip")(torch.from_numpy(face[None]))[0].tolist()
    ranked = sorted(zip(expected, EMOTIONS, strict=True), reverse=True)
    assert done.stdout == "  ".join(["face.png", *(f"{name} {share:.1%}" for share, name in ranked)]) + "\n"
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 20 and "fer_core" not in text


def test_facts_replace_those_that_were_there(file):
    model = with_facts(file.read_bytes(), {"run": "other"})
    assert onnxruntime.InferenceSession(model).get_modelmeta().custom_metadata_map == {"run": "other"}
