"""Sources that were opened before, or that lie oddly: what is kept may be damaged, and votes may lie elsewhere."""

import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fer_core.data import find_source, open_store, quality
from fer_core.data.ferplus import FILE_NAME
from fer_core.data.labelling import labelled
from fer_core.errors import DataError
from fer_core.files import private_folder
from tests.faces import make_faces, write_csv, write_folder, write_votes


@pytest.fixture
def voted(tmp_path) -> Path:
    """A CSV with its votes beside it, opened once, and its near copies looked for."""
    path = write_csv(tmp_path / "fer2013.csv")
    write_votes(tmp_path / FILE_NAME)
    quality.near_copies(open_store(str(path)))
    return path


def cut(path: Path) -> None:
    os.truncate(path, 300)


def saved(array: object):
    return lambda path: np.save(path, array)


def with_far_rows(path: Path) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file}
    far = {name: np.array([10**6]) for name in ("rows_a_M", "rows_b_M")}
    more = {"correlation_M": np.ones(1, dtype=np.float32), "mirrored_M": np.zeros(1, dtype=bool)}
    np.savez(path, **(arrays | far | more))


DAMAGE = {
    "half a join": ("ferplus-*.npz", cut),
    "half the near copies": ("near.npz", cut),
    "near copies of rows that are not there": ("near.npz", with_far_rows),
    "labels that are no class": ("labels.npy", saved(np.full(10, 9))),
    "splits that are none": ("splits.npy", saved(np.full(10, 5, dtype=np.int8))),
    "labels of another type": ("labels.npy", saved(np.zeros(10, dtype=np.int8))),
    "one number in place of labels": ("labels.npy", saved(np.int64(3))),
    "images of two dimensions": ("images.npy", saved(np.zeros((10, 48), dtype=np.uint8))),
    "brightness of another length": ("brightness.npy", saved(np.zeros(9, dtype=np.float32))),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_kept_is_made_anew_where_it_is_damaged(name, damage, voted):
    before = open_store(str(voted))
    [kept] = before.folder.glob(name)
    damage(kept)
    after = open_store(str(voted))
    assert after.fingerprint == before.fingerprint
    assert after.votes_NV.tolist() == before.votes_NV.tolist()
    np.testing.assert_array_equal(after.images_NHW, make_faces().images_NHW)
    assert len(quality.near_copies(after)) == 0


def test_damaged_votes_of_the_sample_are_drawn_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))  # the session's is mapped by the pages of other tests
    before = open_store("sample")
    counts = labelled(before, "majority").counts()
    np.save(before.folder / "votes.npy", np.zeros((50, 10), dtype=np.uint8))  # `before` maps it: not to be read again
    assert labelled(open_store("sample"), "majority").counts() == counts


def test_a_join_that_cannot_be_kept_is_joined_all_the_same(voted, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    before = open_store(str(voted))
    [kept] = before.folder.glob("ferplus-*.npz")
    kept.unlink()
    monkeypatch.setattr("fer_core.data.ferplus.write_atomic", refuse)
    assert open_store(str(voted)).votes_NV.tolist() == before.votes_NV.tolist()


def test_votes_that_belong_to_none_of_the_faces_are_not_used(tmp_path, monkeypatch):
    from tests.test_ferplus import known_of, smooth_faces

    known = known_of(smooth_faces())
    monkeypatch.setattr("fer_core.data.ferplus.load_known", lambda: known)
    votes = write_votes(tmp_path / "votes.csv")
    own = open_store("sample", ferplus=str(votes))
    assert own.notes == ("FER+ votes of votes.csv are not used: none of these faces is in FER2013.",)
    assert own.votes_NV.sum() == 60_000  # the sample's own
    folder = write_folder(tmp_path / "faces", make_faces(seed=8))
    assert open_store(str(folder), ferplus=str(votes)).votes_NV is None


def test_votes_beside_a_link_are_found_by_either_name(tmp_path):
    real = write_csv(tmp_path / "store" / "fer2013.csv")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "fer2013.csv").symlink_to(real)
    votes = write_votes(linked / FILE_NAME)
    assert find_source(str(linked / "fer2013.csv")).ferplus == votes


def packed(path: Path, *members: tuple[Path, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file, name in members:
            archive.write(file, name)
    return path


def test_a_csv_deep_in_an_archive_is_found_and_its_votes_too(tmp_path):
    csv, votes = write_csv(tmp_path / "a.csv"), write_votes(tmp_path / "b.csv")
    deep = packed(tmp_path / "deep.zip", (csv, "a/b/c/fer2013.csv"), (votes, f"a/b/c/{FILE_NAME}"))
    store = open_store(str(deep))
    assert labelled(store, "majority").counts()["train"]["happy"] == 3
    mixed = make_faces()
    mixed.splits_N[:] = mixed.splits_N[::-1]
    other = packed(tmp_path / "other.zip", (csv, "fer2013.csv"), (write_votes(tmp_path / "c.csv", mixed), FILE_NAME))
    store = open_store(str(other))
    assert store.votes_NV is None
    assert "not in the order of its faces" in store.notes[-1]


def test_a_link_that_nobody_reads_does_no_harm(tmp_path):
    folder = write_folder(tmp_path / "faces")
    (tmp_path / "notes.txt").write_text("outside")
    (folder / "README.txt").symlink_to(tmp_path / "notes.txt")
    assert len(open_store(str(folder))) == 10


ODD = {
    "a user that is not there": (lambda tmp: "~nobody-of-this-name/x", "there is no such user here"),
    "a compressed CSV": (
        lambda tmp: (tmp / "fer2013.csv.gz").write_bytes(gzip.compress(b"emotion,pixels\n")) and tmp / "fer2013.csv.gz",
        "a compressed file. Unpack it first",
    ),
    "an npz that unpacks to a thousand times its size": (
        lambda tmp: np.savez_compressed(
            tmp / "bomb.npz", pixels=np.zeros((60_000, 48, 48), dtype=np.uint8), emotion=np.zeros(60_000, dtype=int),
            usage=np.full(60_000, "Training"),
        ) or tmp / "bomb.npz",
        "array 'pixels' unpacks to 138,240,000 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "words"), ODD.values(), ids=ODD)
def test_odd_sources_are_one_line(make, words, tmp_path):
    with pytest.raises(DataError, match=words):
        open_store(str(make(tmp_path)))


def test_a_private_folder_goes_in_any_case_and_takes_along_what_the_dead_left(tmp_path):
    for name in (".work.999999999.a", f".work.{os.getpid()}.b", ".other.999999999.c"):
        (tmp_path / name).mkdir()
    with pytest.raises(KeyError), private_folder(tmp_path, "work") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        raise KeyError
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.999999999.c", f".work.{os.getpid()}.b"]
