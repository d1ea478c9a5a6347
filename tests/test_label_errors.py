"""Likely label errors: rankings beside cleanlab and by hand, planted noise, what is refused, and the study of them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import label_errors as study
from benchmarks.label_errors_text import label_errors_text
from fer_core.config import RunConfig
from fer_core.data.labelling import FERPLUS_CLASSES
from fer_core.errors import RunError
from fer_core.evaluate import softmax, wilson_interval
from fer_core.label_errors import (
    METHODS,
    error_rows,
    errors_csv,
    ferplus_errors,
    fold_plan,
    fold_sets,
    gather_folds,
    out_of_sample,
    precision_at,
    rank_label_errors,
)
from fer_core.label_sides import rows_in
from fer_core.labels import EMOTIONS
from fer_core.review import ReviewList
from fer_core.runs import create_run, find_run, list_runs
from tests.faces import make_faces, make_predictions, votes_for, write_csv, write_run, write_votes
from tests.toy import toy_config, toy_csv

HAPPY, SAD, NEUTRAL = (EMOTIONS.index(name) for name in ("happy", "sad", "neutral"))


def noisy(n=2000, seed=0, share=0.1):
    """Labels of which a tenth was turned into another one, answers of a fair net, and which were turned."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 7, n)
    turned = rng.random(n) < share
    labels = np.where(turned, (true + rng.integers(1, 7, n)) % 7, true)
    logits = rng.normal(size=(n, 7)) + 2.5 * np.eye(7)[true]
    return labels, softmax(logits), turned


# --- rankings


@pytest.mark.parametrize("method", METHODS)
def test_every_ranking_has_every_face_once_and_is_the_same_again(method):
    labels, probabilities, _ = noisy(300)
    order = rank_label_errors(labels, probabilities, method)
    assert sorted(order.tolist()) == list(range(300))
    assert np.array_equal(order, rank_label_errors(labels, probabilities, method))


def test_confident_learning_is_cleanlabs_own_issues_in_cleanlabs_own_order():
    from cleanlab.filter import find_label_issues

    labels, probabilities, _ = noisy()
    theirs = find_label_issues(labels, probabilities, return_indices_ranked_by="normalized_margin", n_jobs=1)
    order = rank_label_errors(labels, probabilities, "confident")
    assert order[: len(theirs)].tolist() == theirs.tolist()
    rest = order[len(theirs) :]
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = 0
    margin = probabilities[np.arange(len(labels)), labels] - others.max(axis=1)
    assert (np.diff(margin[rest]) >= 0).all()


def test_the_loss_ranking_begins_with_the_least_probable_label():
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    assert rank_label_errors(np.array([0, 1, 0, 1]), probabilities, "loss").tolist() == [1, 2, 0, 3]


def test_planted_errors_are_found_far_more_often_than_by_chance():
    labels, probabilities, turned = noisy()
    known = np.ones(len(labels), dtype=bool)
    found = {
        method: precision_at(rank_label_errors(labels, probabilities, method), turned, known, [100])[0].found.count
        for method in METHODS
    }
    assert found["confident"] > 70 and found["loss"] > 70
    assert found["random"] < 25


def test_an_emotion_without_a_face_is_no_obstacle():
    labels, probabilities, turned = noisy()
    some = labels != 1
    order = rank_label_errors(labels[some], probabilities[some], "confident")
    assert turned[some][order[:50]].mean() > 0.6


def test_what_cannot_be_ranked_is_one_line():
    labels, probabilities, _ = noisy(20)
    with pytest.raises(RunError, match="no ranking named 'cleanlab'. Known: confident, loss, random."):
        rank_label_errors(labels, probabilities, "cleanlab")
    with pytest.raises(RunError, match="0 labels and 0 answers"):
        rank_label_errors(labels[:0], probabilities[:0])
    with pytest.raises(RunError, match="20 labels and 19 answers"):
        rank_label_errors(labels, probabilities[:19])
    with pytest.raises(RunError, match="not finite"):
        rank_label_errors(labels, np.full((20, 7), np.nan), "loss")
    with pytest.raises(RunError, match="all these faces have one label"):
        rank_label_errors(np.zeros(20, dtype=int), probabilities)


# --- precision


def test_precision_passes_over_faces_whose_answer_is_not_known():
    order = np.array([4, 3, 2, 1, 0])
    is_error = np.array([False, True, True, False, True])
    known = np.array([True, True, False, True, True])
    two, nine = precision_at(order, is_error, known, [2, 9])  # 4 (error), 3, then 1 (error), 0
    assert (two.found.count, two.found.n, two.found.ci95) == (1, 2, wilson_interval(1, 2))
    assert (nine.k, nine.found.count, nine.found.n) == (9, 2, 4)
    with pytest.raises(RunError, match=r"no face has a FER\+ majority"):
        precision_at(order, is_error, np.zeros(5, dtype=bool), [2])


def test_contempt_calls_a_label_wrong_and_no_majority_says_nothing():
    wrong, known = ferplus_errors(make_predictions([SAD] * 4), votes_for(["sad", "happy", "contempt", None]))
    assert wrong.tolist() == [False, True, True, False] and known.tolist() == [True, True, True, False]
    with pytest.raises(RunError, match="answers in 8 classes"):
        ferplus_errors(make_predictions([0, 7], classes=FERPLUS_CLASSES), votes_for([None, None]))


def test_rows_name_face_label_and_proposal():
    predictions = make_predictions([SAD, HAPPY], [NEUTRAL, HAPPY], hashes=[255, 256])
    first, second = error_rows(predictions, "loss", votes_NV=votes_for(["neutral", None]))
    sure, other = np.exp(4) / (np.exp(4) + 6), 1 / (np.exp(4) + 6)
    assert first == {
        "rank": 1, "row": 0, "hash": "00000000000000ff", "label": "sad", "label_probability": pytest.approx(other),
        "proposed": "neutral", "proposed_probability": pytest.approx(sure),
        "ferplus": "neutral", "ferplus_says_wrong": True,
    }  # fmt: skip
    assert (second["ferplus"], second["ferplus_says_wrong"]) == (None, None)
    assert list(error_rows(predictions, "loss", top=1)[0]) == list(first)[:7]
    assert json.dumps([first, second])


# --- out of sample


def test_a_run_does_not_rank_what_it_was_trained_on():
    run = write_run("a", private=make_predictions([0, 1]))
    with pytest.raises(RunError, match="'a' was trained on train.*--folds 5"):
        out_of_sample(run, "train")
    with pytest.raises(RunError, match="has no predictions on 'public'"):
        out_of_sample(run, "public")


def test_faces_whose_pixels_stand_in_train_are_left_out():
    seen = replace(make_predictions([0, 1, 2]), in_train_N=np.array([True, False, False]))
    run = write_run("a", private=replace(seen, more_NK={"flip": seen.logits_NK}))
    kept = out_of_sample(run, "private", "flip")
    assert kept.labels_N.tolist() == [1, 2] and kept.rows_N.tolist() == [1, 2] and len(kept.logits_NK) == 2


def fold_run(name, fold, rows, *, fingerprint="0123456789abcdef", hashes=None, labels=None, predicted=None, **settings):
    config = RunConfig.parse({"data": "x.csv", "epochs": 2, "folds": 3, "fold": fold, **settings})
    run = create_run(config, name)
    made = make_predictions(
        labels if labels is not None else [row % 7 for row in rows],
        predicted,
        hashes=np.array(rows) + 1 if hashes is None else hashes,
    )
    made = replace(made, rows_N=np.array(rows), fingerprint=fingerprint)
    run.write_predictions({"held_out": made, "public": make_predictions([0])})
    run.update_status(state="done")
    return run


def test_folds_are_put_together_by_row_whatever_their_order():
    runs = [fold_run("c", 2, [1, 8]), fold_run("a", 0, [2, 5]), fold_run("b", 1, [0, 7])]
    whole = gather_folds(runs)
    assert whole.rows_N.tolist() == [0, 1, 2, 5, 7, 8]
    assert whole.labels_N.tolist() == [0, 1, 2, 5, 0, 1]
    assert whole.hashes_N.tolist() == [1, 2, 3, 6, 8, 9]
    assert whole.logits_NK.argmax(axis=1).tolist() == whole.labels_N.tolist()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"lr": 0.5}, "'c' and 'a' are not folds of one setting: lr differ"),
        ({"fold": 1}, "fold 2 is missing among a, b, c; every fold from 0 to 2 is needed once"),
        ({"fingerprint": "fedcba9876543210"}, "trained on different data"),
        ({"rows": [4, 5]}, "1 rows were left out twice by a, b, c"),
        ({"hashes": [3, 99]}, "1 pictures were left out twice by a, b, c"),
        ({"folds": 0, "fold": 0}, "run 'c' is no fold: answers on train need"),
    ],
)
def test_folds_that_do_not_belong_together_are_one_line(change, text):
    third = {"fold": 2, "rows": [1, 8], **change}
    runs = [fold_run("a", 0, [2, 5]), fold_run("b", 1, [0, 7]), fold_run("c", **third)]
    with pytest.raises(RunError, match=text):
        gather_folds(runs)


def test_a_fold_too_many_too_few_or_from_a_net_that_has_seen_train_is_refused():
    runs = [fold_run(name, fold, rows) for name, fold, rows in (("a", 0, [2]), ("b", 1, [0]), ("c", 2, [1]))]
    with pytest.raises(RunError, match="fold 1 is missing"):
        gather_folds([runs[0], runs[2]])
    with pytest.raises(RunError, match="a fold stands there twice"):
        gather_folds([*runs, runs[1]])
    with pytest.raises(RunError, match="there are no folds"):
        gather_folds([])
    started = [fold_run(f"w{fold}", fold, [fold], weights="fer2013-small") for fold in range(3)]
    with pytest.raises(RunError, match="started from weights of 'fer2013-small'"):
        gather_folds(started)


def test_trained_folds_answer_every_training_face_once_and_only_what_they_have_not_seen(tmp_path, one_thread):
    from fer_core.data import open_store
    from fer_core.experiment import train_run

    data = toy_csv(tmp_path / "fer2013.csv", train=4, public=2, private=2)
    runs = [create_run(toy_config(data=str(data), epochs=1, folds=2, fold=fold), f"fold-{fold}") for fold in range(2)]
    for run in runs:
        train_run(run)
    store = open_store(str(data))
    whole = gather_folds(runs)
    assert whole.rows_N.tolist() == store.rows("train").tolist()
    assert whole.labels_N.tolist() == store.labels_N[store.rows("train")].tolist()
    assert rows_in(store, whole).tolist() == whole.rows_N.tolist()  # the folds speak of the whole store's rows
    assert len(out_of_sample(runs[0], "held_out").rows_N) == len(whole.rows_N) // 2
    with pytest.raises(RunError, match="does not read private"):
        out_of_sample(runs[0], "private")


# --- the study


FACES = make_faces(
    {"train": {"happy": 6, "sad": 6}, "public": {"happy": 3, "sad": 3}, "private": {"disgust": 1, "sad": 4}}
)
TRAIN, PUBLIC, PRIVATE = (np.flatnonzero(FACES.splits_N == code) for code in range(3))


@pytest.fixture
def places(tmp_path, monkeypatch):
    """FER2013 as a few faces with votes, where FER+ calls the first two happy training faces sad."""
    majority = [EMOTIONS[k] for k in FACES.labels_N]
    majority[0] = majority[1] = "sad"
    data = write_csv(tmp_path / "fer2013.csv", FACES)
    write_votes(tmp_path / "fer2013new.csv", FACES, votes_for(majority))
    monkeypatch.setenv("FER_RUNS", str(tmp_path / "study"))
    return ["--data", str(data), "--runs", str(tmp_path / "study"), "--out", str(tmp_path), "--folds", "3"]


def in_the_store(rows, predicted, store):
    made = make_predictions(FACES.labels_N[rows], predicted, hashes=store.hashes_N[rows])
    made = replace(made, rows_N=rows, fingerprint=store.fingerprint)
    return replace(made, more_NK={"flip": made.logits_NK})


def say_how_they_were_trained(digest):
    """What each retraining records of the list that it used."""
    for run in list_runs():
        action = run.name.partition("-s")[0]
        review = {"digest": digest, "dropped": 2 * (action == "drop"), "relabelled": 2 * (action == "relabel")}
        run.write_environment({**run.environment(), "review": review if action in study.ACTIONS else None})


def write_study(places, *, retrained=True):
    """Three folds that say sad of rows 0 to 2, a run that judges the tests, and one seed of each retraining."""
    from fer_core.data import open_store

    store = open_store(places[1])
    environment = {
        "machine": "a machine", "cores": 2, "placement": "cpu fp32", "code": {"version": "1.2.3", "source_hash": "abc"},
    }  # fmt: skip
    says = np.where(np.arange(len(FACES.labels_N)) < 3, SAD, FACES.labels_N)
    for fold in range(3):
        run = create_run(RunConfig.parse({"data": "x.csv", "epochs": 8, "folds": 3, "fold": fold}), f"fold-{fold}")
        rows = TRAIN[fold::3]
        run.write_predictions({"held_out": in_the_store(rows, says[rows], store)})
    write_run("judge", public=in_the_store(PUBLIC, [SAD] * 6, store), private=in_the_store(PRIVATE, [HAPPY] * 5, store))
    for name, right in (("as-is", 3), ("drop", 4), ("relabel", 6)) if retrained else ():
        said = np.where(np.arange(6) < right, FACES.labels_N[PUBLIC], NEUTRAL)
        write_run(f"{name}-s0", public=in_the_store(PUBLIC, said, store))
    for run in list_runs():
        run.write_environment(environment)
        run.update_status(state="done")


def test_folds_and_retrainings_are_queued_seed_by_seed(places, tmp_path):
    args = study._arguments(["folds", *places])
    named = study.fold_plans(args)
    assert [name for name, _ in named] == ["fold-0", "fold-1", "fold-2"]
    assert [(config.folds, config.fold, config.epochs, config.model) for _, config in named] == [
        (3, 0, 8, "small"), (3, 1, 8, "small"), (3, 2, 8, "small"),
    ]  # fmt: skip
    with pytest.raises(RunError, match="likely-errors.jsonl is not there. First: benchmarks.label_errors rank"):
        study.retrain_plans(args)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / study.LIST).touch()
    named = study.retrain_plans(args)
    assert [name for name, _ in named] == ["as-is-s0", "drop-s0", "relabel-s0", "as-is-s1", "drop-s1", "relabel-s1"]
    as_is, drop, relabel = (config for _, config in named[:3])
    assert as_is.review is None
    assert set(drop.differences_from(as_is)) == {"review"}  # to drop is the default
    assert relabel.differences_from(drop) == {"review_action": "relabel"}


def test_ranking_writes_precision_mistakes_and_a_review_list(places, tmp_path, capsys):
    write_study(places, retrained=False)
    assert study.main(["rank", "--run", "judge", "--top", "5", *places]) == 0
    values = json.loads((tmp_path / "label_errors.json").read_text())
    train = values["splits"]["train"]
    assert (train["n"], train["known"], train["wrong"]) == (12, 12, 2)
    loss = train["methods"]["loss"][0]
    assert (loss["k"], loss["count"], loss["n"]) == (100, 2, 12)
    assert values["sides"]["private"]["totals"]["label"]["count"] == 5
    assert values["sides"]["public"]["mistakes"] == 3
    # The nets say another emotion of three faces, FER+ of two of these.
    listed = values["listed"]
    assert {name: listed[name] for name in ("faces", "known", "wrong", "proposed_right")} == {
        "faces": 3, "known": 3, "wrong": 2, "proposed_right": 2,
    }  # fmt: skip
    marks = ReviewList(tmp_path / "study" / study.LIST).marks()
    assert [(one.label, one.split, one.verdict, one.proposed) for one in marks] == [
        ("happy", "train", "wrong label", "sad")
    ] * 3
    text = (tmp_path / "label_errors.md").read_text()
    assert text == capsys.readouterr().out.removesuffix("\n")
    assert "| train: 12 of 12 known, 16.7% wrong | random | 16.7" in text and "Trained again" not in text


def test_report_sets_retrained_nets_beside_as_is_by_both_label_sets(places, tmp_path):
    write_study(places)
    assert study.main(["rank", "--run", "judge", "--top", "2", *places]) == 0
    say_how_they_were_trained(ReviewList(tmp_path / "study" / study.LIST).digest())
    assert study.main(["report", *places]) == 0
    values = json.loads((tmp_path / "label_errors.json").read_text())
    by_label, by_majority = values["retrained"]["by"].values()
    assert [one["name"] for one in by_label] == ["as-is", "drop", "relabel"]
    assert [one["accuracy"]["b"]["mean"] for one in by_label] == [0.5, pytest.approx(4 / 6), 1]
    assert by_label[2]["accuracy"]["delta"] == 0.5 and by_label == by_majority  # FER+ says the same of all of public
    assert values["retrained"]["faces"] == {
        "drop": {"dropped": 2, "relabelled": 0},
        "relabel": {"dropped": 0, "relabelled": 2},
    }
    text = label_errors_text(values)
    assert "the 2 likeliest errors of train, on public" in text and "| relabel | 1 | 100.0 (+50.0:" in text
    assert study.main(["rank", "--run", "judge", *places]) == 0  # a new list: what was trained by the old one goes
    assert json.loads((tmp_path / "label_errors.json").read_text())["retrained"] is None


def test_another_run_judges_public_and_private_anew_and_train_stays_as_the_folds_had_it(places, tmp_path):
    write_study(places)
    assert study.main(["rank", "--run", "judge", *places]) == 0
    say_how_they_were_trained(ReviewList(tmp_path / "study" / study.LIST).digest())
    assert study.main(["report", *places]) == 0
    before = json.loads((tmp_path / "label_errors.json").read_text())
    assert before["run"] == "judge" and before["sides"]["public"]["mistakes"] == 3
    assert study.main(["judge", "--run", "relabel-s0", *places]) == 2  # it has no answers on private
    assert json.loads((tmp_path / "label_errors.json").read_text()) == before
    better = find_run("relabel-s0")
    answers = {"public": better.predictions("public"), "private": find_run("judge").predictions("private")}
    better.write_predictions(answers)
    assert study.main(["judge", "--run", "relabel-s0", *places]) == 0
    after = json.loads((tmp_path / "label_errors.json").read_text())
    assert (after["run"], after["run_code"]) == ("relabel-s0", "1.2.3 (abc)")
    assert after["sides"]["public"]["mistakes"] == 0 and list(after["splits"]) == ["train", "public", "private"]
    assert after["splits"]["train"] == before["splits"]["train"] and after["retrained"] == before["retrained"]
    assert "by `relabel-s0` (code 1.2.3 (abc)), trained on train" in (tmp_path / "label_errors.md").read_text()


def test_nets_retrained_by_another_list_are_not_reported_beside_this_one(places, tmp_path, capsys):
    write_study(places)
    assert study.main(["rank", "--run", "judge", *places]) == 0
    say_how_they_were_trained("of another list")
    assert study.main(["report", *places]) == 2
    assert "drop-s0 was trained by another list than likely-errors.jsonl" in capsys.readouterr().err


def test_what_is_not_there_yet_is_one_line(places, tmp_path, capsys):
    assert study.main(["rank", *places]) == 2
    assert "error: there are no folds" in capsys.readouterr().err
    assert study.main(["report", *places]) == 2
    assert "label_errors.json is not there. First: benchmarks.label_errors rank" in capsys.readouterr().err
    write_study(places, retrained=False)
    with pytest.raises(RunError, match="every training from fold-0 to fold-2 is done or at work"):
        study.queue(study.fold_plans(study._arguments(["folds", *places])))
    assert not (tmp_path / "label_errors.md").exists()


# --- folds in the app


def test_a_plan_has_a_run_for_each_fold_and_only_whole_sets_are_found():
    named = fold_plan(toy_config(model="cnn6"), folds=3)
    assert [config.fold for _, config in named] == [0, 1, 2] and {config.folds for _, config in named} == {3}
    assert len({name for name, _ in named}) == 3
    runs = [create_run(config, name) for name, config in named]
    for run in runs[:2]:
        run.update_status(state="done")
    assert fold_sets(runs) == {}
    runs[2].update_status(state="done")
    [(name, found)] = fold_sets(runs).items()
    assert found == runs and "fold" not in name


def test_folds_belong_together_by_their_settings_whatever_they_are_called():
    config = toy_config(model="cnn6")
    other = config.changed(lr=0.01)
    runs = [
        create_run(one.changed(folds=2, fold=fold), name)
        for name, one, fold in (("fold-0", config, 0), ("mine", config, 1), ("again", config, 1), ("alone", other, 0))
    ]
    for run in runs:
        run.update_status(state="done")
    assert fold_sets(runs) == {config.model: runs[:2]}, "of two for one fold, the first"


def test_rows_become_csv():
    assert errors_csv([{"rank": 1, "label": "sad"}, {"rank": 2, "label": "fear"}]) == "rank,label\n1,sad\n2,fear\n"


def test_ranking_waits_for_a_torch_that_another_thread_is_loading(tmp_path):
    slow = tmp_path / "torch" / "__init__.py"  # a torch that is half there while SciPy is being loaded
    slow.parent.mkdir()
    slow.write_text(
        "import sys, time\nend = time.monotonic() + 4\n"
        "while 'scipy.stats' not in sys.modules and time.monotonic() < end:\n    time.sleep(0.01)\n"
        "time.sleep(2)\nclass Tensor: pass\n"
    )
    script = """
import sys, threading, time
import numpy as np
from fer_core.label_errors import rank_label_errors
threading.Thread(target=lambda: __import__("torch"), daemon=True).start()
while "torch" not in sys.modules:
    time.sleep(0.001)
shares = np.random.default_rng(0).dirichlet(np.ones(3), 60)
print(len(rank_label_errors(np.arange(60) % 3, shares, "confident")))
"""
    paths = os.pathsep.join(map(str, (tmp_path, Path(study.__file__).parent.parent)))
    ended = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert ended.stdout.strip() == "60", ended.stderr
