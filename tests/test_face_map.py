"""The map of all faces: components, t-SNE, what is kept of them, and the command that makes it step by step."""

import json
from typing import Any

import numpy as np
import pytest

from fer_core import cli_map, face_map
from fer_core.cli_map import Map
from fer_core.data import FaceStore, open_store
from fer_core.errors import DataError, RunError
from fer_core.face_map import (
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
from fer_core.feature_file import Features, features_folder, write_features
from fer_core.map_job import MapStopped, at_work, map_status
from fer_core.runs import Run
from tests.faces import make_faces, write_csv, write_run

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = MapSettings(perplexity=5)


@pytest.fixture(autouse=True)
def short(monkeypatch, tmp_path):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(face_map, "ITERATIONS", 250)
    monkeypatch.setattr(cli_map, "ITERATIONS", 250)


def clustered(n: int = 30, d: int = 6, groups: int = 3) -> Features:
    """Row i belongs to group i % groups; the groups lie far apart."""
    rng = np.random.default_rng(0)
    centres = 20 * rng.normal(size=(groups, d))
    return Features((centres[np.arange(n) % groups] + rng.normal(size=(n, d))).astype(np.float16))


# --- components -----------------------------------------------------------------------------------------------------


def test_components_are_those_of_the_correlation_matrix():
    """Of standardised features, the variances are the eigenvalues of their correlations."""
    features = clustered(200, 5)
    points = principal_points(features, 3)
    values = features.rows().astype(float)
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(values.T))[::-1]
    np.testing.assert_allclose(points.explained_P, eigenvalues[:3] / 5, atol=1e-5)
    np.testing.assert_allclose(points.values_NP.var(axis=0), eigenvalues[:3], rtol=1e-3)
    assert points.note == f"3 principal components hold {points.explained_P.sum():.0%} of the variance"


def test_the_scale_of_a_feature_does_not_matter_and_one_that_never_changes_neither():
    features = clustered()
    values = features.rows() * np.array([1, 64, 1, 1, 0.25, 1]) + np.array([0, 0, 32, 0, 0, 0])
    scaled = principal_points(Features(np.hstack([values, np.full((30, 1), 3)]).astype(np.float16)), 3)
    plain = principal_points(features, 3)
    np.testing.assert_allclose(np.abs(scaled.values_NP), np.abs(plain.values_NP), atol=0.05)


@pytest.mark.parametrize("shape", [(7, 6), (30, 1)])
def test_too_little_for_a_map_is_refused(shape):
    with pytest.raises(DataError, match=rf"^{shape[0]} faces with {shape[1]} features; a map takes 8 and 2.$"):
        principal_points(Features(np.ones(shape, np.float16)))


# --- layout ---------------------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_maps_and_groups_stay_together():
    points = principal_points(clustered())
    (first, left), (again, _) = (lay_out(points, FEW) for _ in range(2))
    assert first.shape == (30, 2) and first.dtype == np.float32 and left > 0
    assert np.array_equal(first, again)
    gaps = np.linalg.norm(first[:, None] - first[None], axis=2) + np.diag(np.full(30, np.inf))
    assert (gaps.argmin(axis=1) % 3 == np.arange(30) % 3).all()


def test_it_tells_how_far_it_is_and_what_is_raised_then_ends_it(capsys):
    told: list[int] = []
    points = principal_points(clustered())
    lay_out(points, FEW, told.append)
    assert told == sorted(told) and {0, 50, 100, 200} <= set(told) and told[-1] == 250
    assert capsys.readouterr().out == ""

    def stop(iteration: int) -> None:
        if iteration >= 100:
            raise MapStopped

    with pytest.raises(MapStopped):
        lay_out(points, FEW, stop)
    print("standard output is back")
    assert capsys.readouterr().out == "standard output is back\n"


def test_faces_are_drawn_by_the_seed_in_order():
    assert drawn_rows(10, MapSettings()).tolist() == list(range(10))
    assert drawn_rows(10, MapSettings(faces=20)).tolist() == list(range(10))
    some, again, other = (drawn_rows(1000, MapSettings(faces=50, seed=seed)).tolist() for seed in (0, 0, 1))
    assert some == again == sorted(set(some)) != other and len(some) == 50


def test_a_map_of_a_few_faces_has_a_point_for_each():
    xy, _ = lay_out(principal_points(clustered()), MapSettings(faces=9))
    assert xy.shape == (9, 2) and np.isfinite(xy).all()


def test_more_faces_take_longer():
    assert estimate_s(35_887) > 5 * estimate_s(7_000) > 0


# --- keeping --------------------------------------------------------------------------------------------------------


def test_what_was_written_is_read(tmp_path):
    points = Points(np.ones((4, 2), np.float32), np.array([0.5, 0.25]))
    found = FaceMap(np.array([1, 3]), np.ones((2, 2), np.float32), MapSettings(faces=8, seed=3), 0.75, 1.5, 9.0)
    assert read_points(tmp_path) is None and read_map(tmp_path) is None
    write_points(tmp_path, points)
    write_map(tmp_path, found)
    back = read_map(tmp_path)
    assert read_points(tmp_path).note == "2 principal components hold 75% of the variance"
    assert back is not None and back.settings == found.settings
    assert (back.explained, back.divergence, back.seconds) == (0.75, 1.5, 9.0)
    assert back.rows_M.tolist() == [1, 3] and back.xy_M2.dtype == np.float32
    assert read_map(tmp_path, found.settings) is not None and read_map(tmp_path, MapSettings()) is None
    (tmp_path / "map.npz").write_bytes(b"no map")
    assert read_map(tmp_path) is None


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path) -> tuple[Run, FaceStore, str]:
    """A run with features of 24 faces; its net is never asked."""
    faces = make_faces({"train": {"angry": 8, "happy": 8}, "public": {"sad": 4}, "private": {"sad": 4}})
    data = str(write_csv(tmp_path / "fer2013.csv", faces))
    run, store = write_run("one"), open_store(data)
    run.best.write_bytes(b"weights")
    write_features(run, store, clustered(24).rows())
    return run, store, data


def command(data: str, **values: Any) -> Map:
    return Map.model_validate({"run": "one", "data": data, "perplexity": 5, **values})


def test_the_command_makes_a_map_and_says_what_it_is(place, capsys):
    run, store, data = place
    command(data).cli_cmd()
    found = read_map(features_folder(run, store))
    assert found is not None and found.rows_M.tolist() == list(range(24)) and found.xy_M2.shape == (24, 2)
    text = capsys.readouterr().out
    assert text.splitlines()[0] == f"24 faces of {store.source} as one sees them"
    assert text.splitlines()[-1] == str(features_folder(run, store) / "map.npz")
    assert map_status(run, store).state == "done"


def test_as_json_it_is_read_by_a_program(place, capsys):
    _, store, data = place
    command(data, faces=10, json=True).cli_cmd()
    values = json.loads(capsys.readouterr().out)
    assert values["faces"] == 10 and values["settings"] == {"faces": 10, "perplexity": 5, "seed": 0}
    assert 0 < values["explained_variance"] <= 1 and values["fingerprint"] == store.fingerprint


def test_finished_steps_are_not_done_again(place, monkeypatch):
    *_, data = place
    command(data).cli_cmd()
    monkeypatch.setattr(cli_map, "principal_points", lambda features: pytest.fail("the components were there"))
    monkeypatch.setattr(cli_map, "read_features", lambda run, store: pytest.fail("the components were there"))
    command(data, seed=1).cli_cmd()
    monkeypatch.setattr(cli_map, "lay_out", lambda *_: pytest.fail("the map was there"))
    command(data, seed=1).cli_cmd()


def test_stopped_in_the_middle_it_goes_on_from_its_last_step(place, monkeypatch, capsys):
    run, store, data = place
    original = cli_map.lay_out

    def stopped(*_: Any) -> Any:
        (features_folder(run, store) / "stop").touch()
        return original(*_)

    monkeypatch.setattr(cli_map, "lay_out", stopped)
    command(data).cli_cmd()
    assert "note: stopped; the steps that are finished are kept." in capsys.readouterr().err
    status = map_status(run, store)
    assert (status.state, status.step) == ("stopped", "t-SNE")
    assert read_points(features_folder(run, store)) is not None and read_map(features_folder(run, store)) is None
    monkeypatch.setattr(cli_map, "lay_out", original)
    command(data).cli_cmd()
    assert map_status(run, store).state == "done" and read_map(features_folder(run, store)) is not None


def test_the_time_to_go_is_told_from_the_iterations_alone(place, monkeypatch):
    """Finding the neighbours took 90 s, an iteration takes 0.5 s: after 100 of 250, 75 s are left."""
    run, store, data = place
    clock, told = [0.0], []

    def slow(points: Any, settings: Any, tell: Any) -> Any:
        for iteration, at in ((0, 60.0), (50, 115.0), (100, 140.0)):
            clock[0] = at
            tell(iteration)
            told.append(map_status(run, store).message)
        return np.zeros((24, 2), np.float32), 1.0

    monkeypatch.setattr(cli_map.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(cli_map, "estimate_s", lambda faces: 400.0)
    monkeypatch.setattr(cli_map, "lay_out", slow)
    command(data).cli_cmd()
    assert told == [
        "t-SNE of 24 faces: finding neighbours, 1 min so far, about 6 min to go",
        "t-SNE of 24 faces: iteration 50 of 250, 2 min so far, about 5 min to go",
        "t-SNE of 24 faces: iteration 100 of 250, 2 min so far, about 1 min to go",
    ]


def test_an_error_stands_in_the_status(place, monkeypatch):
    run, store, data = place

    def full(*_: Any) -> None:
        raise DataError("could not write: the disk is full.")

    monkeypatch.setattr(cli_map, "write_points", full)
    with pytest.raises(DataError):
        command(data).cli_cmd()
    assert (map_status(run, store).state, map_status(run, store).message) == (
        "failed",
        "could not write: the disk is full.",
    )


def test_two_at_once_are_refused(place):
    run, store, data = place
    with (
        at_work(run, store, MapSettings()),
        pytest.raises(RunError, match=r"^the map of run 'one' is being made by another process.$"),
    ):
        command(data).cli_cmd()
