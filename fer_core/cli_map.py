"""The command that lays all faces out in the plane: features, principal components, t-SNE, each kept when done."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg

from fer_core.cli_parts import Command, Json, config_flag, print_notes, print_result
from fer_core.console import progress
from fer_core.data import FaceStore, open_store
from fer_core.face_map import (
    ITERATIONS,
    FaceMap,
    MapSettings,
    Points,
    drawn_rows,
    estimate_s,
    lay_out,
    principal_points,
    read_map,
    read_points,
    write_map,
    write_points,
)
from fer_core.feature_file import Features, features_folder, read_features
from fer_core.map_job import STEPS, MapJob, MapStopped, at_work
from fer_core.runs import Run, find_run

_MINUTE = 60


class Map(Command, MapSettings):
    """Lay all faces out in the plane, so that those which a run's net takes for similar lie together (t-SNE)."""

    run: CliPositionalArg[str] = Field(description="Name or folder of a run.")
    data: str | None = config_flag("data")
    as_json: bool = Json

    def cli_cmd(self) -> None:
        run = find_run(self.run)
        data = self.data or (None if run.shipped else run.config().data)
        with progress("reading") as reading:
            store = open_store(data, reading)
        settings = MapSettings(**{name: getattr(self, name) for name in MapSettings.model_fields})
        try:
            with at_work(run, store, settings) as job, _stopped_by_signals():
                found = make_map(run, store, settings, job)
        except MapStopped:
            print_notes(["stopped; the steps that are finished are kept. Give the command again to go on."])
            return
        values = _summary(run, store, found)
        print_result(values, self.as_json, partial(_show, values))


def make_map(run: Run, store: FaceStore, settings: MapSettings, job: MapJob) -> FaceMap:
    """The map of these faces by this run's net; each step that is kept from an earlier time is not done again.

    Raises: FerError. MapStopped: somebody asked for that.
    """
    folder = features_folder(run, store)
    if (made := read_map(folder, settings)) is not None:
        return made
    points = read_points(folder)
    if points is None:
        features = _features(run, store, job)
        job.report(STEPS[1], 0.0, f"principal components of {len(features):,} faces")
        points = principal_points(features)
        write_points(folder, points)
    found = _laid_out(points, settings, job)
    write_map(folder, found)
    return found


def _features(run: Run, store: FaceStore, job: MapJob) -> Features:
    kept = read_features(run, store)
    if kept is not None:
        return kept
    total = len(store.hashes_N)
    job.report(STEPS[0], 0.0, f"features of 0 of {total:,} faces")
    from fer_core.features import compute_features  # torch comes with it

    def tell(done: int, total: int) -> None:
        job.report(STEPS[0], done / total, f"features of {done:,} of {total:,} faces")

    found = compute_features(run, store, tell)
    assert found is not None, "`tell` raises where it shall stop"
    return found


def _laid_out(points: Points, settings: MapSettings, job: MapJob) -> FaceMap:
    rows = drawn_rows(len(points.values_NP), settings)
    started, first = time.monotonic(), (0, 0.0)

    def tell(iteration: int) -> None:
        nonlocal first
        elapsed = time.monotonic() - started
        first = first if first[0] else (iteration, elapsed)  # before it, the neighbours were found
        left = max(0.0, estimate_s(len(rows)) - elapsed)
        if iteration > first[0]:
            left = (elapsed - first[1]) / (iteration - first[0]) * (ITERATIONS - iteration)
        job.report(STEPS[2], iteration / ITERATIONS, _in_words(len(rows), iteration, elapsed, left))

    tell(0)
    xy, divergence = lay_out(points, settings, tell)
    explained = float(points.explained_P.sum())
    return FaceMap(rows, xy, settings, explained, divergence, time.monotonic() - started)


def _in_words(faces: int, iteration: int, elapsed_s: float, left_s: float) -> str:
    times = [f"{s / _MINUTE:.0f} min" if s >= _MINUTE else f"{s:.0f} s" for s in (elapsed_s, left_s)]
    where = f"iteration {iteration:,} of {ITERATIONS:,}" if iteration else "finding neighbours"
    return f"t-SNE of {faces:,} faces: {where}, {times[0]} so far, about {times[1]} to go"


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Ctrl-C, and the signal that `stop_map` sends, end the work as the stop file does. Only a main thread hears."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise MapStopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _summary(run: Run, store: FaceStore, found: FaceMap) -> dict[str, Any]:
    return {
        "run": run.name,
        "data": store.source,
        "fingerprint": store.fingerprint,
        "faces": len(found.rows_M),
        "settings": found.settings.model_dump(),
        "explained_variance": found.explained,
        "divergence": found.divergence,
        "tsne_s": found.seconds,
        "file": str(features_folder(run, store) / "map.npz"),
    }


def _show(values: dict[str, Any]) -> None:
    print(f"{values['faces']:,} faces of {values['data']} as {values['run']} sees them")
    print(f"principal components hold {values['explained_variance']:.0%} of the variance of the features")
    print(f"t-SNE: divergence {values['divergence']:.3f} nats, {values['tsne_s']:.0f} s")
    print(values["file"])
