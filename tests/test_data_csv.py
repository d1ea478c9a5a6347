"""The challenge's CSV files: every row as it stands, or an error that says which lines are wrong; nothing between."""

import re

import numpy as np
import pyarrow as pa
import pytest

from fer_core.data import csv_source, pixel_text
from fer_core.data.csv_source import read_csv, refuse_lfs_pointer
from fer_core.data.held_out import hold_out
from fer_core.errors import DataError
from tests.faces import csv_rows, make_faces, no_progress, write_csv, write_rows

ADVICE = "Repair these rows or fetch the file again."


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fer2013.csv"


@pytest.fixture
def rows():
    """Ten rows; row i stands on line i + 2."""
    return csv_rows(make_faces())


def read_error(path):
    with pytest.raises(DataError) as caught:
        read_csv(path, no_progress)
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_same(found, expected):
    np.testing.assert_array_equal(found.images_NHW, expected.images_NHW)
    np.testing.assert_array_equal(found.labels_N, expected.labels_N)
    np.testing.assert_array_equal(found.splits_N, expected.splits_N)


def test_a_row_worked_out_by_hand(path):
    pixels = ["7"] * 2304
    pixels[1], pixels[48], pixels[2303] = "255", "0", "9"
    write_rows(path, [["3", " ".join(pixels), "PublicTest"]])
    faces = read_csv(path, no_progress)
    assert (faces.images_NHW.shape, faces.images_NHW.dtype) == ((1, 48, 48), np.uint8)
    image = faces.images_NHW[0]
    assert (image[0, 0], image[0, 1], image[1, 0], image[47, 47]) == (7, 255, 0, 9)
    assert (faces.labels_N.tolist(), faces.labels_N.dtype) == ([3], np.int64)  # happy
    assert (faces.splits_N.tolist(), faces.splits_N.dtype) == ([1], np.int8)  # public
    assert faces.notes == ()


def test_rows_keep_the_order_of_the_file(path):
    faces = make_faces()
    order = np.random.default_rng(1).permutation(len(faces.labels_N))
    write_rows(path, [csv_rows(faces)[i] for i in order])
    found = read_csv(path, no_progress)
    np.testing.assert_array_equal(found.images_NHW, faces.images_NHW[order])
    assert found.labels_N.tolist() == faces.labels_N[order].tolist()
    assert found.splits_N.tolist() == faces.splits_N[order].tolist()


def test_a_file_of_more_rows_than_are_parsed_at_once(path, monkeypatch):
    monkeypatch.setattr(pixel_text, "_ROWS", 3)
    assert_same(read_csv(write_csv(path), no_progress), make_faces())


def test_the_careful_reader_gives_the_same_arrays(path):
    fast, careful = read_csv(write_csv(path), no_progress), csv_source._read_carefully(path)
    for a, b in zip((fast.images_NHW.reshape(-1, 2304), fast.labels_N, fast.splits_N), careful, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_file_of_many_blocks_is_read_whole_and_tells_how_far_it_is(path, monkeypatch):
    monkeypatch.setattr(csv_source, "_BLOCK_BYTES", 20_000)  # two rows
    told = []
    assert_same(read_csv(write_csv(path), lambda done, total: told.append((done, total))), make_faces())
    assert len(told) > 3
    assert told == sorted(told)
    assert {total for _, total in told} == {path.stat().st_size}
    assert told[-1][0] <= path.stat().st_size


def reordered(rows):
    return "Usage,emotion,pixels", [[usage, emotion, pixels] for emotion, pixels, usage in rows]


def with_another_column(rows):
    return "id,emotion,pixels,note,Usage", [[str(i), e, p, "x y", u] for i, (e, p, u) in enumerate(rows)]


def with_double_blanks(rows):
    return "emotion,pixels,Usage", [[e, p.replace(" ", "  ", 5), u] for e, p, u in rows]


def with_blanks_around(rows):
    return "emotion,pixels,Usage", [[f" {e} ", f" {p}  ", f" {u}"] for e, p, u in rows]


def with_tabs(rows):
    return "emotion,pixels,Usage", [[e, p.replace(" ", "\t"), u] for e, p, u in rows]


def quoted(rows):
    return '"emotion","pixels","Usage"', [[f'"{field}"' for field in row] for row in rows]


def with_leading_zeros(rows):
    return "emotion,pixels,Usage", [[e, "00" + p, u] for e, p, u in rows]


def as_icml_face_data(rows):
    return "emotion, Usage, pixels", [[e, u, p] for e, p, u in rows]


def as_icml_face_data_with_blanks_before_values(rows):
    return "emotion, Usage, pixels", [[e, f" {u}", f" {p}"] for e, p, u in rows]


def unchanged(rows):
    return "emotion,pixels,Usage", rows


WITHOUT_A_FLAW = (
    unchanged,
    reordered,
    with_another_column,
    with_double_blanks,
    quoted,
    as_icml_face_data,
    as_icml_face_data_with_blanks_before_values,
)


@pytest.mark.parametrize("spell", WITHOUT_A_FLAW, ids=lambda spell: spell.__name__)
def test_a_file_without_a_flaw_never_needs_the_careful_reader(spell, path, rows, monkeypatch):
    monkeypatch.setattr(csv_source, "_read_carefully", lambda path: pytest.fail("read row by row"))
    header, spelled = spell(rows)
    assert_same(read_csv(write_rows(path, spelled, header), no_progress), make_faces())


SPELLINGS = (
    reordered,
    with_another_column,
    with_double_blanks,
    with_blanks_around,
    with_tabs,
    quoted,
    with_leading_zeros,
    as_icml_face_data,
    as_icml_face_data_with_blanks_before_values,
)


@pytest.mark.parametrize("spell", SPELLINGS, ids=lambda spell: spell.__name__)
def test_other_spellings_of_the_same_rows_are_simply_read(spell, path, rows):
    header, spelled = spell(rows)
    write_rows(path, spelled, header)
    assert_same(read_csv(path, no_progress), make_faces())


@pytest.mark.parametrize("row", [0, 9], ids=["first", "last"])
def test_one_odd_row_among_plain_ones_changes_nothing(row, path, rows):
    rows[row][1] = rows[row][1].replace(" ", "\t", 1)
    assert_same(read_csv(write_rows(path, rows), no_progress), make_faces())


BYTES = {
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "a mark and a blank": lambda text: b"\xef\xbb\xbf " + text,
    "Windows line ends": lambda text: text.replace(b"\n", b"\r\n"),
    "no line end at the end": lambda text: text.rstrip(b"\n"),
    "empty lines": lambda text: text.replace(b"\n", b"\n\n"),
    "all of them": lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n\r\n").rstrip(),
}


@pytest.mark.parametrize("change", BYTES.values(), ids=BYTES)
@pytest.mark.parametrize("blanks", [" ", "\t"], ids=["fast", "careful"])
def test_marks_of_other_systems_are_simply_read(change, blanks, path, rows):
    rows[4][1] = rows[4][1].replace(" ", blanks, 1)
    path.write_bytes(change(write_rows(path, rows).read_bytes()))
    assert_same(read_csv(path, no_progress), make_faces())


def test_text_that_is_not_utf8_in_another_column_does_not_matter(path, rows):
    write_rows(path, [[*row, "cafe"] for row in rows], "emotion,pixels,Usage,note")
    path.write_bytes(path.read_bytes().replace(b"cafe", b"caf\xe9"))
    assert_same(read_csv(path, no_progress), make_faces())


def without_last_pixel(row):
    row[1] = row[1].rsplit(" ", 1)[0]


def with_one_more_pixel(row):
    row[1] += " 5"


def pixel(value):
    def change(row):
        row[1] = f"{value} {row[1].split(' ', 1)[1]}"

    return change


def field(place, value):
    def change(row):
        row[place] = value

    return change


def cut_off(row):
    row[1:] = [row[1][:100]]


BAD_ROWS = [
    (without_last_pixel, "2303 pixels, expected 2304"),
    (with_one_more_pixel, "2305 pixels, expected 2304"),
    (field(1, ""), "0 pixels, expected 2304"),
    (pixel("256"), "pixel value '256', expected 0 to 255"),
    (pixel("-1"), "pixel value '-1', expected 0 to 255"),
    (pixel("nan"), "pixel value 'nan', expected 0 to 255"),
    (pixel("1.5"), "pixel value '1.5', expected 0 to 255"),
    (pixel("1e2"), "pixel value '1e2', expected 0 to 255"),
    (pixel("0x1f"), "pixel value '0x1f', expected 0 to 255"),
    (pixel("٣"), "pixel value '٣', expected 0 to 255"),
    (pixel("4294967297"), "pixel value '4294967297', expected 0 to 255"),  # 1 in 32 bits
    (pixel("9" * 5000), "pixel value '99999999999999999999', expected 0 to 255"),
    (field(0, "7"), "emotion '7', expected 0 to 6"),
    (field(0, "-1"), "emotion '-1', expected 0 to 6"),
    (field(0, "3.0"), "emotion '3.0', expected 0 to 6"),
    (field(0, "happy"), "emotion 'happy', expected 0 to 6"),
    (field(0, ""), "emotion '', expected 0 to 6"),
    (field(2, "Test"), "Usage 'Test', expected Training, PublicTest, PrivateTest"),
    (field(2, "training"), "Usage 'training', expected Training, PublicTest, PrivateTest"),
    (field(2, ""), "Usage '', expected Training, PublicTest, PrivateTest"),
    (cut_off, "2 fields where the header has 3"),
    (lambda row: row.append("more"), "4 fields where the header has 3"),
    (lambda row: row.__setitem__(slice(None), ["   "]), "1 fields where the header has 3"),
]


@pytest.mark.parametrize(("damage", "problem"), BAD_ROWS, ids=[problem[:40] for _, problem in BAD_ROWS])
def test_a_bad_row_is_named_with_its_line_and_what_was_expected(damage, problem, path, rows):
    damage(rows[5])
    assert read_error(write_rows(path, rows)) == f"{path}: line 7: {problem}. {ADVICE}"


def test_the_first_three_bad_rows_are_named_and_all_are_counted(path, rows):
    for row, damage in ((0, pixel("300")), (2, field(0, "9")), (3, cut_off), (6, pixel("x")), (9, field(2, "x"))):
        damage(rows[row])
    assert read_error(write_rows(path, rows)) == (
        f"{path}: line 2: pixel value '300', expected 0 to 255; line 4: emotion '9', expected 0 to 6; "
        f"line 5: 2 fields where the header has 3; 5 bad rows in all. {ADVICE}"
    )


def test_a_bad_row_behind_the_first_block_has_its_own_line_number(path, rows, monkeypatch):
    monkeypatch.setattr(csv_source, "_BLOCK_BYTES", 20_000)
    pixel("256")(rows[8])
    assert "line 10: pixel value '256'" in read_error(write_rows(path, rows))


def test_empty_lines_count_as_lines(path, rows):
    pixel("256")(rows[0])
    path.write_bytes(write_rows(path, rows).read_bytes().replace(b"\n", b"\n\n\n", 1))
    assert "line 4: pixel value '256'" in read_error(path)


def test_a_short_row_cannot_hide_beside_a_long_one(path, rows):
    without_last_pixel(rows[1])
    with_one_more_pixel(rows[2])
    message = read_error(write_rows(path, rows))
    assert "line 3: 2303 pixels, expected 2304; line 4: 2305 pixels, expected 2304." in message


@pytest.mark.parametrize("gap", [" \t ", "  "], ids=["tab", "double blank"])
def test_a_short_row_cannot_hide_behind_blanks_either(gap, path, rows):
    without_last_pixel(rows[1])
    with_one_more_pixel(rows[2])
    rows[1][1] = rows[1][1].replace(" ", gap, 1)  # as many blanks as a whole row has
    rows[2][1] = rows[2][1].replace(" ", "\t", 1)
    message = read_error(write_rows(path, rows))
    assert "line 3: 2303 pixels, expected 2304; line 4: 2305 pixels, expected 2304." in message


def test_a_quote_that_never_closes_is_found_where_it_opens(path, rows):
    rows[2][1] = '"' + rows[2][1]
    assert "line 4: " in read_error(write_rows(path, rows))


def test_a_file_cut_off_in_the_middle_names_its_last_line(path, rows):
    text = write_rows(path, rows).read_bytes()
    path.write_bytes(text[:-1000])
    assert read_error(path) == f"{path}: line 11: 2 fields where the header has 3. {ADVICE}"


@pytest.mark.parametrize("text", ["emotion,pixels,Usage\n", "emotion,pixels,Usage", "emotion,pixels,Usage\n\n\n"])
def test_a_header_alone_is_an_error(text, path):
    path.write_text(text)
    assert read_error(path) == f"{path}: no rows. Expected the header emotion,pixels,Usage, then one row a face."


@pytest.mark.parametrize(
    ("header", "missing", "found"),
    [
        ("", "emotion", "nothing"),
        ("emotion,pixels,usage", "Usage", "emotion, pixels, usage"),
        (" emotion, Usage, pixel", "pixels", "emotion, Usage, pixel"),
        ("label,pixels,Usage", "emotion", "label, pixels, Usage"),
        ("Emotion,Pixels,Usage", "emotion", "Emotion, Pixels, Usage"),
    ],
)
def test_a_missing_column_is_named_beside_what_was_found(header, missing, found, path, rows):
    write_rows(path, rows, header)
    assert read_error(path) == (
        f"{path}: no column {missing!r} in the header (found: {found}). Expected emotion,pixels,Usage."
    )


def test_a_column_that_stands_twice_is_not_called_missing(path, rows):
    write_rows(path, [[*row, row[0]] for row in rows], "emotion,pixels,Usage,emotion")
    message = read_error(path)
    assert "emotion" in message
    assert "no column 'emotion'" not in message


OTHER_FILES = {
    "empty": b"",
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "an archive": b"PK\x03\x04" + b"\xff" * 300_000,
    "utf-16 without its mark": "emotion,pixels".encode("utf-16-le"),
}


@pytest.mark.parametrize("content", OTHER_FILES.values(), ids=OTHER_FILES)
def test_a_file_of_another_kind_is_refused_in_one_line(content, path):
    path.write_bytes(content)
    message = read_error(path)
    assert message.startswith(f"{path}: no column 'emotion' in the header (found: ")
    assert len(message) < len(str(path)) + 200


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_is_named(codec, path):
    path.write_bytes("\ufeffemotion,pixels,Usage\n".encode(codec))
    assert read_error(path) == (f"{path}: UTF-16 text; FER2013's CSV files are UTF-8. Save it as UTF-8 and open that.")


LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 301072766\n"


def test_a_git_lfs_pointer_is_told_from_the_file(path):
    path.write_text(LFS_POINTER)
    message = f"{path}: a Git LFS pointer, not the file itself. Run `git lfs pull` in its repository."
    assert read_error(path) == message
    with pytest.raises(DataError) as caught:
        refuse_lfs_pointer(path)
    assert str(caught.value) == message


def test_other_files_are_no_git_lfs_pointers(path):
    for content in (b"", b"version", b"emotion,pixels,Usage\n"):
        path.write_bytes(content)
        refuse_lfs_pointer(path)


@pytest.fixture
def train_csv(tmp_path):
    """Forty faces of two emotions, without Usage."""
    faces = make_faces({"train": {"angry": 10, "happy": 30}})
    return write_rows(tmp_path / "train.csv", [row[:2] for row in csv_rows(faces)], "emotion,pixels"), faces


def held_out_notes():
    splits = ("public", "private")
    return tuple(
        f"This data has no {split} split: a stratified tenth of its training faces (seed 2013) is held out as it."
        for split in splits
    )


@pytest.mark.parametrize("reader", ["fast", "careful"])
def test_without_usage_a_tenth_of_each_emotion_is_held_out_twice_and_said(reader, train_csv):
    path, faces = train_csv
    if reader == "careful":
        path.write_text(path.read_text().replace(" ", "\t"))
    found = read_csv(path, no_progress)
    np.testing.assert_array_equal(found.images_NHW, faces.images_NHW)
    np.testing.assert_array_equal(found.labels_N, faces.labels_N)
    np.testing.assert_array_equal(found.splits_N, hold_out(faces.labels_N, faces.splits_N)[0])
    table = [[int(((found.splits_N == s) & (found.labels_N == k)).sum()) for k in (0, 3)] for s in range(3)]
    assert table == [[8, 24], [1, 3], [1, 3]]
    assert found.splits_N.dtype == np.int8
    assert found.notes == held_out_notes()


def test_a_file_with_usage_keeps_its_splits_even_if_one_is_empty(path):
    faces = make_faces({"train": {"angry": 10}, "private": {"angry": 1}})
    found = read_csv(write_csv(path, faces), no_progress)
    assert_same(found, faces)
    assert found.notes == ()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n\r\n"])
def test_unlabelled_faces_beside_train_csv_are_counted_and_left_out(ending, train_csv):
    path, faces = train_csv
    path.with_name("test.csv").write_bytes(("pixels\r\n" + "1 2 3\r\n" * 1233 + "1 2 3" + ending).encode())
    found = read_csv(path, no_progress)
    assert len(found.labels_N) == len(faces.labels_N)
    assert found.notes == (
        *held_out_notes(),
        "test.csv beside it has 1,234 faces without a label; they are left out.",
    )


def test_no_other_test_csv_is_spoken_of(train_csv, tmp_path):
    path, _ = train_csv
    for other in ("emotion,pixels\n0,1\n", "name\nx\n", "pixels\n", "", LFS_POINTER):
        (tmp_path / "test.csv").write_text(other)
        assert read_csv(path, no_progress).notes == held_out_notes()
    (tmp_path / "test.csv").write_text("pixels\n1\n")
    assert read_csv(path.rename(tmp_path / "other.csv"), no_progress).notes == held_out_notes()


@pytest.mark.parametrize("header", ["pixels", "pixels,Usage", " pixels"])
def test_a_file_without_labels_says_so(header, path):
    write_rows(path, [["1 2 3"] * len(header.split(","))], header)
    found = ", ".join(header.strip().split(","))
    assert read_error(path) == (
        f"{path}: no column 'emotion' in the header (found: {found}): these rows have no labels. "
        "Give the challenge's train.csv, icml_face_data.csv or fer2013.csv instead."
    )


def test_a_bad_row_without_usage_is_named_with_its_line(train_csv):
    path, _ = train_csv
    path.write_text(path.read_text().replace("\n0,", "\n,", 1))
    assert read_error(path) == f"{path}: line 2: emotion '', expected 0 to 6. {ADVICE}"


def parse_text(rows, pixels):
    text = "".join(rows).encode()
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    found = np.full((len(rows), pixels), 77, dtype=np.uint8)
    pixel_text.PixelText(pixels).parse(np.frombuffer(text, dtype=np.uint8), offsets, found)
    return found.tolist()


def test_every_pixel_value_is_read_beside_every_length_of_neighbour():
    values = [v for near in (0, 10, 100) for v in np.stack([np.arange(256), np.full(256, near)], 1).ravel().tolist()]
    assert parse_text([" ".join(map(str, values))], len(values)) == [values]


@pytest.mark.parametrize("value", [256, 299, 300, 309, 355, 512, 555, 999, 1000, 9999])
@pytest.mark.parametrize("place", range(4))
def test_every_value_above_255_is_refused_wherever_it_stands(value, place):
    rows = [["12", "255"], ["0", "200"]]
    rows[place // 2][place % 2] = str(value)
    with pytest.raises(pixel_text.IrregularText):
        parse_text([" ".join(row) for row in rows], 2)


def test_rows_longer_than_there_is_room_for_are_refused():
    with pytest.raises(pixel_text.IrregularText):
        parse_text(["1" + " " * 1000 + "2"], 2)


def test_a_column_that_begins_in_the_middle_of_its_buffers_is_read_from_there(rows):
    column = pa.array([row[1].encode() for row in rows]).slice(3, 5)
    found = np.empty((5, 2304), dtype=np.uint8)
    csv_source._parse_pixels(pixel_text.PixelText(2304), column, found)
    np.testing.assert_array_equal(found, make_faces().images_NHW[3:8].reshape(5, -1))


def test_short_texts_are_read_as_split_and_int_read_them_or_refused():
    """Two rows of two numbers, of any digits, blanks and other bytes: nothing is read otherwise than by hand."""
    rng = np.random.default_rng(7)
    outcomes = set()
    for _ in range(3000):
        rows = ["".join(rng.choice(list("0125 9 "), rng.integers(3, 9))) for _ in range(2)]
        if rng.random() < 0.1:
            rows[1] += str(rng.choice(list("-+.,\t\nx/:")))
        try:
            found = parse_text(rows, 2)
        except pixel_text.IrregularText:
            outcomes.add("refused")
        else:
            assert found == [[int(value) for value in row.split(" ") if value] for row in rows]
            outcomes.add("read")
    assert outcomes == {"read", "refused"}


def test_random_damage_is_either_the_same_faces_or_an_error(path, rows):
    """Whatever one wrong byte does, no face changes unless the byte itself is a digit of a pixel or a label."""
    text, expected = write_rows(path, rows).read_bytes(), make_faces()
    rng = np.random.default_rng(3)
    outcomes = set()
    for place in rng.integers(21, len(text) - 1, 120).tolist():
        byte = rng.choice(list(b' x-,.\n"\t\xff'))
        path.write_bytes(text[:place] + bytes([byte]) + text[place + 1 :])
        try:
            found = read_csv(path, no_progress)
        except DataError as error:
            assert re.search(r"line \d+: ", str(error))
            outcomes.add("error")
        else:
            changed = (found.images_NHW != expected.images_NHW).sum() if len(found.labels_N) == 10 else None
            assert changed in (0, 1)
            outcomes.add("read")
    assert "error" in outcomes
