"""The package `fer`, taking its turns in an environment of its own: `benchmarks.predict_speed` starts this file there.

Nothing of ours is imported here. It reads a line with a name from its input, does that on the faces or the photo that
it was started with, and writes one line of JSON: the seconds, the answers where they are asked for.
Shapes: N faces, H x W pixels, K classes.
"""

import json
import os
import sys
import time
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

WHOLE_48 = (10, 10, 28, 28)
"""The rectangle of which fer, which adds ten pixels on each side, cuts all of 48 x 48."""
_BATCH = 256
"""Of 64, 128, 256 and 512 the fastest."""


class Turns:
    """Each public method is a turn."""

    def __init__(self, faces_NHW: Any, photo: bytes) -> None:
        import cv2
        from fer.fer import FER

        self.cv2 = cv2
        self.faces, self.photo = faces_NHW, np.frombuffer(photo, np.uint8)
        self.api = FER()
        self.keras = FER(use_tflite=False)
        self.net = self.keras._FER__emotion_classifier

    def about(self, count: int) -> dict[str, Any]:
        import tensorflow
        from fer import __version__

        return {"fer": __version__, "tensorflow": tensorflow.__version__, "numpy": np.__version__}

    def batched(self, count: int) -> dict[str, Any]:
        """The bundled Keras model, with the package's own way to its input, all faces at once."""
        start = time.perf_counter()
        height, width = self.net.input_shape[1:3]
        floats = np.stack([self.cv2.resize(face, (width, height)) for face in self.faces[:count]]).astype(np.float32)
        answers_NK = self.net.predict((floats / 255 - 0.5)[..., None] * 2, batch_size=_BATCH, verbose=0)
        return {"seconds": time.perf_counter() - start, "answers": names_of(answers_NK, self.api._get_labels())}

    def one_by_one(self, count: int) -> dict[str, Any]:
        """Its interface, face by face, each told where the face is."""
        return self._each(count, WHOLE_48)

    def framed(self, count: int) -> dict[str, Any]:
        """The same, told that the whole picture is the face: fer adds ten pixels of ground on each side."""
        return self._each(count, (0, 0, *self.faces.shape[:0:-1]))

    def from_photo(self, count: int) -> dict[str, Any]:
        """From the bytes of a photo to its faces and their emotions, as it does it by default."""
        start = time.perf_counter()
        found = self.api.detect_emotions(self.cv2.imdecode(self.photo, self.cv2.IMREAD_COLOR))
        return {"seconds": time.perf_counter() - start, "faces": len(found)}

    def _each(self, count: int, box: tuple[int, ...]) -> dict[str, Any]:
        pictures = [np.repeat(face[:, :, None], 3, 2) for face in self.faces[:count]]
        start = time.perf_counter()
        found = [self.api.detect_emotions(picture, face_rectangles=[box])[0]["emotions"] for picture in pictures]
        return {"seconds": time.perf_counter() - start, "answers": [max(one, key=one.__getitem__) for one in found]}


def names_of(answers_NK: Any, labels: dict[int, str]) -> list[str]:
    """The likeliest emotion of each row. Args: labels: of each column."""
    return [labels[place] for place in answers_NK.argmax(1).tolist()]


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the packages print is no answer
    turns = Turns(np.load(sys.argv[1])["faces"], open(sys.argv[2], "rb").read())  # noqa: PTH123, SIM115
    for line in sys.stdin:
        name, count = line.split()
        print(json.dumps(getattr(turns, name)(int(count))), file=answers, flush=True)


if __name__ == "__main__":
    main()
