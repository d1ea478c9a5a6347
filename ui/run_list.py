"""The table of all runs: read anew only where a file changed, filtered, and chosen from by a click or an address."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from fer_core import launcher
from fer_core.catalog import VIEWS
from fer_core.errors import RunError
from fer_core.run_charts import many_curves
from fer_core.run_facts import Facts, Stamp, accuracy_by_view, read_facts, run_stamps
from fer_core.run_table import PUBLISHED, Published, matching, table_rows
from fer_core.runs import ACTIVE, Run
from ui.chart import draw
from ui.report import run_curves, with_curves

_SHOWN = "runs_shown"
_DRAWING = "runs_drawing"
_CHOSEN = "chosen"
_ROW_PX, _MOST_ROWS = 35, 12
_MOST_COLOURS = 6

_PERCENT = {
    "public_accuracy": ("Public", "Accuracy on public, of the epoch that was kept. Choose between runs by this one."),
    "private_accuracy": ("Private", "Accuracy on private, judged once, at the end of the training."),
    "without_copies": ("Without copies", "Private accuracy without the faces whose very pixels also stand in train."),
    "balanced_accuracy": ("Macro-recall", "Mean recall over the emotions (balanced accuracy), on private."),
}
_NUMBERS = {
    "public_macro_f1": ("Public macro-F1", "%.3f", "Each emotion counts the same."),
    "private_macro_f1": ("Private macro-F1", "%.3f", "Each emotion counts the same."),
    "log_loss": ("Log loss", "%.3f", "On private, in nats."),
    "ece": ("ECE", "%.3f", "Expected calibration error, on private."),
    "n": ("Faces", "%d", "Private faces that it was judged on."),
    "wall_min": ("Minutes", "%.1f", "Time that the training took."),
    "images_per_s": ("Faces/s", "%.0f", "Training faces a second, median over the epochs."),
    "parameters": ("M parameters", "%.1f", "Millions of parameters."),
}
_TEXTS = {
    "state": "State",
    "recipe": st.column_config.TextColumn(
        "Recipe", help="The recipe, or without one the net; of an ensemble, of how many."
    ),
    "differs": st.column_config.TextColumn(
        "What differs", width=240, help="Settings that are not the same in all runs listed here, nor the recipe's."
    ),
    "tags": st.column_config.ListColumn("Tags", width=130),
    "note": st.column_config.TextColumn("Note", width="medium"),
    "judged_on": st.column_config.TextColumn("Judged on", help="Compare figures only where this is the same."),
    "epochs": "Epochs",
    "created": st.column_config.DatetimeColumn("Started", format="YYYY-MM-DD HH:mm"),
}
_VIEWS = {
    name: st.column_config.NumberColumn(f"Private, {name}", format="%.1f%%", help=f"Private accuracy. {entry.text}")
    for name, entry in VIEWS.items()
    if name != "none"
}
OVERVIEW = (
    "name", "state", "public_accuracy", "private_accuracy", "judged_on", "recipe", "differs", "tags", "note",
    "public_macro_f1", "private_macro_f1", "without_copies", "epochs", "wall_min", "images_per_s", "parameters",
    "created",
)  # fmt: skip
FIGURES = (
    "name", "public_accuracy", "public_macro_f1", "private_accuracy", "private_macro_f1", "without_copies",
    *_VIEWS, "balanced_accuracy", "log_loss", "ece", "n", "judged_on",
)  # fmt: skip
_ALWAYS = {"name", "recipe", "public_accuracy", "private_accuracy", "state"}


def all_facts() -> tuple[list[Facts], list[str]]:
    """Every run that can be read, with the state that it is in now; and of each other one, what is wrong with it."""
    facts, damaged = [], []
    stamps = run_stamps()
    for gone in _kept().copy().keys() - stamps.keys():  # of a copy: other sessions write into it meanwhile
        _kept().pop(gone, None)
    for run, stamp in stamps.items():
        try:
            facts.append(_now(_facts(run, stamp)))
        except RunError as error:
            damaged.append(str(error))
    return facts, damaged


def choose(*names: str) -> None:
    """Make these the chosen runs, in the address too."""
    st.session_state[_CHOSEN] = list(names)
    if names:
        st.query_params[_CHOSEN] = ",".join(names)
    else:
        st.query_params.pop(_CHOSEN, None)


def chosen_among(facts: Sequence[Facts]) -> list[Facts]:
    """The chosen runs that are there, in the order of `facts`: from the address, else as they were last chosen."""
    if _CHOSEN in st.query_params:
        names = st.query_params[_CHOSEN].split(",")
    else:
        names = st.session_state.get(_CHOSEN, [])
    found = [one for one in facts if one.name in names]
    choose(*(one.name for one in found))
    return found


def filters(facts: Sequence[Facts]) -> list[Facts]:
    """The boxes to filter by, and the runs that they leave."""
    tags = sorted({tag for one in facts for tag in one.notes.tags}, key=str.casefold)
    text = st.text_input(
        "Filter", key="filter", bind="query-params", placeholder="Filter: a name, a setting, a state, a word of a note",
        icon=":material/filter_alt:", label_visibility="collapsed", width=420,
    )  # fmt: skip
    if st.session_state.get("tagged") and not set(st.session_state["tagged"]) <= set(tags):
        st.session_state["tagged"] = [tag for tag in st.session_state["tagged"] if tag in tags]  # the last one went
    wanted = (
        st.pills("Tags", tags, selection_mode="multi", key="tagged", bind="query-params", label_visibility="collapsed")
        if tags
        else []
    )
    return matching(facts, text or "", wanted or ())


def table(facts: Sequence[Facts], others: Sequence[Published], chosen: Sequence[Facts]) -> None:
    """The table to choose from; a click on a run's box chooses it, and one on a published row does nothing."""
    rows = _drawn(table_rows(facts, others))
    names = [one.name for one in facts]
    st.session_state[_SHOWN] = names
    picked = {one.name for one in chosen}
    # Positions mean other runs after a filter or a deletion, so they are said again each time.
    places = [place for place, name in enumerate(names) if name in picked]
    st.session_state[_table_key()] = {"selection": {"rows": places}}
    st.dataframe(
        rows,
        key=_table_key(),
        on_select=_take_choice,
        selection_mode="multi-row",
        hide_index=True,
        height=min(len(rows) + 1, _MOST_ROWS + 1) * _ROW_PX + 3,
        column_order=_columns(rows, OVERVIEW),
        column_config=_config(),
        placeholder="",
    )
    hidden = [one.name for one in chosen if one.name not in names]
    if hidden:
        st.caption(f":material/filter_alt_off: Chosen too, but not in the table: {', '.join(hidden)}.")


def figures(facts: Sequence[Facts], others: Sequence[Published]) -> None:
    """Every figure of the chosen runs, with the published ones below."""
    rows = _drawn(table_rows(facts, others))
    stamps = run_stamps()
    by_view = [_by_view(one.run, stamps.get(one.run, ())) for one in facts]
    for row, found in zip(rows, by_view + [{}] * len(others), strict=True):
        row |= {view: 100 * found[view] if view in found else None for view in _VIEWS}
    st.dataframe(
        rows,
        key="figures",
        hide_index=True,
        height=(len(rows) + 1) * _ROW_PX + 3,
        column_order=_columns(rows, FIGURES),
        column_config=_config() | _VIEWS,
        placeholder="",
    )


def curves(runs: Sequence[Run]) -> None:
    """Accuracy and loss by epoch of all these runs; of more than there are colours, the one pointed at stands out."""
    trained = [run for run in with_curves(runs) if run.history()]
    if len(trained) <= _MOST_COLOURS:
        if trained:
            run_curves(trained)
        return
    histories = {run.name: run.history() for run in trained}
    epochs = max(records[-1].epoch for records in histories.values())
    for column, quantity in zip(st.columns(2), ("accuracy", "loss"), strict=True):
        with column:
            st.markdown(f"**{quantity.capitalize()}** on public")
            draw(many_curves(histories, quantity, epochs), key=f"many_{quantity}")
    st.caption("Point at a curve to see whose it is.")


# One dictionary, because a hundred calls of a cached function cost as much as all the rest of the page.
@st.cache_resource(show_spinner=False)
def _kept() -> dict[Run, tuple[Stamp, Facts]]:
    return {}


def _facts(run: Run, stamp: Stamp) -> Facts:
    """What the run's files say; read again once one of them has changed. Raises: RunError: it cannot be read."""
    known = _kept().get(run)
    if known is None or known[0] != stamp:
        known = _kept()[run] = stamp, read_facts(run)
    return known[1]


@st.cache_data(show_spinner=False, max_entries=200, hash_funcs={Run: lambda run: str(run.path)})
def _by_view(run: Run, stamp: Stamp) -> dict[str, float]:
    try:
        return accuracy_by_view(run)
    except RunError:  # its row says already what is damaged
        return {}


def _now(facts: Facts) -> Facts:
    if facts.status.state not in ACTIVE:
        return facts
    return replace(facts, status=launcher.current_status(facts.run))


def _table_key() -> str:
    return f"runs_table_{st.session_state.get(_DRAWING, 0)}"


def _take_choice() -> None:
    shown = st.session_state[_SHOWN]
    places = st.session_state[_table_key()].selection.rows
    hidden = [name for name in st.session_state.get(_CHOSEN, []) if name not in shown]  # chosen before it was filtered
    choose(*hidden, *(shown[place] for place in places if place < len(shown)))
    if any(place >= len(shown) for place in places):  # a published row: only a new table gives up its tick
        st.session_state[_DRAWING] = st.session_state.get(_DRAWING, 0) + 1


def _drawn(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Shares in percent, and the mark that published figures have in the charts too."""
    for row in rows:
        row |= {name: None if row[name] is None else 100 * row[name] for name in _PERCENT}
        if row["state"] == PUBLISHED:
            row["name"] = f"◇ {row['name']}"
    return rows


def _columns(rows: Sequence[dict[str, object]], order: Sequence[str]) -> list[str]:
    """Columns in which some row has something to say; what all were judged on is said beside the table."""
    kinds = {row["judged_on"] for row in rows if row["judged_on"]}
    silent = {"judged_on"} if len(kinds) < 2 else set()
    return [
        name
        for name in order
        if name in _ALWAYS or (name not in silent and any(row[name] not in (None, "", []) for row in rows))
    ]


def _config() -> dict[str, Any]:
    percent = {
        name: st.column_config.NumberColumn(title, format="%.1f%%", help=text)
        for name, (title, text) in _PERCENT.items()
    }
    numbers = {
        name: st.column_config.NumberColumn(title, format=form, help=text)
        for name, (title, form, text) in _NUMBERS.items()
    }
    name = st.column_config.TextColumn("Run", pinned=True, width="medium")
    return {"name": name, **percent, **numbers, **_TEXTS}
