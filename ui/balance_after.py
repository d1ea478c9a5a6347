"""After training: a stored run's decision, moved by sliders; nothing is trained, no model is needed."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import streamlit as st

from fer_core import charts
from fer_core.adjust import (
    METRICS,
    TAUS,
    Adjustment,
    Tradeoff,
    adjusted,
    best_tau,
    best_temperature,
    tradeoff_curve,
)
from fer_core.balance import Floats
from fer_core.balance_charts import tradeoff_chart
from fer_core.errors import FerError
from fer_core.evaluate import Report
from fer_core.palette import RUN_COLORS
from fer_core.predictions import SplitPredictions, report_on
from fer_core.run_adjustment import (
    SavedAdjustment,
    clear_adjustment,
    read_adjustment,
    training_prior,
    write_adjustment,
)
from fer_core.runs import Run
from ui.answers import stored_answers
from ui.chart import draw
from ui.report import moved_figures
from ui.run_picker import pick_run, pick_split, runs_or_empty_state
from ui.theme import ink

_WORDS = {"balanced_accuracy": "macro-recall", "accuracy": "accuracy", "macro_f1": "macro-F1"}
_TAU, _TEMPERATURE = "tau", "temperature"
_MOST_OFFSET = 2.0


def after_training() -> None:
    """Choose a run, move its decision, see both matrices and the whole curve of trade-offs."""
    runs = runs_or_empty_state("Moving a decision")
    top = st.columns([1.6, 1, 1.4])
    with top[0]:
        run = pick_run("Run", runs, key="run")
    assert run is not None, "there is at least one run"
    with top[1]:
        split = pick_split([run], key="adjusted_on", first="public")
    try:
        answers = stored_answers(run, split)
        prior = training_prior(run, answers.classes)
    except FerError as error:
        st.error(str(error), icon=":material/error:")
        return
    _moved(run, runs, split, answers, prior)


@st.fragment  # a slider draws this part anew, not the page
def _moved(run: Run, runs: Mapping[str, Run], split: str, answers: SplitPredictions, prior_K: Floats) -> None:
    sliders, picture = st.columns([1, 1.9], gap="large")
    with sliders:
        adjustment = _sliders(run, answers.classes, prior_K)
        _keep(run, split, adjustment, answers.classes, prior_K)
    moved = adjusted(answers, prior_K, adjustment)
    before, after = report_on(answers), report_on(moved)
    with picture:
        if split == "private":
            st.caption(
                ":material/warning: This is private: it shows what a value gives. To choose by what you see here would "
                "be to tune on the test; the buttons choose on public."
            )
        moved_figures(before, after)
        _tradeoffs(run, runs, split, answers, prior_K, adjustment, after)
    _matrices(before, after)


def _sliders(run: Run, classes: tuple[str, ...], prior_K: Floats) -> Adjustment:
    if run.name != st.session_state.get("adjusted_run"):
        _begin(run, classes)
    st.slider(
        "Rare emotions (tau)", TAUS[0], TAUS[-1], step=0.025, key=_TAU,
        help="0 is the net's own decision, 1 takes out how common each emotion was in training.",
    )  # fmt: skip
    if np.ptp(prior_K) < 1e-9:
        st.caption("This run was balanced in full while it trained: tau has nothing left to move.")
    st.slider(
        "Temperature", 0.25, 4.0, step=0.05, key=_TEMPERATURE, help="Above 1 the net is less sure, below 1 surer."
    )
    with st.expander("Each emotion by itself"):
        for name in classes:
            st.slider(name, -_MOST_OFFSET, _MOST_OFFSET, step=0.05, key=f"offset {name}")
    _buttons(run, prior_K)
    return _standing(classes)


def _begin(run: Run, classes: tuple[str, ...]) -> None:
    """The sliders stand where the run's own adjustment is, or where nothing is moved."""
    try:
        saved = read_adjustment(run)
    except FerError as error:
        st.error(str(error), icon=":material/error:")
        saved = None
    _set(Adjustment() if saved is None else saved.adjustment, classes)
    st.session_state["adjusted_run"] = run.name


def _set(adjustment: Adjustment, classes: tuple[str, ...]) -> None:
    st.session_state[_TAU] = adjustment.tau
    st.session_state[_TEMPERATURE] = min(4.0, max(0.25, round(20 * adjustment.temperature) / 20))
    offsets = adjustment.offsets_K or (0.0,) * len(classes)
    for name, offset in zip(classes, offsets, strict=True):
        st.session_state[f"offset {name}"] = min(_MOST_OFFSET, max(-_MOST_OFFSET, offset))


def _buttons(run: Run, prior_K: Floats) -> None:
    public = stored_answers(run, "public")
    metric = st.selectbox("Best on public for", METRICS, index=1, format_func=lambda name: _WORDS[name], key="best_for")
    with st.container(horizontal=True):
        st.button("Find tau", on_click=_find_tau, args=[public, prior_K, metric], icon=":material/target:")
        st.button("Calibrate", on_click=_calibrate, args=[public, prior_K], icon=":material/thermostat:",
                  help="The temperature with the smallest log loss on public.")  # fmt: skip
        st.button("As it was", on_click=_set, args=[Adjustment(), public.classes], icon=":material/undo:")


def _standing(classes: tuple[str, ...]) -> Adjustment:
    """What the sliders say."""
    offsets = tuple(st.session_state[f"offset {name}"] for name in classes)
    return Adjustment(st.session_state[_TAU], st.session_state[_TEMPERATURE], offsets if any(offsets) else ())


def _find_tau(public: SplitPredictions, prior_K: Floats, metric: str) -> None:
    tau = best_tau(public, prior_K, metric, split="public", given=_standing(public.classes))
    st.session_state[_TAU], st.session_state["found"] = tau, (metric, tau)


def _calibrate(public: SplitPredictions, prior_K: Floats) -> None:
    found = best_temperature(public, prior_K, split="public", given=_standing(public.classes))
    st.session_state[_TEMPERATURE] = min(4.0, max(0.25, round(20 * found) / 20))


def _keep(run: Run, split: str, adjustment: Adjustment, classes: tuple[str, ...], prior_K: Floats) -> None:
    """Save the adjustment with the run, or take it away again."""
    if run.shipped:
        st.caption("This run comes with the explorer and stays as it is; its sliders are yours to try.")
        return
    try:
        saved = read_adjustment(run)
    except FerError as error:
        st.error(str(error), icon=":material/error:")
        return
    same = adjustment == (Adjustment() if saved is None else saved.adjustment)
    with st.container(horizontal=True, vertical_alignment="center"):
        metric, tau = st.session_state.get("found", ("hand", None))
        found = tau == adjustment.tau  # by the button, on public, whatever is looked at now
        purpose, seen = (metric, "public") if found else ("hand", split)
        kept = SavedAdjustment(adjustment, classes, tuple(prior_K.tolist()), purpose, seen)
        st.button("Keep with the run", type="primary", icon=":material/save:", disabled=same,
                  on_click=write_adjustment, args=[run, kept])  # fmt: skip
        if saved is not None:
            st.button("Take it away", icon=":material/delete:", on_click=clear_adjustment, args=[run])
    if saved is not None:
        st.caption(f"Kept: tau {saved.adjustment.tau:g}, temperature {saved.adjustment.temperature:g}.")


def _tradeoffs(
    run: Run, runs: Mapping[str, Run], split: str, answers: SplitPredictions, prior_K: Floats,
    adjustment: Adjustment, after: Report,
) -> None:  # fmt: skip
    curves, points = {}, {}
    for name, other in runs.items():
        if name != run.name and (found := _others_curve(other, split, answers.classes, len(answers.labels_N))):
            curves[name], points[name] = found, next(one for one in found if one.tau == 0)
    curves[run.name] = tradeoff_curve(answers, prior_K, given=adjustment)
    points[run.name] = Tradeoff(adjustment.tau, after.accuracy, after.balanced_accuracy, after.macro_f1)
    st.markdown("**Accuracy against macro-recall**, for every tau")
    spec = tradeoff_chart(curves, points, colors={run.name: RUN_COLORS["B"]}, ink=ink())
    draw(spec, key="tradeoffs")


def _matrices(before: Report, after: Report) -> None:
    top = charts.top_share([before.confusion_KK, after.confusion_KK])
    columns = st.columns(2, gap="large")
    for column, title, report in zip(columns, ("As the run decides", "Moved"), (before, after), strict=True):
        with column:
            st.markdown(f"**{title}**")
            spec = charts.confusion(report.confusion_KK, report.classes, ink=ink(), as_share=True, top_share=top)
            draw(spec, key=f"matrix {title}")
    st.caption("Rows are the true emotion, columns what the model said; the numbers are shares of the row.")


def _others_curve(run: Run, split: str, classes: tuple[str, ...], faces: int) -> list[Tradeoff]:
    """Of a run that was judged on the same kind of faces; empty for another."""
    try:
        return _curve(str(run.path), run.status().heartbeat, split, classes, faces)
    except FerError:
        return []


@st.cache_data(show_spinner=False, max_entries=128)
def _curve(path: str, heartbeat: float, split: str, classes: tuple[str, ...], faces: int) -> list[Tradeoff]:
    run = Run(Path(path))
    answers = run.predictions(split)
    if answers.classes != classes or len(answers.labels_N) != faces:
        return []
    return tradeoff_curve(answers, training_prior(run, classes))
