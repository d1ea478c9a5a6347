"""Several seeds of a setting: which runs belong together, mean and spread, intervals that respect seeds and faces."""

import json
import statistics
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from fer_core.cli import main
from fer_core.config import RunConfig
from fer_core.errors import RunError
from fer_core.seeds import _difference, compare_seeds, same_setting, setting_of, spread, t_quantile, t_test
from tests.faces import make_predictions, random_predictions, write_run
from tests.made_runs import both, finished_run

LABELS = [0] * 4 + [3] * 4


def of_recall(angry, happy):
    """Answers that find so many of four angry and of four happy faces."""
    return make_predictions(LABELS, [0] * angry + [3] * (4 - angry) + [3] * happy + [0] * (4 - happy))


# --- by hand


def test_mean_spread_and_number_by_hand():
    one = spread([0.5, 0.6, 0.7])
    assert (one.mean, one.sd, one.n) == (pytest.approx(0.6), pytest.approx(0.1), 3)
    assert (spread([0.5]).sd, spread([0.5]).n) == (None, 1)


def test_two_settings_by_hand():
    a = [of_recall(1, 4), of_recall(3, 4)]
    b = [of_recall(4, 3), of_recall(4, 4), of_recall(4, 2)]
    found = compare_seeds(a, b)
    assert (found.n, found.over_seeds, found.faces["angry"]) == (8, True, 4)
    assert found.accuracy.a.mean == pytest.approx((5 / 8 + 7 / 8) / 2)
    assert found.accuracy.a.sd == pytest.approx(statistics.stdev([5 / 8, 7 / 8]))
    assert (found.accuracy.a.n, found.accuracy.b.n) == (2, 3)
    assert found.accuracy.b.mean == pytest.approx((7 / 8 + 8 / 8 + 6 / 8) / 3)
    assert found.recall["angry"].delta == pytest.approx(1 - 0.5)
    assert found.recall["happy"].delta == pytest.approx(0.75 - 1)
    assert found.balanced_accuracy.delta == pytest.approx((0.5 - 0.25) / 2)
    assert found.recall["sad"] is None
    assert list(found.recall_p_holm) == ["angry", "happy"]


def test_settings_that_are_the_same_differ_nowhere():
    runs = [random_predictions(100, seed=seed) for seed in (1, 2)]
    found = compare_seeds(runs, runs)
    assert (found.accuracy.delta, found.accuracy.p, found.real) == (0, 1, ())
    alone = compare_seeds(runs[:1], runs[:1])
    assert (alone.accuracy.ci95, alone.accuracy.p) == ((0, 0), 1)


def test_the_order_of_faces_and_runs_does_not_matter():
    a, b = ([random_predictions(200, seed=seed) for seed in seeds] for seeds in ((1, 2, 3), (4, 5)))
    turned = replace(b[1], hashes_N=b[1].hashes_N[::-1], labels_N=b[1].labels_N[::-1], logits_NK=b[1].logits_NK[::-1])
    one, other = compare_seeds(a, b), compare_seeds(a[::-1], [turned, b[0]])
    assert one.accuracy.delta == pytest.approx(other.accuracy.delta)
    # Other faces are drawn: the same but for the resamples' own noise, which three seeds against two magnify.
    assert one.accuracy.ci95 == pytest.approx(other.accuracy.ci95, abs=0.03)


def test_one_seed_speaks_for_its_faces_alone_and_says_so():
    a, b = random_predictions(500, seed=1), random_predictions(500, seed=2)
    found = compare_seeds([a], [b])
    assert not found.over_seeds
    assert not compare_seeds([a, b], [b]).over_seeds
    hits = [one.logits_NK.argmax(1) == one.labels_N for one in (a, b)]
    half = 1.96 * (hits[1] * 1.0 - hits[0]).std() / np.sqrt(500)
    assert found.accuracy.ci95 == pytest.approx((found.accuracy.delta - half, found.accuracy.delta + half), abs=0.004)


def test_seeds_that_differ_widen_the_interval():
    alike = compare_seeds([of_recall(2, 2)] * 3, [of_recall(3, 2)] * 3).accuracy.ci95
    apart = compare_seeds([of_recall(n, n) for n in (0, 2, 4)], [of_recall(n, 2) for n in (2, 3, 4)]).accuracy.ci95
    assert apart[1] - apart[0] > alike[1] - alike[0]


def test_one_face_is_never_proof():
    a, b = (make_predictions([0] * 50 + [1], [0] * 50 + [answer]) for answer in (0, 1))
    found = compare_seeds([a] * 3, [b] * 3)
    assert found.recall["disgust"].delta == 1
    assert found.recall["disgust"].p == 1  # 2 / 2^1
    assert found.real == ()


def test_runs_that_do_not_fit_are_refused():
    with pytest.raises(RunError, match="label 1 of 2 shared faces differently"):
        compare_seeds([make_predictions([0, 1])] * 2, [make_predictions([0, 1]), make_predictions([0, 2])])
    with pytest.raises(RunError, match="share no face"):
        compare_seeds([make_predictions([0])], [make_predictions([0]), make_predictions([0], hashes=[9])])


# --- against scipy, and by simulation


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 3.3, 4, 10, 500, 1e5])
def test_students_t_is_scipys(freedom):
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=2e-3)
    for t in (0, 0.3, -1, 2.2, 5):
        assert t_test(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=0.02, abs=1e-6)


def test_where_faces_do_not_matter_it_is_welchs_test():
    """Runs whose resamples do not move: what is left is the spread between seeds."""
    a, b = [0.60, 0.62, 0.66], [0.70, 0.71, 0.69, 0.75]
    found = _difference([*a, *b], np.tile([*a, *b], (50, 1)), 3, apart=100)
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-3)
    assert found.ci95 == pytest.approx(tuple(expected.confidence_interval()), rel=1e-3)


@pytest.mark.parametrize("seed_sd", [0, 0.5])
def test_intervals_of_three_seeds_cover_what_other_seeds_give_on_other_faces(seed_sd):
    rng = np.random.default_rng(1)
    ease, chance = (0.6, 0.9), lambda logit: 1 / (1 + np.exp(-logit))
    spread_of_all = rng.normal(size=200_000) * np.hypot(2, seed_sd)
    truth = chance(ease[1] + spread_of_all).mean() - chance(ease[0] + spread_of_all).mean()
    covered = 0
    for _ in range(400):
        faces = 2 * rng.normal(size=300)
        logits = [mean + faces + seed_sd * rng.normal() for mean in ease for _ in range(3)]
        hits_SN = np.stack([rng.random(300) < chance(one) for one in logits]).astype(np.float64)
        drawn = rng.integers(300, size=(100, 300)) + 300 * np.arange(100)[:, None]
        resampled = np.bincount(drawn.ravel(), minlength=100 * 300).reshape(100, 300) @ hits_SN.T / 300
        low, high = _difference(hits_SN.mean(axis=1).tolist(), resampled, 3, apart=100).ci95
        covered += low <= truth <= high
    assert 367 <= covered <= 397  # of 400; 380 ± 13, and on the safe side where seeds are alike


# --- which runs belong together


def test_a_setting_is_what_differs_from_the_defaults_but_for_seed_and_place():
    config = RunConfig(balance="sampler", seed=3, data="/somewhere", device="cpu", weights="none", plugin="/a/b/net.py")
    assert setting_of(config) == {"balance": "sampler", "plugin": "net.py"}
    lists = [RunConfig(review=f"/{folder}/review.jsonl", review_action="relabel") for folder in "ab"]
    assert setting_of(lists[0]) == setting_of(lists[1]) == {"review": "review.jsonl", "review_action": "relabel"}


def test_runs_that_differ_by_their_seed_belong_together_one_for_each_seed():
    p = both(make_predictions([0, 3]))
    runs = [finished_run(f"a{seed}", p, seed=seed) for seed in (2, 0, 1)]
    others = [
        finished_run("again", p, seed=2),
        finished_run("balanced", p, seed=5, balance="sampler"),
        finished_run("other-data", p, seed=6, data={"fingerprint": "another"}),
        finished_run("public-only", {"public": make_predictions([0, 3])}, seed=7),
    ]
    assert [run.name for run in same_setting(runs[0], [*runs, *others], "private")] == ["a0", "a1", "a2"]
    assert [run.name for run in same_setting(others[0], [*runs, *others], "private")] == ["a0", "a1", "again"]
    assert [run.name for run in same_setting(runs[0], [*runs, *others], "public")] == ["a0", "a1", "a2", "public-only"]
    assert [run.name for run in same_setting(others[1], runs, "private")] == ["balanced"]


# --- the command


def test_the_command_compares_over_seeds(capsys):
    for seed in (0, 1):
        finished_run(f"plain-{seed}", both(random_predictions(80, seed=seed)), seed=seed)
        finished_run(f"even-{seed}", both(random_predictions(80, seed=seed + 5)), seed=seed, balance="sampler")
    assert main(["compare", "plain-0", "even-0", "--seeds", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)["seeds"]
    assert (values["runs_a"], values["runs_b"]) == (["plain-0", "plain-1"], ["even-0", "even-1"])
    assert (values["n"], values["over_seeds"], values["accuracy"]["a"]["n"]) == (80, True, 2)
    assert values["accuracy"]["delta"] == values["accuracy"]["b"]["mean"] - values["accuracy"]["a"]["mean"]
    assert main(["compare", "plain-0", "even-0", "--seeds"]) == 0
    out = capsys.readouterr().out
    assert "over seeds: A = plain-0, plain-1; B = even-0, even-1" in out
    assert f"± {100 * values['accuracy']['a']['sd']:.1f}" in out
    assert main(["compare", "plain-0", "even-0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] is None


def test_two_seeds_of_one_setting_are_no_two_settings(capsys):
    for seed in (0, 1):
        finished_run(f"plain-{seed}", both(random_predictions(20, seed=seed)), seed=seed)
    assert main(["compare", "plain-0", "plain-1", "--seeds"]) == 2
    assert capsys.readouterr().err == (
        "error: plain-0 and plain-1 differ by their seed at most. Compare them without --seeds.\n"
    )


def test_runs_of_the_sample_without_an_environment_belong_together_too():
    runs = [write_run(name, private=make_predictions([0, 3])) for name in ("one", "two")]
    assert [run.name for run in same_setting(runs[0], runs, "private")] == ["one"]  # the same seed
