"""Trainings as they go: state, speed, time left, curves, Stop and Resume; refreshes itself while one is active."""

import time
from collections.abc import Sequence
from contextlib import suppress

import streamlit as st

from fer_core import launcher
from fer_core.ensemble_file import is_ensemble
from fer_core.errors import FerError, RunError
from fer_core.recipes import from_scratch
from fer_core.runs import ACTIVE, LARGE_GAP, EpochRecord, Run, Status, list_runs
from ui.report import run_curves
from ui.run_picker import is_judged
from ui.steps import in_words
from ui.train_form import use_recipe

_COLORS = {
    "queued": "gray", "running": "blue", "stopping": "orange", "stopped": "orange",
    "done": "green", "failed": "red", "lost": "red",
}  # fmt: skip
_MOST_ENDED = 8
"""A sweep is watched whole, those that have ended too."""
_FEW = 2
_UNHEARD_S = 20
"""A stop that has not been heard for so long gets a second button that ends the process."""


def live_runs() -> None:
    """The active runs, or the latest ones, and any others that are chosen, with their curves on one chart.

    Polls once a second while a run is active.
    """
    active = bool(launcher.active_runs())
    names = [run.name for run in _trainings()]
    more: list[str] = []
    if len(names) > 2:
        more = st.multiselect(
            "More runs on the chart", names, key="with", bind="query-params", placeholder="any number of runs"
        )
    st.fragment(_draw, run_every=1.0 if active else None)(active, more)


def _trainings() -> list[Run]:
    return [run for run in list_runs() if not is_ensemble(run)]


def _draw(was_active: bool, more: Sequence[str]) -> None:
    active = launcher.active_runs()
    if was_active and not active:
        st.rerun()  # the whole page, so that polling ends and Compare's button appears
    shown = _shown(active, _trainings(), more)
    if not shown:
        st.caption("No run yet. Press a button above; the curves appear here.")
        return
    statuses = {run.name: launcher.current_status(run) for run in shown}
    shown.sort(key=lambda run: statuses[run.name].created)
    if len(active) > 1:
        _stop_all(active)
    waiting = [run for run in shown if statuses[run.name].state == "queued"]
    for run in shown:
        if run not in waiting or len(waiting) <= _FEW:
            _row(run, statuses[run.name])
    if len(waiting) > _FEW:  # the curves of those that train matter more than eight rows that say the same
        with st.expander(f"{len(waiting)} wait for their turn", key="waiting", icon=":material/hourglass:"):
            for run in waiting:
                _row(run, statuses[run.name])
    _curves([run for run in shown if run.history()], awaited=bool(active))
    if not active:
        _next_step([run for run in shown if statuses[run.name].state == "done"])


def _shown(active: Sequence[Run], runs: Sequence[Run], more: Sequence[str]) -> list[Run]:
    """The active runs, those of the same sweep or pair that have ended, at least two, and what else is chosen."""
    workers = {_worker(run) for run in active or runs[:1]} - {None}
    together = [run for run in runs if run not in active and _worker(run) in workers]
    latest = [*active, *together] + [run for run in runs if run not in active and run not in together]
    number = max(2, len(active) + min(len(together), _MOST_ENDED))
    return latest[:number] + [run for run in runs if run.name in more and run not in latest[:number]]


def _worker(run: Run) -> tuple[int, float | None] | None:
    """The process that trained it, or trains it: one for all runs of a click; None while it waits."""
    status = run.status()
    return None if status.pid is None else (status.pid, status.process_started)


def _row(run: Run, status: Status) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(status.state, color=_COLORS[status.state])  # type: ignore[arg-type]
            st.markdown(f"**{run.name}**")
            st.markdown(_figures(run, status))
            if status.state in ACTIVE:
                st.progress(status.progress, width=160)
                _stop_button(run, status)
            elif status.state != "done":
                _act("Resume", run, launcher.resume, ":material/resume:")
                _other_way(run, status)
        if status.message and status.state in ("failed", "lost"):
            st.text(status.message)  # not Markdown: it may quote anything, <urlopen error ...> for one


def _figures(run: Run, status: Status) -> str:
    history = run.history()
    parts = [f"epoch {status.epoch} of {run.config().epochs}"]
    if history:
        last = history[-1]
        parts += [f"public accuracy {last.public_accuracy:.1%}", f"{last.images_per_s:,.0f} faces/s"]
    if status.state == "running" and 0 < status.progress < 1:
        parts.append(f"{in_words(_left_s(run, history, status))} left")
    if status.state == "queued":
        parts.append("waits for its turn")
    elif status.state not in ("failed", "lost") and status.message not in ("", "training"):
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


def _stop_all(active: Sequence[Run]) -> None:
    """One button for a whole sweep. A run that ends by itself meanwhile needs none."""
    left = [run for run in active if not run.stop_file.exists()]
    if left and st.button(f"Stop all {len(active)}", icon=":material/stop_circle:"):
        for run in left:
            with suppress(RunError):
                launcher.stop(run)
        st.rerun()


def _other_way(run: Run, status: Status) -> None:
    """Where a run failed for want of pretrained weights, the variant that needs none, one click away."""
    config = run.config()
    other = from_scratch(config.recipe) if status.state == "failed" and config.weights == "imagenet" else None
    if other and st.button(
        f"Choose {other}", key=f"other:{run.name}", icon=":material/alt_route:", on_click=use_recipe, args=(other,),
        help="The same system without pretrained weights: fills in the form above.",
    ):  # fmt: skip
        st.rerun()  # the whole page: the form stands outside of what refreshes itself here


def _act(label: str, run: Run, action: object, icon: str) -> None:
    if st.button(label, key=f"{label}:{run.name}", icon=icon):
        try:
            action(run)  # type: ignore[operator]
        except FerError as error:
            st.toast(str(error), icon=":material/error:")
        st.rerun()


def _curves(runs: Sequence[Run], *, awaited: bool) -> None:
    if not runs:
        if awaited:
            st.caption("The first point appears when the first epoch is done.")
        return
    run_curves(runs)
    for run in runs:
        _over_fit(run)


def _over_fit(run: Run) -> None:
    last = run.history()[-1]
    if last.gap > LARGE_GAP:
        st.warning(
            f"**{run.name}** is right on {last.train_accuracy:.0%} of its training faces and on "
            f"{last.public_accuracy:.0%} of public, {100 * last.gap:.0f} points fewer: it learns faces by heart. "
            "More augmentation, weight decay, dropout or mixup, a smaller net, or fewer epochs narrow the gap.",
            icon=":material/overview_key:",
        )


def _next_step(done: Sequence[Run]) -> None:
    judged = [run for run in done if is_judged(run)]
    if len(judged) == 2 and st.button("Compare these two", type="primary", icon=":material/compare_arrows:"):
        st.switch_page("pages/compare.py", query_params={"a": judged[0].name, "b": judged[1].name})
    if len(judged) == 1 and st.button("See what it takes for what", type="primary", icon=":material/grid_on:"):
        st.switch_page("pages/compare.py", query_params={"a": judged[0].name})
    if len(judged) > 2 and st.button("All runs in one table", type="primary", icon=":material/table_rows:"):
        st.switch_page("pages/runs.py")
