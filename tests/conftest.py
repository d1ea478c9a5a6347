"""Fixtures that every test may ask for."""

import pytest

from tests.browser import app_server, browser  # noqa: F401


@pytest.fixture(autouse=True)
def own_places(monkeypatch, tmp_path, tmp_path_factory):
    """No test touches the user's cache or runs. The cache is the session's, so that the sample is drawn only once."""
    monkeypatch.setenv("FER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("FER_RUNS", str(tmp_path / "runs"))
