"""The benchmark of growth: the times that it adds up, the line through them, and a tiny run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import growth
from fer_core.data import open_store

pytestmark = pytest.mark.usefixtures("one_thread")


def row(faces: int, epoch_s: float | None, *, peak_mb: float = 500.0, step_s: float = 0.1) -> dict[str, Any]:
    judge_s = None if epoch_s is None else 0.5
    steps = faces // 100
    return {
        "faces": faces, "steps": steps, "steps_done": steps, "start_s": 1.0, "step_s": step_s, "judge_s": judge_s,
        "epoch_s": epoch_s, "peak_mb": peak_mb,
    }  # fmt: skip


def test_times_are_told_apart():
    found = growth.timings([10.0, 12.0, 15.0, 16.0, 17.0, 19.0], over=21.5)
    assert found["steps_done"] == 4
    assert found["setup_s"] == 2
    assert found["start_s"] == 2, "the first step took 3 s, the median of the others is 1"
    assert found["step_s"] == pytest.approx(4 / 3)
    assert (found["judge_s"], found["epoch_s"]) == (2.5, 9.5)


def test_a_stopped_epoch_has_no_time_of_its_own():
    found = growth.timings([0.0, 1.0, 2.0], over=None)
    assert (found["judge_s"], found["epoch_s"]) == (None, None)


def test_a_stopped_epoch_is_extrapolated_and_says_so():
    rows = [row(1000, 2.5), row(50_000, None, step_s=0.2)]
    growth.fill_in(rows)
    assert [one["extrapolated"] for one in rows] == [False, True]
    assert rows[1]["epoch_s"] == pytest.approx(1 + 500 * 0.2 + 0.5), "start, steps, the other's judging"
    assert rows[1]["faces_per_s"] == pytest.approx(50_000 / 101.5)


def test_memory_beyond_the_faces_is_the_peak_less_their_pixels():
    rows = [row(2**20, 100.0, peak_mb=3000.0)]
    growth.fill_in(rows)
    assert (rows[0]["data_mb"], rows[0]["beyond_mb"]) == (2304, 696)


def test_a_line_with_a_fixed_cost_is_straight():
    rows = [row(faces, 3 + faces * 50e-6) for faces in (10_000, 100_000, 1_000_000)]
    growth.fill_in(rows)
    line = growth.growth(rows)["line"]
    assert line["us_per_face"] == pytest.approx(50) and line["fixed_s"] == pytest.approx(3)
    assert line["worst_residual"] == pytest.approx(0, abs=1e-6) and line["straight"]
    assert line["seconds_per_face_ratio"] == pytest.approx(53e-6 / 350e-6)


def test_time_that_grows_with_the_square_is_not_straight():
    rows = [row(faces, faces**2 * 1e-9) for faces in (10_000, 36_000, 100_000, 1_000_000)]
    growth.fill_in(rows)
    line = growth.growth(rows)["line"]
    assert not line["straight"] and line["seconds_per_face_ratio"] == pytest.approx(100)


def test_a_second_copy_of_the_faces_is_not_flat():
    for copies, flat in ((1, True), (2, False)):
        rows = [row(n, n * 1e-4, peak_mb=400 + copies * n * 2304 / 2**20) for n in (10_000, 1_000_000)]
        growth.fill_in(rows)
        memory = growth.growth(rows)["memory"]
        assert memory["flat"] == flat
        assert memory["bytes_per_face"] == pytest.approx(2304 * (copies - 1), abs=1)


def test_a_single_size_has_neither_line_nor_slope():
    rows = [row(1000, 2.0)]
    growth.fill_in(rows)
    assert growth.growth(rows) == {"line": None, "memory": None}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything in this process, 20 judged faces a split, batches of 16."""

    def in_this_process(*words: str) -> str:
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["growth", *words])
            growth.main()
        return capsys.readouterr().out

    monkeypatch.setattr(growth, "JUDGED", 20)
    monkeypatch.setitem(growth._SETTING, "batch_size", 16)
    monkeypatch.setattr(growth, "_in_a_process", in_this_process)


def test_made_up_faces_have_the_splits_that_were_asked_for(tmp_path: Path, here: None):
    growth.make_faces(tmp_path / "faces.npz", 100)
    store = open_store(str(tmp_path / "faces.npz"))
    assert store.counts_SK.sum(1).tolist() == [100, 20, 20]
    assert np.ptp(store.images_NHW[0]) > 100


def test_a_tiny_run_prints_times_and_memory(
    here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["growth", "--faces", "96,48", "--json"])
    growth.main()
    values = json.loads(capsys.readouterr().out)
    assert [one["faces"] for one in values["sizes"]] == [48, 96]
    assert [one["steps_done"] for one in values["sizes"]] == [3, 6]
    for one in values["sizes"]:
        assert one["epoch_s"] >= one["start_s"] + one["judge_s"] and not one["extrapolated"]
        assert one["peak_mb"] > 100
    assert {"us_per_face", "worst_residual", "straight"} <= set(values["line"])
    assert {"bytes_per_face", "flat"} <= set(values["memory"])
    growth.print_table(values)
    assert "bytes a face" in capsys.readouterr().out


def test_an_epoch_over_the_limit_is_stopped(
    here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["growth", "--faces", "96", "--epoch-limit-s", "0"])
    growth.main()
    assert "extrapolated from 1 of 6 steps" in capsys.readouterr().out
