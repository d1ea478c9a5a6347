"""`predictions.npz`: answers by several test-time views, each apart, and files of older versions."""

from dataclasses import replace

import numpy as np
import pytest

from fer_core import catalog
from fer_core.errors import RunError
from fer_core.predictions import (
    predicted_splits,
    predicted_views,
    read_predictions,
    report_on,
    write_predictions,
)
from tests.faces import make_predictions, random_predictions, write_run

LABELS = [0, 3, 3, 6]


def wrong(n: int) -> list[int]:
    """`LABELS`, of which the first n are answered wrongly."""
    return [(label + 1) % 7 if place < n else label for place, label in enumerate(LABELS)]


def with_views(**answers: list[int]):
    """Answers by the view "none", right but for one face, and by these views."""
    more = {view.replace("_", "-"): make_predictions(LABELS, given).logits_NK for view, given in answers.items()}
    return replace(make_predictions(LABELS, wrong(1)), more_NK=more)


def refusal(call, *arguments) -> str:
    with pytest.raises(RunError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_views_are_stored_apart_and_each_has_its_figures():
    run = write_run("one", public=with_views(flip=wrong(2)), private=with_views(flip=wrong(0), ten_crop=wrong(3)))
    assert run.views("public") == ("none", "flip") and run.views("private") == ("none", "flip", "ten-crop")
    figures = {view: report_on(run.predictions("private", view)).accuracy for view in run.views("private")}
    assert figures == {"none": 0.75, "flip": 1.0, "ten-crop": 0.25}
    assert report_on(run.predictions("public", "flip")).accuracy == 0.5
    assert report_on(run.predictions("public")).accuracy == 0.75


def test_the_answers_of_a_view_have_the_faces_of_all():
    written = with_views(flip=wrong(0))
    run = write_run("one", private=written)
    plain, flipped = run.predictions("private"), run.predictions("private", "flip")
    for name in ("rows_N", "hashes_N", "labels_N"):
        np.testing.assert_array_equal(getattr(flipped, name), getattr(plain, name))
    np.testing.assert_array_equal(flipped.logits_NK, written.more_NK["flip"])
    np.testing.assert_array_equal(plain.logits_NK, written.logits_NK)
    assert (flipped.classes, flipped.fingerprint) == (plain.classes, plain.fingerprint)


def test_a_view_that_is_not_there_is_named_beside_those_that_are():
    run = write_run("one", public=with_views(flip=wrong(0)))
    assert refusal(run.predictions, "public", "ten-crop") == (
        "run 'one' was not judged by the view 'ten-crop' (it has: none, flip). Name it in --views when you train."
    )


def test_a_split_that_is_not_there_comes_before_its_view():
    run = write_run("one", state="stopped", public=with_views(flip=wrong(0)))
    assert refusal(run.predictions, "private", "flip").startswith("run 'one' has no predictions on 'private'")
    assert run.views("private") == () and run.splits() == ("public",)


def test_views_stand_in_the_catalogs_order():
    answers = replace(make_predictions(LABELS), more_NK=with_views(ten_crop=wrong(0), flip=wrong(0)).more_NK)
    assert write_run("one", public=answers).views("public") == tuple(catalog.VIEWS)


def test_a_run_without_predictions_has_no_views():
    assert write_run("one").views("private") == ()


def old_file(path) -> None:
    """As version 0.2 wrote it, and without what only its last weeks had."""
    p = random_predictions(5, seed=1)
    arrays = {"rows": p.rows_N, "hashes": p.hashes_N, "labels": p.labels_N, "logits": p.logits_NK}
    named = {f"{split}_{key}": value for split in ("public", "private") for key, value in arrays.items()}
    np.savez(path, format=np.int64(1), classes=np.array(p.classes), fingerprint=np.array(p.fingerprint), **named)


def test_a_file_of_version_0_2_still_reads(tmp_path):
    path = tmp_path / "run" / "predictions.npz"
    path.parent.mkdir()
    old_file(path)
    assert predicted_splits(path) == ("public", "private") and predicted_views(path, "private") == ("none",)
    found, expected = read_predictions(path, "private"), random_predictions(5, seed=1)
    np.testing.assert_array_equal(found.logits_NK, expected.logits_NK)
    assert found.in_train_N is None and found.more_NK == {} and found.classes == expected.classes
    assert refusal(read_predictions, path, "private", "flip") == (
        "run 'run' was not judged by the view 'flip' (it has: none). Name it in --views when you train."
    )


def test_what_has_no_views_is_written_as_it_ever_was(tmp_path):
    """Older versions read the file of a run that was judged by "none" alone."""
    old_file(tmp_path / "old.npz")
    p = random_predictions(5, seed=1)
    write_predictions(tmp_path / "new.npz", {"public": p, "private": p})
    with np.load(tmp_path / "old.npz") as old, np.load(tmp_path / "new.npz") as new:
        assert set(new) == set(old)
        for name in old:
            np.testing.assert_array_equal(new[name], old[name])


@pytest.mark.parametrize(
    "logits", [np.zeros((3, 7), np.float32), np.zeros((4, 6), np.float32), np.zeros(4, np.float32)]
)
def test_logits_of_a_view_that_do_not_fit_the_labels_are_damage(logits):
    run = write_run("one", private=replace(make_predictions(LABELS), more_NK={"flip": logits}))
    message = refusal(run.predictions, "private", "flip")
    assert message.startswith(f"{run.path / 'predictions.npz'}: damaged (") and "logits of shape" in message
    assert len(run.predictions("private").labels_N) == 4


def test_the_views_of_a_damaged_file_are_refused():
    run = write_run("one", private=make_predictions(LABELS))
    path = run.path / "predictions.npz"
    path.write_bytes(path.read_bytes()[:100])
    assert refusal(run.views, "private").startswith(f"{path}: damaged (")
