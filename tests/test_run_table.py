"""The rows of the table of runs: what differs, figures worked out by hand, and what may stand beside what."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fer_core import run_charts
from fer_core.catalog import AUGMENT_OPERATIONS
from fer_core.config import RunConfig
from fer_core.ensemble import create_ensemble
from fer_core.errors import RunError
from fer_core.recipes import RECIPES
from fer_core.run_facts import Kind, accuracy_by_view, read_facts, run_stamps
from fer_core.run_shelf import Notes, write_notes
from fer_core.run_table import PUBLISHED, best_first, differing, in_common, kinds_of, matching, published, table_rows
from fer_core.runs import EpochRecord, Run, create_run
from tests.faces import make_predictions, write_run

FER = Kind("FER2013", "fer")
VOTED = Kind("FER2013", "majority")


def record(
    epoch: int, accuracy: float, *, macro_f1: float = 0.4, loss: float = 1.5, speed: float = 900.0
) -> EpochRecord:
    return EpochRecord(epoch, 0.1, 1.5, 0.4, loss, accuracy, macro_f1, speed, 30.0 * epoch)


def make_run(name: str, *records: EpochRecord, data: dict | None = None, **settings) -> Run:
    run = create_run(RunConfig(data="faces.csv", **settings).resolved(8), name)
    where = {"source": "/data/faces.csv", "is_fer2013": True, "judged_by": "fer", "counts": {"public": {"happy": 100}}}
    run.write_environment({"parameters": 1_500_000, "data": where | (data or {})})
    run.write_history(list(records))
    run.update_status(state="done", epoch=len(records))
    return run


def facts_of(*runs: Run):
    return [read_facts(run) for run in runs]


def test_public_figures_are_those_of_the_epoch_that_was_kept():
    epochs = (record(1, 0.5, macro_f1=0.45, loss=1.0), record(2, 0.6, macro_f1=0.4), record(3, 0.6, macro_f1=0.3))
    by_accuracy, by_f1, by_loss = (
        read_facts(make_run(name, *epochs, select_by=name)).public for name in ("accuracy", "macro_f1", "loss")
    )
    assert (by_accuracy.accuracy, by_accuracy.macro_f1) == (0.6, 0.4)  # the first of equals
    assert by_f1.accuracy == by_loss.accuracy == 0.5


def test_the_public_interval_is_wilsons():
    # 50 of 100: 0.5 ± z·sqrt(0.25/100 + z²/40000) / (1 + z²/100), with z = 1.96
    low, high = read_facts(make_run("a", record(1, 0.5))).public.ci95
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))


def test_private_figures_come_from_the_predictions_with_and_without_copies():
    run = make_run("a", record(1, 0.5))
    predictions = make_predictions([0, 0, 3, 3], [0, 3, 3, 3])
    run.write_predictions({"private": replace(predictions, in_train_N=np.array([True, False, False, False]))})
    row = table_rows(facts_of(run))[0]
    assert (row["private_accuracy"], row["n"]) == (0.75, 4)
    assert row["without_copies"] == pytest.approx(2 / 3)
    assert row["private_macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert row["balanced_accuracy"] == 0.75


def test_each_further_view_has_its_own_private_accuracy():
    run = make_run("a", record(1, 0.5))
    assert accuracy_by_view(run) == {}
    predictions = make_predictions([0, 0, 3, 3], [0, 3, 3, 3])
    flipped = make_predictions([0, 0, 3, 3], [3, 3, 3, 0]).logits_NK
    run.write_predictions({"private": replace(predictions, more_NK={"flip": flipped})})
    assert accuracy_by_view(run) == {"flip": 0.25}
    assert read_facts(run).private.accuracy == 0.75


def test_time_speed_and_size_of_a_run():
    row = table_rows(facts_of(make_run("a", record(1, 0.1, speed=10), record(2, 0.2, speed=900), record(3, 0.3))))[0]
    assert (row["wall_min"], row["images_per_s"], row["parameters"], row["epochs"]) == (1.5, 900, 1.5, "3/8")


def test_a_run_that_has_not_begun_has_a_row_without_figures():
    row = table_rows(facts_of(write_run("a", state="queued")))[0]
    assert row["state"] == "queued"
    assert {row[name] for name in ("public_accuracy", "private_accuracy", "wall_min", "images_per_s")} == {None}
    assert row["judged_on"] == ""


def test_what_differs_names_only_settings_that_vary_and_that_were_set():
    a = make_run("a", seed=1)
    b = make_run("b", seed=1, balance="sampler", lr=0.01)
    assert differing(facts_of(a, b)) == {"a": "", "b": "balance sampler · lr 0.01"}
    assert in_common(facts_of(a, b)) == "seed 1"
    assert differing(facts_of(a)) == {"a": ""} and in_common(facts_of(a)) == ""


def test_a_review_list_and_a_fold_are_told_without_a_path():
    a, b = make_run("a"), make_run("b", review="/some/where/review.jsonl", folds=5, fold=2)
    assert differing(facts_of(a, b)) == {"a": "", "b": "review review.jsonl · folds 5 · fold 2"}


def test_what_an_optimizer_and_an_augmentation_bring_along_is_no_difference_of_its_own():
    a, b = make_run("a"), make_run("b", optimizer="adamw", augment="none")
    assert differing(facts_of(a, b))["b"] == "augment none · optimizer adamw"


def test_steps_tell_where_the_augmentations_name_does_not():
    a, b = make_run("a"), make_run("b", augment_steps=("flip@0.25",))
    assert differing(facts_of(a, b)) == {"a": "", "b": "augment steps flip@0.25"}
    every = tuple(
        f"{name}:{operation.default:g}" if operation.high else name for name, operation in AUGMENT_OPERATIONS.items()
    )
    long = differing(facts_of(a, make_run("c", augment_steps=every)))["c"]
    assert long.endswith("…") and len(long) < 70


def test_a_recipes_own_settings_are_no_difference():
    assert RECIPES["cnn6"].settings["optimizer"] == "adam"
    a, b, c = make_run("a"), make_run("b", recipe="cnn6"), make_run("c", recipe="cnn6", batch_size=32)
    assert differing(facts_of(a, b, c)) == {"a": "", "b": "", "c": "batch size 32"}
    assert [row["recipe"] for row in table_rows(facts_of(a, b, c))] == ["small", "cnn6", "cnn6"]


def test_switches_are_named_in_words():
    a, b = make_run("a"), make_run("b", contempt=False)
    assert differing(facts_of(a, b))["b"] == "no contempt"


def test_the_best_on_public_comes_first_within_its_kind():
    voted = {"judged_by": "majority"}
    runs = [
        make_run("low", record(1, 0.5)), make_run("high", record(1, 0.7)),
        make_run("voted", record(1, 0.8), data=voted),
        write_run("new", state="queued"),
    ]  # fmt: skip
    facts = best_first(facts_of(*runs))
    assert [one.name for one in facts] == ["high", "low", "voted", "new"]
    assert kinds_of(facts) == [FER, VOTED]


@pytest.mark.parametrize(
    ("data", "settings", "title"),
    [
        ({}, {}, "FER2013"),
        ({"judged_by": "majority"}, {}, "FER2013, FER+ majority"),
        ({"judged_by": "majority"}, {"contempt": False}, "FER2013, FER+ majority, 7 emotions"),
        ({"is_fer2013": False}, {}, "faces.csv"),
        ({"is_fer2013": False, "source": "sample"}, {}, "sample"),
    ],
)
def test_what_a_run_was_judged_on(data, settings, title):
    assert read_facts(make_run("a", record(1, 0.5), data=data, **settings)).kind.title == title


def test_published_figures_stand_beside_their_own_kind_only():
    assert {one.title for one in published([VOTED])} == {"FER+ paper, VGG13 85.0"}
    fer = published([FER])
    assert [one.accuracy for one in fer] == sorted((one.accuracy for one in fer), reverse=True)
    assert {one.recipe: one.accuracy for one in fer if one.recipe}["cnn6"] == 0.52
    assert any(one.title.startswith("human") for one in fer)
    assert {one.kind for one in fer} == {FER}
    assert published([Kind("sample", "fer"), Kind("FER2013", "majority, 7 emotions")]) == []


def test_no_published_figure_stands_there_twice():
    titles = [one.title for one in published([FER])]
    assert len(set(titles)) == len(titles) and "" not in titles
    assert [title for title in titles if title.startswith("ResNet-50")] == ["ResNet-50 65.5"]


def test_published_rows_have_the_runs_columns_and_say_what_they_are():
    run, other = table_rows(facts_of(make_run("a", record(1, 0.5))), published([VOTED]))
    assert list(run) == list(other)
    assert (other["state"], other["private_accuracy"], other["public_accuracy"]) == (PUBLISHED, 0.8499, None)


def test_a_published_row_says_on_which_split_its_author_judged():
    notes = {row["recipe"]: row["note"] for row in table_rows([], published([FER]))}
    assert notes["cnn6"] == "about 52% validation"
    assert "test" in notes["resnet50-head"]


def test_the_filter_looks_for_every_word_wherever_it_stands():
    a, b = make_run("a", lr=0.01), make_run("b", balance="sampler")
    write_notes(a, Notes(("keep", "later"), "Overfits from epoch 6 on"))
    facts = facts_of(a, b)
    assert [one.name for one in matching(facts, "")] == ["a", "b"]
    assert [one.name for one in matching(facts, "OVERFITS keep")] == ["a"]
    assert [one.name for one in matching(facts, "lr 0.01")] == ["a"]
    assert [one.name for one in matching(facts, "small sampler done")] == ["b"]
    assert [one.name for one in matching(facts, "", ["later", "keep"])] == ["a"]
    assert matching(facts, "sampler", ["keep"]) == []


def test_damage_is_told_and_the_rest_is_shown():
    run = make_run("a", record(1, 0.5))
    (run.path / "predictions.npz").write_bytes(b"no zip")
    (run.path / "notes.json").write_text("{")
    facts = read_facts(run)
    assert facts.public.accuracy == 0.5 and facts.private is None and facts.notes == Notes()
    assert "predictions.npz: damaged" in facts.problem and "notes.json: damaged" in facts.problem
    assert "\n" not in facts.problem


def test_a_run_without_a_readable_configuration_has_no_row():
    run = make_run("a")
    (run.path / "config.json").write_text("{}")
    with pytest.raises(RunError, match="config.json"):
        read_facts(run)
    assert list(run_stamps()) == [run]


def test_a_stamp_changes_with_any_file_and_with_nothing_else():
    run = make_run("a", record(1, 0.5))
    before = run_stamps()
    assert run_stamps() == before
    write_notes(run, Notes(("keep",)))
    noted = run_stamps()
    run.write_history([record(1, 0.5), record(2, 0.6)])
    assert len({before[run], noted[run], run_stamps()[run]}) == 3


def test_the_chart_orders_runs_and_leaves_out_what_is_far_off():
    runs = [make_run("low", record(1, 0.60)), make_run("high", record(1, 0.70))]
    runs[0].write_predictions({"private": make_predictions([0] * 400, [0] * 260 + [1] * 140)})
    spec = run_charts.accuracies(facts_of(*runs), published([FER]), ink="#000000")
    names = spec["encoding"]["y"]["sort"]
    assert names.index("high") < names.index("low")
    assert "challenge winner 2013 71" in names and "always happy 24.5" not in names
    low, high = spec["layer"][1]["encoding"]["x"]["scale"]["domain"]
    dots = {row["name"]: row for row in spec["layer"][2]["data"]["values"]}
    assert (dots["low"]["on"], dots["low"]["value"]) == ("private", 0.65)
    assert (dots["high"]["on"], dots["high"]["value"]) == ("public", 0.7)
    assert all(low < row["low"] < row["value"] < row["high"] < high for row in dots.values())
    assert "of 400 faces" in dots["low"]["interval"]


def test_curves_of_many_runs_hold_every_epoch_of_each():
    histories = {f"run{i}": [record(e, 0.1 * e) for e in (1, 2, 3)] for i in range(9)}
    rows = run_charts.many_curves(histories, "accuracy", 3)["data"]["values"]
    assert len(rows) == 27
    assert math.isclose(sum(row["value"] for row in rows if row["run"] == "run4"), 0.6)


def pair_with_ensemble():
    public = make_predictions([0, 0, 3, 3], [0, 3, 3, 3])
    private = make_predictions([0, 0, 3, 3], [3, 3, 3, 3])
    a, b = (make_run(name, record(1, 0.5), seed=seed, balance="sampler") for seed, name in enumerate("ab"))
    for run in (a, b):
        run.write_predictions({"public": public, "private": private})
    return a, b, create_ensemble([a, b], "e")


def test_an_ensembles_row_says_what_it_is_and_has_public_figures_of_its_own():
    *_, ensemble = pair_with_ensemble()
    facts = read_facts(ensemble)
    assert (facts.public.accuracy, facts.public.n, facts.private.accuracy, facts.problem) == (0.75, 4, 0.5, "")
    [row] = table_rows([facts])
    assert (row["recipe"], row["differs"]) == ("ensemble of 2", "mean of probabilities: a, b")
    assert (row["epochs"], row["wall_min"], row["parameters"]) == ("", None, 3.0)
    assert matching([facts], "ensemble b") == [facts] and matching([facts], "sampler") == []


def test_an_ensembles_borrowed_settings_are_compared_with_nobodys():
    a, b, ensemble = pair_with_ensemble()
    c = make_run("c", record(1, 0.5), lr=0.01, balance="sampler")
    found = differing(facts_of(ensemble, a))
    assert found == {"e": "mean of probabilities: a, b", "a": ""}
    assert differing(facts_of(ensemble, a, c))["c"] == "lr 0.01" and differing(facts_of(ensemble, c))["c"] == ""
    assert in_common(facts_of(ensemble, a)) == "" and in_common(facts_of(ensemble, a, b)) == "balance sampler"


def test_a_damaged_ensemble_still_has_a_row_that_says_so():
    *_, ensemble = pair_with_ensemble()
    (ensemble.path / "ensemble.json").write_text("{")
    facts = read_facts(ensemble)
    assert "ensemble.json: damaged" in facts.problem and facts.private.accuracy == 0.5
