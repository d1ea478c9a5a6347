"""A run's folder: made whole, read back the same, and where a file is damaged, an error that names it."""

import io
import json
import os
import threading
import time
import zipfile

import numpy as np
import pytest

from fer_core.config import RunConfig
from fer_core.errors import RunError
from fer_core.runs import EpochRecord, Run, Status, create_run, find_run, free_name, list_runs, runs_folder
from tests.faces import make_predictions, random_predictions, write_run

CONFIG = RunConfig(data="sample", balance="sampler", epochs=3)


def record(epoch):
    return EpochRecord(epoch, 0.1, 1.5, 0.4, 1.4, 0.45, 0.3, 1000.0, 10.0 * epoch)


def refusal(call, *arguments):
    with pytest.raises(RunError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def run():
    return create_run(CONFIG, "one")


# --- making


def test_a_new_run_is_queued_and_remembers_its_configuration(run):
    assert run.path == runs_folder() / "one"
    assert run.config() == CONFIG
    status = run.status()
    assert (status.state, status.epoch, status.progress, status.pid) == ("queued", 0, 0, None)
    assert (run.history(), run.environment(), run.splits()) == ([], {}, ())


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/a", "a b", "a.b", "x" * 65, "x\n", "\nx", "a\0", "ü", "a\\b", "١"]
)
def test_names_that_are_no_folder_names_are_refused_and_nothing_is_made(name):
    assert refusal(create_run, CONFIG, name) == (
        f"{name!r} cannot name a run: use 1 to 64 letters, digits, '_' and '-'."
    )
    assert not runs_folder().exists()


@pytest.mark.parametrize("name", ["a", "x" * 64, "A-1_b", "0"])
def test_plain_names_are_taken(name):
    assert create_run(CONFIG, name).name == name
    assert [entry.name for entry in runs_folder().iterdir()] == [name]


def test_a_taken_name_is_refused_and_the_first_run_stays_as_it_is(run):
    assert refusal(create_run, RunConfig(seed=5), "one") == (
        "there is a run named 'one' already; give another --name, or --resume one."
    )
    assert run.config() == CONFIG
    assert [entry.name for entry in runs_folder().iterdir()] == ["one"]


def test_of_many_that_want_one_name_at_once_one_gets_it():
    together, got = threading.Barrier(8), []

    def want(seed):
        together.wait()
        try:
            got.append(create_run(RunConfig(seed=seed), "one").config().seed)
        except RunError as error:
            got.append(str(error))

    threads = [threading.Thread(target=want, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seeds = [one for one in got if isinstance(one, int)]
    assert (len(got), len(seeds)) == (8, 1)
    assert find_run("one").config().seed == seeds[0]
    assert [entry.name for entry in runs_folder().iterdir()] == ["one"]


def test_a_run_that_cannot_be_written_leaves_nothing(monkeypatch):
    def full(self, status):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Run, "write_status", full)
    with pytest.raises(OSError, match="No space left"):
        create_run(CONFIG, "one")
    assert list(runs_folder().iterdir()) == []


def test_a_free_name_is_a_name_however_much_differs_from_the_recipe():
    config = RunConfig(
        recipe="efficientnet-lite0-pretrained/scratch", model="mobilenet-v3-large", labels="crossentropy",
        balance="sampler",
    )  # fmt: skip
    create_run(config, free_name(config))
    assert free_name(config).endswith("-2")
    create_run(config, free_name(config))


def test_free_names_say_what_is_special_and_count_up():
    assert free_name(RunConfig()) == "small-as-is"
    assert free_name(RunConfig(model="resnet18", balance="weights")) == "resnet18-weights"
    create_run(RunConfig(), "small-as-is")
    assert free_name(RunConfig()) == "small-as-is-2"
    create_run(RunConfig(), "small-as-is-2")
    assert free_name(RunConfig()) == "small-as-is-3"
    assert free_name(RunConfig(), taken=frozenset({"small-as-is-3"})) == "small-as-is-4"


# --- finding


def test_runs_are_listed_newest_first():
    for name, seconds in (("old", 100), ("new", 300), ("middle", 200)):
        create_run(CONFIG, name)
        os.utime(runs_folder() / name / "config.json", (seconds, seconds))
    assert [run.name for run in list_runs()] == ["new", "middle", "old"]


def test_what_is_no_run_is_not_listed(run):
    (runs_folder() / "empty").mkdir()
    (runs_folder() / ".half.x").mkdir()
    (runs_folder() / "file").write_text("")
    (runs_folder() / "only-config").mkdir()
    (runs_folder() / "only-config" / "config.json").write_text(CONFIG.to_json())
    assert [run.name for run in list_runs()] == ["one"]


def test_without_a_runs_folder_there_are_no_runs():
    assert list_runs() == []
    assert refusal(find_run, "one") == (
        f"no run named 'one' in {runs_folder()}, and no run in a folder of that name. There are none yet."
    )


def test_a_run_is_found_by_name_and_by_folder(run, tmp_path, monkeypatch):
    assert find_run("one").path == run.path
    assert find_run(str(run.path)).path == run.path
    monkeypatch.setenv("FER_RUNS", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(run.path.parent)
    assert find_run("./one").config() == CONFIG


def test_an_unknown_run_is_named_beside_the_nearest_and_all_others():
    for name in ("small-sampler", "small-weights"):
        create_run(CONFIG, name)
    message = refusal(find_run, "small-sample")
    assert message.startswith(f"no run named 'small-sample' in {runs_folder()}, and no run in a folder of that name.")
    assert message.endswith(" Did you mean 'small-sampler'? Known: small-weights, small-sampler.")
    for number in range(9):
        create_run(CONFIG, f"r{number}")
    many = refusal(find_run, "zzz")
    assert sum(f"r{number}," in many for number in range(9)) == 8  # eight of eleven, then dots
    assert ", ..." in many


@pytest.mark.parametrize("reference", ["../one", "", "\0", "one\n", "x" * 300])
def test_odd_references_find_nothing(run, reference, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no run named" in refusal(find_run, reference)


# --- writing and reading


def test_a_status_is_read_as_it_was_written(run):
    status = Status("running", epoch=2, progress=0.5, message="training", pid=7, process_started=1.5, heartbeat=3.0)
    run.write_status(status)
    assert run.status() == status


def test_an_update_changes_what_it_names_and_the_heartbeat(run):
    run.write_status(Status("running", epoch=2, message="training", heartbeat=0.0, created=5.0))
    before = time.time()
    run.update_status(epoch=3)
    status = run.status()
    assert (status.state, status.epoch, status.message, status.created) == ("running", 3, "training", 5.0)
    assert status.heartbeat >= before


def test_a_claimed_run_names_this_process_and_a_requeued_one_none(run):
    run.claim(state="running")
    assert (run.status().state, run.status().pid) == ("running", os.getpid())
    run.stop_file.touch()
    run.requeue()
    assert (run.status().state, run.status().pid, run.status().process_started) == ("queued", None, None)
    assert not run.stop_file.exists()


def test_a_reader_never_sees_half_a_status(run):
    done = threading.Event()

    def write():
        for epoch in range(300):
            run.write_status(Status("running", epoch=epoch, message="x" * 2000))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    epochs = []
    while not done.is_set():
        epochs.append(run.status().epoch)
    writer.join()
    assert epochs == sorted(epochs)
    assert [entry.name for entry in run.path.iterdir() if entry.name.startswith(".")] == []


def test_history_is_read_as_it_was_written(run):
    run.write_history([record(1), record(2)])
    assert run.history() == [record(1), record(2)]


def test_a_half_written_last_line_is_left_out(run):
    run.write_history([record(1), record(2), record(3)])
    path = run.path / "history.jsonl"
    path.write_text(path.read_text()[:-20])
    assert run.history() == [record(1), record(2)]


def test_predictions_are_read_as_they_were_written():
    public, private = random_predictions(20, seed=1), random_predictions(30, seed=2)
    run = write_run("one", public=public, private=private)
    assert run.splits() == ("public", "private")
    for split, expected in (("public", public), ("private", private)):
        found = run.predictions(split)
        for name in ("rows_N", "hashes_N", "labels_N", "logits_NK"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
            assert getattr(found, name).dtype == getattr(expected, name).dtype
        assert (found.classes, found.fingerprint) == (expected.classes, expected.fingerprint)


def test_an_environment_is_read_as_it_was_written(run):
    run.write_environment({"machine": "x", "data": {"fingerprint": "0f"}})
    assert run.environment() == {"machine": "x", "data": {"fingerprint": "0f"}}


def test_values_that_are_not_json_are_refused_and_the_old_file_stays(run):
    run.write_environment({"machine": "x"})
    with pytest.raises(ValueError, match="JSON compliant"):
        run.write_environment({"share": float("nan")})
    assert run.environment() == {"machine": "x"}


# --- what is missing


def test_a_run_without_predictions_says_how_far_it_is(run):
    run.update_status(state="stopped")
    assert refusal(run.predictions, "private") == (
        "run 'one' has no predictions; it is stopped. Train or resume it first."
    )


def test_a_stopped_run_has_not_read_private_and_says_so():
    run = write_run("one", state="stopped", public=random_predictions(5, seed=1))
    assert run.splits() == ("public",)
    message = refusal(run.predictions, "private")
    assert "'one'" in message
    assert "public" in message
    assert message.endswith("private is read once, when a training ends by itself; resume a stopped run to get there.")
    assert len(run.predictions("public").labels_N) == 5


# --- what is damaged


def damaged_json(good):
    """Ways to spoil a JSON file that holds this object."""
    return {
        "half": good[: len(good) // 2],
        "empty": "",
        "a list": "[1, 2]",
        "null": "null",
        "a number": "5",
        "not text": b"\xff\xfe\x00",
        "another format": json.dumps(json.loads(good) | {"format": 99}),
        "no format": json.dumps({key: value for key, value in json.loads(good).items() if key != "format"}),
        "an unknown key": json.dumps(json.loads(good) | {"whatever": 1}),
    }


KINDS = tuple(damaged_json('{"format": 1}'))


def spoil(path, kind):
    text = damaged_json(path.read_text().splitlines()[0] if path.suffix == ".jsonl" else path.read_text())[kind]
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(text + "\n" if path.suffix == ".jsonl" else text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "read"),
    [("config.json", Run.config), ("status.json", Run.status), ("history.jsonl", Run.history)],
    ids=["config", "status", "history"],
)
def test_a_damaged_file_is_named(name, read, kind, run):
    run.write_history([record(1)])
    spoil(run.path / name, kind)
    message = refusal(read, run)
    assert message.startswith(f"{run.path / name}: ")
    assert message.count(str(run.path / name)) == 1


@pytest.mark.parametrize("kind", ["half", "empty", "a list", "null", "not text", "another format"])
def test_a_damaged_environment_is_named(kind, run):
    run.write_environment({"machine": "x"})
    spoil(run.path / "environment.json", kind)
    assert refusal(run.environment).startswith(f"{run.path / 'environment.json'}: ")


def test_another_format_is_said_as_such(run):
    for name in ("config.json", "status.json"):
        spoil(run.path / name, "another format")
    assert "has format 99; this version reads 1 and 2." in refusal(run.config)
    assert refusal(run.status) == f"{run.path / 'status.json'}: format 99; this version reads 1."


def test_a_damaged_line_in_the_middle_of_the_history_is_an_error(run):
    run.write_history([record(1), record(2)])
    path = run.path / "history.jsonl"
    path.write_text(path.read_text().replace('"epoch": 1', '"epoch": '))
    assert refusal(run.history).startswith(f"{path}: damaged (")


def test_a_missing_file_is_named(run):
    for name, read in (("config.json", run.config), ("status.json", run.status)):
        (run.path / name).unlink()
        assert refusal(read).startswith(f"{run.path / name}: cannot be read (")


def arrays(path, **changes):
    with np.load(path) as file:
        values = dict(file) | changes
    np.savez(path, **{key: value for key, value in values.items() if value is not None})


def flip_in_the_data(path):
    data = bytearray(path.read_bytes())
    with np.load(path) as file:
        place = data.index(file["private_logits"].tobytes())
    data[place] ^= 0xFF
    path.write_bytes(data)


def flip_in_a_header(path):
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"private_logits.npy") - 46  # in the directory at the archive's end; its flags are at byte 8
    data[entry + 8] ^= 0x20  # "compressed patched data", which Python does not read
    path.write_bytes(data)


def plain_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def pickled(path):
    import pickle

    path.write_bytes(pickle.dumps({"private_labels": [1]}))


SPOILED = {
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no archive at all"),
    "one array": plain_array,
    "pickled": pickled,
    "a flipped byte": flip_in_the_data,
    "a flipped bit of a header": flip_in_a_header,
    "no logits": lambda path: arrays(path, private_logits=None),
    "no classes": lambda path: arrays(path, classes=None),
    "no format": lambda path: arrays(path, format=None),
    "another format": lambda path: arrays(path, format=np.int64(99)),
    "objects for labels": lambda path: arrays(path, private_labels=np.array([{}] * 5, dtype=object)),
    "objects for classes": lambda path: arrays(path, classes=np.array(["a", 1], dtype=object)),
    "logits of fewer faces": lambda path: arrays(path, private_logits=np.zeros((3, 7), dtype=np.float32)),
    "logits of fewer classes": lambda path: arrays(path, private_logits=np.zeros((5, 2), dtype=np.float32)),
    "labels that no class has": lambda path: arrays(path, private_labels=np.array([0, 1, 2, 3, 9])),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_damaged_predictions_are_named(spoil):
    run = write_run("one", private=random_predictions(5, seed=1))
    path = run.path / "predictions.npz"
    spoil(path)
    message = refusal(run.predictions, "private")
    assert message.startswith(f"{path}: ")
    assert message.count(str(path)) == 1


@pytest.mark.parametrize("kind", ["half", "empty", "text", "one array"])
def test_the_splits_of_damaged_predictions_are_refused_too(kind):
    run = write_run("one", private=random_predictions(5, seed=1))
    SPOILED[kind](run.path / "predictions.npz")
    assert refusal(run.splits).startswith(f"{run.path / 'predictions.npz'}: ")


class Bomb:
    """Unpickling it makes a file: what `allow_pickle=True` would let a downloaded run do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    run = write_run("one", private=make_predictions([0, 1]))
    mark, path = tmp_path / "mark", run.path / "predictions.npz"
    payload = io.BytesIO()
    np.save(payload, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path) as file:
        others = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (others | {"private_labels.npy": payload.getvalue()}).items():
            file.writestr(name, content)
    refusal(run.predictions, "private")
    assert not mark.exists()
