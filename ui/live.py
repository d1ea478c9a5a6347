"""Trainings as they go: state, speed, time left, curves, Stop and Resume; refreshes itself while one is active."""

import time
from collections.abc import Sequence

import streamlit as st

from fer_core import launcher
from fer_core.errors import FerError
from fer_core.runs import ACTIVE, EpochRecord, Run, Status, list_runs
from ui.report import run_curves
from ui.steps import in_words

_COLORS = {
    "queued": "gray", "running": "blue", "stopping": "orange", "stopped": "orange",
    "done": "green", "failed": "red", "lost": "red",
}  # fmt: skip
_UNHEARD_S = 20
"""A stop that has not been heard for so long gets a second button that ends the process."""


def live_runs() -> None:
    """The active runs, or the latest two, with their curves; polls once a second while one is active."""
    active = bool(launcher.active_runs())
    st.fragment(_draw, run_every=1.0 if active else None)(active)


def _draw(was_active: bool) -> None:
    active = launcher.active_runs()
    if was_active and not active:
        st.rerun()  # the whole page, so that polling ends and Compare's button appears
    shown = (active + [run for run in list_runs() if run not in active])[:2]
    if not shown:
        st.caption("No run yet. Press a button above; the curves appear here.")
        return
    statuses = {run.name: launcher.current_status(run) for run in shown}
    shown.sort(key=lambda run: statuses[run.name].created)
    for run in shown:
        _row(run, statuses[run.name])
    _curves(shown)
    if not active:
        _next_step([run for run in shown if statuses[run.name].state == "done"])


def _row(run: Run, status: Status) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.badge(status.state, color=_COLORS[status.state])  # type: ignore[arg-type]
        st.markdown(f"**{run.name}**")
        st.markdown(_figures(run, status))
        if status.state in ACTIVE:
            st.progress(status.progress, width=160)
            _stop_button(run, status)
        elif status.state != "done":
            _act("Resume", run, launcher.resume, ":material/resume:")


def _figures(run: Run, status: Status) -> str:
    history = run.history()
    parts = [f"epoch {status.epoch} of {run.config().epochs}"]
    if history:
        last = history[-1]
        parts += [f"public accuracy {last.public_accuracy:.1%}", f"{last.images_per_s:,.0f} faces/s"]
    if status.state == "running" and status.progress > 0:
        parts.append(f"{in_words(_left_s(run, history, status))} left")
    if status.message and status.state != "running":
        parts.append(status.message)
    return " · ".join(parts)


def _left_s(run: Run, history: Sequence[EpochRecord], status: Status) -> float:
    """By the speed of the epochs that are done; before the first, by the estimate that the button gave."""
    epochs = run.config().epochs or 1
    if history:
        return history[-1].wall_s * epochs / len(history) * (1 - status.progress)
    faces = sum(run.environment().get("data", {}).get("counts", {}).get("train", {}).values())
    return launcher.estimate_s(run.config(), faces) * (1 - status.progress)


def _stop_button(run: Run, status: Status) -> None:
    if status.state != "stopping":
        _act("Stop", run, launcher.stop, ":material/stop:")
    elif run.stop_file.exists() and time.time() - run.stop_file.stat().st_mtime > _UNHEARD_S:
        _act("End at once", run, launcher.terminate, ":material/dangerous:")


def _act(label: str, run: Run, action: object, icon: str) -> None:
    if st.button(label, key=f"{label}:{run.name}", icon=icon):
        try:
            action(run)  # type: ignore[operator]
        except FerError as error:
            st.toast(str(error), icon=":material/error:")
        st.rerun()


def _curves(runs: Sequence[Run]) -> None:
    if not any(run.history() for run in runs):
        st.caption("The first point appears when the first epoch is done.")
        return
    run_curves(runs)


def _next_step(done: Sequence[Run]) -> None:
    if len(done) == 2 and st.button("Compare these two", type="primary", icon=":material/compare_arrows:"):
        st.switch_page("pages/compare.py", query_params={"a": done[0].name, "b": done[1].name})
