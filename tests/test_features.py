"""Features: what goes into the last linear layer, kept on disk by weights and pixels, and neighbours among them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fer_core import features
from fer_core.data import FaceStore
from fer_core.errors import DataError, RunError
from fer_core.feature_file import (
    Features,
    features_folder,
    nearest_faces,
    read_features,
    weights_digest,
    write_features,
)
from fer_core.features import compute_features, features_of, last_layer
from fer_core.models import FaceClassifier, create_model
from fer_core.run_model import architecture, load_model
from fer_core.runs import Run, create_run
from fer_core.train.checkpoint import save_weights
from tests.faces import make_faces, store_of, write_run
from tests.toy import CPU_FP32, toy_classifier, toy_config

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "choose_placement", lambda *_: CPU_FP32)


@pytest.fixture
def store() -> FaceStore:
    faces = make_faces()
    return store_of(faces.images_NHW, faces.labels_N.tolist(), faces.splits_N.tolist())


def trained_run(name: str = "one", seed: int = 0, **settings: Any) -> Run:
    config = toy_config(**settings)
    torch.manual_seed(seed)
    net = architecture(config, 7, (48, 48))
    run = create_run(config, name)
    save_weights(run.best, create_model(**net), 1, net)
    return run


# --- computing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"head_hidden": 8, "head_dropout": 0.2}, {"model": "cnn6"}])
def test_features_are_what_the_last_linear_layer_is_given(store, settings):
    run = trained_run(**settings)
    found = compute_features(run, store)
    model = load_model(run)
    layer = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    given: list[Tensor] = []
    layer.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    with torch.no_grad():
        logits = model(torch.from_numpy(store.images_NHW.copy()).unsqueeze(1) / 255)
    assert found is not None and found.values_ND.dtype == np.float16
    assert found.values_ND.shape == (len(store.images_NHW), layer.in_features)
    np.testing.assert_allclose(found.rows(), given[0].numpy(), rtol=2e-3, atol=2e-3)
    again = torch.from_numpy(found.rows()) @ layer.weight.T + layer.bias
    np.testing.assert_allclose(again.detach().numpy(), logits.numpy(), atol=0.05)


def test_batches_make_no_difference_and_progress_is_told(store, monkeypatch):
    run = trained_run()
    whole = compute_features(run, store)
    (features_folder(run, store) / "features.npz").unlink()
    monkeypatch.setattr(features, "_BATCH", 4)
    told: list[tuple[int, int]] = []
    parts = compute_features(run, store, lambda *one: told.append(one))
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert whole is not None and parts is not None
    np.testing.assert_allclose(whole.rows(), parts.rows(), atol=2e-3)


def test_asked_to_stop_it_keeps_nothing(store, monkeypatch):
    monkeypatch.setattr(features, "_BATCH", 4)
    run = trained_run()
    seen: list[int] = []

    def stop_at_second(done: int, total: int) -> bool:
        seen.append(done)
        return done >= 8

    assert compute_features(run, store, stop_at_second) is None
    assert seen == [4, 8] and read_features(run, store) is None


def test_what_was_kept_is_not_computed_again(store, monkeypatch):
    run = trained_run()
    first = compute_features(run, store)
    monkeypatch.setattr(features, "load_model", lambda run: pytest.fail("the net was asked again"))
    again = compute_features(run, store)
    assert first is not None and again is not None and np.array_equal(first.values_ND, again.values_ND)


def test_the_hidden_layer_of_a_head_is_before_its_last_layer():
    model = toy_classifier()
    assert isinstance(model.head, nn.Sequential) and last_layer(model) is model.head[3]


def test_a_net_without_a_linear_layer_has_no_features():
    with pytest.raises(RunError, match=r"^this net has no linear layer, so that there are no features before it.$"):
        last_layer(FaceClassifier(nn.Conv2d(1, 7, 3)))


def test_a_layer_that_takes_a_row_for_each_place_is_refused():
    net = nn.Sequential(nn.Flatten(2), nn.Linear(16, 7))
    with pytest.raises(RunError, match="does not take one row of features for each face"):
        features_of(net, net[1], torch.zeros(2, 4, 4, dtype=torch.uint8))


# --- keeping --------------------------------------------------------------------------------------------------------


def test_they_are_found_by_weights_and_pixels_alone(store):
    run, same, other = trained_run("a"), trained_run("b"), trained_run("c", seed=1)
    written = write_features(run, store, np.random.default_rng(0).normal(size=(10, 3)))
    relabelled = replace(store, labels_N=store.labels_N[::-1], fingerprint="another")
    for reader, faces in ((run, store), (same, store), (run, relabelled)):
        found = read_features(reader, faces)
        assert found is not None and np.array_equal(found.values_ND, written.values_ND)
    moved = replace(store, hashes_N=store.hashes_N[::-1])
    assert read_features(other, store) is None and read_features(run, moved) is None


def test_retrained_weights_are_another_net(store):
    run = trained_run()
    before = weights_digest(run)
    run.best.write_bytes(b"other weights")
    assert weights_digest(run) != before and len(before) == 16


def test_a_damaged_or_older_file_is_no_features(store):
    run = trained_run()
    write_features(run, store, np.ones((10, 3)))
    path = features_folder(run, store) / "features.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert read_features(run, store) is None
    np.savez(path, format=np.int64(0), values=np.ones((10, 3), np.float16))
    assert read_features(run, store) is None
    np.savez(path, format=np.int64(1), values=np.ones((9, 3), np.float16))
    assert read_features(run, store) is None
    path.write_bytes(whole)
    assert read_features(run, store) is not None


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_features_that_do_not_fit_into_16_bits_are_refused(store, value):
    run = trained_run()
    with pytest.raises(RunError, match=r"^the features of run 'one' are not finite in 16 bits; "):
        write_features(run, store, np.full((10, 3), value))
    assert read_features(run, store) is None


def test_a_run_without_weights_says_how_far_it_is(store):
    with pytest.raises(RunError, match=r"^run 'two' has no weights; it is stopped. Train or resume it first.$"):
        read_features(write_run("two", state="stopped"), store)


# --- neighbours -----------------------------------------------------------------------------------------------------


def made(n: int = 60, d: int = 5, seed: int = 0) -> Features:
    return Features(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float16))


def by_hand(values: Any, row: int, k: int, among: list[int]) -> list[tuple[float, int]]:
    found = []
    for other in among:
        if other != row:
            a, b = values[row].astype(float), values[other].astype(float)
            found.append((-(a @ b) / (np.sqrt(a @ a) * np.sqrt(b @ b)), other))
    return sorted(found)[:k]


@pytest.mark.parametrize("among", [None, list(range(3, 60, 4)), [7, 7, 9]])
@pytest.mark.parametrize("row", [0, 7])
@pytest.mark.parametrize("wide", [0, 1 << 20])
def test_the_nearest_faces_are_those_of_a_plain_loop(monkeypatch, among, row, wide):
    monkeypatch.setattr("fer_core.feature_file._WIDE_BYTES", wide)
    monkeypatch.setattr("fer_core.feature_file._ROWS_AT_ONCE", 16)
    features = made()
    expected = by_hand(features.values_ND, row, 6, sorted(set(range(60) if among is None else among)))
    rows, cosines = nearest_faces(features, row, 6, None if among is None else np.array(among))
    assert rows.tolist() == [other for _, other in expected] and row not in rows
    np.testing.assert_allclose(cosines, [-value for value, _ in expected], atol=1e-5)


def test_of_equal_faces_the_first_rows_come():
    features = Features(np.array([[1, 0], [0, 1], [2, 0], [1, 0], [3, 0]], np.float16))
    rows, cosines = nearest_faces(features, 4, 2)
    assert rows.tolist() == [0, 2] and cosines.tolist() == [1, 1]


def test_a_face_without_active_features_is_like_no_other():
    rows, cosines = nearest_faces(Features(np.array([[0, 0], [1, 0], [0, 1]], np.float16)), 0, 5)
    assert rows.tolist() == [1, 2] and cosines.tolist() == [0, 0]


def test_alone_a_face_has_no_neighbours():
    rows, cosines = nearest_faces(made(), 3, 5, np.array([3]))
    assert len(rows) == len(cosines) == 0


def test_a_row_that_is_not_there_is_refused():
    with pytest.raises(DataError, match=r"^there is no row 60; the features are of rows 0 to 59.$"):
        nearest_faces(made(), 60, 5)
