"""From pixels to probabilities: the answers of a training's own evaluation, however many faces are asked at once."""

import numpy as np
import pytest
import torch

from fer_core.adjust import Adjustment
from fer_core.augment import to_floats
from fer_core.catalog import AVERAGES, MODELS, VIEWS
from fer_core.ensemble import create_ensemble, mean_answers
from fer_core.errors import ConfigError, RunError
from fer_core.evaluate import softmax
from fer_core.labels import EMOTIONS
from fer_core.models import create_model
from fer_core.pipeline import Pipeline, load_pipeline
from fer_core.run_adjustment import SavedAdjustment
from fer_core.run_model import load_model
from fer_core.runs import find_run
from fer_core.views import predict_logits
from tests.faces import make_predictions
from tests.scenes import SHIPPED
from tests.toy import toy_classifier

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 12
"""Of what the toy net sees."""
FACES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 48, 48), dtype=np.uint8))


@pytest.fixture
def shipped(monkeypatch):
    monkeypatch.setenv("FER_SHIPPED", SHIPPED)
    return find_run("fer2013-small")


def toy_net(seed=0, crop=0.0):
    """A net whose batch norms have seen something, so that folding them in changes every weight."""
    torch.manual_seed(seed)
    net = toy_classifier()
    net.crop = crop
    net.train()(torch.rand(32, 1, 12, 12))
    return net.eval()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("crop", [0.0, 0.1])
def test_the_answers_are_those_of_the_evaluation(view, crop):
    expected = predict_logits(toy_net(crop=crop), FACES, view, size=SIDE).softmax(1)  # as `Trainer.predict` asks
    found = Pipeline([toy_net(crop=crop)], EMOTIONS, view=view)(FACES)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("view", VIEWS)
def test_the_answers_of_a_shipped_run_are_those_of_its_evaluation(shipped, view):
    expected = predict_logits(load_model(shipped), FACES, view).softmax(1)
    torch.testing.assert_close(load_pipeline(shipped, view).in_batches(FACES), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_folding_batch_norms_in_changes_no_answer(name):
    torch.manual_seed(0)
    net = create_model(name, num_classes=7, image_size=32).eval()
    with torch.inference_mode():
        expected = net(to_floats(FACES[:2])).softmax(1)
        found = Pipeline([net], EMOTIONS)(FACES[:2])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_one_by_one_equals_all_at_once(shipped):
    pipeline = load_pipeline(shipped)
    together = pipeline.in_batches(FACES)
    alone = torch.cat([pipeline.in_batches(FACES[place : place + 1]) for place in range(len(FACES))])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)
    assert torch.equal(alone.argmax(1), together.argmax(1))
    torch.testing.assert_close(pipeline.in_batches(FACES, batch=4), together, atol=1e-5, rtol=0)


def test_threads_with_faces_of_their_own_answer_in_the_faces_order(shipped, monkeypatch):
    pipeline = load_pipeline(shipped)
    expected = pipeline.in_batches(FACES)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)  # as on a machine with so many cores
    torch.testing.assert_close(pipeline.in_batches(FACES, batch=2), expected, atol=1e-5, rtol=0)


def test_what_a_net_raises_on_another_thread_is_raised_here(monkeypatch):
    pipeline = Pipeline([toy_net()], EMOTIONS)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(pipeline.nets[0], "forward", lambda images: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pipeline.in_batches(FACES, batch=2)


def test_a_saved_decision_decides():
    prior = (0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17)
    saved = SavedAdjustment(Adjustment(1.0, 2.0, (0.5, *[0.0] * 6)), EMOTIONS, prior, "hand", "public")
    logits = predict_logits(toy_net(), FACES).numpy()
    moved = softmax(saved.apply(make_predictions([0] * len(FACES), logits=logits)).logits_NK)
    found = Pipeline([toy_net()], EMOTIONS, decision=saved)(FACES)
    np.testing.assert_allclose(found.detach().numpy(), moved, atol=1e-6)


@pytest.mark.parametrize("average", AVERAGES)
def test_several_nets_are_averaged(average):
    one, other = (predict_logits(toy_net(seed), FACES) for seed in (0, 1))
    by_hand = ((one + other) / 2).softmax(1) if average == "logits" else (one.softmax(1) + other.softmax(1)) / 2
    found = Pipeline([toy_net(0), toy_net(1)], EMOTIONS, average=average)(FACES)
    torch.testing.assert_close(found, by_hand, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("average", AVERAGES)
def test_an_ensemble_predicts_by_its_members(shipped, average):
    """As its stored answers are made: the mean of what the nets themselves say."""
    members = [shipped, find_run("fer2013-small-balanced")]
    made = create_ensemble(members, "both", average)
    answers = [make_predictions([0] * 9, logits=predict_logits(load_model(one), FACES).numpy()) for one in members]
    expected = softmax(mean_answers(answers, average).logits_NK)
    np.testing.assert_allclose(load_pipeline(made).in_batches(FACES), expected, atol=1e-5)


def test_an_ensemble_whose_member_is_gone_says_which(shipped, monkeypatch, tmp_path):
    made = create_ensemble([shipped, find_run("fer2013-small-balanced")], "both")
    monkeypatch.setenv("FER_SHIPPED", str(tmp_path / "none"))
    with pytest.raises(RunError, match="no run named 'fer2013-small'"):
        load_pipeline(made)


def test_it_never_leaves_evaluation_mode():
    pipeline = Pipeline([toy_net()], EMOTIONS)
    before = pipeline(FACES)
    pipeline.train()(FACES)
    assert not any(module.training for module in pipeline.modules())
    assert torch.equal(pipeline(FACES), before)


def test_no_face_is_answered_too():
    assert Pipeline([toy_net()], EMOTIONS).in_batches(FACES[:0]).shape == (0, 7)


@pytest.mark.parametrize(
    ("option", "message"),
    [({"view": "fliip"}, "no view named 'fliip'"), ({"average": "mean"}, "no average named 'mean'")],
)
def test_unknown_names_are_refused(option, message):
    with pytest.raises(ConfigError, match=message):
        Pipeline([toy_net()], EMOTIONS, **option)
