"""What is wrong with the data, in numbers that open the faces behind them."""

from typing import Any

import streamlit as st

from fer_core import data_charts
from fer_core.catalog import FLAGS
from fer_core.data import FaceStore, quality
from fer_core.data.agreement import Agreement, ferplus_agreement
from ui.browse import offer_near_copies, show_in_browser
from ui.chart import draw_to_click
from ui.source import key_of, quality_of
from ui.theme import ink

_LEAK_SPLITS = ("public", "private")


@st.fragment  # looking for near copies takes a while; the rest of the page stays
def quality_summary(store: FaceStore) -> None:
    """Counts of every flag, the split leaks in words, and FER2013's label against FER+'s majority."""
    st.subheader("What is wrong with it", anchor=False)
    searched = "near_copy_of" in quality_of(store).known_flags
    values, counts = _in_numbers(key_of(store), searched, store)
    _cards(counts)
    st.caption(f"{values['unique']:,} of {values['n']:,} pictures are different. {_leaks(store, values)}")
    if not searched:
        offer_near_copies(store, key="near_in_summary")
    if store.votes_NV is not None:
        _agreement(store)


def _leaks(store: FaceStore, values: dict[str, Any]) -> str:
    """What stands in train as well, in a sentence."""
    sizes = {split: len(store.rows(split)) for split in _LEAK_SPLITS}
    leaked = values["rows_in_train"]
    if not any(leaked.values()):
        return "None of the public and private faces stands in train as well."
    shares = [f"{leaked[split]:,} of {n:,} {split} faces" for split, n in sizes.items() if n]
    return (
        f"Pixel for pixel, {' and '.join(shares)} also stand in train: a model has seen them. "
        "Every report gives its accuracy without them too."
    )


@st.cache_resource(show_spinner=False, max_entries=16)
def _in_numbers(key: str, searched: bool, _store: FaceStore) -> tuple[dict[str, Any], dict[str, int]]:
    """The summary, and how many rows each flag marks; `searched`: near copies are known, and counted."""
    found = quality_of(_store)
    near = quality.cached_near_copies(_store) if searched else None
    return quality.summary(found, near), {name: int(found.flag(name).sum()) for name in found.known_flags}


@st.cache_resource(show_spinner=False, max_entries=16)
def _labels_against_votes(key: str, _store: FaceStore) -> Agreement:
    return ferplus_agreement(_store)


def _cards(counts: dict[str, int]) -> None:
    """A card a flag, in rows of three or four: titles stay whole, in a narrow window too."""
    per_row = 4 if len(counts) % 4 == 0 else 3
    names = list(counts)
    for start in range(0, len(names), per_row):
        for column, name in zip(st.columns(per_row, gap="small"), names[start : start + per_row], strict=False):
            with column.container(border=True, gap=None):
                st.metric(FLAGS[name].title.capitalize(), f"{counts[name]:,}", help=FLAGS[name].text)
                if st.button("See them", key=f"see_{name}", disabled=not counts[name], type="tertiary"):
                    show_in_browser(split="all", flag=name, labels="fer")  # counts are of the whole source


def _agreement(store: FaceStore) -> None:
    agreement = _labels_against_votes(key_of(store), store)
    if not agreement.n:
        return
    st.markdown("**FER2013's label and FER+'s majority**")
    left, right = st.columns([1.6, 1])
    with left:
        spec = data_charts.label_agreement(agreement.matrix, agreement.rows, agreement.columns, ink=ink())
        cells = draw_to_click(spec, key="label_agreement")
    with right:
        st.metric("They agree on", f"{agreement.agree:.1%}", help="Of the faces on which FER+ has a majority.")
        st.caption(
            f"{agreement.n:,} faces have an emotion that more than half of ten taggers chose. "
            "A model that learns FER2013's labels is marked wrong where it sees what most people see."
        )
        if cells:
            label, majority = cells[0]["true"], cells[0]["predicted"]
            if st.button(f"See the {label} faces that taggers call {majority}", icon=":material/search:"):
                show_in_browser(split="all", emotion=label, ferplus=majority, labels="fer")
