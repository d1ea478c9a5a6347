"""A made-up store of a million faces: how fast it opens, and how long the Data page works on it.

    python -m benchmarks.big_store [--faces 1000000] [--small 35887] [--json]

Both sizes are measured in one run, each in fresh processes: `open_ms` is the median of five cold opens after imports,
`page_ms` and so on are server times of the page's script. `rss_growth_mb` is what the process grew by from before the
store was opened to after all page views; mapped pixels that were looked at are in it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from fer_core.data.source import _cache_folder, find_source
from fer_core.data.store import FORMAT, content_fingerprint
from fer_core.environment import processor_name
from fer_core.labels import EMOTIONS, FER2013_TRAIN_COUNTS

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=35_887)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--view", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.view:
        print(json.dumps(view(args.view)))
        return
    values: dict[str, Any] = {"machine": processor_name()}
    for faces in (args.small, args.faces):
        values[f"{faces}"] = measure(faces)
    small, big = values[f"{args.small}"], values[f"{args.faces}"]
    values["open_ratio"] = big["open_ms"] / small["open_ms"]
    if args.json:
        print(json.dumps(values))
        return
    for faces in (args.small, args.faces):
        print(f"{faces:,} faces: " + ", ".join(f"{name} {value:.1f}" for name, value in values[f"{faces}"].items()))
    print(f"a later open takes {values['open_ratio']:.1f} times as long with {args.faces:,} faces; {values['machine']}")


def measure(faces: int) -> dict[str, float]:
    """Make a store of so many faces, open it five times in fresh processes, and look at it in one more."""
    with tempfile.TemporaryDirectory(prefix="fer-big-") as folder:
        os.environ["FER_CACHE"] = f"{folder}/cache"
        source = Path(folder) / "big.npz"
        source.write_bytes(b"stands for a file that has been read before")
        make_store(source, faces)
        opened = [float(_python(_OPEN, source)) for _ in range(5)]
        command = [sys.executable, "-m", "benchmarks.big_store", "--view", str(source)]
        seen = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return {"open_ms": statistics.median(opened), **json.loads(seen.splitlines()[-1])}


_OPEN = """
import sys, time
from fer_core.data import open_store
started = time.perf_counter()
store = open_store(sys.argv[1])
store.images_NHW[len(store.labels_N) // 2].sum()
print(1000 * (time.perf_counter() - started))
"""


def _python(code: str, source: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, str(source)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def make_store(source: Path, faces: int) -> None:
    """Fill the cache of `source` block by block: random faces in FER2013's proportions, a twentieth of them copies."""
    folder = _cache_folder(find_source(str(source)))
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (faces, 48, 48))
    for start in range(0, faces, _BLOCK):
        images[start : start + _BLOCK] = rng.integers(0, 256, (1, 48, 48), dtype=np.uint8)
    shares = np.array([FER2013_TRAIN_COUNTS[name] for name in EMOTIONS]) / sum(FER2013_TRAIN_COUNTS.values())
    hashes = rng.integers(0, 2**63, faces).astype(np.uint64)
    hashes[: faces // 20] = hashes[-(faces // 20) :]
    columns: dict[str, np.ndarray] = {
        "labels": rng.choice(len(EMOTIONS), faces, p=shares).astype(np.int64),
        "splits": np.sort(rng.choice(3, faces, p=[0.8, 0.1, 0.1])).astype(np.int8),
        "hashes": hashes,
        "brightness": rng.normal(128, 30, faces).clip(0, 255).astype(np.float32),
        "contrast": rng.normal(55, 12, faces).clip(0, 127).astype(np.float32),
    }
    for name, column in columns.items():
        np.save(folder / f"{name}.npy", column)
    print_ = content_fingerprint(hashes, columns["labels"], columns["splits"], EMOTIONS)
    meta = {"source": str(source), "kind": "npz", "notes": [], "classes": list(EMOTIONS), "fingerprint": print_}
    (folder / "meta.json").write_text(json.dumps({"format": FORMAT, **meta}))


def view(source: Path) -> dict[str, float]:
    """Server times of the Data page, in ms, and what the process grew by."""
    from streamlit.testing.v1 import AppTest

    os.environ["FER_DATA"] = str(source)
    with tempfile.TemporaryDirectory() as runs:
        os.environ["FER_RUNS"] = runs
        app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120)
        app.switch_page("pages/augment.py").run()  # Streamlit and what it imports are not the store's
        before = psutil.Process().memory_info().rss
        app.switch_page("pages/data.py")
        times = {"first_page_ms": _ms(app.run), "page_ms": _ms(app.run)}
        for name, act in {
            "histogram_ms": lambda: app.segmented_control(key="unit").set_value("share").run(),
            "filter_ms": lambda: app.segmented_control(key="emotion").set_value("disgust").run(),
            "flag_ms": lambda: app.selectbox(key="flag").set_value("duplicate_of").run(),
            "sort_ms": lambda: app.selectbox(key="sort").set_value("darkest").run(),
        }.items():
            times[name] = _ms(act)
        assert not app.exception, app.exception
    return times | {"rss_growth_mb": (psutil.Process().memory_info().rss - before) / 2**20}


def _ms(act: Callable[[], Any]) -> float:
    started = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
