"""One image file as grey pixels: every format, pixel type and orientation; and a line for every damage."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from fer_core.data.image_file import FORMATS, decode_all, decode_grey
from fer_core.errors import DataError
from tests.faces import no_progress

RAMP = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}, "TIFF": {}}


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def grey_of(mode, colour, kind="PNG", **options):
    pixels = decode_grey(encoded(Image.new(mode, (4, 3), colour), kind, **options))
    assert (pixels.shape, pixels.dtype) == ((3, 4), np.uint8)
    assert len(np.unique(pixels)) == 1
    return int(pixels[0, 0])


def read_error(file, name="a.png", **options):
    with pytest.raises(DataError) as caught:
        decode_grey(file, name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_grey_pixels_come_back_as_they_were(kind):
    image = Image.fromarray(RAMP)
    file = encoded(image.convert("RGB") if kind == "WEBP" else image, kind, **LOSSLESS[kind])
    np.testing.assert_array_equal(decode_grey(file), RAMP)


def test_a_jpeg_comes_back_nearly_as_it_was():
    found = decode_grey(encoded(Image.fromarray(RAMP), "JPEG", quality=95)).astype(int)
    assert np.abs(found - RAMP).max() <= 4


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_path_is_read_whatever_its_suffix_says(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    Image.fromarray(RAMP).save(path, "PNG")
    np.testing.assert_array_equal(decode_grey(path), RAMP)


def test_the_pixels_may_be_written_to():
    pixels = decode_grey(encoded(Image.fromarray(RAMP)))
    pixels[0, 0] = 9
    assert pixels[0, 0] == 9


@pytest.mark.parametrize(
    ("mode", "colour", "grey"),
    [
        ("L", 123, 123),
        ("1", 1, 255),
        ("RGB", (255, 0, 0), 76),  # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
        ("RGB", (0, 255, 0), 150),
        ("RGB", (0, 0, 255), 29),
        ("RGBA", (0, 0, 255, 255), 29),
        ("RGBA", (0, 0, 255, 0), 255),  # wholly transparent: the page, whatever colour is stored
        ("RGBA", (0, 0, 0, 128), 127),  # half of the white page shows
        ("LA", (100, 255), 100),
        ("LA", (100, 0), 255),
        ("I;16", 0, 0),
        ("I;16", 257, 1),
        ("I;16", 300, 1),
        ("I;16", 32_896, 128),
        ("I;16", 65_535, 255),
    ],
)
def test_every_pixel_type_has_its_grey(mode, colour, grey):
    assert grey_of(mode, colour) == grey


@pytest.mark.parametrize(("colour", "grey"), [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((0, 255, 255, 0), 76)])
@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_printing_colours_become_grey(colour, grey, kind):
    assert abs(grey_of("CMYK", colour, kind) - grey) <= 1


def test_a_palette_becomes_the_colours_it_stands_for():
    image = Image.new("P", (4, 3), 1)
    image.putpalette([0, 0, 0, 0, 255, 0])
    assert np.unique(decode_grey(encoded(image))).tolist() == [150]
    assert np.unique(decode_grey(encoded(image, transparency=1))).tolist() == [255]


def test_lab_colours_become_grey():
    profile = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    image = ImageCms.applyTransform(Image.new("RGB", (4, 3), (128, 128, 128)), profile)
    assert abs(int(decode_grey(encoded(image, "TIFF"))[0, 0]) - 128) <= 2


def test_sixteen_bits_are_scaled_in_either_byte_order():
    values = np.array([[0, 1000, 30_000, 65_535]], dtype=np.uint16)
    for mode in ("I;16", "I;16B"):
        image = Image.frombytes(mode, (4, 1), values.astype("<u2" if mode == "I;16" else ">u2").tobytes())
        assert decode_grey(encoded(image, "TIFF")).tolist() == [[0, 4, 117, 255]]


@pytest.mark.parametrize("image", [Image.new("F", (4, 3), 0.5), Image.new("I", (4, 3), 70_000)])
def test_pixels_without_an_agreed_white_are_refused(image):
    assert read_error(encoded(image, "TIFF"), "x.tif") == (
        "x.tif: pixels of 32 bits, which have no agreed white; save it with 8 or 16 bits a pixel"
    )


# What a camera writes for a picture that is to be turned so many quarters to the left, after a mirror or without one.
TURNS = {
    1: (0, False),
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (1, True),
    6: (3, False),
    7: (3, True),
    8: (1, False),
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", TURNS)
def test_the_orientation_that_a_camera_wrote_down_is_applied(orientation, kind):
    quarters, mirrored = TURNS[orientation]
    stored = np.zeros((16, 24), dtype=np.uint8)
    stored[:8, :8] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(Image.fromarray(stored).convert("RGB"), kind, exif=exif, **LOSSLESS.get(kind, {"quality": 95}))
    expected = np.rot90(stored[:, ::-1] if mirrored else stored, quarters)
    found = decode_grey(file)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_photo_whose_notes_are_damaged_is_read_as_it_is_stored():
    file = encoded(Image.fromarray(RAMP), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode_grey(file), RAMP)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_read(kind):
    frames = [Image.new("RGB", (4, 3), (value,) * 3) for value in (40, 80)]
    file = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **LOSSLESS[kind])
    assert np.unique(decode_grey(file)).tolist() == [40]


def png(width, height):
    """A PNG that claims a size, and has no pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b""))
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("size", "told"),
    [((8000, 7000), "8000 x 7000 pixels"), ((10_000, 10_000), "a giant image"), ((30_000, 30_000), "a giant image")],
)
@pytest.mark.filterwarnings("error")
def test_a_giant_image_is_refused_before_a_pixel_is_decoded(size, told):
    assert read_error(png(*size)) == f"a.png: {told}, at most 50,000,000 pixels in all are read"


def test_the_bound_on_pixels_is_the_callers_to_lower():
    assert decode_grey(encoded(Image.fromarray(RAMP)), max_pixels=48).shape == (6, 8)
    assert read_error(encoded(Image.fromarray(RAMP)), max_pixels=47) == (
        "a.png: 8 x 6 pixels, at most 47 pixels in all are read"
    )


def test_a_giant_file_is_not_read_whole(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(500_000_000)  # a hole: takes no room
    assert read_error(path, None) == f"{path}: a file of more than 400 MB, which is no photo"


FORMAT_ERROR = "a.png: not a readable PNG, JPEG, WebP, BMP, TIFF or GIF image ("
FAULTS = {
    b"": "it is empty)",
    b"not an image at all": "damaged, or of another format)",
    encoded(Image.new("L", (4, 3)), "PPM").getvalue(): "damaged, or of another format)",
    encoded(Image.fromarray(RAMP)).getvalue()[:-12].replace(b"IDAT", b"IDAX"): "damaged, or of another format)",
}


@pytest.mark.parametrize(("content", "reason"), FAULTS.items())
def test_what_is_no_image_says_why(content, reason):
    assert read_error(io.BytesIO(content)).startswith(FORMAT_ERROR + reason)


@pytest.mark.parametrize("kind", [*LOSSLESS, "JPEG"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_image_that_is_cut_off_is_never_half_read(kind, share):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    whole = encoded(noise, kind, **LOSSLESS.get(kind, {})).getvalue()
    assert read_error(io.BytesIO(whole[: int(len(whole) * share)])).startswith(FORMAT_ERROR)


@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("kind", [*LOSSLESS, "JPEG"])
def test_random_damage_gives_pixels_or_one_line(kind):
    rng = np.random.default_rng(7)
    whole = encoded(Image.fromarray(RAMP).convert("RGB"), kind).getvalue()
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        try:
            assert decode_grey(io.BytesIO(bytes(damaged))).dtype == np.uint8
        except DataError as error:
            assert "\n" not in str(error)


def test_a_git_lfs_pointer_says_what_to_run():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"
    assert read_error(io.BytesIO(pointer)) == "a.png: a Git LFS pointer, not the image itself; run 'git lfs pull'"


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    assert read_error(tmp_path / "a.png", None) == f"{tmp_path}/a.png: cannot be read (No such file or directory)"


def write_all(folder, arrays):
    paths = [str(folder / f"{row}.png") for row in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array).save(path)
    return paths


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


@pytest.mark.parametrize("size", [(48, 48), (20, 30), (224, 224)])
def test_images_of_one_size_are_kept_bit_by_bit(size, tmp_path):
    arrays = [noise(*size, seed) for seed in range(3)]
    images, notes = decode_all(write_all(tmp_path, arrays), no_progress)
    np.testing.assert_array_equal(images, arrays)
    assert notes == []


def test_images_that_are_all_too_large_are_made_small(tmp_path):
    images, notes = decode_all(write_all(tmp_path, [np.full((225, 300), 77, dtype=np.uint8)] * 2), no_progress)
    assert images.shape == (2, 48, 48)
    assert np.unique(images).tolist() == [77]
    assert notes == ["The images have 300 x 225 pixels: the centre square of each is resized to 48 x 48 pixels."]


@pytest.mark.parametrize("odd", [0, 1, 69, 129])  # among 130: in the first and in later pieces of the threads' work
def test_one_image_of_another_size_makes_all_48_by_48_and_where_it_stands_changes_nothing(odd, tmp_path):
    arrays = [noise(50, 50, seed) for seed in range(130)]
    arrays[odd] = noise(300, 260)
    images, notes = decode_all(write_all(tmp_path, arrays), no_progress)
    expected = [
        Image.fromarray(array if len(array) == 50 else array[20:280]).resize((48, 48), Image.Resampling.BILINEAR)
        for array in arrays
    ]
    np.testing.assert_array_equal(images, [np.asarray(image) for image in expected])
    assert notes == ["The images have 2 different sizes: the centre square of each is resized to 48 x 48 pixels."]


def test_faces_of_48_by_48_among_others_are_untouched(tmp_path):
    images, _ = decode_all(write_all(tmp_path, [noise(48, 48), noise(96, 96)]), no_progress)
    np.testing.assert_array_equal(images[0], noise(48, 48))


@pytest.mark.parametrize(("height", "width"), [(96, 160), (160, 96)])
def test_the_square_is_the_middle_one_and_is_averaged(height, width, tmp_path):
    wide = np.zeros((height, width), dtype=np.uint8)
    top, left = (height - 96) // 2, (width - 96) // 2
    wide[top : top + 96, left : left + 96] = 60  # what lies beside the middle square is black
    wide[top : top + 96 : 2, left : left + 96] = 120  # stripes of one pixel: thinning out would see one kind alone
    images, _ = decode_all(write_all(tmp_path, [wide, noise(48, 48)]), no_progress)
    assert np.abs(images[0].astype(int) - 90).max() <= 12


def test_progress_is_told_to_the_end(tmp_path):
    told = []
    decode_all(write_all(tmp_path, [noise(8, 8)] * 5), lambda done, total: told.append((done, total)))
    assert told == [(5, 5)]
