"""Image files as grey pixels: one, for a photo as for a face, or all of a folder at once.

Shapes: N images, H x W pixels.
"""

import io
import struct
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fer_core.data.csv_source import LFS_POINTER
from fer_core.errors import DataError, first_few

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF",
    ".gif": "GIF",
}  # fmt: skip
"""Suffix in lower case -> Pillow's name of the format. What a file is, its content says; the suffix only finds it."""

MAX_PIXELS = 50_000_000
"""More than most cameras take; decoded in colour, it is 200 MB."""

SIDE = 48
"""Height and width that images of different sizes are brought to: FER2013's own."""
MAX_SIDE = 224
"""Images of one size are kept as they are up to this many pixels a side."""

_MAX_BYTES = 8 * MAX_PIXELS  # the largest such image, in four channels of 16 bits, not packed

_FORMATS = sorted(set(FORMATS.values()))
_NAMES = "PNG, JPEG, WebP, BMP, TIFF or GIF"
_ORIENTATION = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}
"""Where a decoded image may carry its orientation; looking it up costs more than decoding a face does."""

_CHUNK = 64  # a thread's piece of work: one image alone costs less than handing it over
_THREADS = 4  # Pillow lets go of the interpreter while it decodes; more threads than these only queue for it

# What Pillow raises on files that are damaged, beside its own errors, which are OSErrors.
_DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError, KeyError, TypeError, OverflowError,
    RuntimeError, MemoryError,
)  # fmt: skip

# Pillow only warns where an image is twice as large as it likes. Filters are the process's own, not the thread's, so
# that it is set once, here; the limit below holds without it.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def decode_grey(source: Path | BinaryIO, name: str | None = None, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The pixels of an image file in grey, uint8 (H, W), as a viewer would show them.

    - Colour becomes the luma of ITU-R 601: 0.299 R + 0.587 G + 0.114 B. CMYK and palettes become RGB first.
    - The orientation that a camera wrote down is applied.
    - What is transparent lies on white, as on a page: the colours stored under it were never meant to be seen.
    - 16 bits a pixel are scaled to 8 (65,535 becomes 255), not cut off at 255.
    - Of several frames or pages, the first.

    Args:
        source: a path, or a file opened for reading bytes.
        name: what messages call the image; left out, the path.
        max_pixels: of a larger image, not a pixel is decoded.
    Raises: DataError: unreadable, damaged, too large, or of a format or pixel type that has no grey; one line.
    """
    return np.array(decode_photo(source, name, max_pixels).convert("L"))


def decode_photo(source: Path | BinaryIO, name: str | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """As `decode_grey`, but colour stays colour: Pillow's mode is "L" or "RGB". Its grey is `.convert("L")`."""
    name = name or (str(source) if isinstance(source, Path) else "the image")
    data = _read(source, name)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise _too_large(name, f"{image.width} x {image.height} pixels", max_pixels)
            image.load()
            return plain_photo(image, name)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(name, "a giant image", max_pixels) from None
    except _DAMAGE as error:
        raise DataError(f"{name}: {_reason(data, error)}") from None


def _read(source: Path | BinaryIO, name: str) -> bytes:
    try:
        if not isinstance(source, Path):
            data = source.read(_MAX_BYTES + 1)
        elif source.stat().st_size <= _MAX_BYTES:
            data = source.read_bytes()
        else:
            data = None
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from None
    if data is None or len(data) > _MAX_BYTES:
        raise DataError(f"{name}: a file of more than {_MAX_BYTES // 10**6} MB, which is no photo")
    return data


def _too_large(name: str, what: str, max_pixels: int) -> DataError:
    return DataError(f"{name}: {what}, at most {max_pixels:,} pixels in all are read")


def _reason(data: bytes, error: BaseException) -> str:
    if data.startswith(LFS_POINTER):
        return "a Git LFS pointer, not the image itself; run 'git lfs pull'"
    why = "it is empty" if not data else " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Image.UnidentifiedImageError) and data:
        why = "damaged, or of another format"
    return f"not a readable {_NAMES} image ({why})"


def _upright(image: Image.Image) -> Image.Image:
    if image.format == "TIFF" or not _ORIENTATION.isdisjoint(image.info):
        try:
            return ImageOps.exif_transpose(image)
        except _DAMAGE:  # a viewer shows a photo whose notes are damaged, too: as it is stored
            return image
    return image


def plain_photo(image: Image.Image, name: str = "the image") -> Image.Image:
    """The pixels that a viewer would show, in mode "L" or "RGB", and a copy. Raises: DataError: no grey is agreed."""
    image = _upright(image)
    if image.mode[0] in "IF":  # one channel of 16 or 32 bits
        return Image.fromarray(_scaled(np.asarray(image), name))
    if image.has_transparency_data:
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image.convert("RGBA"))
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image.copy() if image.mode == mode else image.convert(mode)


def _scaled(pixels_HW: NDArray, name: str) -> NDArray[np.uint8]:
    if pixels_HW.dtype.kind == "f" or pixels_HW.min() < 0 or pixels_HW.max() > 65_535:
        raise DataError(f"{name}: pixels of 32 bits, which have no agreed white; save it with 8 or 16 bits a pixel")
    return ((pixels_HW.astype(np.uint32) + 128) // 257).astype(np.uint8)


def decode_all(paths: list[str], progress: Callable[[int, int], None]) -> tuple[NDArray[np.uint8], list[str]]:
    """All the images in grey, uint8 (N, H, W), and a note where they are not as large as they were.

    Images of one size of up to 224 pixels a side are kept as they are. Of any others, the centre square is resized to
    48 x 48: no face is stretched.

    Args: progress: called with images done and how many there are.
    Raises: DataError: images that cannot be read; the first three are named and the rest counted.
    """
    return _Reader(paths, progress).read()


_Decoded = tuple[NDArray[np.uint8], tuple[int, int]] | str


class _Reader:
    """Decodes images in threads. All are brought to 48 x 48 as soon as one of them makes that necessary."""

    def __init__(self, names: list[str], progress: Callable[[int, int], None]) -> None:
        self.names, self.progress = names, progress
        self.sizes: set[tuple[int, int]] = set()
        self.small = False
        self.images_NHW = np.empty((0, 0, 0), dtype=np.uint8)

    def read(self) -> tuple[NDArray[np.uint8], list[str]]:
        problems: list[str] = []
        chunks = [self.names[start : start + _CHUNK] for start in range(0, len(self.names), _CHUNK)]
        with ThreadPoolExecutor(_THREADS) as pool:
            decoded = (image for chunk in pool.map(self._decode, chunks) for image in chunk)
            for row, image in enumerate(decoded):
                if isinstance(image, str):
                    problems.append(image)
                else:
                    self._place(row, *image)
                if (row + 1) % 512 == 0 or row + 1 == len(self.names):
                    self.progress(row + 1, len(self.names))
        if problems:
            raise DataError(f"{first_few(problems, 'images')}. Repair or remove them.")
        return self.images_NHW, self._notes()

    def _decode(self, names: list[str]) -> list[_Decoded]:
        found: list[_Decoded] = []
        for name in names:
            try:
                image = decode_grey(Path(name))
            except DataError as error:
                found.append(str(error))
                continue
            height, width = image.shape
            # A large image is made small here, in the thread, so that never more than a few of them are held.
            found.append((_centre(image) if self.small or max(height, width) > MAX_SIDE else image, (height, width)))
        return found

    def _place(self, row: int, image: NDArray[np.uint8], size: tuple[int, int]) -> None:
        if not self.sizes:
            self.images_NHW = np.empty((len(self.names), *image.shape), dtype=np.uint8)
        self.sizes.add(size)
        if not self.small and (len(self.sizes) > 1 or max(size) > MAX_SIDE):
            self.small = True
            before, self.images_NHW = self.images_NHW, np.empty((len(self.names), SIDE, SIDE), dtype=np.uint8)
            for earlier in range(row):
                self.images_NHW[earlier] = _centre(before[earlier])
        self.images_NHW[row] = _centre(image) if self.small else image

    def _notes(self) -> list[str]:
        if not self.small:
            return []
        height, width = min(self.sizes)
        found = f"{len(self.sizes):,} different sizes" if len(self.sizes) > 1 else f"{width} x {height} pixels"
        return [f"The images have {found}: the centre square of each is resized to {SIDE} x {SIDE} pixels."]


def _centre(image_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest square in the middle, resized to 48 x 48, averaging over what becomes one pixel."""
    height, width = image_HW.shape
    if height == width == SIDE:
        return image_HW
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(np.ascontiguousarray(image_HW[top : top + side, left : left + side]))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
