"""The two commands: `make app` starts a server that answers; wrong Pythons get one line."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.browser import serve_command

ROOT = Path(__file__).resolve().parent.parent


def make(*words: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["make", "--no-print-directory", *words], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **env}
    )


def app_command() -> list[str]:
    """What `make app` runs last."""
    return shlex.split(make("-n", "app").stdout.strip().splitlines()[-1])


def test_make_app_starts_a_healthy_server(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_DATA", "sample")
    command = app_command()
    assert command[1:] == ["run", "streamlit_app.py"]
    if not (ROOT / command[0]).exists():
        pytest.skip("no .venv: the tests were not started by `make test`")
    with serve_command(command) as url:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (
            'case "$*" in *version_info*) exit 1;; --version) echo "Python 3.9.2";; esac',
            "Python 3.11 or newer is needed",
        ),
        ('case "$*" in *ensurepip*) exit 1;; esac', "lacks its venv module"),
    ],
    ids=["old Python", "no venv module"],
)
def test_a_python_that_will_not_do_gets_one_line(script, line, tmp_path):
    fake = tmp_path / "python3"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    result = make("app", f"PYTHON={fake}", f"VENV={tmp_path / 'venv'}")
    assert result.returncode != 0
    errors = [text for text in (result.stdout + result.stderr).splitlines() if text.startswith("error:")]
    assert len(errors) == 1
    assert line in errors[0]
    assert not (tmp_path / "venv").exists()
