"""Paired bootstrap: distributed as a plain loop over faces, judged as `evaluate` does, intervals that cover."""

import time
import tracemalloc

import numpy as np
import pytest

from fer_core.bootstrap import RESAMPLES, _drawn, _parts, intervals_of_one, paired_intervals, resampled_figures
from fer_core.compare import joint_counts
from fer_core.evaluate import Z95, evaluate
from fer_core.labels import EMOTIONS

K = len(EMOTIONS)
SHARES = np.array([491, 55, 528, 879, 594, 416, 626]) / 3589
"""FER2013's mix on private."""


def draw_pair(n, seed, recall_a=0.6, recall_b=0.6, shares=SHARES):
    """Labels and two runs' answers that agree more often than chance, as trained nets do."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(shares), n, p=shares)
    ease = rng.random(n)
    noise = rng.random((2, n)) < 0.3
    hits = [np.where(noise[i], rng.random(n), ease) < (recall_a, recall_b)[i] for i in (0, 1)]
    wrong = (labels + rng.integers(1, len(shares), n)) % len(shares)
    return labels, *(np.where(hit, labels, wrong) for hit in hits)


def drawn_counts(counts, resamples):
    """How often each pattern is drawn, as `resampled_figures` does by seed 0."""
    return np.concatenate([_drawn(counts, *part) for part in _parts(counts, resamples, 0)])


def figures_of(labels, answers, k=K):
    """By `evaluate`: accuracy, macro-F1, balanced accuracy and each class's recall (not a number without a face)."""
    report = evaluate(np.eye(k)[answers], labels, [str(i) for i in range(k)])
    recalls = [one.recall if one.support else np.nan for one in report.per_class.values()]
    return np.array([report.accuracy, report.macro_f1, report.balanced_accuracy, *recalls])


def patterns_of(*columns):
    found, counts = np.unique(np.stack(columns), axis=1, return_counts=True)
    return found[0], found[1:], counts


# --- against a plain loop


def test_the_distribution_is_that_of_drawing_faces_one_by_one():
    labels, a, b = draw_pair(150, seed=1, recall_b=0.7)
    rng = np.random.default_rng(2)
    rows = [rng.integers(150, size=150) for _ in range(1500)]
    naive = np.array([[figures_of(labels[at], run[at]) for run in (a, b)] for at in rows])
    ours = resampled_figures(*patterns_of(labels, a, b), K, resamples=20_000, seed=3)
    assert np.isnan(naive).mean() == pytest.approx(np.isnan(ours).mean(), abs=0.002)  # disgust: 2 faces of 150 or so
    for theirs, found in ((naive, ours), (naive[:, 1] - naive[:, 0], ours[:, 1] - ours[:, 0])):
        sd = np.nanstd(theirs, axis=0)
        error = sd / np.sqrt(1500)
        assert (np.abs(np.nanmean(found, axis=0) - np.nanmean(theirs, axis=0)) <= 4.5 * error + 1e-12).all()
        np.testing.assert_allclose(np.nanstd(found, axis=0), sd, rtol=0.13)
        for q in (2.5, 25, 50, 75, 97.5):
            # A quantile's error from 1,500 draws is below 0.085 sd times this; figures of few faces move in steps.
            apart = np.abs(np.nanpercentile(found, q, axis=0) - np.nanpercentile(theirs, q, axis=0))
            assert (apart < 0.3 * sd + 0.01).all()


def test_runs_are_judged_on_the_same_drawn_faces():
    labels, a, _ = draw_pair(200, seed=1)
    ours = resampled_figures(*patterns_of(labels, a, a), K, resamples=200)
    np.testing.assert_array_equal(ours[:, 0], ours[:, 1])
    assert ours[:, 0, 0].std() > 0


@pytest.mark.parametrize("n", [1, 30, 400])
def test_each_resample_is_judged_as_evaluate_judges_a_split(n):
    labels, a, b = draw_pair(n, seed=4, shares=np.array([0.6, 0.3, 0.08, 0.02]))
    patterns = patterns_of(labels, a, b)
    ours = resampled_figures(*patterns, 4, resamples=40, seed=0)
    drawn = drawn_counts(patterns[2], 40)
    for counts, found in zip(drawn, ours, strict=True):
        assert counts.sum() == n
        for run in (0, 1):
            expected = figures_of(np.repeat(patterns[0], counts), np.repeat(patterns[1][run], counts), 4)
            np.testing.assert_allclose(found[run], expected, rtol=1e-12)


@pytest.mark.parametrize("counts", [[7], [500], [500, 300], [3, 2, 1], [400, 30, 20, 21, 5, 1, 1]])
def test_how_often_a_pattern_is_drawn_is_multinomial(counts):
    counts, resamples = np.array(counts), 20_000
    found = drawn_counts(counts, resamples)
    assert found.shape == (resamples, len(counts)) and (found.sum(axis=1) == counts.sum()).all()
    n, share = counts.sum(), counts / counts.sum()
    covariance = n * (np.diag(share) - np.outer(share, share))
    error = np.sqrt(np.diag(covariance) / resamples)
    assert (np.abs(found.mean(axis=0) - counts) <= 4.5 * error).all()
    np.testing.assert_allclose(np.atleast_2d(np.cov(found.T)), covariance, atol=0.05 * covariance.max() + 1e-12)


# --- by hand


def test_one_emotion_of_two_by_hand():
    # Four faces of class 0: B alone has two of them, both have two. A's recall is 0.5 + 0.5·X/4, X ~ Bin(4, 1/2)...
    labels, a, b = np.zeros(4, int), np.array([0, 0, 1, 1]), np.zeros(4, int)
    found = paired_intervals(joint_counts(labels, a, b, 2), ("x", "y"))
    # ... that is X/4 in A, P(X = 0) = 1/16 > 2.5%, so the quantiles are the ends: 0 to 1, and 1 - X/4 for B - A.
    assert found.accuracy.a == (0, 1) and found.accuracy.b == (1, 1) and found.accuracy.delta == (0, 1)
    assert found.recall["x"] == found.accuracy
    assert found.recall["y"] is None


def test_a_share_by_its_normal_approximation():
    # B fixes 60 of 1,000 faces and breaks 30: 0.03 ± 1.96·sqrt((0.09 - 0.0009) / 1000)
    labels = np.zeros(1000, int)
    a = np.repeat([1, 0, 0], [60, 30, 910])
    b = np.repeat([0, 1, 0], [60, 30, 910])
    low, high = paired_intervals(joint_counts(labels, a, b, 2), ("x", "y")).accuracy.delta
    half = 1.96 * np.sqrt(0.0891 / 1000)
    assert (low, high) == (pytest.approx(0.03 - half, abs=0.0012), pytest.approx(0.03 + half, abs=0.0012))


def test_recalls_need_right_and_wrong_alone_and_macro_f1_every_answer():
    labels, a, b = draw_pair(3589, seed=4, recall_b=0.65)
    found = paired_intervals(joint_counts(labels, a, b, K), EMOTIONS)
    every = resampled_figures(*patterns_of(labels, a, b), K)  # by all answers, seed 0
    of_b = np.percentile(every[:, 1], (2.5, 97.5), axis=0).T
    assert found.macro_f1.b == pytest.approx(of_b[1], abs=1e-9), "the same draws"
    for one, place in ((found.accuracy, 0), (found.balanced_accuracy, 2), (found.recall["sad"], 3 + 4)):
        assert one.b == pytest.approx(of_b[place], abs=0.003), "other draws"
    # Macro-F1 of one run falls where its wrong answers lie with few emotions; nothing of the recalls moves.
    gathered = np.where(a == labels, a, (labels + 1) % K)
    moved = paired_intervals(joint_counts(labels, gathered, b, K), EMOTIONS)
    assert (moved.accuracy, moved.recall) == (found.accuracy, found.recall)
    assert moved.macro_f1.a != found.macro_f1.a


def test_runs_that_answer_alike_differ_nowhere_and_the_interval_has_no_width():
    labels, a, _ = draw_pair(300, seed=1)
    found = paired_intervals(joint_counts(labels, a, a, K), EMOTIONS)
    assert found.accuracy.delta == found.macro_f1.delta == found.balanced_accuracy.delta == (0, 0)
    assert found.accuracy.a == found.accuracy.b
    assert found.accuracy.a[0] < found.accuracy.a[1]


def test_an_interval_turns_its_sign_when_the_runs_are_exchanged():
    labels, a, b = draw_pair(800, seed=1, recall_b=0.7)
    one = paired_intervals(joint_counts(labels, a, b, K), EMOTIONS).accuracy.delta
    other = paired_intervals(joint_counts(labels, b, a, K), EMOTIONS).accuracy.delta
    assert one == pytest.approx((-other[1], -other[0]), abs=0.003)


def test_an_emotion_that_vanishes_from_resamples_is_judged_where_it_occurs():
    labels, a, b = np.array([0] * 40 + [1]), np.array([0] * 40 + [1]), np.array([0] * 40 + [0])
    found = paired_intervals(joint_counts(labels, a, b, 3), ("x", "y", "z"))
    assert found.recall["y"].a == (1, 1) and found.recall["y"].b == (0, 0) and found.recall["y"].delta == (-1, -1)
    # Without its one face (37% of the resamples), the mean recall is that of the other emotion: no difference.
    assert found.balanced_accuracy.delta == (-0.5, 0)
    assert found.recall["z"] is None


# --- repeatable, quick, small


def test_equal_seeds_give_equal_intervals():
    labels, a, b = draw_pair(500, seed=1)
    joint = joint_counts(labels, a, b, K)
    assert paired_intervals(joint, EMOTIONS, seed=5) == paired_intervals(joint, EMOTIONS, seed=5)
    assert paired_intervals(joint, EMOTIONS, seed=5) != paired_intervals(joint, EMOTIONS, seed=6)


def test_private_takes_under_a_second_of_the_processor_and_little_memory():
    labels, a, b = draw_pair(3589, seed=1)
    joint = joint_counts(labels, a, b, K)
    started = time.process_time()
    paired_intervals(joint, EMOTIONS)
    assert time.process_time() - started < 1
    tracemalloc.start()
    try:
        paired_intervals(joint, EMOTIONS)
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()
    assert RESAMPLES == 10_000


# --- they cover


def test_intervals_cover_the_true_difference_about_95_times_in_100():
    recalls, shares = (0.55, 0.62), np.array([0.5, 0.35, 0.15])
    covered = []
    for trial in range(400):
        pair = draw_pair(400, 1000 + trial, *recalls, shares)
        found = paired_intervals(joint_counts(*pair, 3), ("x", "y", "z"), resamples=400, seed=trial)
        # Every emotion has the same chance of a hit, so accuracy, balanced accuracy and recalls share one true value.
        intervals = (found.accuracy, found.balanced_accuracy, *found.recall.values())
        covered.append([one.delta[0] <= recalls[1] - recalls[0] <= one.delta[1] for one in intervals])
    # Of 400 at 95%: 380 ± 4.4; three standard deviations are 367 to 393.
    assert (np.abs(np.sum(covered, axis=0) - 380) <= 13).all()


def test_macro_figures_vary_as_faces_that_are_drawn_again():
    confusion = np.array([[800, 200], [300, 700]])
    found = intervals_of_one(confusion)
    # Two recalls of 1,000 faces each (their numbers hardly vary): the variance of the mean is a quarter of the sum.
    half = Z95 * np.sqrt((0.8 * 0.2 + 0.7 * 0.3) / 1000 / 4)
    assert found["balanced_accuracy"] == (pytest.approx(0.75 - half, abs=2e-3), pytest.approx(0.75 + half, abs=2e-3))
    labels, predicted = np.repeat([0, 0, 1, 1], [800, 200, 300, 700]), np.repeat([0, 1, 0, 1], [800, 200, 300, 700])
    rng, f1 = np.random.default_rng(1), []
    for _ in range(300):
        rows = rng.integers(0, 2000, 2000)
        f1.append(evaluate(np.eye(2)[predicted[rows]], labels[rows], ("a", "b")).macro_f1)
    assert found["macro_f1"] == pytest.approx(np.percentile(f1, (2.5, 97.5)), abs=5e-3)


def test_an_emotion_without_faces_does_not_count_as_zero():
    low, high = intervals_of_one(np.array([[10, 0, 0], [0, 10, 0], [0, 0, 0]]))["macro_f1"]
    assert (low, high) == (1.0, 1.0)
