"""What is wrong with the data, in numbers that open the faces behind them."""

from typing import Any

import streamlit as st

from fer_core import data_charts
from fer_core.catalog import FLAGS
from fer_core.chart_parts import SELECTION
from fer_core.data import FaceStore, quality
from fer_core.data.agreement import Agreement, ferplus_agreement
from ui.browse import show_in_browser
from ui.source import quality_of
from ui.steps import in_words
from ui.theme import ink

_NEAR_FACES_PER_S = 4000
"""About what one core compares; more faces take a little longer each."""


@st.fragment  # looking for near copies takes a while; the rest of the page stays
def quality_summary(store: FaceStore) -> None:
    """Counts of every flag, the split leaks in words, and FER2013's label against FER+'s majority."""
    st.subheader("What is wrong with it", anchor=False)
    found = quality_of(store)
    searched = "near_copy_of" in found.known_flags
    values, counts = _in_numbers(store.fingerprint, searched, store)
    with st.container(horizontal=True, gap="small"):
        for name, count in counts.items():
            _card(name, count)
    in_train, n = values["rows_in_train"], {split: len(store.rows(split)) for split in ("public", "private")}
    shares = [f"{in_train[split]:,} of {n[split]:,} {split} faces" for split in n if n[split]]
    st.caption(
        f"{values['unique']:,} of {values['n']:,} pictures are different. Pixel for pixel, {' and '.join(shares)} also "
        "stand in train: a model has seen them. Every report gives its accuracy without them too."
    )
    if not searched and st.button(_near_label(store), icon=":material/image_search:"):
        _search(store)
        st.rerun(scope="fragment")
    if store.votes_NV is not None:
        _agreement(store)


@st.cache_resource(show_spinner=False, max_entries=16)
def _in_numbers(fingerprint: str, searched: bool, _store: FaceStore) -> tuple[dict[str, Any], dict[str, int]]:
    """The summary, and how many rows each flag marks; `searched`: near copies are known, and counted."""
    found = quality_of(_store)
    near = quality.cached_near_copies(_store) if searched else None
    return quality.summary(found, near), {name: int(found.flag(name).sum()) for name in found.known_flags}


@st.cache_resource(show_spinner=False, max_entries=16)
def _labels_against_votes(fingerprint: str, _store: FaceStore) -> Agreement:
    return ferplus_agreement(_store)


def _card(name: str, count: int) -> None:
    with st.container(border=True, width=132, gap=None):
        st.metric(FLAGS[name].title.capitalize(), f"{count:,}", help=FLAGS[name].text)
        if st.button("See them", key=f"see_{name}", disabled=not count, type="tertiary"):
            show_in_browser(split="all", flag=name)


def _near_label(store: FaceStore) -> str:
    return f"Look for near copies, about {in_words(len(store.hashes_N) / _NEAR_FACES_PER_S)}"


def _search(store: FaceStore) -> None:
    bar = st.progress(0.0, "Comparing faces")
    quality.near_copies(store, lambda done, total: bar.progress(min(1.0, done / max(1, total)), "Comparing faces"))


def _agreement(store: FaceStore) -> None:
    agreement = _labels_against_votes(store.fingerprint, store)
    if not agreement.n:
        return
    st.markdown("**FER2013's label and FER+'s majority**")
    left, right = st.columns([1.6, 1])
    with left:
        spec = data_charts.label_agreement(agreement.matrix, agreement.rows, agreement.columns, ink=ink())
        event = st.vega_lite_chart(spec, key="label_agreement", on_select="rerun", selection_mode=SELECTION)
    with right:
        st.metric("They agree on", f"{agreement.agree:.1%}", help="Of the faces on which FER+ has a majority.")
        st.caption(
            f"{agreement.n:,} faces have an emotion that more than half of ten taggers chose. "
            "A model that learns FER2013's labels is marked wrong where it sees what most people see."
        )
        cells = event.selection.get(SELECTION) if event else None
        if cells:
            label, majority = cells[0]["true"], cells[0]["predicted"]
            if st.button(f"See the {label} faces that taggers call {majority}", icon=":material/search:"):
                show_in_browser(split="all", emotion=label, ferplus=majority, labels="fer")
