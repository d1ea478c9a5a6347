"""The Mistakes page: filters, one face large, another run beside it, model or label, label errors, the review list."""

from types import SimpleNamespace

import numpy as np
import pytest

from fer_core.ensemble import create_ensemble
from fer_core.evaluate import softmax
from fer_core.label_errors import rank_label_errors
from fer_core.mistakes import MistakeFilters, answers
from fer_core.review import ReviewList, face_hash
from tests.faces import write_votes
from tests.test_pages import judged_run, open_page, text_of
from tests.toy import striped_faces, toy_csv
from ui import gallery_faces


@pytest.fixture
def source(tmp_path, monkeypatch):
    path = toy_csv(tmp_path / "fer2013.csv", private=8)
    monkeypatch.setenv("FER_DATA", str(path))
    return path


@pytest.fixture
def run(source):
    return judged_run("mine", source, right=0.5)


@pytest.fixture
def found(run):
    return answers(run.predictions("private"))


def said_of(found, place):
    return f"labelled **{found.classes[found.labels_N[place]]}**"


# --- faces


def test_the_first_face_is_large_and_next_goes_on(run, found):
    rows = found.select(MistakeFilters())
    at = open_page("mistakes")
    assert not at.exception and said_of(found, rows[0]) in text_of(at)
    assert at.button(key="step previous").disabled
    at.button(key="step next").click().run()
    assert at.query_params["at"] == str(rows[1]) and said_of(found, rows[1]) in text_of(at)
    at.button(key="step previous").click().run()
    assert at.query_params["at"] == str(rows[0])


def test_an_address_opens_its_face_also_where_the_filters_leave_it_out(found):
    right = int(np.flatnonzero(~found.wrong_N)[0])
    at = open_page("mistakes", at=str(right))
    text = text_of(at)
    assert said_of(found, right) in text and "and called so" in text
    assert "Not among the faces that the filters leave." in text
    assert not open_page("mistakes", at="999999").exception


def test_filters_leave_what_they_say(found):
    wanted = MistakeFilters(only_wrong=False, sort="least sure")
    text = text_of(open_page("mistakes", show="all", order="least sure"))
    assert f"{len(found.labels_N)} of {len(found.labels_N)} faces" in text
    assert said_of(found, found.select(wanted)[0]) in text
    assert "No face fits these filters." in text_of(open_page("mistakes", true="happy", predicted="happy"))


def test_another_run_stands_beside_it(found, source):
    judged_run("other", source, right=0.9)
    at = open_page("mistakes", run="mine", beside="other")
    assert not at.exception and "cannot stand beside it" not in text_of(at)
    judged_run("open", source, right=0.9, splits=("public",))
    assert "open cannot stand beside it" in text_of(open_page("mistakes", run="mine", beside="open"))


# --- marking


def test_a_mark_is_on_disk_at_once_and_undone(run, found):
    at = open_page("mistakes")
    place = int(found.select(MistakeFilters())[0])
    at.button(key="mark wrong label").click().run()
    [mark] = ReviewList().marks()
    assert (mark.hash, mark.verdict) == (face_hash(found.hashes_N[place]), "wrong label")
    assert mark.proposed == found.classes[found.predicted_N[place]]
    again = open_page("mistakes")
    assert not again.exception
    next(one for one in again.button if one.label == "Undo").click().run()
    assert ReviewList().marks() == []


def test_no_emotion_is_proposed_for_what_is_unclear(run):
    at = open_page("mistakes")
    at.button(key="mark unclear").click().run()
    [mark] = ReviewList().marks()
    assert (mark.verdict, mark.proposed) == ("unclear", None)


def test_the_review_list_shows_counts_and_takes_a_mark_off(run):
    assert "Nothing is marked yet." in text_of(open_page("mistakes", look="review list"))
    open_page("mistakes").button(key="mark not a face").click().run()
    at = open_page("mistakes", look="review list")
    assert {one.label: one.value for one in at.metric}["Not a face"] == "1"
    next(one for one in at.button if one.label == "Undo the last mark").click().run()
    assert ReviewList().marks() == []


# --- model or label


def test_without_votes_the_page_says_how_to_get_them(run):
    text = text_of(open_page("mistakes", look="model or label"))
    assert "no FER+ votes" in text and "data download --what votes" in text


def test_with_votes_every_mistake_has_a_side(source):
    write_votes(source.with_name("fer2013new.csv"), striped_faces(private=8))
    judged_run("mine", source, right=0.5)
    at = open_page("mistakes", look="model or label")
    assert not at.exception and "FER+'s ten taggers sides with the model in" in text_of(at)


# --- label errors


def test_the_likeliest_errors_come_first_without_copies_of_training_faces(run):
    one = run.predictions("private")
    fresh = np.flatnonzero(~one.in_train_N)
    order = fresh[rank_label_errors(one.labels_N[fresh], softmax(one.logits_NK[fresh]), "loss")]
    at = open_page("mistakes", look="label errors", ranked_by="loss")
    text = text_of(at)
    assert not at.exception and f"{len(fresh)} of {len(one.labels_N)} faces" in text
    assert said_of(answers(one), order[0]) in text


# --- where it looks, and the map


def test_a_run_without_weights_says_so(run):
    at = open_page("mistakes", cam="true")
    assert not at.exception and "has no weights" in text_of(at)
    assert "has no weights" in text_of(open_page("mistakes", look="map"))


def test_a_row_of_the_table_is_picked_as_a_face_is(monkeypatch):
    drawn, picked = {}, []
    monkeypatch.setattr(gallery_faces.st, "dataframe", lambda rows, **options: drawn.update(options, rows=rows))
    gallery_faces.answer_table(["sad", "fear"], ["fear", "sad"], np.array([0.5, 0.75]), key="k", on_pick=picked.append)
    assert drawn["rows"][1] == {"labelled": "fear", "taken for": "sad", "sure": 0.75}
    selected = SimpleNamespace(selection=SimpleNamespace(rows=[1]))
    monkeypatch.setattr(gallery_faces.st, "session_state", {"k": selected})
    drawn["on_select"]()
    assert picked == [1]


def test_an_ensembles_mistakes_are_shown_and_what_needs_a_net_is_said_in_a_line(run, source):
    create_ensemble([run, judged_run("theirs", source, right=0.5)], "both")
    at = open_page("mistakes", run="both", cam="true")
    assert not at.exception and not at.error and "labelled **" in text_of(at)
    why = "run 'both' is an ensemble of 2 runs, which has no weights of its own. Name one of its members: mine, theirs."
    assert why in text_of(at)
    for look in ("where it looks", "map"):
        at = open_page("mistakes", run="both", look=look)
        assert not at.exception and why in text_of(at)
        assert not [button for button in at.button if "seconds" in button.label or "Map all" in button.label]
