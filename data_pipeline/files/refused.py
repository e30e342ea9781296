"""Files that are no images: what they are, and so what to do."""

import re
from collections.abc import Callable

from data_pipeline.errors import UnusableError
from data_pipeline.files.levels import CONVERT, READ, REPLACE

_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]+")


def _at(place: int, *starts: bytes) -> Callable[[bytes], bool]:
    return lambda data: data[place:].startswith(starts)


def _holds(tags: bytes) -> Callable[[bytes], bool]:
    """Whether a text of marked up text has one of these tags near its start."""

    def holds(data: bytes) -> bool:
        start = data[:4000].removeprefix(b"\xef\xbb\xbf").lstrip()
        return start[:1] == b"<" and re.search(rb"(?i)<(?:%b)[\s>]" % tags, start) is not None

    return holds


# What a file is, by its first bytes: what it is called, and what to do.
_KINDS: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
    (
        _at(0, b"version https://git-lfs.github.com/"),
        "is a pointer of Git LFS, not the file itself",
        "get it with git lfs pull",
    ),
    (
        lambda data: re.match(rb"\S*/annex/objects/", data[:500]) is not None,
        "is a pointer of git-annex, not the file itself",
        "get it with git annex get",
    ),
    (
        _holds(b"!doctype html|html|head|body"),
        "is a web page, not an image",
        "download the image itself",
    ),
    (_holds(b"svg"), "is an SVG drawing", "draw it to a PNG of the size wanted"),
    (
        _at(0, b"\x89PNG"),
        "is a PNG that a transfer as text has changed",
        "transfer it again, in binary",
    ),
    (_at(0, b"%PDF"), "is a PDF", "save its pages as PNG"),
    (_at(0, b"%!PS", b"\xc5\xd0\xd3\xc6"), "is a PostScript drawing", "save it as PNG"),
    (
        _at(0, b"\0\5\x16\7"),
        "is a side file of macOS (AppleDouble), not the file itself",
        "leave it out",
    ),
    (_at(4, b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"), "is a HEIC photo", CONVERT),
    (_at(4, b"ftypavif", b"ftypavis"), "is an AVIF image", CONVERT),
    (_at(4, b"ftyp"), "is a film", "save single images of it as PNG"),
    (_at(0, b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "is a JPEG 2000 image", CONVERT),
    (_at(0, b"\0\0\0\x0cJXL ", b"\xff\x0a"), "is a JPEG XL image", CONVERT),
    (_at(0, b"8BPS"), "is a Photoshop document", CONVERT),
    (_at(0, b"gimp xcf"), "is a GIMP document", CONVERT),
    (_at(0, b"P7\n", b"PF\n", b"Pf\n"), "is a PAM or PFM image", CONVERT),
    (_at(0, b"v/1\x01", b"#?RADIANCE"), "is an image of floating-point levels", CONVERT),
    (_at(0, b"\0\0\1\0"), "is an icon", CONVERT),
    (_at(344, b"n+1\0", b"ni1\0"), "is a NIfTI volume", "save one slice of it as PNG"),
    (_at(0, b"MATLAB 5.0 MAT-file"), "is a MATLAB file", CONVERT),
    (_at(0, b"SIMPLE  ="), "is a FITS file", CONVERT),
    (_at(0, b"NRRD"), "is an NRRD volume", "save one slice of it as PNG"),
    (_at(0, b"\x93NUMPY"), "is a NumPy array", CONVERT),
    (_at(0, b"\x89HDF"), "is an HDF5 file", CONVERT),
    (
        _at(0, b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ"),
        "is a compressed archive",
        "unpack it",
    ),
)


def explain(data: bytes) -> UnusableError:
    """Why a file that no decoder takes is none, as well as its content tells.

    Args:
      data: the whole file.
    """
    if not data:
        return UnusableError("is empty", REPLACE)
    if not data.strip(b"\0"):
        return UnusableError("holds nothing but zeros, as after a transfer that failed", REPLACE)
    for is_it, problem, remedy in _KINDS:
        if is_it(data):
            return UnusableError(problem, remedy)
    if _TEXT.fullmatch(data[:64]):
        return UnusableError("is a text, not an image", "leave it out")
    return UnusableError(f"is not a {READ.replace(' and ', ' or ')} image", CONVERT)
