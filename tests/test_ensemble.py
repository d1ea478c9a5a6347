"""Ensembles: means worked out by hand, the choice on public, the run that is made, its prior, its command."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fer_core import cli, ensemble
from fer_core.adjust import Adjustment, adjusted
from fer_core.ensemble import averaged, choose_members, create_ensemble, mean_answers
from fer_core.ensemble_file import Ensemble, is_ensemble, read_ensemble, refuse_ensemble
from fer_core.errors import ConfigError, FerError, RunError
from fer_core.evaluate import softmax
from fer_core.feature_file import weights_digest
from fer_core.label_errors import fold_sets
from fer_core.labels import EMOTIONS
from fer_core.predictions import report_on
from fer_core.run_adjustment import SavedAdjustment, decided, training_prior, write_adjustment
from fer_core.runs import Run, create_run, find_run, known_runs, runs_folder
from fer_core.seeds import same_setting
from tests.faces import make_predictions, random_predictions, write_run
from tests.made_runs import COUNTS, both, finished_run
from tests.toy import toy_config

TWO = ("left", "right")
LABELS = [0, 0, 0, 0, 3, 3]


def answers(*shares_of_left, labels=None, **more):
    """Answers of two classes, by the probability of the first one."""
    shares = np.array(shares_of_left)
    logits = np.stack([np.log(shares), np.log1p(-shares)], axis=1)
    return make_predictions(labels or [0] * len(shares), logits=logits, classes=TWO, **more)


def right_on(faces, logit):
    """Answers to `LABELS` that are right on these faces and wrong on the others, each with this logit."""
    said = [label if place in faces else 3 - label for place, label in enumerate(LABELS)]
    return make_predictions(LABELS, logits=np.array(logit)[..., None] * np.eye(7)[said])


@pytest.fixture
def complementary():
    """Public answers of which the two best make the same mistakes, and the worst knows what the best does not."""
    return {
        "second": right_on({0, 1, 2}, 5.0),
        "best": right_on({0, 1, 2, 3}, [3.0, 3.0, 3.0, 3.0, 1.0, 1.0]),
        "other": right_on({4, 5}, [1.0, 1.0, 1.0, 1.0, 3.0, 3.0]),
    }


def runs_of(public):
    return [finished_run(name, {"public": one}, seed=k) for k, (name, one) in enumerate(public.items())]


def names(runs):
    return [run.name for run in runs]


def entries():
    return sorted(path.name for path in runs_folder().iterdir())


def refusal(call, *arguments, **more):
    before = entries() if runs_folder().exists() else []
    with pytest.raises(FerError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value)
    assert (entries() if runs_folder().exists() else []) == before  # nothing half-made, nothing hidden
    return str(caught.value)


# --- the mean


def test_the_mean_of_logits_by_hand():
    a, b = (make_predictions([0], logits=[logits], classes=TWO) for logits in ([2.0, 0.0], [0.0, 4.0]))
    np.testing.assert_array_equal(mean_answers([a, b], "logits").logits_NK, [[1.0, 2.0]])


def test_the_mean_of_probabilities_by_hand_is_what_softmax_gives_back():
    mean = mean_answers([answers(0.8, 0.5), answers(0.4, 0.1)], "probabilities")
    np.testing.assert_allclose(softmax(mean.logits_NK), [[0.6, 0.4], [0.3, 0.7]], rtol=1e-6)
    np.testing.assert_allclose(mean.logits_NK, np.log([[0.6, 0.4], [0.3, 0.7]]), rtol=1e-5)


def test_one_net_that_is_very_sure_decides_by_logits_and_not_by_probabilities():
    members = [answers(0.9), answers(0.9), answers(0.0001)]
    # (0.9 + 0.9 + 0.0001) / 3 = 0.6; logits (2.2 + 2.2 - 9.2) / 3 = -1.6
    assert mean_answers(members, "probabilities").logits_NK.argmax() == 0
    assert mean_answers(members, "logits").logits_NK.argmax() == 1


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_a_mean_of_equal_answers_is_those_answers_and_their_order_does_not_matter(average):
    one, *others = (random_predictions(50, seed=seed) for seed in (1, 2, 3))
    same = mean_answers([one, one], average)
    np.testing.assert_allclose(softmax(same.logits_NK), softmax(one.logits_NK), rtol=1e-5)
    forth, back = mean_answers([one, *others], average), mean_answers([*others, one], average)
    np.testing.assert_allclose(softmax(forth.logits_NK), softmax(back.logits_NK), rtol=1e-5)
    assert forth.logits_NK.dtype == np.float32


def test_a_probability_too_small_for_a_float_keeps_a_finite_logarithm():
    sure = make_predictions([1], logits=[[2000.0, 0.0]], classes=TWO)
    mean = mean_answers([sure, sure], "probabilities").logits_NK
    np.testing.assert_allclose(mean, [[0.0, -2000.0]])


def test_a_face_that_any_member_was_trained_on_stands_in_train():
    seen = [replace(answers(0.5, 0.5, 0.5), in_train_N=np.array(marks)) for marks in ([1, 0, 0], [0, 0, 1])]
    seen = [replace(one, in_train_N=one.in_train_N.astype(bool)) for one in seen]
    assert mean_answers(seen, "logits").in_train_N.tolist() == [True, False, True]
    assert mean_answers([*seen, answers(0.5, 0.5, 0.5)], "logits").in_train_N is None


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (answers(0.5, 0.5, hashes=[1, 3]), "other faces"),
        (answers(0.5, 0.5, hashes=[2, 1]), "another order"),
        (answers(0.5, 0.5, labels=[0, 1]), "other labels"),
        (make_predictions([0, 0]), "other emotions"),
    ],
)
def test_answers_that_do_not_fit_are_refused(other, why):
    with pytest.raises(RunError, match=why):
        mean_answers([answers(0.5, 0.5), other], "logits")


# --- the choice


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_the_choice_takes_what_completes_the_best_and_not_the_second_best(complementary, average):
    second, best = complementary["second"], complementary["best"]
    assert report_on(mean_answers([best, second], average)).accuracy < 4 / 6
    chosen = choose_members(runs_of(complementary), average)
    assert names([step.run for step in chosen]) == ["best", "other"]
    assert [step.accuracy for step in chosen] == [pytest.approx(4 / 6), 1.0]


def test_the_choice_reads_nothing_but_public(complementary, monkeypatch):
    runs, read = runs_of(complementary), []
    plain = Run.predictions

    def watched(run, split, view="none"):
        read.append(split)
        return plain(run, split, view)

    monkeypatch.setattr(Run, "predictions", watched)
    choose_members(runs)
    assert set(read) == {"public"}


def test_what_stands_in_private_changes_no_choice(complementary):
    good, bad = right_on(set(range(6)), 9.0), right_on(set(), 9.0)
    chosen = {}
    for kind, private in (("good", good), ("bad", bad)):
        runs = [finished_run(f"{name}-{kind}", {"public": one}) for name, one in complementary.items()]
        runs[0].write_predictions({"public": complementary["second"], "private": private})
        chosen[kind] = [step.run.name.removesuffix(f"-{kind}") for step in choose_members(runs)]
    assert chosen["good"] == chosen["bad"] == ["best", "other"]


def test_of_equal_accuracies_the_lower_log_loss_is_chosen_and_of_equals_the_first():
    unsure, sure = right_on({0, 1, 2, 3, 4, 5}, 1.0), right_on({0, 1, 2, 3, 4, 5}, 6.0)
    assert names([step.run for step in choose_members(runs_of({"unsure": unsure, "sure": sure}))]) == ["sure"]
    twins = choose_members(runs_of({"a": unsure, "b": unsure}))
    assert names([step.run for step in twins]) == ["a"]


def test_where_no_other_run_helps_there_is_no_ensemble():
    perfect, wrong = right_on(set(range(6)), 5.0), right_on(set(), 5.0)
    runs = runs_of({"wrong": wrong, "perfect": perfect})
    message = refusal(create_ensemble, runs, "e", choose=True)
    assert message.startswith("none of the other runs makes 'perfect' better on public (100.00%)")


def test_a_chosen_ensemble_says_what_it_was_chosen_from(complementary):
    found = read_ensemble(create_ensemble(runs_of(complementary), "e", "logits", choose=True))
    assert (found.members, found.chosen_from) == (("best", "other"), ("second", "best", "other"))
    assert found.public_accuracy == (pytest.approx(4 / 6), 1.0)


# --- the run that is made


def test_an_ensemble_is_a_run_with_the_mean_answers_on_all_that_its_members_share():
    flip, ten = random_predictions(9, seed=5).logits_NK, random_predictions(9, seed=6).logits_NK
    a = replace(random_predictions(9, seed=1), more_NK={"flip": flip, "ten-crop": ten})
    b = replace(random_predictions(9, seed=2), more_NK={"flip": ten})
    run = create_ensemble([finished_run("a", both(a)), finished_run("b", {"public": b}, seed=1)], "e", "logits")
    assert run == find_run("e") and is_ensemble(run) and not is_ensemble(find_run("a"))
    assert (run.splits(), run.views("public"), run.status().state) == (("public",), ("none", "flip"), "done")
    for view, expected in (("none", (a.logits_NK + b.logits_NK) / 2), ("flip", (flip + ten) / 2)):
        np.testing.assert_allclose(run.predictions("public", view).logits_NK, expected, rtol=1e-6)
    assert (run.history(), run.best.exists()) == ([], False)


def test_its_configuration_is_the_first_members_and_it_knows_what_differs():
    a, b = (finished_run(name, both(random_predictions(9, seed=k)), seed=k, lr=0.1 + k, views=views)
            for k, (name, views) in enumerate({"a": ("none",), "b": ("none", "flip")}.items()))  # fmt: skip
    run = create_ensemble([b, a], "e")
    assert run.config() == b.config()
    found = read_ensemble(run)
    assert (found.members, found.average, found.title) == (("b", "a"), "probabilities", "ensemble of 2")
    assert found.differs == {"seed": (1, 0), "lr": (1.1, 0.1), "views": (("none", "flip"), ("none",))}
    assert (found.chosen_from, found.public_accuracy) == ((), ())


def test_its_environment_sums_what_it_takes_and_names_what_is_the_first_members_alone():
    a = finished_run("a", both(right_on({0}, 1.0)))
    b = finished_run("b", both(right_on({1}, 1.0)), environment={"parameters": 500_000, "placement": "cuda bf16"})
    found = create_ensemble([a, b], "e").environment()
    assert (found["parameters"], found["multiply_adds"]) == (2_000_000, 80_000_000)
    assert (found["placement"], found["first_member_alone"]) == ("cpu bf16", ["placement"])
    assert found["data"]["counts"] == COUNTS
    b.write_environment({**b.environment(), "parameters": None})
    assert create_ensemble([a, b], "e2").environment()["parameters"] is None


def test_the_nets_own_answers_are_averaged_and_the_ensemble_has_an_adjustment_of_its_own():
    a, b = (finished_run(name, both(random_predictions(9, seed=k))) for k, name in enumerate("ab"))
    plain = create_ensemble([a, b], "plain").predictions("public")
    moved = SavedAdjustment(Adjustment(1.0, 2.0, (5.0, *[0.0] * 6)), EMOTIONS, (1 / 7,) * 7, "hand", "public")
    write_adjustment(a, moved)
    run = create_ensemble([a, b], "e")
    np.testing.assert_array_equal(decided(run, "public").logits_NK, plain.logits_NK)
    write_adjustment(run, moved)
    np.testing.assert_allclose(decided(run, "public").logits_NK, moved.apply(plain).logits_NK)


def test_folds_that_hold_out_other_faces_share_public_alone():
    public = random_predictions(9, seed=0)
    parts = [replace(random_predictions(4, seed=k), hashes_N=np.arange(4, dtype=np.uint64) + k) for k in (1, 2, 1)]
    folds = [
        finished_run(f"f{k}", {"public": public, "held_out": part}, folds=2, fold=k % 2) for k, part in enumerate(parts)
    ]
    plain = finished_run("plain", both(public))
    assert set(averaged(folds[:2], "logits")) == {"public"}
    assert set(averaged([folds[0], folds[2]], "logits")) == {"public", "held_out"}
    assert set(averaged([folds[0], plain], "logits")) == {"public"}
    folds[1].write_predictions({"held_out": parts[1]})
    folds[0].write_predictions({"held_out": parts[0]})
    message = refusal(create_ensemble, folds[:2], "e")
    assert message.endswith("(f0: held_out; f1: held_out).") and "no split" in message


def test_an_ensemble_appears_whole_or_not_at_all(monkeypatch):
    runs = [finished_run(name, both(random_predictions(9, seed=k))) for k, name in enumerate("ab")]
    for error in (RunError("no"), OSError("disk full"), KeyboardInterrupt()):
        with monkeypatch.context() as patch:
            patch.setattr(ensemble, "write_ensemble", lambda *_, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(type(error)):
                create_ensemble(runs, "e")
        assert entries() == ["a", "b"]
    assert create_ensemble(runs, "e").name == "e" and entries() == ["a", "b", "e"]


def test_what_fills_a_new_run_sees_it_hidden_and_a_taken_name_keeps_its_run():
    seen = []
    create_run(toy_config(), "one", lambda run: seen.append((entries(), run.status().state)))
    assert seen[0][0][0].startswith(".one.") and seen[0][1] == "queued"
    message = refusal(create_run, toy_config(seed=5), "one", lambda run: None)
    assert message == "there is a run named 'one' already; give another --name, or --resume one."


# --- what is refused


@pytest.fixture
def pair():
    return [finished_run(name, both(random_predictions(9, seed=k))) for k, name in enumerate("ab")]


def test_fewer_than_two_runs_make_no_ensemble(pair):
    assert refusal(create_ensemble, [], "e") == "an ensemble needs at least 2 runs, and here are none."
    assert refusal(create_ensemble, pair[:1], "e") == "an ensemble needs at least 2 runs, and here is one."
    assert "here is one" in refusal(create_ensemble, pair[:1], "e", choose=True)


def test_a_run_is_in_an_ensemble_once(pair):
    for choose in (False, True):
        assert refusal(create_ensemble, [*pair, pair[0]], "e", choose=choose) == (
            "run 'a' is named twice; an ensemble has each run once."
        )


def test_an_ensemble_is_no_member(pair):
    made = create_ensemble(pair, "e")
    for choose in (False, True):
        assert refusal(create_ensemble, [made, pair[0]], "f", choose=choose) == (
            "run 'e' is itself an ensemble of 2 runs, and only trained runs can be averaged. Name its members instead: "
            "a, b."
        )


@pytest.mark.parametrize("choose", [False, True])
@pytest.mark.parametrize(
    ("public", "why"),
    [
        (random_predictions(8, seed=3), "other faces, or the same in another order"),
        (random_predictions(9, seed=3, label_seed=1), "other labels"),
        (make_predictions([0] * 9, classes=(*EMOTIONS, "contempt")), "other emotions"),
    ],
)
def test_the_run_that_does_not_fit_is_named(pair, public, why, choose):
    odd = finished_run("odd", {"public": public})
    message = refusal(create_ensemble, [*pair, odd], "e", choose=choose)
    assert message.startswith(f"run 'odd' does not fit 'a': on public it has {why}.")


def test_other_faces_on_private_are_an_error_too(pair):
    odd = finished_run(
        "odd", {**both(pair[0].predictions("public")), "private": random_predictions(9, 1, label_seed=4)}
    )
    assert "on private it has other labels" in refusal(create_ensemble, [*pair, odd], "e")


def test_runs_without_answers_or_with_damaged_or_endless_ones_are_named(pair):
    none = write_run("none", state="queued")
    assert "(a: public, private; none: none)" in refusal(create_ensemble, [pair[0], none], "e")
    assert "run 'none' has no predictions; it is queued" in refusal(create_ensemble, [pair[0], none], "e", choose=True)
    public = pair[1].predictions("public")
    pair[1].write_predictions({"public": replace(public, logits_NK=public.logits_NK * np.nan)})
    assert refusal(create_ensemble, pair, "e") == "run 'b' has answers on public that are not finite; leave it out."
    (pair[1].path / "predictions.npz").write_bytes(b"?")
    assert "b/predictions.npz: damaged" in refusal(create_ensemble, pair, "e")


@pytest.mark.parametrize(
    ("name", "average", "message"),
    [
        ("a", "logits", "there is a run named 'a' already; give the ensemble another name."),
        ("a/b", "logits", "'a/b' cannot name a run: use 1 to 64 letters, digits, '_' and '-'."),
        ("e", "logit", "no average named 'logit'. Did you mean 'logits'? Known: logits, probabilities."),
    ],
)
def test_a_wrong_name_or_average_is_one_line(pair, name, average, message):
    assert refusal(create_ensemble, pair, name, average) == message


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"members": "ab"}, {"members": ["a"]}, {"members": ["a", "a"]}, {"average": "mean"},
        {"prior": {"angry": 0.5}}, {"prior": {"angry": 2.0, "happy": -1.0}}, {"prior": 3}, {"differs": {"seed": [1]}},
        {"public_accuracy": [0.5]}, {"chosen_from": ["a", "b"]},
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_line_that_names_it(pair, change):
    run = create_ensemble(pair, "e")
    path = run.path / "ensemble.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert refusal(read_ensemble, run).startswith(f"{path}: damaged (")


# --- its prior


def shown(name, counts, seed, **settings):
    counts = dict(zip(EMOTIONS, counts, strict=True))
    data = {"counts": COUNTS | {"train": counts}}
    return finished_run(name, both(random_predictions(9, seed=seed)), data=data, **settings)


@pytest.fixture
def of_two_priors():
    """0.8 and 0.2 of two classes as is, the other five never seen; and 0.5 each, by a sampler."""
    counts = (80, 20, 0, 0, 0, 0, 0)
    return [shown("a", counts, 1), shown("b", counts, 2, balance="sampler", balance_alpha=1.0)]


def test_the_mean_of_probabilities_carries_the_mean_prior(of_two_priors):
    found = training_prior(create_ensemble(of_two_priors, "e", "probabilities"), EMOTIONS)
    np.testing.assert_allclose(found, [0.65, 0.35, 0, 0, 0, 0, 0])


def test_the_mean_of_logits_carries_the_geometric_mean_as_its_members_logits_do(of_two_priors):
    run = create_ensemble(of_two_priors, "e", "logits")
    prior = training_prior(run, EMOTIONS)
    # sqrt(0.8 x 0.5) to sqrt(0.2 x 0.5) is 2 to 1
    np.testing.assert_allclose(prior, [2 / 3, 1 / 3, 0, 0, 0, 0, 0])
    tau = Adjustment(0.75)
    moved = decided(run, "public", tau=0.75).logits_NK[:, :2]
    each = [adjusted(one.predictions("public"), training_prior(one, EMOTIONS), tau) for one in of_two_priors]
    apart = moved - np.mean([one.logits_NK[:, :2] for one in each], axis=0)
    np.testing.assert_allclose(apart[:, 0], apart[:, 1], atol=1e-6)  # the same for both classes: no answer moves


def test_the_prior_stays_when_a_member_is_gone(of_two_priors):
    run = create_ensemble(of_two_priors, "e")
    before = training_prior(run, EMOTIONS)
    for one in of_two_priors:
        shutil.rmtree(one.path)
    np.testing.assert_array_equal(training_prior(run, EMOTIONS), before)
    assert report_on(decided(run, "private", tau=0.5)).n == 9


def test_where_a_member_does_not_know_its_prior_the_ensemble_says_so_once_tau_is_moved():
    runs = [write_run(name, public=random_predictions(9, seed=k)) for k, name in enumerate("ab")]
    run = create_ensemble(runs, "e")
    assert read_ensemble(run).prior is None and run.environment() == {}
    assert report_on(decided(run, "public", tau=0.0)).n == 9
    with pytest.raises(RunError, match="not every member of 'e' records its training faces"):
        decided(run, "public", tau=1.0)


# --- what it must not be taken for


def test_an_ensemble_is_no_further_seed_of_its_members_setting(pair):
    other = finished_run("c", both(random_predictions(9, seed=7)), seed=1)
    made = create_ensemble([other, pair[0]], "e")
    shutil.rmtree(other.path)
    assert names(same_setting(pair[0], known_runs(), "public")) == ["a"]
    assert names(same_setting(made, known_runs(), "public")) == ["e"]


def test_an_ensemble_is_no_fold():
    public = random_predictions(9, seed=0)
    for fold in range(2):
        held_out = replace(random_predictions(4, seed=fold), hashes_N=np.arange(4, dtype=np.uint64) + 4 * fold)
        finished_run(f"x-fold-{fold}", {"public": public, "held_out": held_out}, folds=2, fold=fold)
    folds = [find_run(f"x-fold-{fold}") for fold in range(2)]
    made = create_ensemble(folds, "e")
    assert {name: set(names(runs)) for name, runs in fold_sets([made, *folds]).items()} == {"x": set(names(folds))}
    assert fold_sets([made, folds[1]]) == {}


def test_it_has_no_weights_and_names_who_has(pair):
    from fer_core.run_model import load_model

    made = create_ensemble(pair, "e")
    for call in (refuse_ensemble, load_model, weights_digest):
        assert refusal(call, made) == (
            "run 'e' is an ensemble of 2 runs, which has no weights of its own. Name one of its members: a, b."
        )
    refuse_ensemble(pair[0])


# --- the command


@pytest.fixture
def call(capsys):
    def run(*words):
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def test_the_command_averages_and_prints_the_folder_last(call, pair):
    code, out, err = call("ensemble", "e", "a", pair[1].path, "--average", "logits")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["ensemble of 2: a, b; mean of logits", str(runs_folder() / "e")]
    assert read_ensemble(find_run("e")).average == "logits"


def test_the_command_says_what_was_chosen_and_how_good_public_became(call, complementary):
    runs_of(complementary)
    code, out, _ = call("ensemble", "e", *complementary, "--choose")
    assert code == 0
    assert out.splitlines() == [
        "ensemble of 2: best, other; mean of probabilities",
        "first best: 66.67% on public",
        "with other: 100.00% on public",
        "left out, as public gets no better with them: second",
        str(runs_folder() / "e"),
    ]


def test_the_command_as_json(call, complementary):
    runs_of(complementary)
    assert json.loads(call("ensemble", "e", *complementary, "--choose", "--json")[1]) == {
        "name": "e",
        "members": ["best", "other"],
        "average": "probabilities",
        "chosen_from": ["second", "best", "other"],
        "public_accuracy": [pytest.approx(4 / 6), 1.0],
        "folder": str(runs_folder() / "e"),
    }


def test_evaluate_and_compare_take_an_ensemble(call, pair):
    made = create_ensemble(pair, "e", "logits")
    values = json.loads(call("evaluate", "e", "--json")[1])
    assert values["members"] == ["a", "b"]
    assert values["accuracy"] == report_on(made.predictions("private")).accuracy
    assert "\nensemble of 2: a, b; mean of logits\n" in call("evaluate", "e")[1]
    assert json.loads(call("evaluate", "a", "--json")[1])["members"] is None
    assert json.loads(call("compare", "a", "e", "--json")[1])["b"] == "e"
    assert call("compare", "a", "e", "--seeds")[0] == 0


def test_runs_lists_an_ensemble_by_its_public_figures_and_without_epochs(call, pair):
    made = create_ensemble(pair, "e")
    public = report_on(made.predictions("public"))
    row = next(row for row in json.loads(call("runs", "--json")[1]) if row["name"] == "e")
    assert (row["model"], row["members"], row["public_accuracy"]) == ("ensemble of 2", ["a", "b"], public.accuracy)
    line = next(line for line in call("runs")[1].splitlines() if line.startswith("e "))
    cells = ["e", "done", "-", f"{public.accuracy:.1%}", f"{public.macro_f1:.3f}", "-", "ensemble of 2: a, b"]
    assert " ".join(line.split()) == " ".join(cells)


def test_a_setting_that_members_do_not_share_is_none_in_the_list(call):
    runs = [
        finished_run(n, both(random_predictions(9, seed=1)), balance=b) for n, b in (("a", "none"), ("b", "sampler"))
    ]
    create_ensemble(runs, "e")
    row = next(row for row in json.loads(call("runs", "--json")[1]) if row["name"] == "e")
    assert (row["balance"], row["labels"]) == (None, "fer")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--resume", "e"], ["train", "--queue", "--resume", "e"], ["map", "e", "--data", "sample"],
        ["reproduce", "small", "--resume", "e"], ["train", "--weights", "e", "--data", "sample", "--epochs", "1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_needs_weights_is_one_line_and_changes_nothing(call, pair, words, monkeypatch):
    if words[0] == "reproduce":  # before it is asked what shall be resumed, there must be a shipped run
        monkeypatch.delenv("FER_SHIPPED")
    made = create_ensemble(pair, "e")
    before = made.status()
    code, out, err = call(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "run 'e' is an ensemble of 2 runs, which has no weights of its own. Name one of its members: a, b." in err
    assert made.status() == before and entries() == ["a", "b", "e"]


def test_wrong_input_to_the_command_is_one_line(call, pair):
    for words, message in (
        (["e", "a"], "needs at least 2 runs"),
        (["e", "a", "nobody"], "no run named 'nobody'"),
        (["e"], "See: python -m fer_core ensemble --help"),
        (["e", "a", "b", "--average", "votes"], "no average named 'votes'"),
    ):
        code, out, err = call("ensemble", *words)
        assert (code, out, err.count("\n")) == (2, "", 1) and message in err
    assert entries() == ["a", "b"]


def test_one_member_is_refused_wherever_it_comes_from():
    with pytest.raises(ConfigError, match="at least 2 are needed"):
        Ensemble(("a",), "logits", None, {})
