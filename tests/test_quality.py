"""Copies, leaks, conflicts, no faces and disputed rows, on ten faces whose flags are worked out by hand."""

import json
import os
import time
from dataclasses import replace

import numpy as np
import pytest

from fer_core.catalog import FLAGS
from fer_core.data import open_store, quality
from fer_core.data.agreement import ferplus_agreement
from fer_core.data.near import NearPairs
from fer_core.data.quality import (
    cached_near_copies,
    check,
    leave_out,
    near_copies,
    summary,
)
from fer_core.data.store import OUT, FaceStore, pixel_hashes
from fer_core.errors import ConfigError, DataError
from fer_core.labels import EMOTIONS, FERPLUS_COLUMNS
from tests.faces import store_of
from tests.test_near import jpeg, pictures

real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not os.environ.get("FER_DATA"), reason="$FER_DATA names no FER2013"),
]

# Rows 0 to 5 train, 6 and 7 public, 8 and 9 private; a letter is a picture, a' a near copy of a, - a black one.
PICTURES = ["a", "b", "a", "a'", "-", "c", "a", "c'", "b", "a"]
LABELS = [0, 3, 0, 0, 6, 4, 0, 4, 2, 0]
SPLIT_CODES = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]


@pytest.fixture
def store(tmp_path) -> FaceStore:
    a, b, c = pictures(3)
    known = {"a": a, "b": b, "c": c, "a'": jpeg(a, 80), "c'": jpeg(c[:, ::-1], 80), "-": np.zeros_like(a)}
    images = np.stack([known[name] for name in PICTURES])
    return store_of(images, LABELS, SPLIT_CODES, folder=tmp_path / "store")


def votes(**given: int) -> list[int]:
    return [given.get(name, 0) for name in FERPLUS_COLUMNS]


@pytest.fixture
def voted(store) -> FaceStore:
    rows = [
        votes(anger=10),
        votes(happiness=4, neutral=3, unknown=3),  # its top emotion has 0.4
        votes(NF=10),
        votes(anger=5, sadness=5),  # 0.5 is not below it
        votes(NF=9, neutral=1),
        votes(),
        votes(sadness=9, anger=1),
        votes(contempt=8, sadness=2),
        votes(NF=8),  # all that voted
        votes(unknown=6, anger=4),
    ]
    return replace(store, votes_NV=np.array(rows, dtype=np.uint8))


def rows_of(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask).tolist()


def test_every_flag_of_the_catalog_has_its_sentence_and_its_mask(voted):
    near_copies(voted)
    for name, entry in FLAGS.items():
        assert entry.text.endswith(".")
        mask = check(voted).flag(name)
        assert mask.dtype == bool
        assert mask.shape == (10,)


def test_exact_copies_leaks_conflicts_and_blank_pictures(store):
    found = check(store)
    assert found.duplicate_of_N.tolist() == [-1, -1, 0, -1, -1, -1, 0, -1, 1, 0]
    assert found.leaks_into_N.tolist() == [3, 2, 3, 0, 0, 0, 0, 0, 0, 0]
    assert rows_of(found.flag("duplicate_of")) == [2, 6, 8, 9]
    assert rows_of(found.flag("leaks_into")) == [0, 1, 2]
    assert rows_of(found.flag("label_conflict")) == [1, 8]
    assert rows_of(found.flag("constant")) == [4]


def test_near_copies_and_their_leaks(store):
    near = near_copies(store)
    pairs = zip(near.rows_a_M.tolist(), near.rows_b_M.tolist(), near.mirrored_M.tolist(), strict=True)
    assert list(pairs) == [(0, 3, False), (5, 7, True)]
    found = check(store)
    assert rows_of(found.flag("near_copy_of")) == [3, 7]  # the later one, so that one stays where it is left out
    assert rows_of(found.flag("near_leaks_into")) == [3, 5]


def test_a_near_copy_of_a_picture_is_one_of_its_exact_copies_too(store):
    order = [3, 0, 2, 1, 4, 5, 6, 7, 8, 9]  # a' comes first: every a is a near copy of an earlier row
    images = store.images_NHW[order]
    turned = replace(store, images_NHW=images, hashes_N=pixel_hashes(images))
    near_copies(turned)
    assert rows_of(check(turned).flag("near_copy_of")) == [1, 2, 6, 7, 9]
    assert rows_of(check(turned).flag("near_leaks_into")) == [0, 5]


def test_votes_tell_no_faces_and_disputed_ones(voted):
    found = check(voted)
    nan = np.nan
    np.testing.assert_allclose(found.vote_share_N, [1, 0.4, 0, 0.5, 0.1, nan, 0.9, 0.8, 0, 0.4], rtol=1e-6)
    assert rows_of(found.flag("not_a_face")) == [2, 8]
    assert rows_of(found.flag("low_agreement")) == [1, 2, 4, 8, 9]
    # 1: 4 of 10 is no majority; 3: 5 of 10 neither; 6: the single vote for anger is dropped
    assert found.majority_N.tolist() == [0, -1, -1, -1, -1, -1, 4, 7, -1, -1]


def test_without_votes_nothing_is_disputed(store):
    found = check(store)
    assert np.isnan(found.vote_share_N).all()
    assert not found.flag("not_a_face").any()
    assert not found.flag("low_agreement").any()
    assert set(found.majority_N.tolist()) == {-1}


def test_the_flags_of_one_row(voted):
    assert check(voted).flags_of(2) == ["duplicate_of", "leaks_into", "not_a_face", "low_agreement"]
    found = check(voted)
    assert found.flags_of(3) == []
    near_copies(voted)
    assert found.flags_of(3) == ["near_copy_of", "near_leaks_into"]  # found after the check, and told all the same


def test_which_flags_can_be_told(store, voted):
    exact = ("duplicate_of", "leaks_into", "label_conflict")
    assert check(store).known_flags == (*exact, "constant")
    assert check(voted).known_flags == (*exact, "constant", "not_a_face", "low_agreement")
    near_copies(voted)
    assert check(voted).known_flags == tuple(FLAGS)


def test_an_unknown_flag_is_answered_with_the_nearest(store):
    for ask in (check(store).flag, lambda name: leave_out(store, [name], 0.0)):
        with pytest.raises(ConfigError, match="no flag named 'duplicates_of'. Did you mean 'duplicate_of'"):
            ask("duplicates_of")


def test_a_row_that_a_view_leaves_out_is_no_ones_copy(store):
    splits = store.splits_N.copy()
    splits[[0, 8]] = OUT
    found = check(replace(store, splits_N=splits))
    assert found.duplicate_of_N.tolist() == [-1, -1, -1, -1, -1, -1, 2, -1, -1, 2]
    assert found.leaks_into_N.tolist() == [0, 0, 3, 0, 0, 0, 0, 0, 0, 0]
    assert not found.flag("label_conflict").any()
    assert summary(check(replace(store, splits_N=splits)), None)["n"] == 8


def test_near_copies_reach_a_view_through_the_exact_copies_that_are_left(store):
    near_copies(store)
    splits = store.splits_N.copy()
    splits[[0, 7]] = OUT
    found = check(replace(store, splits_N=splits))
    assert rows_of(found.flag("near_copy_of")) == [3]  # of row 2, which is a too
    assert rows_of(found.flag("near_leaks_into")) == [3]


# --- the kept file


def test_near_copies_are_looked_for_once(store, monkeypatch):
    first = near_copies(store)
    monkeypatch.setattr(quality, "near_pairs", lambda *args, **settings: pytest.fail("looked for again"))
    for again in (near_copies(store), cached_near_copies(store)):
        np.testing.assert_array_equal(again.rows_b_M, first.rows_b_M)
        np.testing.assert_array_equal(again.correlation_M, first.correlation_M)
        assert again.mirrored_M.dtype == bool


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "other version", "pickle"])
def test_a_damaged_or_older_file_is_made_anew(store, damage, monkeypatch):
    near_copies(store)
    path = store.folder / "near.npz"
    whole = path.read_bytes()
    if damage in ("cut", "noise", "empty"):
        path.write_bytes({"cut": whole[: len(whole) // 2], "noise": b"no archive", "empty": b""}[damage])
    elif damage == "pickle":
        np.savez(path, made_by=np.array([{}], dtype=object))
    else:
        monkeypatch.setattr(quality, "_NEAR_FORMAT", 99)
    assert cached_near_copies(store) is None
    assert len(near_copies(store)) == 2
    assert len(cached_near_copies(store)) == 2


def test_a_store_without_a_folder_keeps_nothing(store):
    nowhere = replace(store, folder=None)
    assert len(near_copies(nowhere)) == 2
    assert cached_near_copies(nowhere) is None
    assert check(nowhere).flags_of(3) == []
    with pytest.raises(DataError, match="faces.csv: near copies have not been looked for, which this flag needs"):
        check(nowhere).flag("near_copy_of")
    assert leave_out(nowhere, ["near_copy_of"], 0.0).splits_N.tolist() == [0, 0, 0, OUT, 0, 0, 1, 1, 2, 2]


def test_progress_is_told(store):
    told = []
    near_copies(store, lambda done, total: told.append((done, total)))
    assert told == [(1, 1)]


# --- the summary


def test_the_summary_counts_rows_pictures_and_pairs(voted):
    values = summary(check(voted), near_copies(voted))
    assert json.loads(json.dumps(values)) == values == {
        "n": 10,
        "unique": 6,
        "duplicate_groups": 2,
        "redundant": 4,
        "rows_in_train": {"public": 1, "private": 2},
        "images_in_public_and_private": 1,
        "conflicting_groups": 1,
        "constant": 1,
        "not_a_face": 2,
        "low_agreement": 5,
        "near": {
            "pairs": 2,
            "mirrored": 1,
            "rows": 7,  # four a, one a', c and c'
            "rows_in_train": {"public": 1, "private": 0},  # c'; the a of public and private are exact copies
            "correlation": 0.92,
        },
    }  # fmt: skip


def test_what_was_not_looked_for_is_not_counted(store):
    values = summary(check(store), None)
    assert values["near"] is None
    assert values["not_a_face"] is None
    assert values["low_agreement"] is None


def test_a_store_where_nothing_stands_in_a_split(store):
    empty = replace(store, splits_N=np.full(10, OUT, dtype=np.int8))
    near = near_copies(store)
    values = summary(check(empty), near)
    assert (values["n"], values["unique"], values["near"]["rows"]) == (0, 0, 0)
    assert not any(check(empty).flag(name).any() for name in FLAGS)


# --- FER+


def test_labels_against_the_majority(voted):
    agreement = ferplus_agreement(voted)
    wanted = np.zeros((7, 8), dtype=np.int64)
    wanted[0, 0] = 1  # row 0: angry, and anger leads
    wanted[0, 4] = 1  # row 6: angry, but sadness leads
    wanted[4, 7] = 1  # row 7: sad, but contempt leads
    np.testing.assert_array_equal(agreement.matrix, wanted)
    assert agreement.n == 3
    assert agreement.agree == pytest.approx(1 / 3)
    assert agreement.rows == EMOTIONS
    assert agreement.columns == (*EMOTIONS, "contempt")
    assert json.loads(json.dumps(agreement.to_json()))["matrix"] == wanted.tolist()


def test_no_majority_is_no_agreement(voted):
    agreement = ferplus_agreement(replace(voted, votes_NV=np.zeros((10, 10), dtype=np.uint8)))
    assert (agreement.n, agreement.agree) == (0, 0.0)


# --- leaving out


def test_only_train_rows_are_left_out(store):
    view = leave_out(store, ["duplicate_of", "constant"], 0.0)
    assert view.splits_N.tolist() == [0, 0, OUT, 0, OUT, 0, 1, 1, 2, 2]
    assert store.splits_N.tolist() == SPLIT_CODES
    assert len(view) == 8
    np.testing.assert_array_equal(view.labels_N, store.labels_N)


def test_a_smallest_vote_share_spares_rows_without_votes(voted):
    view = leave_out(voted, [], 0.6)
    assert view.splits_N.tolist() == [0, OUT, OUT, OUT, OUT, 0, 1, 1, 2, 2]


def test_near_copies_are_looked_for_when_they_are_to_be_left_out(store):
    assert leave_out(store, ["near_leaks_into"], 0.0).splits_N.tolist() == [0, 0, 0, OUT, 0, OUT, 1, 1, 2, 2]
    assert cached_near_copies(store) is not None


def test_the_fingerprint_tells_what_was_left_out(store):
    one, other, both = (leave_out(store, flags, 0.0) for flags in (["constant"], ["leaks_into"], ["constant"]))
    assert len({store.fingerprint, one.fingerprint, other.fingerprint}) == 3
    assert one.fingerprint == both.fingerprint
    assert len(one.fingerprint) == 16


def test_a_store_of_which_nothing_is_left_out_is_the_same_store(store):
    assert leave_out(store, [], 0.0) is store
    clean = replace(store, contrast_N=np.full(10, 40, dtype=np.float32))
    assert leave_out(clean, ["constant"], 0.0) is clean


@pytest.mark.parametrize(("flags", "share"), [(["not_a_face"], 0.0), (["low_agreement"], 0.0), ([], 0.5)])
def test_votes_that_are_missing_are_asked_for(store, flags, share):
    with pytest.raises(DataError, match="faces.csv: no FER\\+ votes, which .* needs. Put fer2013new.csv beside it"):
        leave_out(store, flags, share)
    with pytest.raises(DataError, match="no FER\\+ votes"):
        ferplus_agreement(store)


def test_leaving_out_every_training_face_is_refused(store):
    with pytest.raises(DataError, match="no train face is left without constant; leave out less"):
        leave_out(replace(store, contrast_N=np.zeros(10, dtype=np.float32)), ["constant"], 0.0)


def test_every_training_face_below_the_vote_share_is_refused_too(voted):
    few = replace(voted, votes_NV=np.tile(np.array(votes(anger=2, fear=2, sadness=6), dtype=np.uint8), (10, 1)))
    with pytest.raises(DataError, match="no train face is left without vote shares below 0.7; leave out less"):
        leave_out(few, [], 0.7)


def test_a_million_rows_are_checked_in_seconds():
    n = 1_000_000
    rng = np.random.default_rng(0)
    column = np.full(n, 50, dtype=np.float32)
    store = FaceStore(
        np.broadcast_to(np.uint8(0), (n, 48, 48)),
        rng.integers(0, 7, n),
        rng.integers(0, 3, n).astype(np.int8),
        rng.integers(0, n, n).astype(np.uint64),
        column, column, source="", kind="csv", fingerprint="",
    )  # fmt: skip
    started = time.perf_counter()
    found = check(store)
    assert time.perf_counter() - started < 5
    row = int(np.flatnonzero(found.duplicate_of_N >= 0)[-1])
    assert np.flatnonzero(store.hashes_N == store.hashes_N[row])[0] == found.duplicate_of_N[row]


class TestRealData:
    pytestmark = real_data

    @pytest.fixture
    def real(self):
        return open_store(os.environ["FER_DATA"])

    def test_the_exact_copies_of_fer2013(self, real):
        started = time.perf_counter()
        values = summary(check(real), None)
        assert time.perf_counter() - started < 2
        exact = dict(list(values.items())[:7])
        assert exact == {
            "n": 35_887, "unique": 34_032, "duplicate_groups": 1_518, "redundant": 1_855,
            "rows_in_train": {"public": 280, "private": 288},
            "images_in_public_and_private": 43, "conflicting_groups": 58,
        }  # fmt: skip
        assert values["constant"] == 14

    def test_near_copies_leak_as_often_as_exact_ones(self, real):
        near: NearPairs = near_copies(real)
        values = summary(check(real), near)["near"]
        assert values["mirrored"] == 28
        assert 290 <= values["rows_in_train"]["public"] <= 310
        assert 306 <= values["rows_in_train"]["private"] <= 326

    def test_labels_and_taggers_agree_on_two_thirds(self, real):
        if real.votes_NV is None:
            pytest.skip("no FER+ votes beside $FER_DATA")
        agreement = ferplus_agreement(real)
        assert agreement.n == 31_412
        assert round(agreement.agree, 4) == 0.6756
        assert check(real).flag("not_a_face").sum() == 176
