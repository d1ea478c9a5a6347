"""The labels that are likeliest wrong: of the split that is looked at, or of train, by nets that have not seen them."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core import launcher
from fer_core.config import RunConfig
from fer_core.data import resolve_config
from fer_core.errors import FerError
from fer_core.label_errors import (
    METHODS,
    error_rows,
    errors_csv,
    ferplus_errors,
    fold_plan,
    fold_sets,
    gather_folds,
    precision_at,
    rank_label_errors,
)
from fer_core.label_sides import Share, votes_of
from fer_core.mistakes import answers
from fer_core.runs import Run, list_runs
from ui.faces_and_detail import faces_and_detail
from ui.gallery_faces import faces_in_data
from ui.looked import Looked
from ui.source import current_source
from ui.steps import in_words

_TOP = (100, 500)
_FOLD_EPOCHS = 8


def likely_errors(looked: Looked) -> None:
    """The likeliest label error first, and how often FER+ agrees that it is one."""
    sets = {f"train, by the folds of {name}": runs for name, runs in fold_sets(list_runs()).items()}
    columns = st.columns([1.2, 1.2, 0.8], vertical_alignment="bottom")
    with columns[0]:
        of = st.selectbox("Labels of", [looked.split, *sets], key="labels_of", bind="query-params")
    with columns[1]:
        method = st.segmented_control(
            "Ranked by", list(METHODS), default="confident", required=True, key="ranked_by", bind="query-params",
            help="Confident learning (cleanlab) looks at how sure the net is of each emotion by itself.",
        )  # fmt: skip
    with columns[2]:
        if not sets:
            _offer_folds(looked)
    try:
        _errors(_of_folds(sets[of]) if of in sets else looked, method)
    except FerError as error:
        st.info(str(error), icon=":material/info:")


def _of_folds(runs: list[Run]) -> Looked:
    """The answers of each fold's net on the part of train that it has not seen."""
    gathered = gather_folds(runs)
    return Looked(runs[0], "train", answers(gathered), gathered, faces_in_data(runs[0], gathered))


def _offer_folds(looked: Looked) -> None:
    """A menu that starts the trainings that can judge the labels of train."""
    with st.popover("And of train?", icon=":material/call_split:"):
        st.markdown(
            "A net cannot judge labels that it has learnt. Five nets, each trained without another fifth of train, "
            "can: each answers what it has not seen."
        )
        if looked.store is None:
            return
        config = resolve_config(RunConfig.parse({"recipe": "small", "data": current_source(), "epochs": _FOLD_EPOCHS}))
        faces = len(looked.store.rows("train"))
        seconds = 5 * launcher.estimate_s(config, faces * 4 // 5)
        if st.button(f"Train the five, about {in_words(seconds)}", type="primary", icon=":material/play_arrow:"):
            try:
                launcher.start(fold_plan(config))
            except FerError as error:
                st.error(str(error), icon=":material/error:")
                return
            st.switch_page("pages/train.py")


@st.fragment
def _errors(looked: Looked, method: str) -> None:
    found, seen_N = looked.found, looked.predictions.in_train_N
    fresh = np.arange(len(found.labels_N)) if seen_N is None else np.flatnonzero(~seen_N)
    try:
        ranked = _ranked(looked.run.name, looked.split, found.probabilities_NK[fresh].tobytes(), method, looked, fresh)
    except FerError as error:
        st.info(str(error), icon=":material/info:")
        return
    order = fresh[ranked]
    votes = None if looked.faces is None or looked.faces.store.votes_NV is None else _votes(looked)
    if votes is not None:
        _how_good(looked, order, votes)
    st.download_button(
        "Export as CSV", lambda: errors_csv(error_rows(looked.predictions, method, votes_NV=votes)), "label-errors.csv",
        "text/csv", on_click="ignore", icon=":material/download:",
    )  # fmt: skip
    own = found.probabilities_NK[np.arange(len(found.labels_N)), found.labels_N]
    places = {int(place): rank for rank, place in enumerate(order, 1)}
    faces_and_detail(looked, order, lambda shown: [f"{places[int(at)]}. label {own[at]:.0%}" for at in shown])


@st.cache_data(show_spinner="Ranking the labels", max_entries=16)
def _ranked(name: str, split: str, shares: bytes, method: str, _looked: Looked, _fresh: NDArray) -> NDArray[np.int64]:
    return rank_label_errors(_looked.found.labels_N[_fresh], _looked.found.probabilities_NK[_fresh], method)


def _votes(looked: Looked) -> NDArray[np.uint8]:
    assert looked.faces is not None
    return votes_of(looked.faces.store, looked.faces.rows_N)


def _how_good(looked: Looked, order: NDArray[np.int64], votes_NV: NDArray[np.uint8]) -> None:
    """How many of the first ones FER+ calls wrong as well, beside all of them."""
    wrong_N, known_N = ferplus_errors(looked.predictions, votes_NV)
    *first, every = [one.found for one in precision_at(order, wrong_N, known_N, (*_TOP, len(order)))]
    columns = st.columns(len(_TOP) + 1)
    for column, k, one in zip(columns, _TOP, first, strict=False):
        column.metric(f"FER+ disagrees, first {k}", _share(one), help=f"{one.count} of {one.n} with a known majority.")
    columns[-1].metric("FER+ disagrees, of all", _share(every), help="What drawing at random would find.")


def _share(one: Share) -> str:
    return "–" if one.share is None else f"{one.share:.0%}"
