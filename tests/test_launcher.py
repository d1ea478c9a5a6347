"""Detached trainings, with real processes: a run's life, its deaths, and how workers take turns.

Most workers here wait for a turn that the test itself holds, so that they live without loading torch.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from fer_core import cli, launcher
from fer_core.errors import RunError
from fer_core.launcher import active_runs, current_status, resume, start, stop, terminate, turn
from fer_core.runs import Run, Status, create_run, list_runs, runs_folder
from tests.toy import toy_config, toy_csv

REPO = Path(__file__).parent.parent
DEADLINE_S = 120
"""Far more than a worker needs on a machine that does nothing else."""


@pytest.fixture(autouse=True)
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The process numbers of all workers that a test started; what still lives at its end is killed."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    started: list[int] = []
    original = subprocess.Popen

    class Noted(original):  # type: ignore[type-arg, misc, valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)

    monkeypatch.setattr("fer_core.worker.subprocess.Popen", Noted)
    yield started
    for pid in started:
        kill(pid)


def kill(pid: int) -> None:
    """End a process of ours, and let go of it if it was a child."""
    try:
        process = psutil.Process(pid)
        if "fer_core" in process.cmdline():
            process.kill()
            process.wait(10)
    except psutil.Error:
        pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(toy_csv(tmp_path_factory.mktemp("data") / "fer2013.csv"))


def wait_for(found: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


def reached(run: Run, *states: str) -> str:
    """Wait for one of these states; fails at once in another one that ends a run."""

    def look() -> str:
        state = current_status(run).state
        assert state in states or state not in ("done", "failed", "stopped", "lost"), log(run)
        return state if state in states else ""

    return wait_for(look, f"{run.name} to be {states}")


def log(run: Run) -> str:
    path = run.path / "train.log"
    return f"{run.status()}\n{path.read_text() if path.exists() else 'no log'}"


def claimed(run: Run) -> int:
    """The number of the process that has taken the run up."""
    return wait_for(lambda: run.status().pid, f"a worker to claim {run.name}")


def queued(name: str, data: str = "sample", **values: Any) -> Run:
    """A run that no worker was started for."""
    run = create_run(toy_config(data=data, epochs=1), name)
    run.write_status(replace(run.status(), **values))
    return run


def own(**values: Any) -> dict[str, Any]:
    """Status fields of a run that this very process trains."""
    me = psutil.Process()
    return {"pid": me.pid, "process_started": me.create_time(), "heartbeat": time.time(), **values}


@contextmanager
def turn_held() -> Iterator[None]:
    """Keep every queued worker waiting."""
    runs_folder().mkdir(parents=True, exist_ok=True)
    with FileLock(runs_folder() / ".turn.lock"):
        yield


# --- lives ----------------------------------------------------------------------------------------------------------


def test_one_worker_trains_its_runs_in_turn_and_a_failing_one_does_not_keep_the_next_from_it(data, tmp_path, workers):
    sources = {"gone": str(tmp_path / "no.csv"), "a": data, "b": data}
    configs = [(name, toy_config(data=path, epochs=1)) for name, path in sources.items()]
    with turn_held():
        gone, a, b = runs = start(configs)
        assert [run.name for run in runs] == ["gone", "a", "b"] and [run.status().state for run in runs] == [
            "queued"
        ] * 3
        assert {claimed(run) for run in runs} == set(workers) and len(workers) == 1
        assert [run.name for run in active_runs()] == ["a", "b", "gone"]
    seen = set()

    def ended() -> bool:
        seen.add(tuple(current_status(run).state for run in runs))
        return current_status(b).state not in ("queued", "running")

    wait_for(ended, "the last run to end")
    assert [current_status(run).state for run in runs] == ["failed", "done", "done"], log(gone)
    assert ("failed", "running", "queued") in seen and ("failed", "done", "running") in seen
    assert not any(states[1:] == ("running", "running") for states in seen)
    assert "no such file or folder" in gone.status().message
    for run in (a, b):
        assert run.splits() == ("public", "private") and len(run.history()) == 1
    assert b.history()[0].train_loss == a.history()[0].train_loss
    assert active_runs() == []
    text = (gone.path / "train.log").read_text()
    assert text.count("epoch 1/1") == 2 and "error: " in text and "Traceback" not in text


def test_a_run_is_stopped_with_a_checkpoint_and_resumed_to_its_end(data, workers):
    (run,) = start([("one", toy_config(data=data, epochs=12, batch_size=8))])
    wait_for(run.history, "the first epoch")
    assert current_status(run).state == "running" and active_runs() == [run]
    with pytest.raises(RunError, match=r"^run 'one' is running; only a stopped, failed or lost run can be resumed.$"):
        resume(run)
    stop(run)
    assert current_status(run).state in ("stopping", "stopped")
    reached(run, "stopped")
    before = run.history()
    assert 1 <= len(before) < 12 and run.splits() == ("public",)
    assert run.last.exists()
    wait_for(lambda: not run.stop_file.exists(), "the stop file to be taken away")
    with turn_held():
        resume(run)
        assert current_status(run).state == "queued" and claimed(run) == workers[1] != workers[0]
        with pytest.raises(
            RunError, match=r"^run 'one' is queued; only a stopped, failed or lost run can be resumed.$"
        ):
            resume(run)
    reached(run, "done")
    assert run.history()[: len(before)] == before and len(run.history()) == 12
    assert run.splits() == ("public", "private")
    with pytest.raises(RunError, match=r"^run 'one' is done; only a stopped, failed or lost run can be resumed.$"):
        resume(run)
    with pytest.raises(RunError, match=r"^run 'one' is done; there is nothing to stop.$"):
        stop(run)


def test_a_queued_run_that_is_stopped_is_not_begun(data):
    with turn_held():
        (run,) = start([("one", toy_config(data=data))])
        claimed(run)
        stop(run)
        assert reached(run, "stopping", "stopped")
        reached(run, "stopped")
    assert run.status().message == "stopped before it began"
    wait_for(lambda: not run.stop_file.exists(), "the stop file to be taken away")
    assert run.history() == [] and not run.last.exists() and run.environment() == {}


def test_one_of_two_queued_runs_is_stopped_and_the_other_is_trained(data):
    with turn_held():
        a, b = start([(name, toy_config(data=data, epochs=1)) for name in "ab"])
        claimed(b)
        stop(a)
    reached(b, "done")
    assert a.status().state == "stopped" and a.history() == [] and len(b.history()) == 1


# --- names ----------------------------------------------------------------------------------------------------------


def test_of_two_starts_with_one_name_the_second_is_refused(data, workers):
    with turn_held():
        (run,) = start([("one", toy_config(data=data))])
        with pytest.raises(RunError) as caught:
            start([("one", toy_config(data=data, seed=5))])
        assert str(caught.value) == "there is a run named 'one' already; give another --name, or --resume one."
        assert len(workers) == 1 and run.config().seed == 0
        assert [path.name for path in runs_folder().iterdir() if path.name.startswith(".one")] == []


def test_a_start_that_is_refused_leaves_no_run_behind_that_nobody_will_train(data, workers):
    queued("taken")
    with pytest.raises(RunError, match="there is a run named 'taken' already"):
        start([("fresh", toy_config(data=data)), ("taken", toy_config(data=data))])
    assert workers == [] and [run.name for run in list_runs()] == ["taken"]


# --- deaths ---------------------------------------------------------------------------------------------------------


def test_a_run_whose_worker_was_killed_is_lost_even_while_the_worker_is_a_zombie(data):
    with turn_held():
        (run,) = start([("one", toy_config(data=data))])
        pid = claimed(run)
        assert current_status(run).state == "queued"
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "the zombie")  # we are its parent
        status = current_status(run)
        assert (status.state, status.message) == ("lost", "its process is gone; resume it from its last epoch")
        psutil.Process(pid).wait(10)
        assert not psutil.pid_exists(pid) and current_status(run).state == "lost"
        assert run.status().state == "queued", "lost is what a reader says; it is never written"
        assert active_runs() == []
        with pytest.raises(RunError, match=r"^run 'one' is lost; there is nothing to stop.$"):
            stop(run)
        resume(run)
        assert claimed(run) != pid and current_status(run).state == "queued"


def test_a_number_that_now_belongs_to_another_process_is_a_lost_run_and_that_process_is_left_alone():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        started = psutil.Process(stranger.pid).create_time()
        run = queued("one", state="running", pid=stranger.pid, process_started=started - 100, heartbeat=time.time())
        assert current_status(run).state == "lost"
        with pytest.raises(RunError, match=r"^run 'one' has no living process.$"):
            terminate(run)
        stranger.communicate(b"\n")
    assert stranger.returncode == 0, "it ended by itself"


def test_a_living_process_of_ours_is_not_lost():
    run = queued("one", state="running", **own())
    assert current_status(run).state == "running"


@pytest.mark.parametrize(("silent_s", "state"), [(580, "running"), (620, "lost")])
def test_a_running_loop_that_is_silent_for_minutes_is_lost(silent_s, state):
    run = queued("one", state="running", **own(heartbeat=time.time() - silent_s))
    assert current_status(run).state == state


def test_a_worker_may_wait_for_its_turn_as_long_as_it_takes():
    run = queued("one", **own(heartbeat=time.time() - 100_000))
    assert current_status(run).state == "queued"


@pytest.mark.parametrize(("silent_s", "state"), [(50, "queued"), (70, "lost")])
def test_a_queued_run_that_nobody_claims_is_lost_after_a_minute(silent_s, state):
    run = queued("one", heartbeat=time.time() - silent_s)
    assert current_status(run).state == state


@pytest.mark.parametrize("state", ["done", "stopped", "failed"])
def test_a_run_that_ends_while_it_is_looked_at_is_not_lost(monkeypatch, state):
    run = queued("one", state="running", **own())

    def ends_now(status: Status) -> bool:
        run.update_status(state=state)  # written after the status was read, before its process was looked for
        return False

    monkeypatch.setattr(launcher, "_is_alive", ends_now)
    assert current_status(run).state == state


@pytest.mark.parametrize("state", ["done", "stopped", "failed"])
def test_a_run_that_has_ended_is_what_it_wrote_whatever_became_of_its_process(state):
    run = queued("one", state=state, pid=2**22 + 1, process_started=1.0)
    run.stop_file.touch()
    assert current_status(run) == run.status() and current_status(run).state == state


def test_a_run_that_was_asked_to_stop_is_stopping_until_it_has():
    run = queued("one", state="running", **own())
    stop(run)
    assert current_status(run).state == "stopping" and run.status().state == "running"
    assert active_runs() == [run]


def test_the_running_run_stands_before_the_queued_ones():
    for name, state in (("a", "queued"), ("b", "running"), ("c", "done"), ("d", "queued")):
        queued(name, state=state, **own())
    assert [run.name for run in active_runs()] == ["b", "a", "d"]


# --- terminate ------------------------------------------------------------------------------------------------------


def test_terminate_ends_a_worker_that_does_not_listen(data):
    with turn_held():
        (run,) = start([("one", toy_config(data=data))])
        process = psutil.Process(claimed(run))
        terminate(run)
        process.wait(10)
    assert current_status(run).state == "lost"


@pytest.mark.parametrize("status", [{}, {"pid": 2**22 + 1, "process_started": 1.0}], ids=["none", "gone"])
def test_terminate_refuses_where_there_is_no_process(status):
    with pytest.raises(RunError, match=r"^run 'one' has no living process.$"):
        terminate(queued("one", **status))


# --- workers --------------------------------------------------------------------------------------------------------


def test_a_worker_outlives_the_process_that_started_it(data, workers):
    program = (
        "import sys; from fer_core.launcher import start; from fer_core.config import RunConfig;"
        "start([('one', RunConfig.from_json(sys.stdin.read()))])"
    )
    with turn_held():
        text = toy_config(data=data).to_json()
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program], input=text, text=True, check=True, cwd=REPO, timeout=60
        )
        (run,) = list_runs()
        workers.append(pid := claimed(run))
        worker = psutil.Process(pid)
        assert worker.is_running() and current_status(run).state == "queued"
        assert os.getsid(pid) == pid != os.getsid(0), "a session of its own: no terminal's Ctrl-C or hang-up reaches it"
        stop(run)
        reached(run, "stopped")
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "the worker to end")


def test_a_worker_finds_runs_and_cache_wherever_the_app_was_started(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FER_RUNS", "my runs")
    monkeypatch.setenv("FER_CACHE", "my cache")
    with turn_held():
        (run,) = start([("one", toy_config(data=data))])
        environment = psutil.Process(claimed(run)).environ()
        assert environment["FER_RUNS"] == str(tmp_path / "my runs")
        assert environment["FER_CACHE"] == str(tmp_path / "my cache")
        stop(run)
        reached(run, "stopped")


def test_a_worker_yields_to_whoever_else_wants_the_processor(data):
    with turn_held():
        (run,) = start([("one", toy_config(data=data))])
        worker = psutil.Process(claimed(run))
        assert worker.nice() == psutil.Process().nice() + 5
        assert worker.cmdline()[1:] == ["-m", "fer_core", "train", "--queue", "--resume", "one"]
        stop(run)
        reached(run, "stopped")


_TAKE_TURNS = """
import sys, time
from pathlib import Path
from fer_core.launcher import turn
from fer_core.runs import find_run
diary = Path(sys.argv[1])
def write(word):
    with diary.open("a") as file: file.write(word + " ")
write("ready")
with turn([find_run(sys.argv[2])]):
    write("in"); time.sleep(0.3); write("out")
"""


def test_workers_take_turns(tmp_path):
    diary = tmp_path / "diary"
    for name in "ab":
        queued(name)
    with turn_held():
        others = [subprocess.Popen([sys.executable, "-c", _TAKE_TURNS, diary, name], cwd=REPO) for name in "ab"]
        wait_for(lambda: diary.exists() and diary.read_text().count("ready") == 2, "both to be ready")
        time.sleep(0.2)
        assert "in" not in diary.read_text()
    assert [other.wait(DEADLINE_S) for other in others] == [0, 0]
    assert diary.read_text() == "ready ready in out in out "


def test_a_turn_is_freed_by_the_death_of_its_holder():
    queued("a")
    runs_folder().mkdir(exist_ok=True)
    program = (
        "import sys, time; from filelock import FileLock; FileLock(sys.argv[1]).acquire();"
        "print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, runs_folder() / ".turn.lock"], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        holder.kill()
    with turn(list_runs()):
        pass


def test_waiting_for_a_turn_ends_when_all_its_runs_are_asked_to_stop_and_not_before():
    a, b = queued("a"), queued("b")
    entered = threading.Event()

    def take_turn() -> None:
        with turn([a, b]):
            entered.set()

    with turn_held():
        waiting = threading.Thread(target=take_turn)
        waiting.start()
        a.stop_file.touch()
        assert not entered.wait(1.5)
        b.stop_file.touch()
        assert entered.wait(DEADLINE_S)
    waiting.join()


# --- the worker's command line ---------------------------------------------------------------------------------------


def test_an_error_that_nobody_foresaw_does_not_keep_the_next_run_from_its_turn(monkeypatch):
    from fer_core import experiment  # torch comes with it

    begun = []

    def train_run(run: Run, **_: Any) -> None:
        begun.append(run.name)
        if run.name == "a":
            raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(experiment, "train_run", train_run)
    for name in "ab":
        queued(name)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        cli.main(["train", "--queue", "--resume", "a", "--resume", "b"])
    assert begun == ["a", "b"]


def test_resuming_a_running_run_by_hand_is_refused_and_leaves_it_alone(capsys):
    run = queued("one", state="running", **own())
    stop(run)
    before = run.status()
    with FileLock(run.path / "lock"):
        assert cli.main(["train", "--resume", "one"]) == 2
    assert capsys.readouterr().err.startswith("error: run 'one' is ")
    assert run.status() == before and run.stop_file.exists()


def test_resuming_a_done_run_by_hand_is_refused_and_leaves_it_alone(capsys, tmp_path):
    run = queued("one", data=str(tmp_path / "gone.csv"), state="done", epoch=1, progress=1.0)
    before = json.loads((run.path / "status.json").read_text())
    assert cli.main(["train", "--resume", "one"]) == 2
    assert capsys.readouterr().err.startswith("error: run 'one' is done")
    assert json.loads((run.path / "status.json").read_text()) == before
