"""Several runs as one: the mean of their stored answers, chosen on public where that is asked for.

Shapes: M runs, N faces of a split, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.catalog import AVERAGES, HELD_OUT, JUDGED_SPLITS, VIEWS, check_name
from fer_core.config import RunConfig
from fer_core.ensemble_file import FEWEST, Ensemble, read_ensemble, write_ensemble
from fer_core.errors import RunError
from fer_core.evaluate import Floats
from fer_core.predictions import SplitPredictions, report_on
from fer_core.run_adjustment import training_prior
from fer_core.runs import Run, all_runs, create_run, shipped_runs

_SUMMED = ("parameters", "multiply_adds")
"""What an ensemble has as much of as all its members together."""
_PLACES = ("data", "ferplus")
"""Settings that say where the faces lie, not which they are."""


@dataclass(frozen=True)
class Chosen:
    """One step of a choice."""

    run: Run
    accuracy: float
    """On public, of the mean of this run and those that were chosen before it."""


def create_ensemble(runs: Sequence[Run], name: str, average: str = AVERAGES[0], *, choose: bool = False) -> Run:
    """Make a run of the mean answers of others, which every page and command takes like a trained one.

    The run appears whole or not at all. It holds every split and test-time view that all members have been judged on,
    as their answers are now. What the nets themselves say is averaged: adjustments that are kept with the members are
    not applied, and the ensemble can have one of its own. Its configuration is the first member's; `ensemble.json` has
    what differs.

    Args:
        average: one of `catalog.AVERAGES`.
        choose: take only those that make public better (`choose_members`).
    Raises: ConfigError: no such average. RunError: the name is taken or not allowed; fewer than two runs, or one twice;
        one that is an ensemble, is damaged, has no answers, or was judged on other faces.
    """
    check_name("average", average, AVERAGES)
    _refuse_taken(name)
    steps = choose_members(runs, average) if choose else []
    _refuse_lone(steps)
    members = [step.run for step in steps] or list(runs)
    predictions = averaged(members, average)
    ensemble = Ensemble(
        members=_names(members),
        average=average,
        prior=_prior(members, next(iter(predictions.values())).classes, average),
        differs=_differences([run.config() for run in members]),
        chosen_from=_names(runs) if choose else (),
        public_accuracy=tuple(step.accuracy for step in steps),
    )
    environment = _environment(members)

    def fill(run: Run) -> None:
        run.write_predictions(predictions)
        write_ensemble(run, ensemble)
        if environment:
            run.write_environment(environment)
        run.update_status(state="done", progress=1.0)

    return create_run(members[0].config(), name, fill)


def choose_members(runs: Sequence[Run], average: str = AVERAGES[0]) -> list[Chosen]:
    """The runs whose mean is best on public, by greedy forward selection: nothing but public is read.

    The best run comes first, then again and again the one that gives the best mean together with those that are chosen,
    until none makes it better. Better is a higher accuracy, as it is (no other test-time view); of equal accuracies a
    lower log loss; of equals of both the run that is named first. Each run is taken once at most.

    Returns: in the order of choice; a single run where no other makes it better.
    Raises: as `create_ensemble`; RunError: a run has no answers on public.
    Source: Caruana et al., ICML 2004, "Ensemble selection from libraries of models"; without its repetition.
    """
    check_name("average", average, AVERAGES)
    _check_members(runs)
    left = list(zip(runs, _answers(runs, "public"), strict=True))
    chosen: list[Chosen] = []
    taken: list[SplitPredictions] = []
    best = (-1.0, 0.0)
    while left:
        scores = [_score([*taken, answers], average) for _, answers in left]
        highest = max(range(len(left)), key=scores.__getitem__)
        if scores[highest] <= best:
            break
        best = scores[highest]
        run, answers = left.pop(highest)
        taken.append(answers)
        chosen.append(Chosen(run, best[0]))
    return chosen


def averaged(runs: Sequence[Run], average: str) -> dict[str, SplitPredictions]:
    """The mean answers by split, for every split and view that all runs have; `more_NK` has the further views.

    Folds that hold out other faces have no common `held_out`.
    Raises: RunError: as `create_ensemble`, or there is no common split.
    """
    _check_members(runs)
    shared = [split for split in JUDGED_SPLITS if all(split in run.splits() for run in runs)]
    found = {split: _averaged_split(runs, split, average) for split in shared if not _other_folds(runs, split)}
    if not found:
        has = "; ".join(f"{run.name}: {', '.join(run.splits()) or 'none'}" for run in runs)
        raise RunError(f"there is no split on which all of these runs have answers to the same faces ({has}).")
    return found


def mean_answers(answers: Sequence[SplitPredictions], average: str) -> SplitPredictions:
    """The mean of several runs' answers to the same faces, by one view, as logits.

    `logits`: their mean, which is the normalised geometric mean of the probabilities. `probabilities`: the logarithm of
    the mean probability, so that softmax gives that mean. A face counts as one that stands in train where any run was
    trained on it; where one did not record that, it is not known.

    Raises: RunError: other classes, or other faces, labels or an order of them.
    """
    first = answers[0]
    if any(why := _misfit(first, one) for one in answers[1:]):
        raise RunError(f"these answers cannot be averaged: they have {why}.")
    logits = _mean([one.logits_NK for one in answers], average)
    seen = [one.in_train_N for one in answers]
    known = [one for one in seen if one is not None]
    in_train = reduce(np.logical_or, known) if len(known) == len(seen) else None
    return replace(first, logits_NK=logits.astype(np.float32), in_train_N=in_train, more_NK={})


def _mean(logits: Sequence[NDArray[np.floating]], average: str) -> Floats:
    logits_MNK = np.array(logits, dtype=np.float64)
    if average == "logits":
        return logits_MNK.mean(axis=0)
    # Logarithms all the way: a probability that is too small for a float keeps its finite logarithm.
    log_shares_MNK = logits_MNK - np.logaddexp.reduce(logits_MNK, axis=2, keepdims=True)
    return np.logaddexp.reduce(log_shares_MNK, axis=0) - np.log(len(logits))


def _averaged_split(runs: Sequence[Run], split: str, average: str) -> SplitPredictions:
    views = [view for view in VIEWS if all(view in run.views(split) for run in runs)]
    by_view = {view: mean_answers(_answers(runs, split, view), average) for view in views}
    plain = by_view.pop("none")
    return replace(plain, more_NK={view: one.logits_NK for view, one in by_view.items()})


def _answers(runs: Sequence[Run], split: str, view: str = "none") -> list[SplitPredictions]:
    """Each run's answers. Raises: RunError: a run's are not finite, or do not fit the first one's; it is named."""
    found = [run.predictions(split, view) for run in runs]
    for run, one in zip(runs, found, strict=True):
        if not np.isfinite(one.logits_NK).all():
            raise RunError(f"run {run.name!r} has answers on {split} that are not finite; leave it out.")
        if why := _misfit(found[0], one):
            raise RunError(
                f"run {run.name!r} does not fit {runs[0].name!r}: on {split} it has {why}. Only runs that were judged "
                "on the same data, by the same labels, can be averaged."
            )
    return found


def _misfit(one: SplitPredictions, other: SplitPredictions) -> str:
    """What keeps two runs' answers from being averaged; empty where nothing does."""
    if one.classes != other.classes:
        return "other emotions"
    if not np.array_equal(one.hashes_N, other.hashes_N):
        return "other faces, or the same in another order"
    return "" if np.array_equal(one.labels_N, other.labels_N) else "other labels"


def _other_folds(runs: Sequence[Run], split: str) -> bool:
    """Whether this is the split that runs hold out of train, and they hold out other faces."""
    if split != HELD_OUT:
        return False
    first, *others = (run.predictions(split) for run in runs)
    return any(_misfit(first, one) for one in others)


def _check_members(runs: Sequence[Run]) -> None:
    """Raises: RunError: these runs make no ensemble, whatever they answer."""
    if len(runs) < FEWEST:
        raise RunError(f"an ensemble needs at least {FEWEST} runs, and here {'is one' if runs else 'are none'}.")
    names = _names(runs)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise RunError(f"run {twice!r} is named twice; an ensemble has each run once.")
    for run in runs:
        if (found := read_ensemble(run)) is not None:
            raise RunError(
                f"run {run.name!r} is itself an {found.title} runs, and only trained runs can be averaged. Name its "
                f"members instead: {', '.join(found.members)}."
            )


def _refuse_taken(name: str) -> None:
    if name in _names([*all_runs(), *shipped_runs()]):
        raise RunError(f"there is a run named {name!r} already; give the ensemble another name.")


def _refuse_lone(steps: Sequence[Chosen]) -> None:
    if len(steps) == 1:
        raise RunError(
            f"none of the other runs makes {steps[0].run.name!r} better on public ({steps[0].accuracy:.2%}), so that "
            "there is nothing to average. Average all of them without a choice, or train others."
        )


def _score(answers: Sequence[SplitPredictions], average: str) -> tuple[float, float]:
    report = report_on(mean_answers(answers, average))
    return report.accuracy, -report.log_loss


def _prior(members: Sequence[Run], classes: Sequence[str], average: str) -> dict[str, float] | None:
    """The prior that the mean carries; None where a member does not record its training faces.

    A mean of probabilities carries the mean prior. A mean of logits carries the geometric mean, normalised: taking that
    out is taking each member's prior out of its logits.
    """
    try:
        priors_MK = np.array([training_prior(run, classes) for run in members])
    except RunError:
        return None
    with np.errstate(divide="ignore"):  # a class that a member has never seen has no share of the geometric mean
        prior = priors_MK.mean(axis=0) if average == "probabilities" else np.exp(np.log(priors_MK).mean(axis=0))
    return dict(zip(classes, (prior / prior.sum()).tolist(), strict=True)) if prior.sum() > 0 else None


def _differences(configs: Sequence[RunConfig]) -> dict[str, tuple[Any, ...]]:
    values = {name: tuple(getattr(config, name) for config in configs) for name in RunConfig.model_fields}
    return {
        name: of_each
        for name, of_each in values.items()
        if name not in _PLACES and any(v != of_each[0] for v in of_each)
    }


def _environment(members: Sequence[Run]) -> dict[str, Any]:
    """The first member's, with what it takes to ask all of them, and with the names of what is its alone."""
    abouts = [run.environment() for run in members]
    first = abouts[0]
    if not first:
        return {}
    sums = {name: _sum([about.get(name) for about in abouts]) for name in _SUMMED}
    alone = [name for name, value in first.items() if name not in sums and any(a.get(name) != value for a in abouts)]
    return first | sums | {"first_member_alone": alone}


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _names(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(run.name for run in runs)
