"""The benchmark of predicting: every way gets the same faces, names are compared by name, and ratios are paired."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import predict_speed
from benchmarks.fer_turns import names_of
from benchmarks.photo_speed import as_jpeg, from_photo, memory
from benchmarks.predict_speed import right_share, timed
from benchmarks.predict_ways import BASELINE, Way, fer_process, fer_ways, onnx_ways, our_ways
from benchmarks.scenes import Scene
from fer_core.errors import RunError
from fer_core.labels import EMOTIONS
from fer_core.predict import Predictor
from tests.faces import store_of
from tests.scenes import SHIPPED, drawn_faces, scene

pytestmark = pytest.mark.usefixtures("one_thread")

FACES = drawn_faces()


@pytest.fixture(scope="module")
def predictor():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_SHIPPED", SHIPPED)
        return Predictor.load()


def way(name, seconds, answers, **more):
    """A made-up way whose turns take these seconds, one after the other."""
    left = iter(seconds)
    return Way(name, lambda count: (next(left), answers[:count]), **more)


# --- ways -------------------------------------------------------------------------------------------------------------


def test_batched_and_one_by_one_say_the_same(predictor):
    together, alone = our_ways(predictor, FACES)
    assert together.turn(6)[1] == alone.turn(6)[1]
    assert not together.one_by_one and alone.one_by_one
    assert len(together.turn(2)[1]) == 2 and together.turn(2)[0] > 0


def test_fers_columns_are_read_by_its_own_labels():
    labels = {0: "angry", 1: "disgust", 2: "happy"}
    assert names_of(np.array([[0.1, 0.7, 0.2], [0.1, 0.2, 0.7]]), labels) == ["disgust", "happy"]


def stand_in(tmp_path, lines):
    """A python that stands in for fer's: it runs these lines in the place of `fer_turns.py`."""
    script = tmp_path / "stand_in.py"
    script.write_text("\n".join(lines))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$2" "$3"\n')
    python.chmod(0o755)
    return python


def test_fer_takes_its_turns_in_a_process_of_its_own(tmp_path):
    python = stand_in(tmp_path, [
        "import json, sys, numpy as np",
        "faces = np.load(sys.argv[1])['faces']",
        "for line in sys.stdin:",
        "    name, count = line.split()",
        "    print(json.dumps({'seconds': 2.0, 'answers': [name] * min(int(count), len(faces))}), flush=True)",
    ])  # fmt: skip
    with fer_process(python, FACES, b"") as fer:
        batched, alone, framed = fer_ways(fer)
        assert batched.turn(2) == (2.0, ["batched"] * 2)
        assert alone.turn(99) == (2.0, ["one_by_one"] * 6)
        assert framed.turn(1) == (2.0, ["framed"])


def test_an_environment_without_fer_is_one_line(tmp_path):
    python = stand_in(tmp_path, ["import no_such_package"])
    said = "ModuleNotFoundError: No module named 'no_such_package'"
    with pytest.raises(RunError, match=said), fer_process(python, FACES, b"") as fer:
        fer("about", 0)


def test_a_python_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(RunError, match="No such file"), fer_process(tmp_path / "python", FACES, b""):
        pass


def test_without_a_python_for_fer_its_ways_are_missing():
    with fer_process(None, FACES, b"") as fer:
        assert fer is None


def test_an_export_that_is_not_there_is_one_line(predictor, tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(RunError, match=r"net\.onnx: no such file"):
        onnx_ways(tmp_path / "net.onnx", predictor, FACES)


# --- figures ----------------------------------------------------------------------------------------------------------


def test_rates_are_medians_over_the_rounds_and_ratios_are_paired_by_round():
    labels = ["happy", "sad"] * 2
    ways = [
        way("ours", [9, 1, 2, 4], labels),
        way("alone", [9, 1, 1, 1], ["happy"] * 4, one_by_one=True),
        way(BASELINE, [9, 2, 4, 2], ["sad"] * 4),
    ]
    ours, alone, fer = timed(ways, labels, rounds=3, one_by_one=2)
    assert ours["faces_per_s"] == 2 and ours["all_rounds"] == [4, 2, 1], "the first turn warms up"
    assert ours["ratio"] == 2 and fer["ratio"] == 1, "4/2, 2/1 and 1/2"
    assert alone["faces_per_s"] == 2 and alone["accuracy"] == 0.5, "two faces a turn, accuracy on all"
    assert ours["accuracy"] == 1


def test_without_fer_there_is_no_ratio():
    (one,) = timed([way("ours", [1, 1], ["happy"])], ["happy"], rounds=1, one_by_one=1)
    assert one["ratio"] is None


def test_accuracy_has_its_interval():
    share = right_share(["happy"] * 10, ["happy"] * 8 + ["sad"] * 2)
    low, high = share["accuracy_ci95"]
    assert share["accuracy"] == 0.8 and 0.45 < low < 0.8 < high < 0.95


# --- photos -----------------------------------------------------------------------------------------------------------


def test_a_photo_is_timed_in_its_parts(predictor):
    photo = as_jpeg(Scene(scene(3)[0], np.zeros((0, 4), np.float32)))
    assert Image.open(io.BytesIO(photo)).mode == "RGB"
    values = from_photo(predictor, photo, 2, None)
    assert values["faces"] == 3 and values["fer_ms"] is None
    assert list(values["parts_ms"]) == ["decode", "detect", "cut", "predict"]
    assert all(ms > 0 for ms in values["parts_ms"].values())


def test_memory_is_read_after_a_tenth_and_at_the_end(predictor, monkeypatch):
    seen = []
    monkeypatch.setattr(predictor, "predict", seen.append)
    values = memory(predictor, store_of(FACES, [3, 5] * 3, [1] * 6), 20)
    assert len(seen) == 20 and values["pictures"] == 20 and values["early"] == 2
    assert values["late_mb"] >= values["early_mb"] * 0.9 > 10


def test_the_table_names_what_was_measured(monkeypatch, capsys):
    monkeypatch.setenv("FER_SHIPPED", SHIPPED)
    store = store_of(np.concatenate([FACES, FACES]), [3, 5] * 6, [1] * 6 + [2] * 6, classes=EMOTIONS)
    monkeypatch.setattr(predict_speed, "open_store", lambda data: store)
    monkeypatch.setattr(predict_speed, "a_photo", lambda *_: as_jpeg(Scene(scene(3)[0], np.zeros((0, 4), np.float32))))
    assert predict_speed.main(["--rounds", "1", "--photos", "1", "--pictures", "2"]) == 0
    text = capsys.readouterr().out
    assert "fer2013-small on 6 crops of private" in text and "3 faces, to the answer" in text
    assert "ours, one by one" in text and "pip install fer" in text


def test_a_run_that_is_not_there_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(predict_speed, "open_store", lambda data: None)
    assert predict_speed.main(["--run", "nobody"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
