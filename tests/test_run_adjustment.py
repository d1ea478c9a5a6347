"""The prior that a run's net carries, and an adjustment that is saved with the run."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fer_core.adjust import Adjustment, adjusted
from fer_core.errors import ConfigError, RunError
from fer_core.labels import EMOTIONS, FER2013_TRAIN_COUNTS
from fer_core.predictions import report_on
from fer_core.run_adjustment import (
    SavedAdjustment,
    called,
    clear_adjustment,
    data_prior,
    decided,
    decision_words,
    read_adjustment,
    training_prior,
    write_adjustment,
)
from fer_core.run_shelf import bin_run
from fer_core.runs import create_run
from tests.faces import make_predictions, random_predictions, write_run
from tests.toy import toy_config

COUNTS = np.array(list(FER2013_TRAIN_COUNTS.values()), dtype=float)
PRIOR = COUNTS / COUNTS.sum()
SAVED = SavedAdjustment(
    Adjustment(0.875, 1.154, (0.0, 0.5, 0.0, 0.0, -0.25, 0.0, 0.0)), EMOTIONS, tuple(PRIOR), "balanced_accuracy",
    "public", "flip",
)  # fmt: skip


def trained(name="a", counts=FER2013_TRAIN_COUNTS, **values):
    run = create_run(toy_config(**values), name)
    run.write_environment({"data": {"counts": {"train": dict(counts)}, "classes": list(counts)}})
    return run


def file_of(run):
    return run.path / "adjustment.json"


# --- the prior


def test_as_is_the_prior_is_the_datas():
    run = trained()
    np.testing.assert_allclose(training_prior(run, EMOTIONS), PRIOR)
    np.testing.assert_allclose(data_prior(run, EMOTIONS), PRIOR)


def test_a_samplers_prior_is_the_mix_that_the_net_has_seen():
    roots = np.sqrt(COUNTS)
    np.testing.assert_allclose(training_prior(trained("a", balance="sampler"), EMOTIONS), roots / roots.sum())
    full = trained("b", balance="sampler", balance_alpha=1.0)
    np.testing.assert_allclose(training_prior(full, EMOTIONS), np.full(7, 1 / 7))
    np.testing.assert_allclose(data_prior(full, EMOTIONS), PRIOR)


def test_weights_count_as_so_many_faces():
    roots = np.sqrt(COUNTS)  # n x n^-1/2
    found = training_prior(trained(balance="weights", balance_alpha=0.5), EMOTIONS)
    np.testing.assert_allclose(found, roots / roots.sum())


def test_the_logit_adjusted_loss_has_taken_its_part_of_the_prior_out():
    roots = np.sqrt(COUNTS)
    half = trained("a", balance="logit_adjusted", balance_tau=0.5)
    np.testing.assert_allclose(training_prior(half, EMOTIONS), roots / roots.sum())
    np.testing.assert_allclose(training_prior(trained("b", balance="logit_adjusted"), EMOTIONS), np.full(7, 1 / 7))
    np.testing.assert_allclose(training_prior(trained("c", balance="focal"), EMOTIONS), PRIOR)


def test_a_net_that_fits_weighted_faces_is_set_right_by_that_prior():
    # Weighted cross-entropy is least where p(class | look) is the look's weighted share: adjusted by the prior of
    # weighted faces, this is the answer that a net trained as is gives after adjusting by the data's.
    looks = np.array([[30, 4, 1], [10, 9, 2], [1, 2, 5]])
    counts = dict(zip(EMOTIONS[:3], looks.sum(axis=0).tolist(), strict=True))
    as_is, weighted = trained("a", counts), trained("b", counts, balance="weights", balance_alpha=0.5)
    shares = {"a": looks, "b": looks * looks.sum(axis=0) ** -0.5}
    moved = [
        adjusted(
            make_predictions([0, 1, 2], logits=np.log(shares[run.name]), classes=EMOTIONS[:3]),
            training_prior(run, EMOTIONS[:3]),
            Adjustment(tau=1),
        ).logits_NK
        for run in (as_is, weighted)
    ]
    differences = moved[0] - moved[1]
    np.testing.assert_allclose(differences, np.broadcast_to(differences[:, :1], (3, 3)), atol=1e-6)


def test_the_prior_is_in_the_order_of_the_classes_asked_for():
    order = tuple(reversed(EMOTIONS))
    np.testing.assert_allclose(training_prior(trained(), order), PRIOR[::-1])


@pytest.mark.parametrize("environment", [None, {}, {"data": {"counts": {"train": {"happy": 3}}}}, {"data": []}])
def test_a_run_that_does_not_say_what_it_was_trained_on_has_no_prior(environment):
    run = write_run("a")
    if environment is not None:
        run.write_environment(environment)
    with pytest.raises(RunError) as caught:
        training_prior(run, EMOTIONS)
    assert str(caught.value) == ("run 'a' does not record its training faces by emotion; train it again to move tau.")


# --- saved with the run


def test_what_was_saved_is_read_back_and_cleared():
    run = trained()
    assert read_adjustment(run) is None
    write_adjustment(run, SAVED)
    assert read_adjustment(run) == SAVED
    plain = replace(SAVED, adjustment=Adjustment(0.5), chosen_for="hand", split="private")
    write_adjustment(run, plain)
    assert read_adjustment(run) == plain
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []
    clear_adjustment(run)
    assert read_adjustment(run) is None and not file_of(run).exists()
    clear_adjustment(run)


def test_the_file_names_emotions_and_what_it_was_chosen_for():
    run = trained()
    write_adjustment(run, SAVED)
    values = json.loads(file_of(run).read_text())
    assert (values["format"], values["tau"], values["temperature"]) == (1, 0.875, 1.154)
    assert values["offsets"]["disgust"] == 0.5 and values["prior"]["disgust"] == pytest.approx(436 / 28_709)
    assert (values["chosen_for"], values["split"], values["view"]) == ("balanced_accuracy", "public", "flip")


def test_answers_are_read_by_what_is_kept_by_a_tau_or_as_the_net_decides():
    run, a = trained(), random_predictions(200, seed=1)
    run.write_predictions({"private": a})
    np.testing.assert_array_equal(decided(run, "private").logits_NK, a.logits_NK)
    assert called(run) == "a"
    by_tau = adjusted(a, PRIOR, Adjustment(0.5)).logits_NK
    np.testing.assert_allclose(decided(run, "private", tau=0.5).logits_NK, by_tau)
    assert called(run, 0.5) == "a (tau 0.5)"
    write_adjustment(run, SAVED)
    np.testing.assert_array_equal(decided(run, "private").logits_NK, SAVED.apply(a).logits_NK)
    assert called(run) == "a (tau 0.875, temperature 1.154, offsets)"
    np.testing.assert_array_equal(decided(run, "private", tau=0).logits_NK, a.logits_NK)
    assert called(run, 0) == "a" and decision_words(run, 0) == ""


def test_a_saved_adjustment_is_applied_with_its_own_prior():
    a = random_predictions(200, seed=1)
    expected = report_on(adjusted(a, PRIOR, SAVED.adjustment)).to_json()
    assert report_on(SAVED.apply(a)).to_json() == expected
    with pytest.raises(RunError, match="the adjustment is for angry, .*, the predictions are of angry, happy. Clear"):
        SAVED.apply(make_predictions([0, 1], classes=("angry", "happy")))


def damaged(**changes):
    values = {
        "format": 1, "tau": 1.0, "temperature": 1.0, "offsets": {}, "prior": {"no": 0.5, "yes": 0.5},
        "chosen_for": "hand", "split": "public", "view": "none",
    }  # fmt: skip
    return json.dumps({name: value for name, value in (values | changes).items() if value != "left out"})


def test_the_plain_file_of_the_next_test_is_good():
    run = trained()
    file_of(run).write_text(damaged())
    assert read_adjustment(run).classes == ("no", "yes")


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "\udcff", damaged(format=2), damaged(tau="left out"), damaged(tau="1"),
        damaged(tau=True), damaged(tau=1e9), damaged(temperature=0), damaged(temperature=None),
        damaged(offsets={"no": 1.0}), damaged(offsets={"yes": 0.0, "no": 0.0}), damaged(offsets=[0, 0]),
        damaged(offsets={"no": 0.0, "yes": 99}), damaged(prior={}), damaged(prior={"no": 0.5, "yes": 0.6}),
        damaged(prior={"no": -0.5, "yes": 1.5}), damaged(prior={"no": None, "yes": 1}), damaged(prior=[0.5, 0.5]),
        damaged(chosen_for="luck"), damaged(chosen_for=None), damaged(split="train"), damaged(view="sideways"),
        damaged(view=["none"]), damaged(split="left out"), damaged().replace("1.0", "NaN"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_in_one_line(text):
    run = trained()
    file_of(run).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=r"adjustment.json: damaged \(.*\). Remove it, and choose") as caught:
        read_adjustment(run)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_its_classes_is_not_made():
    with pytest.raises(ConfigError, match="7 classes, but a prior of 6 and 7 offsets"):
        replace(SAVED, prior_K=SAVED.prior_K[:6])
    with pytest.raises(ConfigError, match="7 classes, but a prior of 7 and 2 offsets"):
        replace(SAVED, adjustment=Adjustment(offsets_K=(0.0, 0.0)))
    with pytest.raises(ConfigError, match="no split named 'train'"):
        replace(SAVED, split="train")


def test_nothing_is_saved_with_a_run_that_is_gone():
    run = write_run("a")
    bin_run(run, "done")
    with pytest.raises(RunError, match="no run 'a' any more; no adjustment was saved"):
        write_adjustment(run, SAVED)
    assert not run.path.exists()


def test_a_shipped_run_stays_as_it_is(monkeypatch):
    run = trained()
    write_adjustment(run, SAVED)
    monkeypatch.setenv("FER_SHIPPED", str(run.path.parent))
    for change in (lambda: write_adjustment(run, replace(SAVED, chosen_for="hand")), lambda: clear_adjustment(run)):
        with pytest.raises(RunError, match="comes with the explorer and stays as it is"):
            change()
    assert read_adjustment(run) == SAVED
