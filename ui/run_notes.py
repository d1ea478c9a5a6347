"""What a person does to runs: tag them, note something, delete them to the bin and take them back."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st

from fer_core import launcher
from fer_core.errors import FerError
from fer_core.run_facts import Facts
from fer_core.run_shelf import (
    MOST_NOTE,
    Binned,
    Notes,
    add_tag,
    bin_run,
    binned_runs,
    empty_bin,
    restore,
    write_notes,
)
from ui.run_list import choose

_DELETED = "runs_deleted"


def note_editor(one: Facts, tags: Sequence[str]) -> None:
    """Tags and note of one run; both are kept as soon as the box is left.

    Args: tags: those of all runs, offered.
    """
    keys = {"tags": f"tags:{one.name}", "note": f"note:{one.name}"}
    keep = partial(_told, _keep, one, keys)
    left, right = st.columns([1, 2])
    with left:
        offered = list(dict.fromkeys([*one.notes.tags, *tags]))
        st.multiselect(
            "Tags", offered, list(one.notes.tags), accept_new_options=True, key=keys["tags"], on_change=keep,
            placeholder="Choose one, or type a new one",
        )  # fmt: skip
    with right:
        st.text_area(
            "Note", one.notes.note, max_chars=MOST_NOTE, height=110, key=keys["note"], on_change=keep,
            placeholder="What was tried, what was learned. Kept when you leave the box.",
        )  # fmt: skip


def tag_all(chosen: Sequence[Facts], tags: Sequence[str]) -> None:
    """A box and a button that put one tag on all chosen runs."""
    tag = st.selectbox(
        "Tag", tags, None, accept_new_options=True, key="tag_for_all", placeholder="Tag, old or new",
        label_visibility="collapsed", width=220,
    )  # fmt: skip
    label = f"Tag all {len(chosen)}"
    st.button(label, icon=":material/label:", disabled=not tag, on_click=_told, args=(_tag, chosen, tag))


def delete_button(chosen: Sequence[Facts]) -> None:
    """Move the chosen runs of the user's to the bin; what cannot be moved stays, and is said. Without any it is off."""
    label = "Delete" if len(chosen) < 2 else f"Delete {len(chosen)}"
    help_text = "Moves to the bin, from where you can take it back." if chosen else "It comes with the explorer."
    st.button(
        label, icon=":material/delete:", help=help_text, disabled=not chosen, on_click=_told, args=(_delete, chosen),
    )  # fmt: skip


def undo_bar() -> None:
    """After a deletion: what went to the bin, and a button that takes it back. Gone when the bin no longer has it."""
    there = set(binned_runs())
    deleted = [one for one in st.session_state.get(_DELETED, []) if one in there]
    if not deleted:
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="undo_bar"):
        st.markdown(f":material/delete: {_in_the_bin(deleted)}", width="content")
        st.button("Undo", icon=":material/undo:", on_click=_told, args=(_restore, deleted))
        st.button("", icon=":material/close:", type="tertiary", help="Close", key="close_undo", on_click=_forget)


def bin_menu() -> None:
    """All that is in the bin, to take back or to delete for good; nothing where it is empty."""
    binned = binned_runs()
    if not binned:
        return
    with st.popover(f"Bin ({len(binned)})", icon=":material/delete:"):
        for one in binned[:20]:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"`{one.name}`")
                key = f"restore:{one.path.name}"
                st.button("Restore", icon=":material/undo:", key=key, on_click=_told, args=(_restore, [one]))
        if len(binned) > 20:
            st.caption(f"and {len(binned) - 20} that were deleted earlier")
        sure = st.checkbox("I want to delete these for good", key="sure_to_empty")
        st.button("Empty the bin", icon=":material/delete_forever:", disabled=not sure, on_click=_told, args=(_empty,))


def _told(action: Callable[..., None], *args: Any) -> None:
    """Do it, and say what went wrong."""
    try:
        action(*args)
    except FerError as error:
        st.toast(str(error), icon=":material/error:")


def _keep(one: Facts, keys: dict[str, str]) -> None:
    tags, note = st.session_state[keys["tags"]], st.session_state[keys["note"]]
    try:
        write_notes(one.run, Notes(tuple(tags), note))
    except FerError:
        st.session_state[keys["tags"]] = list(one.notes.tags)  # the note stays: it is too long to be typed again
        raise


def _tag(chosen: Sequence[Facts], tag: str) -> None:
    for one in chosen:
        add_tag(one.run, tag)
    st.session_state["tag_for_all"] = None


def _delete(chosen: Sequence[Facts]) -> None:
    deleted, kept = [], []
    for one in chosen:
        try:
            deleted.append(bin_run(one.run, launcher.current_status(one.run).state))
        except FerError as error:
            kept.append(one.name)
            st.toast(str(error), icon=":material/error:")
    if deleted:
        st.session_state[_DELETED] = deleted
    choose(*kept)


def _restore(binned: Sequence[Binned]) -> None:
    back = []
    for one in binned:
        try:
            back.append(restore(one).name)
        except FerError as error:
            st.toast(str(error), icon=":material/error:")
    choose(*back)


def _empty() -> None:
    empty_bin()
    st.session_state["sure_to_empty"] = False


def _forget() -> None:
    st.session_state.pop(_DELETED, None)


def _in_the_bin(deleted: Sequence[Binned]) -> str:
    if len(deleted) == 1:
        return f"**{deleted[0].name}** is in the bin."
    few = ", ".join(one.name for one in deleted[:3]) + (", ..." if len(deleted) > 3 else "")
    return f"**{len(deleted)} runs** are in the bin: {few}."
