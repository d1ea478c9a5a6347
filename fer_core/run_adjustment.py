"""How a run decides: the prior that its net carries, the adjustment that was saved with it, answers by either.

runs/NAME/adjustment.json   the values that were chosen for a run, and what for

Shapes: K classes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_core.adjust import AS_IS, METRICS, Adjustment, adjusted
from fer_core.balance import Floats, plan_balance
from fer_core.catalog import VIEWS, check_name
from fer_core.ensemble_file import read_ensemble
from fer_core.errors import ConfigError, RunError
from fer_core.files import write_json
from fer_core.predictions import SplitPredictions
from fer_core.runs import Run
from fer_core.shipped import refuse_shipped

FORMAT = 1
"""Format number of `adjustment.json`."""

CHOSEN_FOR: tuple[str, ...] = (*METRICS, "log_loss", "hand")
"""What a saved adjustment says that it was chosen for; `hand`: a person moved the sliders."""


@dataclass(frozen=True)
class SavedAdjustment:
    """An adjustment with all that applying it needs, and where it comes from."""

    adjustment: Adjustment
    classes: tuple[str, ...]
    prior_K: tuple[float, ...]
    """The prior that tau was chosen with; sums to 1."""
    chosen_for: str
    """One of `CHOSEN_FOR`."""
    split: str
    """The split that was looked at while it was chosen. On `private`, its figures there are too good."""
    view: str = "none"
    """The test-time view whose answers it was chosen on."""

    def __post_init__(self) -> None:
        """Raises: ConfigError: a name that is not known, or numbers that do not fit the classes."""
        check_name("purpose", self.chosen_for, CHOSEN_FOR)
        check_name("split", self.split, ("public", "private"))
        check_name("view", self.view, VIEWS)
        k, offsets = len(self.classes), self.adjustment.offsets_K
        if len(self.prior_K) != k or len(offsets) not in (0, k):
            raise ConfigError(f"{k} classes, but a prior of {len(self.prior_K)} and {len(offsets)} offsets.")
        if not all(share >= 0 for share in self.prior_K) or not math.isclose(sum(self.prior_K), 1, abs_tol=1e-6):
            raise ConfigError("the prior is not a set of shares that sum to 1.")

    def apply(self, predictions: SplitPredictions) -> SplitPredictions:
        """The predictions with this adjustment. Raises: RunError: they are of other classes."""
        if predictions.classes != self.classes:
            raise RunError(
                f"the adjustment is for {', '.join(self.classes)}, the predictions are of "
                f"{', '.join(predictions.classes)}. Clear it, and choose another."
            )
        return adjusted(predictions, self.prior_K, self.adjustment)


def training_prior(run: Run, classes: Sequence[str]) -> Floats:
    """The prior that the net's answers carry: each class's share (K,) in what its training weighed; sums to 1.

    As is, that is the share of the run's training faces (`data_prior`). A sampler shows another mix, and that mix is
    what the net has seen (`Balance.epoch_mix_K`). Loss weights act as if a face of weight w stood there w times, so the
    mix is multiplied by them (`Balance.loss_share_K`, which without weights is the mix). The logit-adjusted loss adds
    its offsets while the net learns, so that the bare logits lack just these: the share is divided by exp(offset).
    Focal loss moves no prior that could be named; a deferred start counts as if it had been there from the first epoch.
    To take the data's own prior from a run that was balanced already would balance it twice. After full balancing this
    prior is even, and tau moves nothing.

    An ensemble carries its members' priors together, and recorded them when it was made (`ensemble.create_ensemble`).

    Raises: RunError: the run does not record its training faces.
    """
    if (ensemble := read_ensemble(run)) is not None:
        return _recorded_prior(run, ensemble.prior, classes)
    balance = plan_balance(_train_counts(run, classes), run.config())
    offsets = 0.0 if balance.logit_offsets_K is None else balance.logit_offsets_K
    prior = balance.loss_share_K * np.exp(-offsets)
    return prior / prior.sum()


def _recorded_prior(run: Run, prior: Mapping[str, float] | None, classes: Sequence[str]) -> Floats:
    if prior is None or set(prior) != set(classes):
        raise RunError(
            f"not every member of {run.name!r} records its training faces by emotion, so that tau cannot move it. "
            "Train those members again, and make the ensemble anew."
        )
    return np.array([prior[name] for name in classes])


def data_prior(run: Run, classes: Sequence[str]) -> Floats:
    """Share of each class (K,) among the run's training faces, however they were balanced; sums to 1.

    With it, tau moves a run that was fully balanced as well: -1 gives the answers that suit the data's own mix.
    Raises: RunError: as `training_prior`.
    """
    counts = _train_counts(run, classes)
    return counts / counts.sum()


def _train_counts(run: Run, classes: Sequence[str]) -> Floats:
    try:
        counts = run.environment()["data"]["counts"]["train"]
        found = np.array([counts[name] for name in classes], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        found = np.zeros(0)
    if not found.sum() > 0:
        raise RunError(f"run {run.name!r} does not record its training faces by emotion; train it again to move tau.")
    return found


def read_adjustment(run: Run) -> SavedAdjustment | None:
    """What was saved with the run; None where nothing was. Raises: RunError: the file is damaged."""
    path = _file(run)
    try:
        return _parsed(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: damaged ({error}). Remove it, and choose the adjustment again.") from None


def decided(run: Run, split: str, view: str = "none", tau: float | None = None) -> SplitPredictions:
    """The run's answers as they are to be read: what `evaluate`, `compare` and the pages show.

    Args:
        tau: None: by the adjustment that was saved with the run, where one was. A number: by this tau alone, on the
            prior that the net carries; 0 is the net's own decision (`Run.predictions`).
    Raises: RunError: no such split or view, a damaged adjustment, or a run whose prior is not known.
    ConfigError: a tau out of bounds.
    """
    answers = run.predictions(split, view)
    if tau is None:
        saved = read_adjustment(run)
        return answers if saved is None else saved.apply(answers)
    moved = Adjustment(tau)
    return answers if moved == AS_IS else adjusted(answers, training_prior(run, answers.classes), moved)


def decision_words(run: Run, tau: float | None = None) -> str:
    """How `decided` decides, in a few words; empty for the net's own decision. Raises: RunError: as `decided`."""
    if tau is not None:
        return _words(Adjustment(tau))
    saved = read_adjustment(run)
    return "" if saved is None else _words(saved.adjustment)


def called(run: Run, tau: float | None = None) -> str:
    """The run's name, with how it decides where that is not the net's own way. Raises: RunError: as `decided`."""
    words = decision_words(run, tau)
    return f"{run.name} ({words})" if words else run.name


def _words(adjustment: Adjustment) -> str:
    parts = {"tau": adjustment.tau, "temperature": adjustment.temperature}
    said = [f"{name} {value:g}" for name, value in parts.items() if value != getattr(AS_IS, name)]
    return ", ".join(said + ["offsets"] * any(adjustment.offsets_K))


def write_adjustment(run: Run, saved: SavedAdjustment) -> None:
    """Put this adjustment in place of an earlier one, whole or not at all.

    Raises: RunError: the run is gone or shipped.
    """
    refuse_shipped(run.path)
    if not run.path.is_dir():  # writing would make a folder that is no run
        raise RunError(f"there is no run {run.name!r} any more; no adjustment was saved.")
    own = saved.adjustment
    values = {
        "tau": own.tau,
        "temperature": own.temperature,
        "offsets": dict(zip(saved.classes, own.offsets_K, strict=False)),
        "prior": dict(zip(saved.classes, saved.prior_K, strict=True)),
        "chosen_for": saved.chosen_for,
        "split": saved.split,
        "view": saved.view,
    }
    write_json(_file(run), {"format": FORMAT, **values})


def clear_adjustment(run: Run) -> None:
    """Remove what was saved with the run, if anything was. Raises: RunError: the run is shipped."""
    refuse_shipped(run.path)
    _file(run).unlink(missing_ok=True)


def _parsed(values: Any) -> SavedAdjustment:
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"format {FORMAT} is expected")
    prior, offsets = values["prior"], values["offsets"]
    if not isinstance(prior, dict) or not isinstance(offsets, dict) or list(offsets) not in ([], list(prior)):
        raise ValueError("prior and offsets must have a number for each of the same emotions")
    tau, temperature = _numbers([values["tau"], values["temperature"]])
    return SavedAdjustment(
        Adjustment(tau, temperature, _numbers(offsets.values())),
        tuple(prior),
        _numbers(prior.values()),
        values["chosen_for"],
        values["split"],
        values["view"],
    )


def _numbers(values: Any) -> tuple[float, ...]:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise ValueError("a number is expected")
    return tuple(float(value) for value in values)


def _file(run: Run) -> Path:
    return run.path / "adjustment.json"
