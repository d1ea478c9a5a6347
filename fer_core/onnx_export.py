"""A run's whole pipeline as one ONNX file: pixels in, probabilities out, and onnxruntime has to give the net's answers.

Shapes: N faces, H x W pixels, K classes.
"""

import copy
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fer_core.environment import describe_environment
from fer_core.errors import FerError, RunError
from fer_core.face_crop import SIDE
from fer_core.pipeline import Pipeline
from fer_core.run_adjustment import decision_words
from fer_core.runs import Run
from fer_core.views import BATCH

INPUT, OUTPUT = "faces", "probabilities"
PACKAGES = {"onnx": "onnx>=1.18,<2", "onnxscript": "onnxscript>=0.4,<1", "onnxruntime": "onnxruntime>=1.22,<2"}
"""What an export needs; imported inside functions, for together they take half a second."""
TOLERANCE = 1e-4
"""By how much a probability of the file may differ from the net's own."""
LIMITS = (
    "Says which expression a cropped, upright, grey face shows, not what anybody feels. Not for decisions about people."
)

OnProgress = Callable[[int, int], object]
"""Called with how many faces are done, and how many there are."""

_UNTRACEABLE = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)
"""What torch's exporter, or a net's own Python, raises where it cannot be followed."""


@dataclass(frozen=True)
class Check:
    """An ONNX file's answers beside the net's own, on the same faces."""

    faces: int
    worst: float
    """The largest difference of a probability."""
    same_top: float
    """Share of the faces with the same top emotion, 0..1."""
    passed: bool
    """No probability differs by more than `TOLERANCE`, and no top emotion but where the two likeliest lie closer."""


def require_packages() -> None:
    """Raises: FerError: one of `PACKAGES` is missing; the line has the command that installs it."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        wanted = " ".join(f'"{PACKAGES[name]}"' for name in missing)
        raise FerError(f"an export to ONNX needs {' and '.join(missing)}, which is missing: pip install {wanted}")


def face_size(run: Run) -> tuple[int, int]:
    """Height and width of the faces that the run was trained on; FER2013's where the run does not record them."""
    height, width = run.environment().get("data", {}).get("image_size") or (SIDE, SIDE)
    return int(height), int(width)


def to_onnx(pipeline: Pipeline, size: tuple[int, int]) -> bytes:
    """The pipeline as an ONNX file's bytes: `faces` uint8 (N, H, W) in, `probabilities` float32 (N, K) out.

    N is open, and may be 0. What the exporter notes beside each node, pieces of code and this machine's paths, is left
    out.

    Args: size: H and W, which are fixed.
    Raises: FerError: a package is missing. RunError: the net cannot be exported.
    """
    require_packages()
    # Traced with its memory in the usual order: to flatten channels-last features takes a thicket of index arithmetic.
    plain = copy.deepcopy(pipeline).to(memory_format=torch.contiguous_format)
    faces = torch.zeros(2, *size, dtype=torch.uint8)
    with refused("cannot be exported to ONNX"), _quiet():
        # Not by `torch.onnx.export` alone: where N cannot be kept open, it closes it without a word.
        traced = torch.export.export(plain, (faces,), dynamic_shapes=({0: torch.export.Dim("N")},), strict=False)
        program = torch.onnx.export(traced, input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False)
    assert program is not None, "with dynamo there is always a program"
    model = program.model_proto
    _tidy(model)
    return model.SerializeToString()


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Raises: RunError: something in here could not follow the net; `what` says what cannot be done with it."""
    try:
        yield
    except _UNTRACEABLE as error:
        raise RunError(f"this net {what} ({_reason(error)}); predict with the run itself.") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns, logs and prints for its own developers; what a user has to know, its errors say."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _reason(error: BaseException) -> str:
    """The first line of what was the matter; the exporter wraps that in advice for its own developers."""
    first = error.__cause__ or error
    if "Constraints violated" in str(first):
        return "its code fixes the number of faces; x.shape[0] does not, where len(x) does"
    return next(iter(str(first).strip().splitlines()), type(first).__name__)[:160]


def _tidy(model: Any) -> None:
    """Notes of the exporter out of an `onnx.ModelProto`, and the open side called N."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    for noted in (graph, *graph.node, *values, *graph.initializer, *model.functions):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    own = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in values:
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = side.dim_param.replace(own, "N")


def facts_of(run: Run, pipeline: Pipeline, size: tuple[int, int], precision: str = "float32") -> dict[str, str]:
    """What the file says of itself, as `with_facts` writes it: classes in order, face size, view, decision, origin."""
    code = describe_environment()["code"]
    commit = f" ({code['commit']})" if code["commit"] else ""
    return {
        "classes": json.dumps(pipeline.classes),
        "image_size": json.dumps(size),
        "view": pipeline.view,
        "decision": decision_words(run) or "the net's own",
        "precision": precision,
        "run": run.name,
        "code": f"fer2013-explorer {code['version']}{commit}",
        **({"licence": "MIT"} if run.shipped else {}),  # other weights are whoever trained them's
        "limits": LIMITS,
    }


def with_facts(model: bytes, facts: dict[str, str]) -> bytes:
    """The same file with these facts, and no others, in its metadata."""
    import onnx

    found = onnx.load_from_string(model)
    found.ClearField("metadata_props")
    onnx.helper.set_model_props(found, facts)
    return found.SerializeToString()


def answers(
    model: bytes | Path, images_NHW: NDArray[np.uint8], on_progress: OnProgress = lambda done, total: None
) -> NDArray[np.float32]:
    """What onnxruntime makes of faces by an exported file, on the processor: probabilities (N, K).

    One face goes first, alone, so that the file is asked for batches of several sizes.
    Raises: RunError: onnxruntime cannot run this file.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as told

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    source = model if isinstance(model, bytes) else str(model)
    parts = []
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        for rows in _batches(len(images_NHW)):
            parts.append(session.run([OUTPUT], {INPUT: images_NHW[rows]})[0])
            on_progress(rows.stop, len(images_NHW))
    except (told.Fail, told.InvalidArgument, told.InvalidGraph, told.NotImplemented, told.RuntimeException) as error:
        raise RunError(f"onnxruntime cannot run this net ({_reason(error)}); predict with the run itself.") from None
    return np.concatenate(parts)


def _batches(n: int) -> Iterator[slice]:
    edges = [0, *range(1, n, BATCH), n]
    yield from (slice(start, stop) for start, stop in pairwise(edges))


def check_export(
    model: bytes | Path,
    pipeline: Pipeline,
    images_NHW: NDArray[np.uint8],
    on_progress: OnProgress = lambda done, total: None,
) -> Check:
    """Ask an exported file and the pipeline that it came from about the same faces.

    Args: model: a file or its bytes. Raises: RunError: onnxruntime cannot run it.
    """
    found_NK = answers(model, images_NHW, on_progress)
    expected_NK = pipeline.in_batches(torch.from_numpy(images_NHW)).numpy()
    worst = float(np.abs(found_NK - expected_NK).max())
    same_N = found_NK.argmax(axis=1) == expected_NK.argmax(axis=1)
    second_N, first_N = np.sort(expected_NK, axis=1)[:, -2:].T
    passed = worst <= TOLERANCE and bool((same_N | (first_N - second_N < TOLERANCE)).all())
    return Check(len(images_NHW), worst, float(same_N.mean()), passed)


def require_same(check: Check) -> None:
    """Raises: RunError: the file's answers are not the net's."""
    if not check.passed:
        raise RunError(
            f"the exported file does not answer as the net does: on {check.faces:,} faces, a probability differs by "
            f"{check.worst:.2g} (allowed: {TOLERANCE:g}) and the top emotion is the same on {check.same_top:.1%}. "
            "Nothing was written; update onnx, onnxscript and onnxruntime, or predict with the run itself."
        )
