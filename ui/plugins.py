"""Nets of a user's own in the app: files named when it starts, and only then."""

import os
import re
import sys
from itertools import pairwise
from pathlib import Path

import streamlit as st

from fer_core.errors import FerError

_MARKS = re.compile(r"([\\`*_~\[\]<>$:#])")
"""What Markdown takes for more than itself: without a backslash, `__init__.py` loses its lines."""


def use_plugins() -> None:
    """Make the nets known that $FER_PLUGINS or `streamlit run streamlit_app.py -- --plugin FILE` names.

    A file that has not changed is not run again; one that fails is said on the page.
    """
    from fer_core.plugins import allowed_plugins, load_plugin  # torch comes with the first file, not before

    _take_arguments([str(path) for path in allowed_plugins()])
    for path in allowed_plugins():
        try:
            load_plugin(path)
        except FerError as error:
            st.error(_MARKS.sub(r"\\\1", str(error)), icon=":material/extension_off:")


def _take_arguments(known: list[str]) -> None:
    """Put --plugin into the environment, where the processes that train find it too."""
    words = sys.argv[1:]
    named = [str(Path(file).resolve()) for flag, file in pairwise(words) if flag == "--plugin"]
    new = [path for path in named if path not in known]
    if new:
        os.environ["FER_PLUGINS"] = os.pathsep.join([*known, *new])
