"""A map's job as a process: its life, two starts at once, stopping, deaths. The worker here loads neither torch nor
scikit-learn: it says that it works until it is stopped."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fer_core import map_job
from fer_core.data import FaceStore, open_store
from fer_core.errors import RunError
from fer_core.face_map import MapSettings
from fer_core.feature_file import features_folder
from fer_core.map_job import MapStatus, MapStopped, at_work, map_command, map_status, start_map, stop_map
from fer_core.runs import Run
from tests.faces import write_csv, write_run

DEADLINE_S = 60
REPO = Path(__file__).parent.parent

_WORKER = """
import sys, time
from fer_core.data import open_store
from fer_core.face_map import MapSettings
from fer_core.map_job import MapStopped, at_work
from fer_core.runs import find_run
run, data, seconds = sys.argv[1:]
end = time.monotonic() + float(seconds)
try:
    with at_work(find_run(run), open_store(data), MapSettings()) as job:
        while time.monotonic() < end:
            job.report("features", 0.5, "half of it")
            time.sleep(0.05)
except MapStopped:
    pass
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> tuple[Run, FaceStore]:
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    run, store = write_run("one"), open_store(str(write_csv(tmp_path / "fer2013.csv")))
    run.best.write_bytes(b"weights")
    return run, store


@pytest.fixture
def workers(monkeypatch) -> Iterator[Callable[[float], list[subprocess.Popen]]]:
    """Call with how long workers shall work; gives the list of those that are started, which end with the test."""
    started: list[subprocess.Popen] = []
    original = subprocess.Popen

    class Noted(original):  # type: ignore[type-arg, misc, valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr("fer_core.worker.subprocess.Popen", Noted)

    def work_for(seconds: float) -> list[subprocess.Popen]:
        def command(run: Run, store: FaceStore, settings: MapSettings) -> list[str]:
            return [sys.executable, "-c", _WORKER, str(run.path), store.source, str(seconds)]

        monkeypatch.setattr(map_job, "map_command", command)
        return started

    yield work_for
    for process in started:
        process.kill()
        process.wait(10)


def reached(place: tuple[Run, FaceStore], *states: str) -> MapStatus:
    end = time.monotonic() + DEADLINE_S
    while (status := map_status(*place)).state not in states:
        assert time.monotonic() < end, f"waited in vain for {states}: {status}\n{log(place)}"
        time.sleep(0.05)
    return status


def log(place: tuple[Run, FaceStore]) -> str:
    path = features_folder(*place) / "map.log"
    return path.read_text() if path.exists() else "no log"


def test_a_job_is_queued_runs_tells_and_is_done(place, workers):
    started = workers(1.0)
    assert map_status(*place).state == "none"
    first = start_map(*place, MapSettings(faces=20))
    assert (first.state, first.faces, first.pid) == ("queued", 20, None)
    running = reached(place, "running")
    assert running.pid == started[0].pid
    done = reached(place, "done")
    assert done.share == 1.0 and done.step == "features" and done.heartbeat >= running.heartbeat > 0
    assert os.getsid(0) != running.pid and len(started) == 1
    with pytest.raises(RunError, match=r"^the map of run 'one' is not being made \(done\); there is nothing to stop.$"):
        stop_map(*place)


def test_two_starts_at_once_make_one_job(place, workers):
    started = workers(60)
    both = [threading.Thread(target=start_map, args=place) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(started) == 1
    reached(place, "running")
    assert start_map(*place).state == "running" and len(started) == 1
    with pytest.raises(RunError, match="is being made by another process"), at_work(*place, MapSettings()):
        pass
    assert map_status(*place).pid == started[0].pid


def test_a_stopped_job_is_stopped_whatever_it_was_doing_and_can_be_started_again(place, workers):
    started = workers(60)
    start_map(*place)
    reached(place, "running")
    stop_map(*place)
    assert map_status(*place).state in ("stopping", "stopped")
    assert reached(place, "stopped").message == "stopped; what is finished is kept"
    started[0].wait(DEADLINE_S)
    workers(0.2)
    assert start_map(*place).state == "queued"
    reached(place, "done")
    assert len(started) == 2


def test_a_job_that_is_stopped_before_it_is_claimed_does_not_work(place, workers):
    workers(60)
    start_map(*place)
    stop_map(*place)
    reached(place, "stopped")


def test_a_killed_job_is_lost_and_can_be_started_again(place, workers):
    started = workers(60)
    start_map(*place)
    pid = reached(place, "running").pid
    os.kill(pid, signal.SIGKILL)
    status = reached(place, "lost")
    assert status.message == f"its process is gone; start it again, or see {features_folder(*place)}/map.log"
    workers(0.1)
    start_map(*place)
    reached(place, "done")
    assert len(started) == 2


def written(place: tuple[Run, FaceStore], **values: Any) -> MapStatus:
    """The status as a reader sees it, after these values were written."""
    folder = features_folder(*place)
    folder.mkdir(parents=True, exist_ok=True)
    map_job._write(folder, MapStatus(**values))
    return map_status(*place)


def test_a_number_that_now_belongs_to_another_process_is_a_lost_job(place):
    me = psutil.Process()
    own = {"pid": me.pid, "heartbeat": time.time()}
    assert written(place, state="running", process_started=me.create_time(), **own).state == "running"
    assert written(place, state="running", process_started=me.create_time() - 100, **own).state == "lost"


@pytest.mark.parametrize(("silent_s", "state"), [(50, "queued"), (70, "lost")])
def test_a_queued_job_that_nobody_claims_is_lost_after_a_minute(place, silent_s, state):
    assert written(place, state="queued", heartbeat=time.time() - silent_s).state == state


def test_a_status_that_cannot_be_read_is_none(place):
    written(place, state="done")
    path = features_folder(*place) / "status.json"
    for text in ("{", "[]", '{"format": 9}', '{"format": 1, "mood": "good"}'):
        path.write_text(text)
        assert map_status(*place).state == "none"


def test_the_status_is_written_now_and_then_not_at_each_report(place, monkeypatch):
    times: list[str] = []
    original = map_job._write
    monkeypatch.setattr(map_job, "_write", lambda folder, status: (times.append(status.step), original(folder, status)))
    with at_work(*place, MapSettings()) as job:
        for done in range(50):
            job.report("features", done / 50, "")
        job.report("t-SNE", 0.0, "")
    assert times == ["", "features", "t-SNE", "t-SNE"]


def test_a_report_ends_the_work_once_there_is_a_stop_file(place):
    with pytest.raises(MapStopped), at_work(*place, MapSettings()) as job:
        (features_folder(*place) / "stop").touch()
        job.report("t-SNE", 0.1, "")
    assert map_status(*place).state == "stopped"


def test_a_stop_file_of_an_earlier_job_stops_no_later_one(place):
    written(place, state="done")
    (features_folder(*place) / "stop").touch()
    with at_work(*place, MapSettings()) as job:
        job.report("features", 0.1, "")
    assert map_status(*place).state == "done"


def test_the_command_names_the_run_the_data_and_the_settings(place):
    run, store = place
    words = map_command(run, store, MapSettings(faces=100, seed=4))
    assert words[1:] == [
        "-m", "fer_core", "map", str(run.path.resolve()),
        "--data", store.source, "--perplexity", "30.0", "--seed", "4", "--faces", "100",
    ]  # fmt: skip


def test_the_sample_is_named_as_the_sample(place):
    assert "sample" in map_command(place[0], open_store("sample"), MapSettings())


def test_a_run_without_weights_has_no_map(place):
    with pytest.raises(RunError, match=r"^run 'two' has no weights; it is stopped. Train or resume it first.$"):
        start_map(write_run("two", state="stopped"), place[1])
