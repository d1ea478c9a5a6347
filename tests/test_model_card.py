"""The model card: its figures are the runs' own, and its sentences about weaknesses follow from them."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import model_card
from benchmarks.model_card import card
from fer_core.errors import RunError
from fer_core.evaluate import wilson_interval
from tests.faces import make_predictions
from tests.made_runs import both, finished_run

LABELS = [0] * 10 + [3] * 10 + [4] * 10
ANSWERS = [0] * 8 + [4] * 2 + [3] * 10 + [4] * 3 + [6] * 6 + [0]
"""angry 8 of 10, happy all, sad 3 of 10: six of them called neutral, two angry ones sad."""


@pytest.fixture
def plain():
    predictions = make_predictions(LABELS, ANSWERS)
    in_train = np.arange(len(LABELS)) < 4
    return finished_run("fer2013-small", both(replace(predictions, in_train_N=in_train)))


def test_recall_of_each_emotion_with_its_interval(plain):
    low, high = wilson_interval(3, 10)
    text = card([plain])
    # Of five that are called sad three are: precision 3/5, F1 2·3 / (10 + 5).
    assert f"| private | sad | 10 | 30.00 ({100 * low:.2f} to {100 * high:.2f}) | 60.00 | 0.400 |" in text
    assert "| private | fear | 0 | – | 0.00 | 0.000 |" in text


def test_weaknesses_follow_from_the_figures(plain):
    text = card([plain])
    assert "sad (30.00% of 10), angry (80.00% of 10), happy (100.00% of 10). It misses more of sad than" in text
    assert "sad called neutral: 6 of 10 (60.0%); angry called sad: 2 of 10 (20.0%); sad called angry: 1 of 10" in text
    assert "when it says sad, it is right in 60.00%" in text
    # Logits 4 and six times 0: the top probability is always e^4 / (e^4 + 6), 21 of 30 are right.
    assert "too sure of itself: mean top probability 90.1%, accuracy 70.0%" in text


def test_a_better_net_has_other_weaknesses():
    text = card([finished_run("a", both(make_predictions(LABELS)))])
    assert "It misses more of" not in text and "sad called neutral" not in text
    assert "less sure of itself" in text


def test_copies_are_counted_and_left_out(plain):
    text = card([plain])
    assert "4 faces of public and 4 faces of private stand in `Training` too" in text
    assert f"{100 * 17 / 26:.2f} (n = 26)" in text  # the four are right ones


def test_every_further_view_has_its_column():
    answers = make_predictions(LABELS, ANSWERS)
    flipped = replace(answers, more_NK={"flip": make_predictions(LABELS).logits_NK})
    text = card([finished_run("a", both(flipped))])
    assert "recall, as it is | recall, mirrored too | precision" in text
    assert "| private | flip | 30 | 100.00 |" in text


def test_what_balancing_changes_is_told_face_by_face(plain):
    balanced = finished_run("fer2013-small-balanced", both(make_predictions(LABELS)), balance="sampler")
    text = card([plain, balanced])
    assert "sad +70.0, angry +20.0" in text and "accuracy +30.00" in text
    assert "9 faces are right only with fer2013-small-balanced, 0 only with fer2013-small." in text
    assert "balanced (sampler)" in text and "the data as it is" in text


def test_it_says_what_the_nets_are_not_for_and_how_to_train_them(plain):
    text = card([plain])
    assert "Article 5(1)(f)" in text and "what anybody feels" in text and "No decisions about people" in text
    assert "python -m fer_core reproduce small\n" in text
    assert "secret" not in text


def test_a_run_that_was_not_trained_to_its_end_has_no_card(capsys, tmp_path):
    run = finished_run("a", {"public": make_predictions(LABELS)}, state="stopped")
    with pytest.raises(RunError, match="'a' has no answers on both"):
        card([run])
    assert model_card.main(["--runs", "a", "--out", str(tmp_path / "card")]) == 2
    assert not (tmp_path / "card").exists() and "train it to its end" in capsys.readouterr().err


def test_the_card_is_written_beside_the_runs(plain, tmp_path):
    assert model_card.main(["--runs", "fer2013-small", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "README.md").read_text() == card([plain])
