"""A run's stored answers, read once for all sessions."""

from pathlib import Path

import streamlit as st

from fer_core.predictions import SplitPredictions
from fer_core.runs import Run


def stored_answers(run: Run, split: str) -> SplitPredictions:
    """The run's answers on a split, as it is. Raises: RunError: it has none, or the file is damaged."""
    return _read(str(run.path), run.status().heartbeat, split)


# The heartbeat is in the cache's key: of a run that goes on, the answers change.
@st.cache_resource(show_spinner=False, max_entries=64)
def _read(path: str, heartbeat: float, split: str) -> SplitPredictions:
    return Run(Path(path)).predictions(split)
