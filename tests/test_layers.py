"""Who may import whom, what stays out of a page's first second, and names that must agree across modules."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from fer_core import catalog

REPO = Path(__file__).resolve().parent.parent

LIGHT = (
    "errors", "settings", "files", "labels", "palette", "registry", "copies", "catalog", "review",
    "augmentations", "recipes", "config_text", "config", "environment",
    "data.drawing", "data.store", "data.folds", "data.sample", "data.group_photo", "data.held_out", "data.pixel_text",
    "data.csv_source",
    "data.image_file", "data.folder_source", "data.archive_source", "data.npz_source", "data.labelling",
    "data.near", "data.known", "data.quality", "data.agreement", "data.ferplus", "data.source", "data.views",
    "data.uploads", "data.export", "data.fetch", "data.download", "data", "balance", "evaluate",
    "bootstrap", "predictions", "calibration", "adjust", "balance_preview",
    "shipped", "runs", "ensemble_file", "run_shelf", "run_adjustment", "ensemble", "run_facts", "run_table",
    "compare", "seeds", "verdict", "cell_groups", "comparison_export", "mistakes", "label_sides", "label_errors",
    "browse", "mosaic", "chart_parts", "charts", "run_charts", "data_charts", "balance_charts", "calibration_charts",
    "label_charts", "map_chart", "worker", "launcher", "feature_file", "face_map", "map_job", "smoothing",
)  # fmt: skip
"""The way that the data takes, as in layout.md; everything here opens without torch and sklearn."""
HEAVY = (
    "one_thread", "affine", "augment", "views", "losses", "models.residual", "models.cnn", "models.efficientnet_lite",
    "models.published", "models.parts", "models.weights", "models.classifier", "models.zoo", "models.cost",
    "models", "plugins", "train.placement", "train.checkpoint", "train.muon", "train.optimizer", "train.schedule",
    "train.mixup", "train.loop", "train.tensorboard", "train", "explain", "run_model", "features", "experiment",
    "pyramid", "mtcnn", "detect", "face_crop", "pipeline", "predict", "prediction_export", "onnx_export", "onnx_int8",
    "console", "cli_parts", "cli_data", "cli_train", "cli_reproduce", "cli_ensemble",
    "cli_map", "cli_predict", "cli_export", "cli", "__main__",
)  # fmt: skip
"""Below the line torch is imported (or, from `console` on, whatever a command needs)."""
ORDER = ("", *LIGHT, *HEAVY)
"""A module imports only what stands before it. The empty name is `fer_core` itself: its version."""

SLOW = (
    "torch",
    "torchvision",
    "sklearn",
    "scipy",
    "pandas",
    "matplotlib",
    "streamlit",
    "onnx",
    "onnxscript",
    "onnxruntime",
)
"""Packages that cost a page part of a second or more."""


def module_name(path: Path) -> str:
    parts = path.relative_to(REPO / "fer_core").with_suffix("").parts
    return ".".join(parts).removesuffix("__init__").rstrip(".")


FILES = {module_name(path): path for path in sorted((REPO / "fer_core").rglob("*.py"))}
OWN = {f"fer_core.{name}" for name in FILES}
PAGES = sorted([REPO / "streamlit_app.py", *(REPO / "pages").rglob("*.py"), *(REPO / "ui").rglob("*.py")])


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, inside_functions: bool = True) -> set[str]:
    """Dotted names that a file imports: `from a import b` gives `a.b`, and `a` too unless b is a module of ours.

    Imports for type checkers do not count.
    """
    found = set()
    nodes = [*tree(path).body]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if names <= OWN else names | {node.module}
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            nodes += node.orelse
        elif inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            nodes += ast.iter_child_nodes(node)
    return found


def own_imports(path: Path, inside_functions: bool = True) -> set[str]:
    """Modules of `fer_core` that a file imports, without the package's name."""
    names = imports(path, inside_functions)
    inside = {name.removeprefix("fer_core").lstrip(".") for name in names if name.split(".")[0] == "fer_core"}
    return {name for name in inside if name in FILES}


def packages(path: Path, inside_functions: bool = True) -> set[str]:
    return {name.split(".")[0] for name in imports(path, inside_functions)}


def test_every_module_has_its_place_in_the_order():
    assert set(FILES) - set(ORDER) == set()


@pytest.mark.parametrize("name", FILES)
def test_a_module_imports_only_what_stands_above_it(name):
    allowed = set(ORDER[: ORDER.index(name)])
    assert own_imports(FILES[name]) - allowed == set()


def test_imports_have_no_cycles():
    rest = {name: own_imports(path, inside_functions=False) - {name} for name, path in FILES.items()}
    while rest:
        free = {name for name, needed in rest.items() if not needed & rest.keys()}
        assert free, f"these import each other: {sorted(rest)}"
        rest = {name: needed for name, needed in rest.items() if name not in free}


@pytest.mark.parametrize("name", FILES)
def test_fer_core_never_imports_streamlit_or_what_is_drawn_with_it(name):
    assert packages(FILES[name]) & {"streamlit", "ui", "pages", "tests", "benchmarks"} == set()


@pytest.mark.parametrize("name", [name for name in LIGHT if name in FILES])
def test_what_stands_above_the_line_names_no_slow_package_at_module_level(name):
    assert packages(FILES[name], inside_functions=False) & set(SLOW) == set()


@pytest.mark.parametrize("name", ["launcher", "runs"])
def test_training_is_reached_by_a_process_not_by_import(name):
    assert own_imports(FILES[name]) & {"experiment", "cli", "augment", "losses"} == set()
    assert not any(module.split(".")[0] in ("train", "models") for module in own_imports(FILES[name]))
    assert packages(FILES[name]) & {"torch", "torchvision"} == set()


def loaded_by(modules: list[str]) -> list[str]:
    """Which slow packages are loaded after importing these modules in a fresh process."""
    lines = [f"import {module}" for module in modules]
    lines += ["import sys", f"print(*sorted(set({SLOW!r}) & sys.modules.keys()))"]
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def test_what_stands_above_the_line_loads_nothing_slow():
    assert loaded_by([f"fer_core.{name}" for name in LIGHT if name in FILES]) == []


def test_the_command_line_loads_nothing_slow_before_it_trains():
    assert loaded_by(["fer_core.cli"]) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPO)))
def test_a_page_computes_nothing_and_opens_fast(path):
    assert packages(path) & {"sklearn", "scipy", "torchvision"} == set()
    assert packages(path, inside_functions=False) & {"torch"} == set()
    heavy = {name for name in own_imports(path, inside_functions=False) if name in HEAVY}
    assert heavy == set()
    assert own_imports(path) & {"experiment", "train.loop", "cli", "console", "__main__"} == set()


METRICS = ("confusion_matrix", "softmax", "log_loss", "wilson_interval", "expected_calibration_error", "mcnemar_exact")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPO)))
def test_a_page_gets_its_figures_from_reports(path):
    """`evaluate` and `compare` hand out whole reports; the formulas behind them are not a page's to call."""
    assert {name.rpartition(".")[2] for name in imports(path)} & set(METRICS) == set()


def test_vega_lite_charts_are_drawn_in_one_way():
    files = [*(REPO / "ui").glob("*.py"), *(REPO / "pages").glob("*.py")]
    assert [path.name for path in files if "vega_lite_chart" in path.read_text(encoding="utf-8")] == ["chart.py"]


def test_registries_hold_the_catalogs_names():
    from fer_core.augment import GEOMETRIC, PHOTOMETRIC
    from fer_core.balance import STRATEGIES
    from fer_core.models import MODELS

    assert set(MODELS) == set(catalog.MODELS)
    assert set(STRATEGIES) == set(catalog.BALANCING)
    assert set(GEOMETRIC) | set(PHOTOMETRIC) == set(catalog.AUGMENT_OPERATIONS)
    assert set(GEOMETRIC) & set(PHOTOMETRIC) == set()
    assert set(catalog.DEFAULT_LEARNING_RATES) == set(catalog.OPTIMIZERS)


def test_a_name_is_registered_once():
    from fer_core.registry import registrar

    table = {}
    register = registrar(table)
    assert register("a")(len) is len
    with pytest.raises(AssertionError, match="'a' is registered twice"):
        register("a")(max)
    assert table == {"a": len}


def test_nothing_is_called_utils():
    skipped = {".venv", ".git"}
    paths = [path for path in REPO.rglob("*util*.py") if not skipped & set(path.relative_to(REPO).parts)]
    assert paths == []


CATCH_ALL = {
    ("fer_core/files.py", "write_atomic"),
    ("fer_core/experiment.py", "_train_locked"),
}
"""Handlers that clean up or write down what happened, whatever it was, and raise it again."""
RAISED_LATER = {
    ("fer_core/cli_train.py", "train_runs"),  # once every run of the queue has had its turn; `test_launcher` holds that
    ("fer_core/plugins.py", "_blamed_on"),  # as one line that says where in the user's own file
}
"""Handlers that raise what they caught later, or in other words."""


def catch_alls(path: Path) -> list[tuple[str, bool]]:
    """Function and whether it raises again, for each handler of `Exception`, `BaseException` or everything."""
    found = []
    for function in ast.walk(tree(path)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for handler in ast.walk(function):
            if not isinstance(handler, ast.ExceptHandler):
                continue
            names = (
                {"everything"}
                if handler.type is None
                else {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)}
            )
            if names & {"everything", "Exception", "BaseException"}:
                last = handler.body[-1]
                found.append((function.name, isinstance(last, ast.Raise) and last.exc is None))
    return found


@pytest.mark.parametrize("path", [*FILES.values(), *PAGES], ids=lambda path: str(path.relative_to(REPO)))
def test_nothing_is_caught_that_was_not_expected(path):
    for function, raises_again in catch_alls(path):
        place = (path.relative_to(REPO).as_posix(), function)
        assert place in RAISED_LATER or (place in CATCH_ALL and raises_again)
