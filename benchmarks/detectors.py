"""Which face detector, and why: those whose model comes in a registry package, on pictures with known faces.

    python -m benchmarks.detectors --data fer2013.csv [--only scenes photos settings crops] [--scenes 22] [--faces 3000]

`scenes`: faces of FER2013's `public` in textured pictures of 1280 x 720, three each, of several sizes, turned, dark and
bright; how many each detector finds, false alarms, and milliseconds, the detectors taking turns at each picture.
`photos`: those that come with scikit-image, one of which shows a face. `settings`: the chosen detector's, on the same.
`crops`: where its points lie in FER2013's frame, and what it costs that a face has to be found and cut: accuracy of the
emotions beside that on the same faces as they are, upright or not. With --only, the other parts stay as they were
written. OpenCV and scikit-image are needed for this alone. `private` is not opened.
Shapes: F known faces, H x W pixels.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.detectors_text import detectors_text
from benchmarks.face_finders import Finder, finders, ours, versions
from benchmarks.found_crops import crops
from benchmarks.scenes import KINDS, Scene, clear_rows, make_scene, matched
from benchmarks.trainer_steps import replaced
from fer_core import detect, pyramid
from fer_core.data import FaceStore, open_store
from fer_core.data.image_file import decode_grey
from fer_core.environment import code_of, describe_environment
from fer_core.errors import FerError, RunError
from fer_core.files import write_json, write_text

FORMAT = 1
"""Format number of `detectors.json`."""
FOLDER = Path(__file__).parent
FACES_A_SCENE = 3
PHOTOS: Mapping[str, tuple[tuple[float, float, float, float], ...]] = {
    "astronaut.png": ((164, 56, 282, 174),),
    **dict.fromkeys(
        ("brick.png", "chelsea.png", "clock_motion.png", "coffee.png", "color.png", "grass.png", "gravel.png",
         "horse.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg",
         "rocket.jpg", "text.png"), (),
    ),
}  # fmt: skip
"""What scikit-image brings, and FER2013's frame of the one face; photos with tiny or minted faces are left out."""

SETTINGS: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "as it is": (detect, {}),
    "the authors' scores, 0.6, 0.7, 0.7": (detect, {"_LEAST_SCORES": (0.6, 0.7, 0.7)}),
    "first score 0.6": (detect, {"_LEAST_SCORES": (0.6, 0.6, 0.7)}),
    "first score 0.4": (detect, {"_LEAST_SCORES": (0.4, 0.6, 0.7)}),
    "second score 0.7": (detect, {"_LEAST_SCORES": (0.5, 0.7, 0.7)}),
    "second score 0.5": (detect, {"_LEAST_SCORES": (0.5, 0.5, 0.7)}),
    "last score 0.8": (detect, {"_LEAST_SCORES": (0.5, 0.6, 0.8)}),
    "last score 0.6": (detect, {"_LEAST_SCORES": (0.5, 0.6, 0.6)}),
    "sizes a factor of 0.6 apart": (detect, {"_STEP": 0.6}),
    "sizes a factor of 0.79 apart": (detect, {"_STEP": 0.79}),
    "dim pictures left dim": (pyramid, {"_DIM": 0.0}),
}
"""What is changed where."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 after one line for wrong input."""
    args = _arguments(arguments)
    path = args.out / "detectors.json"
    try:
        values = json.loads(path.read_text()) if args.only and path.exists() else {}
        store = open_store(args.data)
        for part in args.only or PARTS:
            values[part] = {**PARTS[part](store, args), **_made_on(args)}
            print(f"{part} done", file=sys.stderr)
        write_json(path, {"format": FORMAT, **values})
        text = detectors_text(values)
        write_text(args.out / "detectors.md", text)
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(values, indent=1) if args.json else text)
    return 0


def _made_on(args: argparse.Namespace) -> dict[str, Any]:
    about = describe_environment()
    return {
        "machine": f"{about['machine']}, {about['cores']} cores, {torch.get_num_threads()} threads",
        "load": os.getloadavg()[1],
        "versions": {"torch": about["libraries"]["torch"], **versions()},
        "code": code_of(about),
        "seed": args.seed,
    }


def scenes(store: FaceStore, args: argparse.Namespace) -> dict[str, Any]:
    made = make_scenes(store, args.scenes, args.seed)
    return {"kinds": {kind: {"faces": _faces(some), **compared(some, finders())} for kind, some in made.items()}}


def photos(store: FaceStore, args: argparse.Namespace) -> dict[str, Any]:
    made = bundled_photos()
    return {"photos": len(made), "faces": _faces(made), **compared(made, finders())}


def settings(store: FaceStore, args: argparse.Namespace) -> dict[str, Any]:
    """Each setting of ours on all scenes and photos; turned and dark scenes apart."""
    groups: dict[str, list[Scene]] = {name: [] for name in ("upright", "turned", "dark")}
    for kind, some in make_scenes(store, args.scenes, args.seed).items():
        groups["turned" if KINDS[kind].degrees else "dark" if KINDS[kind].gain < 1 else "upright"] += some
    groups["photos"] = bundled_photos()
    variants = {name: _with(owner, constants) for name, (owner, constants) in SETTINGS.items()}
    return {"groups": {name: {"faces": _faces(some), **compared(some, variants)} for name, some in groups.items()}}


def _with(owner: Any, constants: Mapping[str, Any]) -> Finder:
    def find(picture_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
        with ExitStack() as stack:
            for name, value in constants.items():
                stack.enter_context(replaced(owner, name, partial(_other, value)))
            return ours(picture_HW)

    return find


def _other(value: Any, before: Any) -> Any:
    return value


def make_scenes(store: FaceStore, count: int, seed: int) -> dict[str, list[Scene]]:
    """So many scenes of each kind; the same faces in every kind."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(clear_rows(store, "public"), (count, FACES_A_SCENE), replace=False)
    return {
        name: [make_scene(store.images_NHW[np.sort(some)], kind, rng) for some in rows] for name, kind in KINDS.items()
    }


def bundled_photos() -> list[Scene]:
    """Raises: RunError: scikit-image is missing."""
    finders()
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    missing = [name for name in PHOTOS if not (folder / name).is_file()]
    if missing:
        raise RunError(f"{folder} lacks {', '.join(missing)}; another version of scikit-image is needed: 0.26")
    return [
        Scene(decode_grey(folder / name), np.array(boxes, dtype=np.float32).reshape(-1, 4))
        for name, boxes in PHOTOS.items()
    ]


def compared(scenes: Sequence[Scene], candidates: Mapping[str, Finder]) -> dict[str, Any]:
    """Faces found, false alarms and the median time of each candidate; at each picture another one begins."""
    hits, alarms = dict.fromkeys(candidates, 0), dict.fromkeys(candidates, 0)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for name in names:
        candidates[name](scenes[0].picture_HW)  # warms up
    for place, scene in enumerate(scenes):
        for name in names[place % len(names) :] + names[: place % len(names)]:
            start = time.perf_counter()
            found = candidates[name](scene.picture_HW)
            times[name].append(1000 * (time.perf_counter() - start))
            some, false = matched(found, scene.boxes_F4)
            hits[name], alarms[name] = hits[name] + some, alarms[name] + false
    return {
        "pictures": len(scenes),
        "candidates": {
            name: {"found": hits[name], "false_alarms": alarms[name], "ms": statistics.median(times[name])}
            for name in names
        },
    }


def _faces(scenes: Sequence[Scene]) -> int:
    return sum(len(scene.boxes_F4) for scene in scenes)


def _crops(store: FaceStore, args: argparse.Namespace) -> dict[str, Any]:
    return crops(store, args.run, args.faces, args.seed)


PARTS: Mapping[str, Callable[[FaceStore, argparse.Namespace], dict[str, Any]]] = {
    "scenes": scenes,
    "photos": photos,
    "settings": settings,
    "crops": _crops,
}


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a source, as everywhere; left out, $FER_DATA")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="these parts alone")
    parser.add_argument("--scenes", type=int, default=22, help="of each kind")
    parser.add_argument("--faces", type=int, default=3000, help="of crops")
    parser.add_argument("--run", default="fer2013-small", help="names the emotions of crops")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of detectors.json and detectors.md")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
