"""Choosing who predicts: a run that has weights, a view, and how sure it must be; loaded once for all sessions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from fer_core.catalog import VIEWS
from fer_core.ensemble_file import is_ensemble
from fer_core.errors import FerError
from fer_core.run_adjustment import read_adjustment
from fer_core.run_facts import read_facts
from fer_core.runs import Run, list_runs, shipped_runs
from ui.attention import warm_up
from ui.empty import empty_state
from ui.run_picker import pick_run

if TYPE_CHECKING:  # torch comes with it
    from fer_core.predict import Predictor


@dataclass(frozen=True)
class Chosen:
    """Who predicts, and how sure it must be."""

    run: Run
    view: str
    threshold: float

    @property
    def state(self) -> str:
        """Another where the answers may be others: other weights, another adjustment, another view."""
        return f"{self.run.path} {self.run.status().heartbeat} {read_adjustment(self.run)} {self.view}"

    def load(self) -> "Predictor":
        """Raises: FerError: the run's weights cannot be read."""
        return _predictor(self.state, self.view, self.run)


def pick_predictor() -> Chosen:
    """Run, view and threshold, in a row; where no run has weights, say so and end the page."""
    runs = _runs()
    if not runs:
        empty_state(
            "No model yet", "Predicting needs a trained model. Train one with a single click.",
            page="pages/train.py", label="Go to Train", icon=":material/model_training:",
        )  # fmt: skip
        st.stop()
    warm_up()
    left, middle, right = st.columns([2, 2, 2], gap="large")
    with left:
        run = pick_run("Model", runs, key="model") or next(iter(runs.values()))
    with middle:
        view = st.segmented_control(
            "View", list(VIEWS), default="none", required=True, key="view", bind="query-params",
            help="Test-time augmentation: " + " ".join(f"{name}: {one.text}" for name, one in VIEWS.items()),
        )  # fmt: skip
    with right:
        threshold = st.slider(
            "Not sure below",
            0,
            95,
            40,
            5,
            format="%d%%",
            key="unsure",
            bind="query-params",
            help="A face whose likeliest emotion has a lower probability is called not sure.",
        )
    _say_where_it_learned(run)
    return Chosen(run, view or "none", threshold / 100)


def _runs() -> dict[str, Run]:
    """Those that come with the explorer first: they have seen photos of people."""
    return {run.name: run for run in (*shipped_runs(), *list_runs()) if run.best.exists() or is_ensemble(run)}


def _say_where_it_learned(run: Run) -> None:
    try:
        kind = read_facts(run).kind
    except FerError:
        return
    if kind is not None and kind.data == "sample":
        st.caption(f":material/draw: {run.name} learned from drawn faces; photos of people are new to it.")


@st.cache_resource(show_spinner="Loading the net", max_entries=3)
def _predictor(state: str, view: str, _run: Run) -> "Predictor":
    from fer_core.predict import Predictor

    return Predictor.load(_run, view=view)
