"""Fixtures that every test may ask for."""

import os
import sys

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # each of several workers has a core, and torch reads this as it is loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.browser import app_server, browser  # noqa: F401


@pytest.fixture(autouse=True)
def own_places(monkeypatch, tmp_path, tmp_path_factory):
    """No test touches the user's cache, runs, recipes, reviews or plugins, nor finds a shipped run that is not its own.

    The cache is the session's, so that the sample is drawn only once.
    """
    monkeypatch.setenv("FER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("FER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("FER_SHIPPED", str(tmp_path / "shipped"))
    monkeypatch.setenv("FER_RECIPES", str(tmp_path / "recipes"))
    monkeypatch.setenv("FER_REVIEWS", str(tmp_path / "reviews"))
    monkeypatch.setenv("FER_PLUGINS", "")


@pytest.fixture(scope="module")
def one_thread():
    """Threads that wait for one another on a busy machine make tiny steps a hundred times slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_plugins(monkeypatch):
    """A test finds our own models and no plugin, and leaves it so."""
    from fer_core import catalog, plugins
    from fer_core.models import MODELS

    before = dict(MODELS), dict(catalog.MODELS)
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setattr(plugins, "_named", set())
    monkeypatch.setenv("FER_PLUGINS", "")
    yield
    for table, old in zip((MODELS, catalog.MODELS), before, strict=True):
        table.clear()
        table.update(old)
    for name in [name for name in sys.modules if name.startswith("fer_plugin_")]:
        del sys.modules[name]
