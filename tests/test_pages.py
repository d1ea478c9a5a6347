"""Every page as a script: with no runs, with runs, with hostile addresses. Clicks in a browser: `test_tour`."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from fer_core.config import RunConfig
from fer_core.data import open_store
from fer_core.data.labelling import judged_by, labelled
from fer_core.labels import EMOTIONS
from fer_core.predictions import SplitPredictions
from fer_core.runs import EpochRecord, Run, create_run
from tests.faces import write_votes
from tests.toy import striped_faces, toy_csv

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path.stem for path in (ROOT / "pages").glob("*.py"))


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    path = toy_csv(tmp_path / "fer2013.csv")
    monkeypatch.setenv("FER_DATA", str(path))
    return path


def open_page(name: str, **query: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=90).switch_page(f"pages/{name}.py")
    at.query_params.update(query)
    return at.run()


def text_of(at: AppTest) -> str:
    blocks = [*at.markdown, *at.caption, *at.title, *at.subheader, *at.error, *at.info, *at.warning]
    return "\n".join(str(block.value) for block in blocks)


def judged_run(
    name: str, source: Path, *, right: float, splits: tuple[str, ...] = ("public", "private"), labels: str = "fer"
) -> Run:
    """A run on the source that is right on this share of the faces, with two epochs of history."""
    store = labelled(open_store(str(source)), judged_by(labels))
    run = create_run(RunConfig(data=str(source), labels=labels).resolved(2), name)
    run.write_environment({"data": {"judged_by": judged_by(labels), "is_fer2013": True}})
    rng = np.random.default_rng(len(name))
    predictions = {}
    for split in splits:
        rows = store.rows(split)
        true = store.labels_N[rows]
        k = len(store.classes)
        said = np.where(rng.random(len(rows)) < right, true, (true + 1) % k)
        logits, in_train = 3 * np.eye(k, dtype=np.float32)[said], np.arange(len(rows)) < 2
        predictions[split] = SplitPredictions(
            rows, store.hashes_N[rows], true, logits, store.classes, store.fingerprint, in_train
        )
    run.write_predictions(predictions)
    run.write_history([EpochRecord(e, 0.1, 1.5, 0.4, 1.4, 0.3 + e / 10, 0.3, 900.0, 10.0 * e) for e in (1, 2)])
    run.update_status(state="done", epoch=2, progress=1.0)
    return run


def movable_run(name: str, source: Path) -> Run:
    """A run whose disgust is always taken for angry, with disgust the second guess; its prior is known."""
    run = judged_run(name, source, right=1.0)
    counts = dict(zip(EMOTIONS, (400, 40, 400, 700, 480, 320, 500), strict=True))
    run.write_environment(
        {"data": {"judged_by": "fer", "is_fer2013": True, "classes": list(EMOTIONS), "counts": {"train": counts}}}
    )
    predictions = {}
    for split in ("public", "private"):
        answers = run.predictions(split)
        logits = answers.logits_NK.copy()
        logits[answers.labels_N == 1] = (2.0, 1.0, 0, 0, 0, 0, 0)
        predictions[split] = replace(answers, logits_NK=logits)
    run.write_predictions(predictions)
    return run


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_without_runs(page, source):
    at = open_page(page)
    assert not at.exception
    assert not at.error
    assert page in at.title[0].value.lower()


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_with_two_runs(page, source):
    judged_run("as-is", source, right=0.5)
    judged_run("balanced", source, right=0.8)
    at = open_page(page, a="as-is", b="balanced", run="balanced")
    assert not at.exception
    assert not at.error


@pytest.mark.parametrize("page", PAGES)
def test_a_source_that_is_gone_is_said_in_one_line(page, monkeypatch, tmp_path):
    monkeypatch.setenv("FER_DATA", str(tmp_path / "nowhere.csv"))
    at = open_page(page)
    assert not at.exception
    if page not in ("compare", "mistakes", "predict", "runs"):  # these need no data
        assert "nowhere.csv: no such file" in at.error[0].value


@pytest.mark.parametrize("page", ["compare", "mistakes"])
def test_without_runs_the_next_step_is_train(page, source):
    at = open_page(page)
    assert "No finished run yet" in at.subheader[0].value
    assert [button.label for button in at.button] == ["Go to Train"]


@pytest.mark.parametrize(
    "query",
    [
        {"a": "../../etc", "b": "no such run", "on": "train"},
        {"run": "<script>", "true": "bored", "predicted": "9", "sure": "5", "show": "x", "mistakes_page": "-4"},
        {"split": "x", "emotion": "happyy", "page": "1e9", "unit": "§"},
        {"augment": "../x", "augment_steps": "rotat:9,flip:1@2", "augment_share": "nan", "size": "1e9", "draw": "-1"},
        {"model": "smal", "balance": "magic", "balance_alpha": "7", "epochs": "-1", "lr": "nan", "seed": "x"},
    ],
)
@pytest.mark.parametrize("page", PAGES)
def test_a_hostile_address_falls_back(page, query, source):
    judged_run("as-is", source, right=0.5)
    at = open_page(page, **query)
    assert not at.exception


def test_data_names_source_counts_and_imbalance(source):
    text = text_of(open_page("data"))
    assert "84 faces" in text.replace("**", "")
    assert str(source) in text
    assert "all emotions are about equally frequent" in text


def test_data_names_the_imbalance(tmp_path, monkeypatch):
    from tests.faces import make_faces, write_csv

    faces = make_faces({"train": {"happy": 12, "disgust": 3}, "public": {"happy": 1}, "private": {"happy": 1}})
    monkeypatch.setenv("FER_DATA", str(write_csv(tmp_path / "fer2013.csv", faces)))
    assert "in train there are 4.0 happy faces for each disgust face." in text_of(open_page("data"))


def test_data_says_when_public_is_held_out(tmp_path, monkeypatch):
    from tests.faces import make_faces, write_folder

    counts = {"train": dict.fromkeys(("happy", "sad"), 20), "private": {"happy": 2, "sad": 2}}
    monkeypatch.setenv("FER_DATA", str(write_folder(tmp_path / "faces", make_faces(counts), prefixes=False)))
    assert "held out as it" in open_page("data").info[0].value


def test_compare_shows_one_run_alone_and_two_side_by_side(source):
    judged_run("as-is", source, right=0.5)
    judged_run("balanced", source, right=0.9)
    one = open_page("compare", a="as-is")
    assert one.metric[0].label == "Accuracy"
    assert "A: as-is" in text_of(one)
    two = open_page("compare", a="as-is", b="balanced")
    assert two.metric[0].label == "Accuracy, B"
    text = text_of(two)
    assert "A: as-is" in text and "B: balanced" in text
    assert "B minus A" in text and "McNemar p" in text


def test_figures_stand_beside_those_without_copies(source):
    judged_run("as-is", source, right=1.0)
    judged_run("balanced", source, right=1.0)
    one, two = open_page("compare", a="as-is"), open_page("compare", a="as-is", b="balanced")
    assert "Without the 2 faces whose very pixels also stand in train: 100.0%." in text_of(one)
    assert "Without the 2 faces whose very pixels also stand in train: A 100.0%, B 100.0%." in text_of(two)


@pytest.mark.parametrize("labels", ["majority", "multi"])
def test_runs_on_ferplus_labels_are_shown_with_eight_emotions(labels, source):
    write_votes(source.with_name("fer2013new.csv"), striped_faces())
    judged_run("voted", source, right=0.5, labels=labels)
    compared, mistaken = open_page("compare", a="voted"), open_page("mistakes", run="voted")
    for at in (compared, mistaken):
        assert not at.exception and not at.error
        assert "Judged by FER+" in text_of(at)
    assert "contempt" in mistaken.selectbox(key="true").options


def test_compare_refuses_runs_without_a_shared_face(source, tmp_path):
    judged_run("here", source, right=0.5)
    other = toy_csv(tmp_path / "other" / "fer2013.csv", seed=9)
    judged_run("there", other, right=0.5)
    assert "share no face" in open_page("compare", a="here", b="there").error[0].value


def test_a_stopped_run_is_shown_on_public_only(source):
    judged_run("stopped", source, right=0.5, splits=("public",))
    at = open_page("compare", a="stopped")
    assert not at.exception
    assert at.segmented_control(key="on").options == ["public"]


def test_mistakes_counts_what_the_filters_leave(source):
    run = judged_run("half", source, right=0.5)
    found = run.predictions("private")
    wrong = int((found.logits_NK.argmax(1) != found.labels_N).sum())
    assert f"{wrong} of {len(found.labels_N)} faces" in text_of(open_page("mistakes", run="half"))
    happy = int(((found.labels_N == 3) & (found.logits_NK.argmax(1) == 4)).sum())
    text = text_of(open_page("mistakes", run="half", true="happy", predicted="sad"))
    assert f"{happy} of {len(found.labels_N)} faces" in text


def test_mistakes_of_a_run_whose_data_is_gone_are_a_table(source, tmp_path, monkeypatch):
    run = judged_run("old", source, right=0.2)
    monkeypatch.setenv("FER_DATA", str(toy_csv(tmp_path / "new" / "fer2013.csv", seed=9)))
    source.unlink()
    at, faces = open_page("mistakes", run="old"), len(run.predictions("private").labels_N)
    assert at.info[0].value.startswith(f"The {faces} faces are those that the run was judged on, which are not")
    assert len(at.dataframe) == 1


def test_a_damaged_run_does_not_break_the_others(source):
    judged_run("good", source, right=0.5)
    (judged_run("bad", source, right=0.5).path / "predictions.npz").write_bytes(b"PK nonsense")
    at = open_page("compare", a="good")
    assert not at.exception
    assert at.selectbox(key="a").options == ["good"]


def test_train_shows_the_mix_of_the_strategy_and_the_command(source):
    at = open_page("train", balance="sampler", balance_alpha="1.0", epochs="3")
    assert not at.exception
    command = f"python -m fer_core train --data {source} --balance sampler --balance-alpha 1.0 --epochs 3"
    assert at.code[0].value == command


def test_train_widgets_start_from_the_configuration(source):
    default = RunConfig()
    at = open_page("train")
    assert at.number_input(key="batch_size").value == default.batch_size
    assert at.slider(key="label_smoothing").value == default.label_smoothing
    assert at.selectbox(key="model").value == default.model


def test_the_twin_button_starts_one_worker_for_two_runs(source, monkeypatch):
    started = []
    monkeypatch.setattr("fer_core.launcher._start_worker", lambda runs: started.append([run.name for run in runs]))
    at = open_page("train", epochs="2")
    at.button[0].click().run()
    assert started == [["small-as-is", "small-sampler"]]
    configs = [Run(path).config() for path in sorted(Path(started and str(runs_path())).glob("small-*"))]
    assert [(c.balance, c.epochs) for c in configs] == [("none", 2), ("sampler", 2)]


def test_pressing_twice_does_not_train_the_same_twice(source, monkeypatch):
    monkeypatch.setattr("fer_core.launcher._start_worker", lambda runs: None)
    at = open_page("train", epochs="2")
    at.button[0].click().run()
    at.button[0].click().run()
    assert "has the very same settings and is queued" in at.error[0].value
    assert len(list(runs_path().glob("small-*"))) == 2


def test_a_process_that_does_not_hear_a_stop_can_be_ended(source):
    run = create_run(RunConfig(data=str(source)).resolved(2), "hung")
    run.claim(state="running")  # this process: it is alive, and its heartbeat stands still from now on
    run.stop_file.touch()
    assert "End at once" not in [button.label for button in open_page("train").button]
    long_ago = time.time() - 60
    os.utime(run.stop_file, (long_ago, long_ago))
    run.write_status(replace(run.status(), heartbeat=long_ago))
    assert "End at once" in [button.label for button in open_page("train").button]


def test_an_augmentation_that_is_off_changes_nothing(source):
    at = open_page("augment", augment="none")
    assert not at.exception
    assert [slider.label for slider in at.slider] == ["Share of faces that are augmented"]  # there are no steps


def runs_path() -> Path:
    from fer_core.runs import runs_folder

    return runs_folder()
