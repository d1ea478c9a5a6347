"""The balancing study: what is put into the queue, and figures worked out by hand from made-up answers."""

import json

import numpy as np
import pytest

from benchmarks import balancing
from benchmarks.balancing import AS_IS, MOVED, PRESETS, measured, plans
from benchmarks.balancing_text import balancing_text
from benchmarks.queued import queue
from fer_core import launcher
from fer_core.errors import RunError
from fer_core.labels import EMOTIONS
from fer_core.runs import list_runs
from tests.faces import make_predictions, write_run
from tests.toy import toy_csv

HAPPY, DISGUST = 3, 1


@pytest.fixture
def data(tmp_path):
    return toy_csv(tmp_path / "fer2013.csv", train=3, public=2, private=2)


def test_a_seed_of_every_setting_comes_before_the_next_seed(data):
    named = plans("cnn6", str(data), 2 + 6, [0, 1])
    assert [name for name, _ in named[: len(PRESETS)]] == [
        "as-is-s0", "drawn-by-the-root-s0", "effective-number-s0", "logit-adjusted-s0", "weighted-late-s0",
    ]  # fmt: skip
    assert [config.seed for _, config in named] == [0] * len(PRESETS) + [1] * len(PRESETS)
    first, root, effective, adjusted, late = (config for _, config in named[: len(PRESETS)])
    assert set(first.differences_from(root)) == {"balance"}
    assert (effective.balance, effective.balance_weighting, effective.balance_beta) == ("weights", "effective", 0.999)
    assert (adjusted.balance, adjusted.balance_tau) == ("logit_adjusted", 1)
    assert (late.balance, late.balance_defer_epochs, late.balance_cap) == ("weights", 6, 10)


def made_up(name, *, disgust_margin, disgust_found=0):
    """Ten happy faces, all found, and four disgust faces, of which some are found and one is missed by a margin."""
    logits = np.zeros((14, 7))
    logits[:10, HAPPY] = 5
    logits[10:, HAPPY] = disgust_margin
    logits[10 : 10 + disgust_found] = 0
    logits[10 : 10 + disgust_found, DISGUST] = 5
    answers = make_predictions([HAPPY] * 10 + [DISGUST] * 4, logits=logits)
    answers = type(answers)(**{**vars(answers), "more_NK": {"flip": answers.logits_NK}})
    run = write_run(name, public=answers, private=answers)
    counts = dict.fromkeys(EMOTIONS, 0) | {"happy": 900, "disgust": 100}
    run.write_environment(
        {"data": {"counts": {"train": counts}, "classes": list(EMOTIONS)}, "machine": "a machine", "cores": 2,
         "placement": "cpu fp32", "code": {"version": "1.2.3", "source_hash": "abc"}}
    )  # fmt: skip
    return run


def test_settings_stand_beside_as_is_and_its_own_moved_decision():
    for seed in (0, 1):
        made_up(f"as-is-s{seed}", disgust_margin=1)
        made_up(f"logit-adjusted-s{seed}", disgust_margin=1, disgust_found=2 + seed)
    write_run("effective-number-s0", state="stopped")
    values = measured(list_runs(), "small")
    names = [one["name"] for one in values["settings"]]
    assert names == [AS_IS, "Logit-adjusted", *MOVED.values()]
    as_is, adjusted, *moved = (one["private"] for one in values["settings"])
    assert as_is["accuracy"]["b"]["mean"] == 10 / 14 and as_is["accuracy"]["delta"] == 0
    assert adjusted["recall"]["disgust"]["b"]["mean"] == pytest.approx(0.625)  # 2 of 4 and 3 of 4
    assert adjusted["accuracy"]["delta"] == pytest.approx(2.5 / 14)
    # ln 9 x tau above the margin of 1: the smallest tau of the grid that finds all four is 0.475
    assert values["taus"] == {title: [0.475, 0.475] for title in MOVED.values()}
    assert [one["recall"]["disgust"]["b"]["mean"] for one in moved] == [1, 1]


def test_the_text_says_what_the_values_hold():
    for seed in (0, 1):
        made_up(f"as-is-s{seed}", disgust_margin=1)
        made_up(f"logit-adjusted-s{seed}", disgust_margin=1, disgust_found=2 + seed)
    text = balancing_text(measured(list_runs(), "small"))
    assert "tau for macro-F1: 0.475, 0.475" in text and "a machine, 2 cores, cpu fp32; code 1.2.3 (abc)." in text
    assert "## Private, read once, after that: n = 14" in text and "disgust recall, 4 faces" in text
    line = next(line for line in text.splitlines() if line.startswith("| Logit-adjusted | 2 |"))
    assert "62.5 ± 17.7 (+62.5:" in line  # sd of 50 and 75


def test_report_writes_both_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FER_RUNS", str(tmp_path / "study"))
    made_up("as-is-s0", disgust_margin=1)
    where = ["--runs", str(tmp_path / "study"), "--out", str(tmp_path)]
    assert balancing.main(["report", *where]) == 0
    assert json.loads((tmp_path / "balancing.json").read_text())["settings"][0]["seeds"] == 1
    assert (tmp_path / "balancing.md").read_text() == capsys.readouterr().out.removesuffix("\n")


def test_what_is_new_is_queued_and_what_was_stopped_goes_on(monkeypatch, data):
    workers = []
    monkeypatch.setattr(launcher, "_start_worker", lambda runs: workers.append([run.name for run in runs]))
    named = plans("cnn6", str(data), 8, [0])[:3]
    for name, state in (("as-is-s0", "done"), ("drawn-by-the-root-s0", "stopped")):
        write_run(name, state=state)
    assert queue(named) == 2
    assert workers == [["drawn-by-the-root-s0"], ["effective-number-s0"]]
    with pytest.raises(RunError, match="from as-is-s0 to effective-number-s0 is done or at work"):
        queue(named)


def test_without_an_as_is_run_it_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FER_RUNS", str(tmp_path))
    assert balancing.main(["report", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "error: there is no finished as-is run of recipe small here. First: benchmarks.balancing start\n"
    )
    assert not (tmp_path / "out").exists()
