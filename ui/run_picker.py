"""Choosing runs: those that have predictions, the user's newest first, then the shipped ones; kept in the address."""

from collections.abc import Iterable

import streamlit as st

from fer_core.catalog import VIEWS
from fer_core.errors import FerError
from fer_core.runs import Run, known_runs, list_runs
from ui.empty import empty_state


def judged_runs() -> dict[str, Run]:
    """Name -> run, of the user's runs that have predictions, newest first."""
    return _judged(list_runs())


def runs_or_empty_state(what: str) -> dict[str, Run]:
    """The runs that can be judged, the user's, then the shipped ones; where there are none, say so and end the page."""
    runs = _judged(known_runs())
    if not runs:
        empty_state(
            "No finished run yet",
            f"{what} needs a trained model. Train an imbalanced and a balanced one with a single click.",
            page="pages/train.py",
            label="Go to Train",
            icon=":material/model_training:",
        )
        st.stop()
    return runs


def pick_run(label: str, runs: dict[str, Run], *, key: str, index: int | None = 0) -> Run | None:
    """A select box over runs; its value lives in the address under `key`. Index None: none is chosen at first."""
    name = st.selectbox(label, list(runs), index=index, key=key, bind="query-params", placeholder="none")
    return runs.get(name) if name else None


def offer_second(runs: dict[str, Run], *, a: str, b: str) -> None:
    """Who has no run of their own finds the second shipped one chosen in box `b`, beside the first in box `a`.

    What the address names, or what was chosen otherwise since, stays.
    """
    if len(runs) > 1 and all(run.shipped for run in runs.values()) and not {a, b} & set(st.query_params):
        st.session_state.setdefault(b, list(runs)[1])


def shipped_note(runs: Iterable[Run]) -> None:
    """Say which of these runs come with the explorer."""
    names = [run.name for run in runs if run.shipped]
    if names:
        come = "comes" if len(names) == 1 else "come"
        st.caption(f":material/inventory_2: {' and '.join(names)} {come} with the explorer, trained on FER2013.")


def pick_split(runs: list[Run], *, key: str, first: str = "private") -> str:
    """One of the splits that every run has been judged on, at first this one; the choice lives in the address."""
    order = sorted(("private", "public"), key=lambda split: split != first)
    splits = [split for split in order if all(split in run.splits() for run in runs)]
    help_text = "private is read once, at a training's end; public is what chose the epoch, and reads too well."
    chosen = st.segmented_control(
        "Split", splits, default=splits[0], required=True, key=key, bind="query-params", help=help_text
    )
    return chosen if chosen in splits else splits[0]


def pick_view(runs: list[Run], split: str, *, key: str) -> str:
    """The test-time view to judge by, where all of these runs have more than one; the choice lives in the address."""
    views = [view for view in VIEWS if all(view in run.views(split) for run in runs)]
    if len(views) < 2:
        return "none"
    help_text = "Test-time augmentation: " + " ".join(f"{name}: {VIEWS[name].text}" for name in views)
    chosen = st.segmented_control(
        "View", views, default="none", required=True, key=key, bind="query-params", help=help_text
    )
    return chosen if chosen in views else "none"


def is_judged(run: Run) -> bool:
    """Whether it has predictions that can be read."""
    try:
        return bool(run.splits())
    except FerError:
        return False


def _judged(runs: Iterable[Run]) -> dict[str, Run]:
    return {run.name: run for run in runs if is_judged(run)}
