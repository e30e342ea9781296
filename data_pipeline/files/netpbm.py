"""PGM, PPM and PBM, plain and raw: http://netpbm.sourceforge.net/doc/pnm.html.

Parsed here, as pillow reduces plain files' levels and knows neither comments after the last number
of a header nor headers that a transfer as text has given other line ends.
"""

import itertools
import re
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import UnusableError
from data_pipeline.files.levels import ONE_IMAGE, check_size, scaled

_SPACE = rb"(?:\s|#[^\n\r]*[\n\r])+"  # blanks and comments between the numbers of a header
_PLAIN, _COLOUR, _BITS = (1, 2, 3), (3, 6), (1, 4)


class Header(NamedTuple):
    """What a header says.

    Attributes:
      kind: the digit after P, 1 to 6.
      width: in pixels.
      height: in pixels.
      top: highest level; 1 in a PBM.
      end: where the last number ends.
    """

    kind: int
    width: int
    height: int
    top: int
    end: int


def is_netpbm(head: bytes) -> bool:
    """Whether a file that starts so is one."""
    return re.match(rb"P[1-6][\s#]", head) is not None


def read_header(data: bytes) -> Header:
    """Reads a header.

    Raises:
      ValueError: it is not complete, or says what cannot be.
      UnusableError: there are too many pixels.
    """
    numbers = 2 if data[1:2] in (b"1", b"4") else 3
    found = re.match(rb"P(\d)" + (_SPACE + rb"(\d{1,9})") * numbers + rb"(?=[\s#])", data)
    if found is None:
        raise ValueError("its header is not complete")
    kind, width, height, top = (int(field) for field in (*found.groups(), b"1")[:4])
    check_size(width, height)
    if not 0 < top < 65536:
        raise ValueError(f"its maximum level is {top}")
    return Header(kind, width, height, top, found.end())


def decode(data: bytes, upright: bool) -> np.ndarray:
    """See `decode.decode`."""
    header = read_header(data)
    levels = _plain(data, header) if header.kind in _PLAIN else _raw(data, header)
    if header.kind in _BITS:
        levels = 1 - levels  # 1 is black
    channels = 3 if header.kind in _COLOUR else 1
    return scaled(levels, header.top).reshape(header.height, header.width, channels)


def _plain(data: bytes, header: Header) -> np.ndarray:
    """The levels of a file that spells them in decimal."""
    text = re.sub(rb"#[^\n\r]*", b"", data[header.end :])
    if re.search(rb"\sP[1-6]\s", text):
        raise UnusableError("holds several images", ONE_IMAGE)
    count = header.width * header.height * (3 if header.kind in _COLOUR else 1)
    if header.kind in _BITS:  # digits may stand without blanks
        digits = np.frombuffer(re.sub(rb"\s", b"", text), np.uint8)[:count]
        levels = digits.astype(np.int16) - ord("0")
    else:  # one number after another, as a list of all would take forty times the pixels' room
        numbers = itertools.islice(re.finditer(rb"\S+", text), count)
        levels = np.fromiter((int(number[0]) for number in numbers), np.int32)
    if levels.size != count:
        raise ValueError("samples are missing")
    return levels


def _raw(data: bytes, header: Header) -> np.ndarray:
    """The levels of a file that stores them in binary."""
    dtype = np.dtype(">u2" if header.top > 255 else "u1")
    if header.kind in _BITS:
        row = -(-header.width // 8)
        stored = np.frombuffer(data, np.uint8, header.height * row, _start(data, header, row))
        return np.unpackbits(stored.reshape(header.height, row), axis=1)[:, : header.width]
    row = header.width * (3 if header.kind in _COLOUR else 1) * dtype.itemsize
    count = header.height * row // dtype.itemsize
    if samples := _sent_as_text(data, header, count * dtype.itemsize):
        return np.frombuffer(samples, dtype)
    return np.frombuffer(data, dtype, count, _start(data, header, row))


def _sent_as_text(data: bytes, header: Header, size: int) -> bytes:
    r"""The samples of a file in which a transfer as text made `\r\n` of each `\n`; else nothing."""
    stored = data[header.end + 2 :]
    if not _has_two_character_ends(data, header) or len(stored) <= size:
        return b""
    samples = stored.replace(b"\r\n", b"\n")
    return samples if len(samples) == size else b""


def _has_two_character_ends(data: bytes, header: Header) -> bool:
    return data[header.end : header.end + 2] == b"\r\n" and b"\r\n" in data[: header.end]


def _start(data: bytes, header: Header, row: int) -> int:
    """Where the samples start: behind one blank, a comment's line, or a line end of two characters.

    The last may also be one blank and a first sample that looks like its second character, and a
    comment may be samples; so a place that leaves just as many bytes as are needed comes first.
    """
    end = header.end
    places = [end + 1]
    if _has_two_character_ends(data, header):
        places = [end + 2]
    elif data[end : end + 2] == b"\r\n":
        places = [end + 1, end + 2]
    comment = re.match(rb"([ \t]*)#([^\n\r]*)(?:\r\n|\n|\r)", data[end:])
    if comment:
        is_text = re.fullmatch(rb"[\t\x20-\x7e]+", comment[2]) is not None
        places = [end + comment.end(), *(places if comment[1] else [])]
        likely = places[:1] if is_text else places
    else:
        likely = places
    needed = header.height * row
    exact = [place for place in places if len(data) - place == needed]
    enough = exact or [place for place in likely if len(data) - place > needed]
    if not enough:
        raise ValueError("samples are missing")
    if not exact and is_netpbm(data[enough[0] + needed :]):
        raise UnusableError("holds several images", ONE_IMAGE)
    return enough[0]
