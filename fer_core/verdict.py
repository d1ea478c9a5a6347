"""A comparison in one to three plain sentences: what is real, how much it is, and what could be chance.

Points are percentage points. An emotion counts as real by its test after correction, a headline figure by its interval.
"""

from collections.abc import Sequence

from fer_core.compare import Comparison, EmotionTest
from fer_core.evaluate import Interval
from fer_core.seeds import SeedComparison

_HEADLINES = {"accuracy": "accuracy", "balanced_accuracy": "macro-recall"}
"""What a sentence says of the means: field -> word."""
_Change = tuple[float, Interval]


def verdict(found: Comparison, a: str = "A", b: str = "B") -> str:
    """What B does better and worse than A, for a person: the largest real gain and loss of an emotion, then the means.

    Draws the comparison's intervals where nobody has yet (about 30 ms).
    """
    n, tests = found.a.n, found.emotion_tests
    if not found.fixed + found.broken:
        return f"{a} and {b} are right and wrong on the same faces, all {n:,}: nothing tells them apart."
    deltas = {name: found.recall_delta[name] for name, one in tests.items() if one.real}
    phrases = [_found_of(found, name, tests[name]) for name in _largest(deltas)]
    changes = {name: _of_two(found, name) for name in _HEADLINES}
    return _sentences(b, f"on these {n:,} faces", phrases, changes, sum(one.faces > 0 for one in tests.values()))


def verdict_of_seeds(found: SeedComparison, a: str = "A", b: str = "B") -> str:
    """The same for two settings with several seeds each: means over the seeds, and what other seeds would give."""
    n_a, n_b = found.accuracy.a.n, found.accuracy.b.n
    known = {name: one for name, one in found.recall.items() if one}
    phrases = []
    for name in _largest({name: known[name].delta for name in found.real}):
        one = known[name]
        shares = f"{_share(one.a.mean)} to {_share(one.b.mean)}"
        more = "more" if one.delta > 0 else "fewer"
        phrases.append(f"{more} of the {found.faces[name]:,} {name} faces ({shares}, {_interval(one.ci95)})")
    changes = {name: (getattr(found, name).delta, getattr(found, name).ci95) for name in _HEADLINES}
    text = _sentences(b, f"over {n_a} and {n_b} seeds", phrases, changes, len(known))
    alone = " and ".join(name for name, n in ((a, n_a), (b, n_b)) if n == 1)
    return (
        text if found.over_seeds else f"{text} One seed of {alone}: the intervals do not say what another would give."
    )


def _sentences(b: str, where: str, phrases: Sequence[str], changes: dict[str, _Change], emotions: int) -> str:
    corrected = f"after correction for {emotions} emotion{'s' * (emotions != 1)}"
    means = _means(changes)
    if phrases:
        return f"{b} finds {' and '.join(phrases)}. It {means}."
    if all(_includes_0(interval) for _, interval in changes.values()):
        figures = ", ".join(
            f"{_HEADLINES[name]} {_points(delta)} points ({_interval(interval)})"
            for name, (delta, interval) in changes.items()
        )
        return f"Nothing here is more than chance {where}: {figures}, and no emotion's recall {corrected}."
    return f"{b} {means}. No single emotion's recall differs by more than chance {corrected}."


def _of_two(found: Comparison, name: str) -> _Change:
    return getattr(found, f"{name}_delta"), getattr(found.intervals, name).delta


def _largest(deltas: dict[str, float]) -> list[str]:
    """The emotion with the largest gain and the one with the largest loss, where there are such; first of equals."""
    best = max(deltas, key=deltas.__getitem__, default=None)
    worst = min(deltas, key=deltas.__getitem__, default=None)
    gain = [best] if best is not None and deltas[best] > 0 else []
    return gain + ([worst] if worst is not None and deltas[worst] < 0 else [])


def _found_of(found: Comparison, name: str, test: EmotionTest) -> str:
    how_many = f"{abs(test.gain):,} {'more' if test.gain > 0 else 'fewer'} of {test.faces:,} {name} faces"
    interval = found.intervals.recall[name]
    assert interval is not None  # what is real has faces
    shares = f"{_share(found.a.per_class[name].recall)} to {_share(found.b.per_class[name].recall)}"
    return f"{how_many} ({shares}, {_interval(interval.delta)})"


def _means(changes: dict[str, _Change]) -> str:
    parts, last = [], ""
    for name, (delta, interval) in changes.items():
        points = abs(round(100 * delta, 1))
        verb = "keeps its" if not points else "gains" if delta > 0 else "loses"
        what = f"{points:.1f} points of {_HEADLINES[name]}" if points else _HEADLINES[name]
        parts.append(f"{'' if verb == last else verb + ' '}{what} ({_interval(interval)})")
        last = verb
    return " and ".join(parts)


def _interval(interval: Interval) -> str:
    low, high = interval
    return f"interval {_points(low)} to {_points(high)}{' includes 0' if _includes_0(interval) else ''}"


def _includes_0(interval: Interval) -> bool:
    return interval[0] <= 0 <= interval[1]


def _points(share: float) -> str:
    return f"{100 * share:+z.1f}"


def _share(share: float) -> str:
    return f"{share:.0%}"
