"""A run's report, or two side by side: headline figures, matrices to click, curves."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fer_core import charts
from fer_core.catalog import FER2013_REFERENCES, FERPLUS_REFERENCES, Reference
from fer_core.cell_groups import both_answers
from fer_core.chart_parts import GREY, Spec
from fer_core.compare import Comparison
from fer_core.comparison_export import comparison_html, differing_settings, faces_csv, figures_csv
from fer_core.ensemble_file import is_ensemble
from fer_core.evaluate import Report
from fer_core.palette import RUN_COLORS
from fer_core.predictions import SplitPredictions
from fer_core.runs import Run
from fer_core.verdict import verdict
from ui.cell_faces import Cell, cell_faces, cell_in_address, remember
from ui.chart import draw, draw_to_click
from ui.theme import ink

_HEADLINES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "balanced_accuracy": "Macro-recall",
    "log_loss": "Log loss",
    "ece": "ECE",
}

_CLICKS = "clicks"
_QUANTITIES = {
    "recall": ("recall", "Recall: how many of its faces are found"),
    "precision": ("precision", "Precision: how many of those called it are it"),
    "F1": ("f1", "F1: recall and precision in one"),
}


def figures_of_one(report: Report) -> None:
    """Headline figures of one run."""
    low, high = report.accuracy_ci95
    for column, (name, title) in zip(st.columns(len(_HEADLINES)), _HEADLINES.items(), strict=True):
        column.metric(title, _form(name, getattr(report, name)))
    st.caption(
        f"{report.n:,} faces. Accuracy lies between {low:.1%} and {high:.1%} with 95% confidence (Wilson). "
        f"{_without_copies({'': report})}"
    )


def _without_copies(reports: Mapping[str, Report]) -> str:
    """Accuracy without the faces that also stand in train, in a sentence; empty where that is not known."""
    known = {name: report for name, report in reports.items() if report.dedup and report.dedup.n < report.n}
    if not known:
        return ""
    first = next(iter(known.values()))
    assert first.dedup is not None
    figures = ", ".join(f"{name} {one.dedup.accuracy:.1%}".strip() for name, one in known.items() if one.dedup)
    return f"Without the {first.n - first.dedup.n:,} faces whose very pixels also stand in train: {figures}."


def label_note(runs: Sequence[Run]) -> None:
    """Say by which labels these runs are judged, where that is not FER2013's own."""
    if any(run.environment().get("data", {}).get("judged_by", "fer") != "fer" for run in runs):
        st.caption("Judged by FER+: the faces on whose emotion more than half of ten taggers agree.")


def class_table(report: Report) -> None:
    """Precision, recall, F1 and faces of each emotion, as bars in a table."""
    rows = [{"emotion": name} | vars(one) for name, one in report.per_class.items()]
    columns = {
        name: st.column_config.ProgressColumn(title, format="percent", min_value=0, max_value=1)
        for name, title in (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"))
    }
    st.markdown("**Each emotion**")
    st.dataframe(rows, hide_index=True, column_config={**columns, "emotion": "Emotion", "support": "Faces"})


def difference_in_words(names: Sequence[str], comparison: Comparison) -> None:
    """What the difference comes to, and whether it is real."""
    first, second = names
    st.markdown(f"**{_in_words(comparison.joint_KKK.tobytes(), (first, second), comparison)}**")


def figures_of_two(reports: Mapping[str, Report], comparison: Comparison) -> None:
    """Headline figures of B with their difference to A, and the intervals."""
    for column, (name, title) in zip(st.columns(len(_HEADLINES)), _HEADLINES.items(), strict=True):
        a, b = (getattr(report, name) for report in (comparison.a, comparison.b))
        _metric(column, name, f"{title}, B", b, b - a, " against A")
    labels = [f"{letter}: {name}" for letter, name in zip("AB", reports, strict=True)]
    named = dict(zip(labels, reports.values(), strict=True))
    accuracies, delta = st.columns([1.25, 1])
    with accuracies:
        draw(charts.accuracy_intervals(named, ink=ink()), key="intervals")
    with delta:
        draw(charts.accuracy_delta(comparison, ink=ink()), key="interval of the difference")
    st.caption(
        f"On the {comparison.a.n:,} faces that both judged, B is right on {comparison.fixed} that A gets wrong, and "
        f"wrong on {comparison.broken} that A gets right (McNemar p = {comparison.mcnemar_p:.2g}). Intervals: 95%, "
        f"faces drawn again 10,000 times. {_without_copies(dict(zip('AB', reports.values(), strict=True)))}"
    )


@st.cache_data(show_spinner=False, max_entries=64)
def _in_words(joint: bytes, names: tuple[str, str], _comparison: Comparison) -> str:
    return verdict(_comparison, *names)


def moved_figures(before: Report, after: Report) -> None:
    """Headline figures of a run whose decision was moved, with what that changed; recall and precision by emotion."""
    for column, (name, title) in zip(st.columns(len(_HEADLINES)), _HEADLINES.items(), strict=True):
        was, now = getattr(before, name), getattr(after, name)
        _metric(column, name, title, now, now - was)
    for column, quantity in zip(st.columns(2), ("recall", "precision"), strict=True):
        with column:
            spec = charts.per_class(
                {"own decision": before, "moved": after}, quantity, ink=ink(), colors=(GREY, RUN_COLORS["B"]),
                row_px=34, title=quantity.capitalize(),
            )  # fmt: skip
            draw(spec, key=f"moved {quantity}")


@st.fragment  # the toggle and a click draw the matrices anew, not the page
def confusion_matrices(
    reports: Mapping[str, Report], where: Mapping[str, str], runs: Sequence[Run], answers: Sequence[SplitPredictions]
) -> None:
    """One run's matrix beside its table, or two matrices on one colour scale; a click on a cell leads to its faces.

    Args:
        where: address parameters with which the Mistakes page shows the faces of a run that stands alone.
        runs, answers: behind the reports; of two, the faces are shown here, by what the other run makes of them.
    """
    st.subheader("Which emotion is taken for which", anchor=False)
    unit = st.segmented_control(
        "Numbers", ["share of row", "faces"], default="share of row", required=True, key="cells", bind="query-params"
    )
    top = charts.top_share(report.confusion_KK for report in reports.values())
    columns, clicks = st.columns(2), dict[str, tuple[str, str] | None]()
    for column, letter, (name, report) in zip(columns, "AB", reports.items(), strict=False):
        with column:
            st.markdown(f"**{letter}: {name}**")
            matrix = report.confusion_KK
            spec = charts.confusion(matrix, report.classes, ink=ink(), as_share=unit != "faces", top_share=top)
            cell = _clicked(spec, f"matrix_{letter}")
            clicks[letter] = cell
            if cell and len(reports) == 1:
                _to_mistakes(cell, where)
    if len(reports) == 1:
        with columns[1]:
            class_table(*reports.values())
    st.caption("Rows are the true emotion, columns what the model said. Click a cell to see its faces.")
    if len(answers) == 2:
        both = both_answers(*answers)
        if chosen := _latest(clicks, both.classes):
            cell_faces(runs[0], answers[0], both, chosen)


def export(
    runs: Sequence[Run], names: Sequence[str], answers: Sequence[SplitPredictions], comparison: Comparison, where: str
) -> None:
    """A menu of files to take along; each is made when it is asked for. Args: names: as the page calls the runs."""
    first, second = names
    name = "-and-".join(run.name for run in runs)
    settings = differing_settings(*runs)
    with st.popover("Export", icon=":material/download:"):
        st.download_button(
            "Report (HTML)", lambda: comparison_html(comparison, (first, second), settings, where),
            f"{name}.html", "text/html", on_click="ignore", icon=":material/description:",
        )  # fmt: skip
        makers = {"faces": partial(faces_csv, *answers), "figures": partial(figures_csv, comparison)}
        for end, make in makers.items():
            st.download_button(
                f"{end.capitalize()} (CSV)", make, f"{name}-{end}.csv", "text/csv", on_click="ignore",
                icon=":material/table:",
            )  # fmt: skip


def forget_clicks() -> None:
    """To be called where the matrices are not drawn: Streamlit then forgets their selections, the address does not."""
    st.session_state.pop(_CLICKS, None)


def settings_that_differ(a: Run, b: Run) -> None:
    """Only the settings that are not the same in both runs."""
    found = differing_settings(a, b)
    if not found:
        st.caption("Both runs have the same settings.")
        return
    rows = [{"setting": name, "A": mine, "B": theirs} for name, (mine, theirs) in found.items()]
    st.markdown("**Settings that differ**")
    st.dataframe(rows, hide_index=True, column_config={"setting": "Setting"})


@st.fragment  # the choice of a quantity draws this part anew, not the page
def differences(reports: Mapping[str, Report], comparison: Comparison) -> None:
    """B's matrix minus A's; beside it recall, precision or F1 of each emotion."""
    left, right = st.columns(2)
    with left:
        st.markdown("**B minus A**, in faces: green is better, red is worse")
        draw(charts.confusion_difference(comparison, comparison.a.classes, ink=ink()), key="difference")
    with right:
        quantity = st.segmented_control(
            "Of each emotion", list(_QUANTITIES), default="recall", required=True, key="quantity", bind="query-params"
        )
        name, meaning = _QUANTITIES[quantity]
        draw(charts.per_class(reports, name, ink=ink(), title=meaning), key="each emotion")


def run_curves(runs: Sequence[Run]) -> None:
    """Accuracy and loss by epoch, with the published figures where the data is FER2013; nothing of ensembles alone."""
    runs = with_curves(runs)
    if not runs:
        return
    histories = {run.name: run.history() for run in runs}
    epochs = max(run.config().epochs or 1 for run in runs)
    accuracy, loss = st.columns(2)
    with accuracy:
        st.markdown("**Accuracy**")
        references = _references(runs)
        draw(charts.curves(histories, "accuracy", epochs, references), key="accuracy_curves")
    with loss:
        st.markdown("**Loss**")
        draw(charts.curves(histories, "loss", epochs), key="loss_curves")
    st.caption("Solid: on public. Dashed: on the training faces, augmented, while the net was learning from them.")


def with_curves(runs: Sequence[Run]) -> list[Run]:
    """Those that were trained; of the others the page says that it is their members which have learned."""
    names = [run.name for run in runs if is_ensemble(run)]
    if names:
        are = "is an ensemble" if len(names) == 1 else "are ensembles"
        st.caption(f":material/info: {' and '.join(names)} {are}, without curves: it is the members that have learned.")
    return [run for run in runs if run.name not in names]


def _references(runs: Sequence[Run]) -> tuple[Reference, ...]:
    """Published figures that may stand beside these runs: all of them judged on FER2013, by the same kind of label."""
    data = [run.environment().get("data", {}) for run in runs]
    kinds = {one.get("judged_by", "fer") for one in data if one.get("is_fer2013")}
    if len(kinds) != 1:
        return ()
    return FER2013_REFERENCES if kinds == {"fer"} else FERPLUS_REFERENCES


def _clicked(spec: Spec, key: str) -> tuple[str, str] | None:
    """Draw a matrix; the true and the predicted emotion of the cell that is selected."""
    cells = draw_to_click(spec, key)
    return (cells[0]["true"], cells[0]["predicted"]) if cells else None


def _to_mistakes(cell: tuple[str, str], where: Mapping[str, str]) -> None:
    true, predicted = cell
    query = {**where, "true": true, "predicted": predicted, "show": "all"}
    if st.button(f"See the {true} faces that were called {predicted}", key="cell_faces", icon=":material/search:"):
        st.switch_page("pages/mistakes.py", query_params=query)


def _latest(clicks: Mapping[str, tuple[str, str] | None], classes: tuple[str, ...]) -> Cell | None:
    """The cell that was clicked last, in either matrix; before any click, the one in the address."""
    before = st.session_state.get(_CLICKS, {})
    new = [(letter, *cell) for letter, cell in clicks.items() if cell and before.get(letter) != cell]
    st.session_state[_CLICKS] = dict(clicks)
    if new:
        remember(new[-1])
    elif any(before.values()) and not any(clicks.values()):
        remember(None)  # the selected cell was clicked away
    return cell_in_address(classes)


def _metric(column: DeltaGenerator, name: str, title: str, value: float, change: float, words: str = "") -> None:
    """A headline figure and its change, green where that is for the better; one that reads as none is grey, or none."""
    text = _form(name, change, "+")
    if not any(digit in text for digit in "123456789"):
        none = f"±{text[1:]}{words}" if words else None
        column.metric(title, _form(name, value), none, delta_color="off", delta_arrow="off")
        return
    color: Literal["inverse", "normal"] = "inverse" if name in ("log_loss", "ece") else "normal"
    column.metric(title, _form(name, value), text + words, delta_color=color)


def _form(name: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}z.3f}" if name in ("log_loss", "ece", "macro_f1") else f"{value:{sign}z.1%}"
