"""The leaderboard: figures worked out by hand, seeds together, ensembles, what is refused, and what its text shows."""

import json
import statistics
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import leaderboard
from benchmarks.anchors import anchors
from benchmarks.leaderboard_text import grouped, render, spread
from benchmarks.measured import ensemble_figures, measure
from benchmarks.ship import ship
from fer_core.ensemble import create_ensemble
from fer_core.errors import RunError
from tests.faces import make_predictions
from tests.made_runs import both, finished_run, sure_of

LABELS = [0, 0, 3, 3]
RIGHT_3 = make_predictions(LABELS, [0, 3, 3, 3])
"""Three of four faces right."""


@pytest.fixture
def out(tmp_path):
    return tmp_path / "board"


def board_of(*runs, **words):
    board = {"runs": [], "ensembles": []}
    leaderboard.add(board, runs, **words)
    return board


def line_of(text, start):
    return next(line for line in text.splitlines() if line.startswith(f"| {start}"))


def published():
    return [vars(one) for one in anchors()]


def test_figures_of_a_run_by_hand():
    marked = replace(RIGHT_3, in_train_N=np.array([True, False, False, False]))
    flipped = make_predictions(LABELS, [3, 3, 3, 0]).logits_NK
    row = measure(finished_run("a", both(replace(marked, more_NK={"flip": flipped}))))
    private = row["figures"]["private"]
    assert private["none"]["accuracy"] == 0.75 and private["flip"]["accuracy"] == 0.25
    assert private["none"]["without_copies"]["accuracy"] == pytest.approx(2 / 3)
    assert private["none"]["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert private["none"]["n"] == 4 and private["none"]["without_copies"]["n"] == 3
    # 3 of 4: (0.75 + z²/8 ± z·sqrt(0.1875/4 + z²/64)) / (1 + z²/4), z = 1.96
    assert private["none"]["accuracy_ci95"] == (pytest.approx(0.3006, abs=1e-4), pytest.approx(0.9544, abs=1e-4))


def test_minutes_are_epochs_times_the_median_epoch_and_the_wall_time_stands_beside_them():
    row = measure(finished_run("a", both(RIGHT_3), wall_s=(10.0, 100.0, 112.0)))  # epochs of 10, 90 and 12 s
    assert (row["epochs"], row["epoch_s"], row["minutes"]) == (3, 12.0, pytest.approx(0.6))
    assert row["wall_minutes"] == pytest.approx(112 / 60)


def test_epochs_on_smaller_faces_have_a_median_of_their_own():
    ends = (10.0, 20.0, 50.0, 90.0, 120.0)  # 10 and 10 s on small faces; 30, 40 and 30 s on whole ones
    row = measure(finished_run("a", both(RIGHT_3), wall_s=ends, early_size=32, early_share=0.4))
    assert row["minutes"] == pytest.approx((2 * 10 + 3 * 30) / 60)


def test_nothing_of_the_machines_folders_is_kept(out):
    finished_run("a", both(RIGHT_3), weights="/secret/weights.pt")
    assert leaderboard.main(["add", "a", "--out", str(out)]) == 0
    written = (out / "leaderboard.json").read_text() + (out / "leaderboard.md").read_text()
    assert "secret" not in written and "weights.pt" in written


def test_runs_that_differ_in_their_seed_are_one_line_with_mean_and_spread():
    others = ([0, 3, 0, 0], [0, 0, 3, 3])  # 1 of 4, 4 of 4
    runs = [finished_run("a", both(RIGHT_3), seed=0)]
    runs += [finished_run(f"s{k}", both(make_predictions(LABELS, p)), seed=k) for k, p in enumerate(others, 1)]
    board = board_of(*runs, finished_run("other", both(RIGHT_3), lr=0.01))
    assert {group["title"]: len(group["runs"]) for group in grouped(board)} == {"small (a)": 3, "small (other)": 1}
    cells = line_of(render(board, []), "**small (a)** |").split(" | ")
    shares = [75.0, 25.0, 100.0]
    assert cells[1] == f"{statistics.mean(shares):.2f} ± {statistics.stdev(shares):.2f}"
    assert cells[7] == "3" and len(board["ensembles"]) == 1


def test_another_path_or_version_is_no_further_seed():
    on_gpu = finished_run("gpu", both(RIGHT_3), seed=1, environment={"placement": "cuda bf16", "accelerator": "GPU"})
    newer = finished_run("new", both(RIGHT_3), seed=2, environment={"code": {"version": "0.5.0"}})
    board = board_of(finished_run("a", both(RIGHT_3)), on_gpu, newer)
    assert [len(group["runs"]) for group in grouped(board)] == [1, 1, 1]
    assert board["ensembles"] == []


def test_one_value_has_no_spread():
    assert spread([0.5]) == "50.00" and spread([None]) == "–"
    assert spread([0.5, 0.6]) == "55.00 ± 7.07"


def test_an_ensemble_takes_the_mean_of_the_probabilities():
    labels = [0, 0, 3]
    sure = make_predictions(labels, logits=sure_of(labels, [0, 3, 3], 6.0))
    unsure = make_predictions(labels, logits=sure_of(labels, [3, 0, 3], 1.0))
    runs = [finished_run("a", both(sure), seed=0), finished_run("b", both(unsure), seed=1)]
    # The sure one decides where they differ: right, wrong, and both are right on the third.
    assert ensemble_figures(runs)["private"]["none"]["accuracy"] == pytest.approx(2 / 3)
    mean = (np.exp(6) / (np.exp(6) + 6) + 1 / (np.e + 6)) / 2  # of class 0 for the first face
    other = (1 / (np.exp(6) + 6) + np.e / (np.e + 6)) / 2
    third = (np.exp(6) / (np.exp(6) + 6) + np.e / (np.e + 6)) / 2
    expected = -(np.log(mean) + np.log(other) + np.log(third)) / 3
    assert ensemble_figures(runs)["private"]["none"]["log_loss"] == pytest.approx(expected)
    board = board_of(*runs)
    assert board["ensembles"][0]["members"] == ["a", "b"]
    assert "66.67" in line_of(render(board, []), "**small, 2 together**")


def test_only_views_that_all_have_make_an_ensemble_figure():
    flipped = replace(RIGHT_3, more_NK={"flip": RIGHT_3.logits_NK})
    runs = [finished_run("a", both(flipped)), finished_run("b", both(RIGHT_3), seed=1)]
    assert set(ensemble_figures(runs)["private"]) == {"none"}


def test_different_faces_make_no_ensemble():
    others = make_predictions(LABELS, LABELS, hashes=[5, 6, 7, 8])
    runs = [finished_run("a", both(RIGHT_3)), finished_run("b", both(others), seed=1)]
    with pytest.raises(RunError, match="'b' does not fit 'a': on public it has other faces"):
        ensemble_figures(runs)


def test_an_ensemble_is_a_line_of_its_own_and_no_seed_of_its_first_member():
    runs = [finished_run("a", both(RIGHT_3)), finished_run("b", both(RIGHT_3), seed=1)]
    board = board_of(*runs, create_ensemble(runs, "e"))
    row = board["runs"][2]
    assert (row["model"], row["setting"]) == ("ensemble of 2", {"members": ["a", "b"], "average": "probabilities"})
    assert (row["parameters"], row["minutes"]) == (3_000_000, None)
    assert {group["title"]: len(group["runs"]) for group in grouped(board)} == {"small": 2, "ensemble of 2": 1}
    assert [one["members"] for one in board["ensembles"]] == [["a", "b"]]
    text = render(board, published())
    assert line_of(text, "**ensemble of 2** | 75.00") and "members a b, average probabilities" in text


def test_an_ensemble_cannot_be_shipped():
    runs = [finished_run(name, both(RIGHT_3)) for name in "ab"]
    with pytest.raises(RunError, match="'e' is an ensemble of 2 runs, which has no weights"):
        ship(create_ensemble(runs, "e"), "fer2013-e")


def test_what_was_not_trained_on_fer2013_has_no_place():
    run = finished_run("a", both(RIGHT_3), data={"is_fer2013": False})
    with pytest.raises(RunError, match="not trained on FER2013 but on fer2013.csv"):
        board_of(run)


def test_a_run_without_private_figures_stands_only_as_a_negative_result():
    run = finished_run("a", {"public": RIGHT_3}, state="stopped")
    with pytest.raises(RunError, match="'a' is stopped.*--negative"):
        board_of(run)
    text = render(board_of(run, negative="diverged at rate 1"), published())
    assert "diverged at rate 1" in text.split("## Negative results")[1].split("## Every")[0]
    assert "## FER2013's labels" not in text


def test_a_negative_result_stays_negative_and_is_no_seed_of_the_others():
    a, b = finished_run("a", both(RIGHT_3)), finished_run("b", both(RIGHT_3), seed=1)
    board = board_of(a)
    leaderboard.add(board, [b], negative="seed of a broken machine", note="kept")
    leaderboard.add(board, [b])
    assert [row["negative"] for row in board["runs"]] == ["", "seed of a broken machine"]
    assert board["runs"][1]["note"] == "kept" and len(grouped(board)) == 2


def test_a_name_belongs_to_one_setting_and_seed():
    board = board_of(finished_run("a", both(RIGHT_3)))
    board["runs"][0]["seed"] = 7
    with pytest.raises(RunError, match="'a' with another setting or seed"):
        leaderboard.add(board, [leaderboard.find_run("a")])


def test_of_several_runs_one_bad_one_leaves_the_board_as_it_was(out, capsys):
    finished_run("good", both(RIGHT_3))
    finished_run("bad", {})
    assert leaderboard.main(["add", "good", "bad", "--out", str(out)]) == 2
    assert not out.exists()
    assert leaderboard.main(["add", "good", "good", "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_published_figures_stand_between_ours_and_apart():
    text = render(board_of(finished_run("a", both(RIGHT_3))), published())
    lines = [line for line in text.split("## FER2013's labels")[1].split("## Every")[0].splitlines() if "|" in line]
    shares = [float(line.split(" | ")[1].strip("*").split(" ")[0]) for line in lines[2:]]
    assert shares == sorted(shares, reverse=True)
    assert [("published" in line, "**" in line) for line in lines[2:]].count((False, True)) == 1
    assert "*published: FER+" not in text


def test_every_published_figure_has_its_protocol_and_no_number_in_its_title():
    found = {one.title: one for one in anchors()}
    assert found["Pramerdorfer & Kampel 2016, VGG"].accuracy == 0.727
    assert found["Pramerdorfer & Kampel 2016, ensemble of eight"].accuracy == 0.752
    assert found["human"].accuracy == 0.65 and found["challenge winner 2013"].accuracy == 0.71
    assert found["FER+ paper, VGG13"].judged_by == "majority"
    assert [title for title, one in found.items() if "not stated" in one.protocol] == []
    assert all(
        not title.rstrip("%").rsplit(" ", 1)[-1].replace(".", "").isdigit() or "2013" in title for title in found
    )


def test_ferplus_has_a_table_of_its_own():
    voted = finished_run("v", both(RIGHT_3), data={"judged_by": "majority"}, labels="crossentropy", ferplus="/s/f.csv")
    text = render(board_of(finished_run("a", both(RIGHT_3)), voted), published())
    part = text.split("## FER+")[1].split("##")[0]
    assert "**small, labels crossentropy**" in part and "published: FER+ paper, VGG13" in part
    assert "**small** " not in part


def test_rendering_again_gives_the_same_text_with_the_ablation_below(out):
    finished_run("a", both(RIGHT_3))
    leaderboard.main(["add", "a", "--title", "Ours", "--note", "first try", "--out", str(out)])
    first = (out / "leaderboard.md").read_text()
    assert line_of(first, "**Ours**: first try")
    leaderboard.main(["render", "--out", str(out)])
    assert (out / "leaderboard.md").read_text() == first
    row = {"trick": "reference", "setting": "", "accuracy": {"none": 0.6, "flip": 0.61}, "log_loss": 1.0, "threads": 2}
    variant = row | {"trick": "no-ema", "delta": -0.0123, "delta_ci95": [-0.02, -0.004], "faces_per_s": 1000.0}
    values = {"recipe": "small", "epochs": 6, "seeds": [0], "n": 3589, "machine": "P", "codes": ["0.4.0 (a)"]}
    rows = [row | {"delta": None, "delta_ci95": None, "faces_per_s": 900.0}, variant]
    (out / "ablation.json").write_text(json.dumps(values | {"rows": rows}))
    leaderboard.main(["render", "--out", str(out)])
    text = (out / "leaderboard.md").read_text()
    assert "| no-ema |  | 60.00% | 61.00% | 1.000 | -1.23 | -2.00 to -0.40 | 1,000 on 2 |" in text


def test_a_damaged_board_is_one_line(out, capsys):
    out.mkdir()
    (out / "leaderboard.json").write_text("{")
    assert leaderboard.main(["render", "--out", str(out)]) == 2
    assert "leaderboard.json: damaged" in capsys.readouterr().err
