"""An exported file in whole numbers of 8 bits: a quarter of its size, and what that costs in accuracy.

Shapes: N faces, H x W pixels, K classes.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.compare import Comparison, compare
from fer_core.data import FaceStore
from fer_core.onnx_export import INPUT, OUTPUT, OnProgress, answers, refused
from fer_core.predictions import SplitPredictions

CALIBRATION_FACES = 512

_BATCH = 64
_WEIGHTED = ("Conv", "Gemm", "MatMul")
_OPERATORS = (*_WEIGHTED, "Add", "Relu", "Clip", "MaxPool")
"""What computes in whole numbers; with the rectifiers left out, the range of what they throw away would count too."""


def to_int8(model: bytes, images_NHW: NDArray[np.uint8], on_progress: OnProgress = lambda done, total: None) -> bytes:
    """Quantise an exported file: weights by channel, activations by the ranges that they have on these faces.

    What stands before the first layer with weights and after the last one stays as it is, and these two as well.
    Weights keep 7 bits: with 8, processors without VNNI overflow.

    A range is the mean of the extremes of batches of 64 faces. On `public` (n = 3,589; both shipped nets, four draws of
    faces each; code 0.5.0) the answers then diverge from float by 0.55 thousandths of a nat, by 0.65 with the extremes
    of all faces, which entropy chooses too, by 0.52 with the 99.999th percentile, which keeps every activation in
    memory. With the two ends in 8 bits it is 0.68, with 8-bit weights 0.40. Accuracy falls by 0.25, 0.10 and 0.18
    points on average, which so many faces cannot tell apart (each interval is 0.3 points either way).

    Args:
        model: what `onnx_export.to_onnx` gave.
        images_NHW: uint8, of the size that the file takes, from `train`; `CALIBRATION_FACES` of them are enough.
        on_progress: called before each batch of faces.
    Raises: RunError: the net has something that cannot be quantised.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    graph = onnx.load_from_string(model)
    add_pre_process_metadata(graph)  # its shapes are inferred and its constants folded, as quantisation wants them
    with TemporaryDirectory() as folder:
        before, after = (Path(folder) / name for name in ("float.onnx", "int8.onnx"))
        onnx.save(graph, before)
        with refused("cannot be put into 8 bits"):
            quantize_static(
                before,
                after,
                _Faces(images_NHW, on_progress),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_OPERATORS),
                nodes_to_exclude=_ends(graph.graph.node),
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    "CalibMovingAverage": True,
                    "MatMulConstBOnly": True,
                    "TensorQuantOverrides": _depthwise(graph.graph, QuantType.QInt8),
                },
            )
        return after.read_bytes()


class _Faces:
    """Faces as onnxruntime's calibration asks for them. It takes the mean of the extremes of these batches."""

    def __init__(self, images_NHW: NDArray[np.uint8], on_progress: OnProgress) -> None:
        self._batches = self._cut(images_NHW, on_progress)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._batches, None)

    @staticmethod
    def _cut(images_NHW: NDArray[np.uint8], on_progress: OnProgress) -> Iterator[dict[str, NDArray[np.uint8]]]:
        for start in range(0, len(images_NHW), _BATCH):
            on_progress(start, len(images_NHW))
            yield {INPUT: images_NHW[start : start + _BATCH]}


def _ends(nodes: Any) -> list[str]:
    """Names of the nodes up to the first layer with weights and from the last one on, on every way through the net.

    Nothing between them can be left out: there, onnxruntime would quantise by itself, one scale for all channels.
    """
    found: list[str] = []
    for order, taken, given, reached in (
        (nodes, "input", "output", INPUT),
        (reversed(nodes), "output", "input", OUTPUT),
    ):
        open_values = {reached}
        for node in order:
            if open_values & set(getattr(node, taken)):
                found.append(node.name)
                if node.op_type not in _WEIGHTED:
                    open_values |= set(getattr(node, given))
    return found


def _depthwise(graph: Any, kind: Any) -> dict[str, list[dict[str, Any]]]:
    """8 bits for the weights of depthwise convolutions, as onnxruntime's overrides.

    Nine of them make a sum, so that their rounding does not average out; and their own kernels do not overflow.
    """
    filters = {
        node.input[1]
        for node in graph.node
        if node.op_type == "Conv" and any(one.name == "group" and one.i > 1 for one in node.attribute)
    }
    one = {"quant_type": kind, "symmetric": True, "reduce_range": False, "axis": 0}
    return {weights.name: [one] * weights.dims[0] for weights in graph.initializer if weights.name in filters}


def compare_files(
    before: bytes,
    after: bytes,
    images_NHW: NDArray[np.uint8],
    store: FaceStore,
    on_progress: OnProgress = lambda done, total: None,
) -> Comparison:
    """Judge two exported files on `public`, face by face: A is `before`, B is `after`.

    Args:
        images_NHW: the faces of `public`, in the size that the files take.
        store: the view of the data that judges the run.
    Raises: RunError: as `compare`, or onnxruntime cannot run a file.
    """
    return compare(*(_judged(model, images_NHW, store, on_progress) for model in (before, after)))


def _judged(model: bytes, images_NHW: NDArray[np.uint8], store: FaceStore, on_progress: OnProgress) -> SplitPredictions:
    probabilities_NK = answers(model, images_NHW, on_progress)
    logits_NK = np.log(np.maximum(probabilities_NK, np.finfo(np.float32).tiny))
    rows = store.rows("public")
    return SplitPredictions(
        rows, store.hashes_N[rows], store.labels_N[rows], logits_NK, store.classes, store.fingerprint
    )
