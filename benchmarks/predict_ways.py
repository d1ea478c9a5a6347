"""Ways of naming the emotions of faces: ours, an exported net, and the package `fer` in a process of its own.

Shapes: N faces, K classes.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import RunError
from fer_core.predict import Predictor

BASELINE = "fer, its Keras model, batched"
_ONNX_BATCH = 64


@dataclass(frozen=True)
class Way:
    """One way of naming emotions. `turn` takes how many faces, does them, and gives seconds and the names."""

    name: str
    turn: Callable[[int], tuple[float, list[str]]]
    one_by_one: bool = False


def our_ways(predictor: Predictor, faces_NHW: NDArray[np.uint8]) -> list[Way]:
    def one_by_one(faces_NHW: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.concatenate([predictor.predict_faces(face_1HW) for face_1HW in np.split(faces_NHW, len(faces_NHW))])

    return [
        Way("ours, batched", _turn(predictor.predict_faces, faces_NHW, predictor.classes)),
        Way("ours, one by one", _turn(one_by_one, faces_NHW, predictor.classes), one_by_one=True),
    ]


def onnx_ways(path: Path, predictor: Predictor, faces_NHW: NDArray[np.uint8]) -> list[Way]:
    """An export of the run: uint8 "faces" (N, H, W) in, "probabilities" (N, K) out.

    Raises: RunError: no such file, or no onnxruntime.
    """
    try:
        import onnxruntime
    except ImportError:
        raise RunError("an exported net needs onnxruntime: pip install onnxruntime") from None
    if not path.is_file():
        raise RunError(f"{path}: no such file; python -m fer_core export RUN writes one.")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def at_once(size: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        def predict(faces_NHW: NDArray[np.uint8]) -> NDArray[np.float32]:
            parts = np.split(faces_NHW, range(size, len(faces_NHW), size))
            return np.concatenate([session.run(["probabilities"], {"faces": part})[0] for part in parts])

        return predict

    return [
        Way(f"{path.name}, batched", _turn(at_once(_ONNX_BATCH), faces_NHW, predictor.classes)),
        Way(f"{path.name}, one by one", _turn(at_once(1), faces_NHW, predictor.classes), one_by_one=True),
    ]


def _turn(
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]], faces_NHW: NDArray[np.uint8], classes: Sequence[str]
) -> Callable[[int], tuple[float, list[str]]]:
    def turn(count: int) -> tuple[float, list[str]]:
        start = time.perf_counter()
        answers_NK = predict(faces_NHW[:count])
        return time.perf_counter() - start, [classes[place] for place in answers_NK.argmax(1)]

    return turn


# --- fer, in its own process ----------------------------------------------------------------------------------------

Fer = Callable[[str, int], dict[str, Any]]
"""Has fer take a turn of this name on so many faces."""


@contextmanager
def fer_process(python: Path | None, faces_NHW: NDArray[np.uint8], photo: bytes) -> Iterator[Fer | None]:
    """fer's process, which waits while it has no turn; None where no python is named.

    Raises: RunError: it does not start, or it ends.
    """
    if python is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="fer-turns-") as folder:
        faces, picture, said = (Path(folder) / name for name in ("faces.npz", "photo.jpg", "errors.txt"))
        np.savez(faces, faces=faces_NHW)
        picture.write_bytes(photo)
        command = [str(python), str(Path(__file__).with_name("fer_turns.py")), str(faces), str(picture)]
        with said.open("w") as errors, _started(command, errors) as process:
            yield lambda name, count: _answer(process, f"{name} {count}\n", said)


def _answer(process: subprocess.Popen[str], line: str, said: Path) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError):  # it has ended; there will be no answer either
        process.stdin.write(line)
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RunError(f"fer does not run in the environment of --fer-python: {_last_line(said)}")
    return json.loads(answer)


@contextmanager
def _started(command: Sequence[str], errors: Any) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True)
    except OSError as error:
        raise RunError(f"{command[0]}: {error.strerror}; --fer-python is a python with fer installed.") from None
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"


def fer_ways(fer: Fer) -> list[Way]:
    def way(turn: str) -> Callable[[int], tuple[float, list[str]]]:
        def take(count: int) -> tuple[float, list[str]]:
            answer = fer(turn, count)
            return answer["seconds"], answer["answers"]

        return take

    return [
        Way(BASELINE, way("batched")),
        Way("fer's interface, one by one, told to cut all of the crop", way("one_by_one"), one_by_one=True),
        Way("fer's interface, one by one, told that the crop is the face", way("framed"), one_by_one=True),
    ]
