"""Rows of grey values written as text, `70 80 82 ...`, to uint8, without a Python loop over the numbers.

Shapes: B bytes of text, R rows, P pixels in a row.
"""

import numpy as np
from numpy.typing import NDArray

# Rows parsed at once, 4 MB with all steps: with fewer, the overhead of each numpy call shows; more gain nothing, and
# neither do two threads, which wait for each other between the steps.
_ROWS = 64
_WIDEST = 4  # bytes of the longest number and a blank


class IrregularText(Exception):
    """Something that this parser does not vouch for: the rows may be in order all the same, or damaged."""


class PixelText:
    """Parser of rows of decimal numbers, 0 to 255 in at most three digits, with blanks between them.

    It keeps the room for its steps from call to call, so one parser serves one thread.
    """

    def __init__(self, pixels: int) -> None:
        """Args: pixels: numbers in a row."""
        self._pixels = pixels
        size = _ROWS * pixels * _WIDEST
        self._numbers = np.empty((3, size), dtype=np.uint8)
        self._flags = np.empty((4, size), dtype=bool)

    def parse(self, text_B: NDArray[np.uint8], offsets_R1: NDArray[np.int32], out_RP: NDArray[np.uint8]) -> None:
        """Read row r, the bytes from `offsets_R1[r]` up to `offsets_R1[r + 1]`, into `out_RP[r]` (C order).

        A row that is accepted gives what `str.split` and `int` give.

        Raises: IrregularText: a byte that is neither digit nor blank, a blank at the end of a row, a row of another
            length, a number above 255 or of more than three digits. Part of `out_RP` may be written by then.
        """
        for first in range(0, len(out_RP), _ROWS):
            offsets = offsets_R1[first : first + _ROWS + 1]
            begin, end = int(offsets[0]), int(offsets[-1])
            too_long = end - begin > self._flags.shape[1]
            if too_long or np.diff(offsets).min() < 2 * self._pixels - 1:
                raise IrregularText
            self._parse_few(text_B[begin:end], offsets - begin, out_RP[first : first + _ROWS].reshape(-1))

    def _parse_few(self, text: NDArray[np.uint8], offsets: NDArray[np.int32], out: NDArray[np.uint8]) -> None:
        ones, tens, hundreds = self._numbers[:, : len(text)]
        joined, last, spare, other = self._flags[:, : len(text)]
        np.subtract(text, ord("0"), out=ones)  # a byte before "0" wraps around to more than 9
        self._find_numbers(text, ones, offsets)
        places = np.flatnonzero(last)
        # As many numbers as there should be and each row's last in its place: no short row hides behind a long one.
        ends = places[self._pixels - 1 :: self._pixels]
        if len(places) != len(out) or (ends != offsets[1:] - 1).any():
            raise IrregularText
        np.logical_and(joined[1:], joined[:-1], out=spare[1:])
        if np.logical_and(joined[3:], spare[2:-1], out=other[3:]).any():  # four digits
            raise IrregularText
        # Each byte's number up to and with itself: only the last byte of a number has all of it, and only it is taken.
        tens[0] = hundreds[0] = 0
        np.multiply(ones[:-1], joined[1:], out=tens[1:])
        np.multiply(tens[:-1], joined[1:], out=hundreds[1:])
        too_large = hundreds.max() > 2
        tens *= 10
        tens += ones
        hundreds *= 100
        hundreds += tens
        if too_large or np.less(hundreds, tens, out=spare).any():  # above 255, 2 hundreds wrap around
            raise IrregularText
        hundreds.take(places, out=out, mode="clip")

    def _find_numbers(self, text: NDArray[np.uint8], ones: NDArray[np.uint8], offsets: NDArray[np.int32]) -> None:
        """Fill `joined`, bytes that go on with the number of the byte before, and `last`, the last bytes of numbers."""
        joined, last, digit, blank = self._flags[:, : len(text)]
        np.less(ones, 10, out=digit)
        np.equal(text, ord(" "), out=blank)
        if not np.logical_or(digit, blank, out=blank).all():
            raise IrregularText
        np.logical_and(digit[1:], digit[:-1], out=joined[1:])
        joined[offsets[:-1]] = False
        np.greater(digit[:-1], joined[1:], out=last[:-1])
        last[-1] = digit[-1]
