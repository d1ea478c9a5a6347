"""Runs of one setting under several seeds: which belong together, their mean and spread, and two settings compared.

Shapes: N faces, S runs (A's, then B's), R resamples, K classes, F figures.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.bootstrap import HEADLINES, resampled_figures
from fer_core.compare import SIGNIFICANT, answers, holm, joined_rows
from fer_core.config import RunConfig
from fer_core.ensemble_file import is_ensemble
from fer_core.evaluate import Z95, Floats, Interval, evaluate
from fer_core.predictions import SplitPredictions
from fer_core.runs import Run

_NO_SETTING = frozenset({"data", "ferplus", "seed", "device", "precision", "tensorboard", "views"})
"""Fields in which runs of one setting may differ: where the data lies, the seed, and what is only written or shown."""
_PATHS = ("weights", "plugin", "review")
_RESAMPLES = 2_000
"""Only variances are taken from them; so many give each within about 3%."""


@dataclass(frozen=True)
class Spread:
    """One figure over several runs of a setting."""

    mean: float
    sd: float | None
    """Standard deviation of a single run (divisor n - 1); None for one run, which has no spread."""
    n: int


@dataclass(frozen=True)
class SeedDifference:
    """One figure of two settings."""

    a: Spread
    b: Spread
    ci95: Interval
    """Of the difference of the means, B - A."""
    p: float
    """Two-sided, of the difference being 0."""

    @property
    def delta(self) -> float:
        return self.b.mean - self.a.mean

    def to_json(self) -> dict[str, Any]:
        return {"a": asdict(self.a), "b": asdict(self.b), "delta": self.delta, "ci95": self.ci95, "p": self.p}


@dataclass(frozen=True)
class SeedComparison:
    """Two settings, each under one or more seeds, on the faces that all of the runs have seen."""

    n: int
    over_seeds: bool
    """Whether intervals and p-values speak of other seeds as well as of other faces: each has at least two runs."""
    accuracy: SeedDifference
    macro_f1: SeedDifference
    balanced_accuracy: SeedDifference
    recall: dict[str, SeedDifference | None]
    """By emotion; None where it has no face."""
    faces: dict[str, int]
    """Of each emotion."""

    @property
    def recall_p_holm(self) -> dict[str, float]:
        """P-values of the emotions that have faces, corrected for their number."""
        p = {name: one.p for name, one in self.recall.items() if one}
        return dict(zip(p, holm(list(p.values())), strict=True))

    @property
    def real(self) -> tuple[str, ...]:
        """Emotions whose recall differs by more than chance at 5%, after the correction."""
        return tuple(name for name, p in self.recall_p_holm.items() if p < SIGNIFICANT)

    def to_json(self) -> dict[str, Any]:
        """Shares in 0..1, unrounded; `recall` is null and `recall_p_holm` silent where an emotion has no face."""
        recall = {name: one and one.to_json() for name, one in self.recall.items()}
        headlines = {name: getattr(self, name).to_json() for name in HEADLINES}
        holm_values = {"recall_p_holm": self.recall_p_holm}
        return {"n": self.n, "over_seeds": self.over_seeds, **headlines, "recall": recall, **holm_values}


def setting_of(config: RunConfig) -> dict[str, Any]:
    """What differs from the defaults and can change a figure, the seed left out; of a path, its last part."""
    values = {k: v for k, v in config.differences_from(RunConfig()).items() if k not in _NO_SETTING}
    for name in _PATHS:
        if values.get(name):
            values[name] = Path(str(values[name])).name
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def same_setting(run: Run, others: Iterable[Run], split: str, view: str = "none") -> list[Run]:
    """The run, and those of the others that differ from it by the seed alone, one for each seed, by seed.

    They have seen the same data and have been judged on this split by this test-time view. A seed that stands there
    twice counts once: a repetition says nothing of spread. An ensemble is no seed of its members' setting, and stands
    alone.
    Raises: RunError: a configuration is damaged, or anything else of a run on this setting.
    """
    config = run.config()
    setting, data = setting_of(config), _data(run, config)
    by_seed = {config.seed: run}
    for one in [] if is_ensemble(run) else others:
        if is_ensemble(one):
            continue
        other = one.config()
        same = setting_of(other) == setting and _data(one, other) == data
        if same and split in one.splits() and view in one.views(split):
            by_seed.setdefault(other.seed, one)
    return [by_seed[seed] for seed in sorted(by_seed)]


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and number of these values, of which there is at least one."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), sd, len(values))


def compare_seeds(a: Sequence[SplitPredictions], b: Sequence[SplitPredictions], *, seed: int = 0) -> SeedComparison:
    """Compare two settings by their runs; differences are of means, B - A, on the faces that all runs share.

    The interval is for what other seeds would give on other faces. Both vary: the faces, which all runs share, by a
    bootstrap of the faces; the seeds by the spread between the runs. The runs' spread holds a part that the bootstrap
    has as well, because two seeds part ways on faces; the resamples show how large it is, and it is counted once:

        variance = over faces + spread²/n of A and of B - what both have

    It is taken with Student's t at Satterthwaite's degrees of freedom, as three seeds say little of their spread.
    Drawing seeds and faces together (a two-level bootstrap) was left out: three seeds drawn from three are too alike,
    and where seeds part ways on faces that is counted more than once. Simulated with three seeds, its 95% intervals
    covered from 86% (seeds that differ much) to 99% (not at all), these 96% to 98%. With one run on a side the spread
    between seeds is unknown: the interval is for these nets on other faces, and `over_seeds` is false.

    Where m faces tell the settings apart, no p-value goes below 2 / 2^m, as in a sign test of so many faces.

    Raises: RunError: as `compare.compare` does.
    Source: Owen, Ann. Appl. Stat. 1 (2007) 386-411 (both bootstrapped); Satterthwaite, Biometrics Bull. 2 (1946) 110.
    """
    runs, classes = (*a, *b), a[0].classes
    rows = joined_rows(*runs)
    labels_N = runs[0].labels_N[rows[0]]
    reports = [evaluate(one.logits_NK[at], labels_N, classes) for one, at in zip(runs, rows, strict=True)]
    answers_SN = np.stack([answers(one, at) for one, at in zip(runs, rows, strict=True)])
    figures_RSF = _on_other_faces(labels_N, answers_SN, len(classes), seed)
    hits_SN = answers_SN == labels_N
    apart_N = hits_SN[: len(a)].mean(axis=0) != hits_SN[len(a) :].mean(axis=0)

    def difference(place: int, values: Sequence[float], apart_N: NDArray[np.bool_]) -> SeedDifference:
        return _difference(values, figures_RSF[:, :, place], len(a), int(apart_N.sum()))

    accuracy, macro_f1, balanced_accuracy = (
        difference(place, [getattr(report, name) for report in reports], apart_N)
        for place, name in enumerate(HEADLINES)
    )
    faces = {name: one.support for name, one in reports[0].per_class.items()}
    recall = {
        name: difference(place, [one.per_class[name].recall for one in reports], apart_N & (labels_N == k))
        if faces[name]
        else None
        for k, (place, name) in enumerate(enumerate(classes, len(HEADLINES)))
    }
    return SeedComparison(len(labels_N), min(len(a), len(b)) > 1, accuracy, macro_f1, balanced_accuracy, recall, faces)


def _on_other_faces(labels_N: NDArray[np.int64], answers_SN: NDArray[np.int64], k: int, seed: int) -> Floats:
    patterns, counts_C = np.unique(np.vstack([labels_N, answers_SN]), axis=1, return_counts=True)
    return resampled_figures(patterns[0], patterns[1:], counts_C, k, resamples=_RESAMPLES, seed=seed)


def _data(run: Run, config: RunConfig) -> str | None:
    return run.environment().get("data", {}).get("fingerprint", config.data)


def _difference(values: Sequence[float], resampled_RS: Floats, n_a: int, apart: int) -> SeedDifference:
    """One figure: its value for every run, on all faces and on each resample; `apart` faces tell the settings apart."""
    a, b = spread(values[:n_a]), spread(values[n_a:])
    delta = b.mean - a.mean
    known_RS = resampled_RS[~np.isnan(resampled_RS).any(axis=1)]
    variance, freedom = _variance((a, b), (known_RS[:, :n_a], known_RS[:, n_a:]))
    half = t_quantile(freedom) * math.sqrt(variance)
    p = t_test(delta / math.sqrt(variance), freedom) if variance else 1.0 if delta == 0 else 0.0
    p = max(p, min(1.0, 2 / 2 ** min(apart, 1000)))
    return SeedDifference(a, b, (max(-1.0, delta - half), min(1.0, delta + half)), p)


def _variance(spreads: tuple[Spread, Spread], resampled: tuple[Floats, Floats]) -> tuple[float, float]:
    """Variance of the difference of means, and the degrees of freedom with which it is known."""
    a_R, b_R = (some_RS.mean(axis=1) for some_RS in resampled)
    over_faces = float(np.var(b_R - a_R, ddof=1))
    if min(one.n for one in spreads) < 2:
        return over_faces, math.inf
    between = [(one.sd or 0.0) ** 2 / one.n for one in spreads]
    twice = sum(_shared_part(some_RS) for some_RS in resampled)
    variance = max(over_faces, over_faces - twice + sum(between))
    doubt = sum(part**2 / (one.n - 1) for part, one in zip(between, spreads, strict=True))
    return variance, max(variance**2 / doubt, min(one.n for one in spreads) - 1.0) if doubt else math.inf


def _shared_part(resampled_RS: Floats) -> float:
    """Variance of the runs' mean that comes from seeds parting ways on faces: how runs move against their mean."""
    n = resampled_RS.shape[1]
    apart_RS = resampled_RS - resampled_RS.mean(axis=1, keepdims=True)
    return float(np.var(apart_RS, axis=0, ddof=1).mean()) / (n - 1)


def t_quantile(freedom: float) -> float:
    """97.5% quantile of Student's t at any real degrees of freedom from 1 on."""
    if freedom > _NORMAL:
        return Z95
    angles, share = _t_shares(freedom)
    return math.sqrt(freedom) * math.tan(float(np.interp(0.95, share, angles)))


def t_test(t: float, freedom: float) -> float:
    """Two-sided p-value of Student's t at any real degrees of freedom from 1 on."""
    if freedom > _NORMAL:
        return math.erfc(abs(t) / math.sqrt(2))
    angles, share = _t_shares(freedom)
    return 1 - float(np.interp(math.atan(abs(t) / math.sqrt(freedom)), angles, share))


_NORMAL = 2000.0
"""Degrees of freedom from which Student's t is the normal distribution to three digits."""


def _t_shares(freedom: float) -> tuple[Floats, Floats]:
    """Angles, and which share of Student's t has |t| <= sqrt(freedom) tan(angle): it is spread as cos^(freedom - 1)."""
    angles = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    share = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return angles, share / share[-1]
