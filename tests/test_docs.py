"""The README and the CHANGELOG say what is true: every command, page, file and run file is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_core import __version__
from fer_core.cli import Cli, Data
from fer_core.config import RunConfig
from fer_core.config_text import flag

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = README.split("## Layout")[1].split("## The pages")[0]


@pytest.mark.parametrize("command", [name for name in Cli.model_fields if name != "data"] + list(Data.model_fields))
def test_every_command_stands_in_the_readme(command):
    assert re.search(rf"python -m fer_core (data )?{command}\b", README)


@pytest.mark.parametrize("page", sorted((ROOT / "pages").glob("*.py")), ids=lambda path: path.stem)
def test_every_page_has_its_paragraph(page):
    assert f"**{page.stem.capitalize()}**" in README


@pytest.mark.parametrize("folder", ["pages", "ui", "fer_core"])
def test_every_module_stands_in_the_tree(folder):
    names = [path.name for path in (ROOT / folder).rglob("*.py") if not path.name.startswith("__")]
    assert [name for name in names if name not in TREE] == []


def test_every_picture_is_there():
    assert [name for name in re.findall(r"\]\((docs/[^)]+\.png)\)", README) if not (ROOT / name).is_file()] == []


def test_the_changelog_knows_this_version():
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_help_names_every_setting():
    environment = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-m", "fer_core", "train", "--help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment).stdout
    assert [name for name in RunConfig.model_fields if flag(name) not in text] == []
    assert all(info.description for info in RunConfig.model_fields.values())


def test_the_example_of_a_net_of_ones_own_trains_and_two_lines_restore_it(tmp_path):
    from tests.toy import toy_csv

    plugin, restored = (block.split("```")[0] for block in README.split("```py\n")[1:3])
    assert len(restored.strip().splitlines()) == 2
    (tmp_path / "my_models.py").write_text(plugin)
    source = toy_csv(tmp_path / "fer2013.csv", train=3, public=2, private=2)
    environment = {**os.environ, "FER_RUNS": str(tmp_path / "runs"), "OMP_NUM_THREADS": "1"}
    words = ["--plugin", "my_models.py", "--model", "my-net", "--epochs", "1", "--batch-size", "16", "--name", "cnn6"]
    subprocess.run(
        [sys.executable, "-m", "fer_core", "train", *words, "--data", str(source)],
        cwd=tmp_path, check=True, env={**environment, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    lines = (
        "import torch", "from fer_core.models import create_model", "from fer_core.plugins import load_plugin",
        "load_plugin('my_models.py')", restored, "print(model(torch.rand(2, 1, 48, 48)).shape)",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=tmp_path, capture_output=True, text=True, check=True, env={**environment, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "torch.Size([2, 7])\n"


def test_the_example_that_predicts_runs(tmp_path, monkeypatch):
    from PIL import Image

    from tests.scenes import SHIPPED, drawn_faces, scene

    monkeypatch.setenv("FER_SHIPPED", SHIPPED)
    Image.fromarray(scene(2)[0]).save(tmp_path / "photo.jpg")
    np.save(tmp_path / "faces.npy", drawn_faces())
    example = README.split("```python")[2].split("```")[0]
    before, after = "import numpy as np; faces_NHW = np.load('faces.npy')\n", "print(probabilities_NK.shape)\n"
    done = subprocess.run(
        [sys.executable, "-c", before + example + after], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and "degrees" in lines[0] and lines[-1] == "(6, 7)"


def test_the_python_example_runs(tmp_path, monkeypatch):
    from tests.toy import toy_csv

    example = README.split("```python")[1].split("```")[0]
    assert len([line for line in example.splitlines() if line and not line.startswith("from")]) <= 10
    source = toy_csv(tmp_path / "fer2013.csv")
    example = example.replace('"sample"', f'"{source}", epochs=1, batch_size=32')
    result = subprocess.run(
        [sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "FER_RUNS": str(tmp_path / "runs"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "'accuracy_delta'" in result.stdout
