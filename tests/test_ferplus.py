"""FER+'s votes: read as they stand, and joined to every copy of the faces, or counted as not joined."""

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_core.data import ferplus, find_source, open_store
from fer_core.data.ferplus import join_votes, read_votes
from fer_core.data.known import Known, load_known, write_known
from fer_core.data.near import descriptors
from fer_core.data.store import Faces, pixel_hashes
from fer_core.errors import DataError
from fer_core.labels import FER2013_ROWS, FERPLUS_COLUMNS
from tests.faces import USAGES, make_faces, write_csv, write_folder, write_rows

HEADER = ",".join(("Usage", "Image name", *FERPLUS_COLUMNS))


def smooth_faces() -> Faces:
    """Ten pictures with coarse structure of their own, which JPEG and small changes leave alone."""
    faces = make_faces()
    coarse = np.random.default_rng(1).integers(0, 256, (len(faces.labels_N), 6, 6), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((48, 48), Image.Resampling.BICUBIC)) for one in coarse]
    return replace(faces, images_NHW=np.stack(large))


def vote_rows(faces: Faces) -> list[list[str]]:
    """Row i has i votes for its first column and 10 - i for the last but two: no two rows are alike."""
    return [
        [USAGES[split], f"fer{i:07d}.png", str(i), *["0"] * 6, str(10 - i), "0", "0"]
        for i, split in enumerate(faces.splits_N)
    ]


def write_votes(path: Path, rows: list[list[str]] | None = None) -> Path:
    return write_rows(path, vote_rows(make_faces()) if rows is None else rows, HEADER)


def known_of(faces: Faces) -> Known:
    return Known(pixel_hashes(faces.images_NHW), descriptors(faces.images_NHW))


def rows_of(votes_NV: np.ndarray) -> list[int]:
    """Which row of the votes file each face has; -1 for none."""
    return [int(row[0]) if row.any() else -1 for row in votes_NV]


# --- reading


def test_a_votes_file_is_read_as_it_stands(tmp_path):
    found = read_votes(write_votes(tmp_path / "fer2013new.csv"))
    assert (found.votes_MV.shape, found.votes_MV.dtype) == ((10, 10), np.uint8)
    assert found.votes_MV[3].tolist() == [3, 0, 0, 0, 0, 0, 0, 7, 0, 0]
    assert found.splits_M.tolist() == make_faces().splits_N.tolist()


def test_columns_may_stand_in_another_order(tmp_path):
    rows = [row[::-1] for row in vote_rows(make_faces())]
    path = write_rows(tmp_path / "fer2013new.csv", rows, ",".join(HEADER.split(",")[::-1]))
    assert read_votes(path).votes_MV[3].tolist() == [3, 0, 0, 0, 0, 0, 0, 7, 0, 0]


def test_rows_without_an_image_name_are_rows_like_others(tmp_path):
    rows = vote_rows(make_faces())
    rows[4][1] = ""
    assert len(read_votes(write_votes(tmp_path / "fer2013new.csv", rows)).votes_MV) == 10


def test_bad_rows_are_named_with_their_lines(tmp_path):
    rows = vote_rows(make_faces())
    rows[0][2], rows[3][5], rows[5][0] = "1.5", "101", "Validation"
    rows[7] = rows[7][:5]
    with pytest.raises(DataError) as caught:
        read_votes(write_votes(tmp_path / "v.csv", rows))
    assert str(caught.value) == (
        f"{tmp_path}/v.csv: line 2: votes '1.5', expected 0 to 100; line 5: votes '101', expected 0 to 100; "
        "line 7: Usage 'Validation', expected Training, PublicTest, PrivateTest; 4 bad rows in all. "
        "Repair these rows or fetch the file again."
    )


def test_a_shuffled_file_is_told_by_its_image_names(tmp_path):
    rows = vote_rows(make_faces())
    rows[1:5] = rows[4:0:-1]
    with pytest.raises(DataError, match="the rows are not in FER2013's order \\(3 image names are lower"):
        read_votes(write_votes(tmp_path / "v.csv", rows))


def test_the_careful_reader_gives_the_same_and_a_flawless_file_never_needs_it(tmp_path, monkeypatch):
    path = write_votes(tmp_path / "fer2013new.csv")
    careful = ferplus._read_carefully(path)
    monkeypatch.setattr(ferplus, "_read_carefully", lambda path: pytest.fail("read row by row"))
    fast = read_votes(path)
    for a, b in ((fast.splits_M, careful.splits_M), (fast.votes_MV, careful.votes_MV)):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", ["", " 3", "+3", "0x3", "NA", "nan", "3.0", "300"])
def test_a_vote_in_another_spelling_is_a_number_or_an_error(value, tmp_path):
    rows = vote_rows(make_faces())
    rows[3][2] = value
    path = write_votes(tmp_path / "v.csv", rows)
    if value.strip() == "3":
        assert read_votes(path).votes_MV[3, 0] == 3
    else:
        with pytest.raises(DataError, match="line 5: votes "):
            read_votes(path)


# --- joining


def test_votes_beside_the_csv_are_found_and_joined_by_row(tmp_path):
    source = write_csv(tmp_path / "fer2013.csv")
    votes = write_votes(tmp_path / "fer2013new.csv")
    assert find_source(str(source)).ferplus == votes
    store = open_store(str(source))
    assert rows_of(store.votes_NV)[1:] == list(range(1, 10))
    assert store.notes == ()


def test_without_a_votes_file_there_are_no_votes(tmp_path):
    assert open_store(str(write_csv(tmp_path / "fer2013.csv"))).votes_NV is None


def test_a_named_file_comes_before_the_one_beside(tmp_path):
    source = write_csv(tmp_path / "fer2013.csv")
    write_votes(tmp_path / "fer2013new.csv")
    other = write_votes(tmp_path / "elsewhere" / "votes.csv")
    assert find_source(str(source), str(other)).ferplus == other
    with pytest.raises(DataError) as caught:
        find_source(str(source), "nowhere.csv")
    assert str(caught.value) == "nowhere.csv: no such file. Give FER+'s fer2013new.csv, or leave --ferplus out."


def test_the_join_is_kept_and_made_anew_when_the_file_changes(tmp_path, monkeypatch):
    source, path = write_csv(tmp_path / "fer2013.csv"), write_votes(tmp_path / "fer2013new.csv")
    read = []
    monkeypatch.setattr(ferplus, "read_votes", lambda path: read.append(path) or read_votes(path))
    first, second = (open_store(str(source)) for _ in range(2))
    assert len(read) == 1
    np.testing.assert_array_equal(first.votes_NV, second.votes_NV)
    rows = vote_rows(make_faces())
    rows[0][2] = "10"
    os.utime(write_votes(path, rows), ns=(1, 1))
    assert open_store(str(source)).votes_NV[0, 0] == 10
    assert len(read) == 2


def folder_store(tmp_path, faces: Faces, **options):
    return open_store(str(write_folder(tmp_path / "faces", faces, **options)))


def test_a_folder_is_joined_by_its_pixels_whatever_its_order(tmp_path):
    faces = smooth_faces()
    store, votes = folder_store(tmp_path, faces), read_votes(write_votes(tmp_path / "v.csv"))
    join = join_votes(store, votes, tmp_path / "v.csv", known_of(faces))
    expected = [int(np.flatnonzero(known_of(faces).hashes_M == one)[0]) for one in store.hashes_N]
    assert expected != sorted(expected)
    assert [row for row in rows_of(join.votes_NV) if row] == [row for row in expected if row]
    assert join.note == (
        "FER+ votes of v.csv: 10 faces joined by their pixels, 0 by a near copy, 0 could not be joined."
    )


def test_a_recompressed_folder_is_joined_by_near_copies_and_strangers_are_counted(tmp_path):
    faces = smooth_faces()
    folder = write_folder(tmp_path / "faces", faces, suffix=".jpg")
    stranger = np.random.default_rng(9).integers(0, 256, (48, 48), dtype=np.uint8)
    Image.fromarray(stranger).save(folder / "train" / "happy" / "Training_zz.png")
    store = open_store(str(folder))
    join = join_votes(store, read_votes(write_votes(tmp_path / "v.csv")), tmp_path / "v.csv", known_of(faces))
    assert sorted(rows_of(join.votes_NV)) == [-1, *range(10)]
    assert "0 faces joined by their pixels, 10 by a near copy, 1 could not be joined." in join.note


def test_copies_of_a_face_get_the_votes_of_their_own_split(tmp_path):
    faces = smooth_faces()
    faces.images_NHW[[6, 8]] = faces.images_NHW[0]  # one picture in train, public and private
    store, known = folder_store(tmp_path, faces), known_of(faces)
    join = join_votes(store, read_votes(write_votes(tmp_path / "v.csv")), tmp_path / "v.csv", known)
    copies = np.flatnonzero(store.hashes_N == known.hashes_M[0])
    by_split = {int(store.splits_N[row]): rows_of(join.votes_NV[[row]])[0] for row in copies}
    assert by_split == {0: 0, 1: 6, 2: 8}


def test_copies_in_one_split_get_a_row_of_votes_each(tmp_path):
    faces = smooth_faces()
    faces.images_NHW[[2, 5]] = faces.images_NHW[0]  # three times in train
    store, known = folder_store(tmp_path, faces), known_of(faces)
    join = join_votes(store, read_votes(write_votes(tmp_path / "v.csv")), tmp_path / "v.csv", known)
    assert sorted(rows_of(join.votes_NV)) == list(range(10))


def test_a_shuffled_csv_is_not_joined_by_row(tmp_path):
    faces = smooth_faces()
    order = np.array([3, 0, 1, 2, 5, 4, 7, 6, 9, 8])
    mixed = Faces(faces.images_NHW[order], faces.labels_N[order], faces.splits_N[order])
    store = open_store(str(write_csv(tmp_path / "fer2013.csv", mixed)))
    join = join_votes(store, read_votes(write_votes(tmp_path / "v.csv")), tmp_path / "v.csv", known_of(faces))
    assert rows_of(join.votes_NV) == order.tolist()


def test_a_file_of_another_length_belongs_to_nothing(tmp_path):
    store = open_store(str(write_csv(tmp_path / "fer2013.csv")))
    votes = read_votes(write_votes(tmp_path / "v.csv", vote_rows(make_faces())[:9]))
    with pytest.raises(DataError) as caught:
        join_votes(store, votes, tmp_path / "v.csv")
    assert str(caught.value) == (
        f"{tmp_path}/v.csv: 9 rows; {tmp_path}/fer2013.csv has 10 and FER2013 35,887. Give FER+'s whole fer2013new.csv."
    )


def test_rows_of_another_split_are_named(tmp_path):
    store = open_store(str(write_csv(tmp_path / "fer2013.csv")))
    rows = vote_rows(make_faces())
    rows[5][0] = "PublicTest"
    with pytest.raises(DataError, match="row 6 is in another split than in .* \\(1 rows are\\)"):
        join_votes(store, read_votes(write_votes(tmp_path / "v.csv", rows)), tmp_path / "v.csv")


# --- FER2013's known rows


def test_the_table_that_is_written_finds_its_own_faces(tmp_path):
    faces = smooth_faces()
    store = open_store(str(write_csv(tmp_path / "fer2013.csv", faces)))
    write_known(store, tmp_path / "known.npz")
    with np.load(tmp_path / "known.npz") as file:
        known = Known(file["hashes"], file["descriptors"].astype(np.float32) / 127)
    file = io.BytesIO()
    recompressed = []
    for image in faces.images_NHW:
        file.seek(0)
        Image.fromarray(image).save(file, "JPEG", quality=80)
        recompressed.append(np.asarray(Image.open(file)))
    assert known.nearest(np.stack(recompressed)).tolist() == list(range(10))
    assert known.nearest(make_faces(seed=5).images_NHW).tolist() == [-1] * 10
    assert known.nearest(faces.images_NHW[:0]).tolist() == []


def test_the_table_that_ships_has_every_row():
    known = load_known()
    assert known.hashes_M.shape == (FER2013_ROWS,)
    assert len(np.unique(known.hashes_M)) == 34_032
    assert known.descriptors_MD.shape[0] == FER2013_ROWS
    assert np.linalg.norm(known.descriptors_MD, axis=1).max() < 1.02


@pytest.mark.real_data
@pytest.mark.skipif(not os.environ.get("FER_DATA"), reason="$FER_DATA names no FER2013")
def test_the_table_that_ships_is_that_of_the_real_data():
    store = open_store(os.environ["FER_DATA"])
    assert (load_known().hashes_M == store.hashes_N).mean() > 0.99  # not-a-face rows stand in another order in some
    rows = np.arange(0, FER2013_ROWS, 97)
    found = load_known().nearest(store.images_NHW[rows])
    assert (load_known().hashes_M[found] == store.hashes_N[rows]).mean() > 0.99
