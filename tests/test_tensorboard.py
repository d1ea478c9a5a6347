"""What TensorBoard reads back from a run's folder: figures, steps, pictures, and one history after a resume.

Shapes: N faces, K classes.
"""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from fer_core.errors import ConfigError
from fer_core.labels import CONTEMPT, EMOTIONS
from fer_core.palette import RIGHT_COLOR, WRONG_COLOR
from fer_core.runs import EpochRecord, damaged_runs, find_run, list_runs, runs_folder
from fer_core.train import tensorboard
from fer_core.train.tensorboard import TensorBoardLog, confusion_picture, tensorboard_missing
from tests.faces import write_run

REPO = Path(__file__).resolve().parent.parent
RATES = {"head": 0.1, "backbone": 0.01}


@pytest.fixture(autouse=True)
def first_writers_of_a_process(monkeypatch):
    """Event files of one process and second are told apart, and sorted, by a number: 10 would come before 9."""
    from tensorboard.summary.writer import event_file_writer

    monkeypatch.setattr(event_file_writer, "_global_uid", type(event_file_writer._global_uid)(0))


def record(epoch: int, shift: float = 0.0) -> EpochRecord:
    """Figures that tell their epoch and their name apart, exact in 32 bits."""
    return EpochRecord(epoch, 0.1, epoch + 0.5, epoch + 0.25, epoch + shift, epoch / 64, epoch / 32, 900.0 + epoch, 1.0)


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def pictures(folder: Path, tag: str) -> list[tuple[int, np.ndarray]]:
    events = read(folder).Images(tag)
    return [(event.step, np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))) for event in events]


def write_epochs(folder: Path, done: int, epochs: range, shift: float = 0.0) -> None:
    log = TensorBoardLog(folder, done)
    for epoch in epochs:
        log.epoch(record(epoch, shift), RATES)
    log.close()


# --- curves ---------------------------------------------------------------------------------------------------------


def test_each_figure_of_an_epoch_stands_at_its_step(tmp_path):
    write_epochs(tmp_path, 0, range(1, 3))
    assert curve(tmp_path, "loss/train") == [(1, 1.5), (2, 2.5)]
    assert curve(tmp_path, "accuracy/train") == [(1, 1.25), (2, 2.25)]
    assert curve(tmp_path, "loss/public") == [(1, 1.0), (2, 2.0)]
    assert curve(tmp_path, "accuracy/public") == [(1, 1 / 64), (2, 2 / 64)]
    assert curve(tmp_path, "macro_f1/public") == [(1, 1 / 32), (2, 2 / 32)]
    assert curve(tmp_path, "speed/images_per_s") == [(1, 901.0), (2, 902.0)]
    assert curve(tmp_path, "learning_rate/head") == [(1, pytest.approx(0.1)), (2, pytest.approx(0.1))]
    assert curve(tmp_path, "learning_rate/backbone") == [(1, pytest.approx(0.01)), (2, pytest.approx(0.01))]


def test_an_epoch_is_on_the_disk_at_once_so_that_a_killed_process_leaves_it(tmp_path):
    log = TensorBoardLog(tmp_path, 0)
    log.epoch(record(1), RATES)
    assert curve(tmp_path, "loss/train") == [(1, 1.5)]  # not closed
    log.close()


def test_a_resumed_run_goes_on_and_shows_no_epoch_twice(tmp_path):
    write_epochs(tmp_path, 0, range(1, 4))
    write_epochs(tmp_path, 1, range(2, 5), shift=10)  # killed after epoch 3, but the checkpoint is of epoch 1
    assert curve(tmp_path, "loss/public") == [(1, 1.0), (2, 12.0), (3, 13.0), (4, 14.0)]


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(tmp_path):
    for level in (50, 90):
        log = TensorBoardLog(tmp_path, 0)
        log.faces(np.full((3, 6, 6), level, dtype=np.uint8))
        log.epoch(record(1, shift=level), RATES)
        log.close()
    assert curve(tmp_path, "loss/public") == [(1, 91.0)]
    assert [(step, picture.min()) for step, picture in pictures(tmp_path, "faces/augmented")] == [(0, 90)]


def test_every_run_stands_under_its_name(tmp_path):
    for name in ("small-as-is", "small-sampler"):
        run = write_run(name)
        write_epochs(run.path, 0, range(1, 2))
    events = EventMultiplexer().AddRunsFromDirectory(str(runs_folder())).Reload()
    assert sorted(events.Runs()) == ["small-as-is", "small-sampler"]
    assert [run.name for run in list_runs()] == ["small-sampler", "small-as-is"]
    assert damaged_runs() == []
    assert find_run("small-as-is").status().state == "done"


# --- pictures -------------------------------------------------------------------------------------------------------


def test_faces_become_one_picture_before_the_first_epoch(tmp_path):
    images = np.arange(10, 20, dtype=np.uint8)[:, None, None].repeat(5, 1).repeat(4, 2)
    log = TensorBoardLog(tmp_path, 0)
    log.faces(images)
    log.close()
    [(step, picture)] = pictures(tmp_path, "faces/augmented")
    assert step == 0
    assert picture.shape == (2 * 10 + 2, 8 * 8 + 7 * 2, 3)  # eight and two faces, twice as large, two pixels apart
    assert picture[4, [4, 14, 74], 0].tolist() == [10, 11, 17]
    assert picture[16, [4, 14, 24], 0].tolist() == [18, 19, 255]


def test_only_the_first_64_faces_are_shown_and_few_get_no_empty_places(tmp_path):
    for name, n, shape in (("many", 70, (8 * 4 + 14, 8 * 4 + 14, 3)), ("few", 3, (4, 3 * 4 + 4, 3))):
        log = TensorBoardLog(tmp_path / name, 0)
        log.faces(np.zeros((n, 2, 2), dtype=np.uint8))
        log.close()
        assert pictures(tmp_path / name, "faces/augmented")[0][1].shape == shape


def test_a_resumed_run_keeps_the_faces_that_it_has(tmp_path):
    for done in (0, 1):
        log = TensorBoardLog(tmp_path, done)
        log.faces(np.full((2, 6, 6), 40 + done, dtype=np.uint8))
        log.epoch(record(done + 1), RATES)
        log.close()
    assert [(step, picture.min()) for step, picture in pictures(tmp_path, "faces/augmented")] == [(0, 40)]


@pytest.mark.parametrize("epochs", [0, 1])
def test_the_confusion_matrix_stands_at_the_last_epoch(tmp_path, epochs):
    log = TensorBoardLog(tmp_path, 4)
    for epoch in range(5, 5 + epochs):
        log.epoch(record(epoch), RATES)
    matrix = np.eye(7, dtype=np.int64)
    log.confusion("private", matrix, EMOTIONS)
    log.close()
    [(step, picture)] = pictures(tmp_path, "confusion/private")
    assert step == 4 + epochs
    assert np.array_equal(picture, confusion_picture(matrix, EMOTIONS))


def corner(picture: np.ndarray, row: int, column: int) -> tuple[int, ...]:
    """The colour of a cell, away from its number."""
    place = [tensorboard._MARGIN + tensorboard._CELL * k + 4 for k in (row, column)]
    return tuple(picture[place[0], place[1]].tolist())


def test_a_cell_has_its_share_of_the_row_as_strength_and_tells_right_from_wrong():
    picture = confusion_picture(np.array([[4, 0], [3, 1]]), ("happy", "sad"))
    right, wrong = (np.array(ImageColor.getrgb(color)) for color in (RIGHT_COLOR, WRONG_COLOR))
    assert corner(picture, 0, 0) == tuple(right)
    assert corner(picture, 0, 1) == (255, 255, 255)
    assert corner(picture, 1, 0) == tuple(np.round(255 + 0.75 * (wrong - 255)).astype(int))
    assert corner(picture, 1, 1) == tuple(np.round(255 + 0.25 * (right - 255)).astype(int))


def test_a_class_without_a_face_is_drawn_white():
    assert corner(confusion_picture(np.array([[0, 0], [0, 2]]), ("happy", "sad")), 0, 0) == (255, 255, 255)


def test_names_and_numbers_stay_within_their_places():
    names = (*EMOTIONS, CONTEMPT)
    blank, drawn = (confusion_picture(np.full((8, 8), 28_709), labels) for labels in ([""] * 8, names))
    margin, cell = tensorboard._MARGIN, tensorboard._CELL
    inked = (blank != drawn).any(axis=2)
    assert inked[margin:, :margin].any(axis=1).reshape(8, cell).any(axis=1).all(), "each row has its name"
    assert inked[:margin, margin:].any(axis=0).reshape(8, cell).any(axis=1).all(), "each column has its name"
    assert not inked[margin:, margin:].any(), "no name runs into the cells"
    assert not inked[:margin, margin::cell].any(), "no name touches its neighbour's column"
    assert not inked[:, 0].any()
    assert (blank[margin::cell, margin:] == 255).all(), "no number leaves its cell"
    assert (blank[margin:, margin::cell] == 255).all()


# --- without TensorBoard --------------------------------------------------------------------------------------------


def test_where_it_is_missing_one_line_says_what_to_install(tmp_path, monkeypatch):
    assert tensorboard_missing() == ""
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    line = "TensorBoard is not installed: pip install tensorboard, or train without its log (--no-tensorboard)."
    assert tensorboard_missing() == line
    with pytest.raises(ConfigError) as caught:
        TensorBoardLog(tmp_path / "run", 0)
    assert str(caught.value) == line
    assert not (tmp_path / "run").exists()


def test_a_run_that_does_not_log_does_not_load_it():
    lines = "from fer_core.train import tensorboard as t; t.tensorboard_missing(); import sys"
    code = f"{lines}; print({{'tensorboard', 'torch'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
