"""Mammograms and lesion masks on disk: finds them inside their source and loads them.

Both real sources are 8-bit grayscale: BCDR as TIFF, mini-MIAS as PGM. Anything else is refused, for
a converted or damaged file would give patches that look plausible and are wrong.
"""

import contextlib
import io
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np
import PIL.Image
import tifffile

from data_pipeline.mammograms import DataError

_CONVERT = "convert it to 8-bit grayscale TIFF or PGM"
_MAX_PIXELS = 100_000_000  # seven times the largest mammogram of BCDR
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def find(root: pathlib.Path, source: str) -> pathlib.Path:
    """Finds a file of a source, and only inside it.

    Args:
      root: folder of the source.
      source: the file relative to root, with forward slashes.

    Returns:
      The path.

    Raises:
      DataError: there is no such file, or a symbolic link leads out of root.
    """
    file = root / source
    if not pathlib.Path(os.path.realpath(file)).is_relative_to(os.path.realpath(root)):
        raise DataError(f"{source} leads out of its source; replace the link by what it points to")
    if not file.is_file():
        raise DataError(f"{source} is missing; restore it")
    return file


def load(path: pathlib.Path) -> np.ndarray:
    """Loads a mammogram or a mask.

    An inverted (MINISWHITE) TIFF has its levels inverted back; a tag that asks for a rotation is
    ignored, since outlines refer to the pixels as stored.

    Args:
      path: a TIFF of one page or a PGM; its content decides, not its suffix.

    Returns:
      (H, W) uint8.

    Raises:
      DataError: the file cannot be read, is damaged or truncated, or is not 8-bit grayscale.
    """
    with _faults_name(path):
        data = path.read_bytes()
        if data.startswith(_TIFF):
            return _load_tiff(data)
        with _open_pgm(data) as image:
            return np.array(image)


def pgm_shape(path: pathlib.Path) -> tuple[int, int]:
    """Reads (H, W) of a PGM from its header alone.

    Raises:
      DataError: the file cannot be read or is no 8-bit PGM.
    """
    with _faults_name(path):
        with path.open("rb") as file:
            header = file.read(1000)
        with _open_pgm(header) as image:
            return image.height, image.width


@contextlib.contextmanager
def _faults_name(path: pathlib.Path) -> Iterator[None]:
    """Turns whatever goes wrong with a file into a DataError of one line that names it."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # decoders document no common base of their errors on damage
        reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "")
        problem = f"cannot be read or is damaged ({reason or type(error).__name__})"
        raise DataError(f"{path}: {problem}; replace it by an intact copy") from error


def _open_pgm(data: bytes) -> PIL.Image.Image:
    if not re.match(rb"P[1-6]", data):
        raise DataError(f"is neither TIFF nor PGM; {_CONVERT}")
    image = PIL.Image.open(io.BytesIO(data), formats=["PPM"])
    _check_size(image.width, image.height)
    if image.mode != "L":
        kinds = {"I": "has more than 8 bits a pixel", "RGB": "is in colour"}
        raise DataError(f"{kinds.get(image.mode, f'has mode {image.mode}')}; {_CONVERT}")
    return image


def _load_tiff(data: bytes) -> np.ndarray:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        if not len(tiff.pages):
            raise ValueError("it has no readable page")
        if len(tiff.pages) > 1:
            raise DataError(f"has {len(tiff.pages)} pages; save the mammogram alone")
        page = tiff.pages.first
        _check_size(page.imagewidth, page.imagelength)
        gray = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
        if page.photometric not in gray or page.samplesperpixel != 1:
            raise DataError(f"is in colour or has several channels; {_CONVERT}")
        if page.bitspersample != 8 or page.sampleformat != tifffile.SAMPLEFORMAT.UINT:
            raise DataError(f"has {page.bitspersample}-bit samples; {_CONVERT}")
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if not all(page.databytecounts) or max(ends) > len(data):  # else decoded as black
            raise ValueError("the file ends before its pixels do")
        pixels = page.asarray(maxworkers=1)
    if pixels.ndim != 2:
        raise DataError(f"has pixels of shape {pixels.shape}; {_CONVERT}")
    return 255 - pixels if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE else pixels


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ValueError(f"its size is {width}x{height}")
    if width * height > _MAX_PIXELS:
        raise DataError(f"has {width}x{height} pixels, too many for a mammogram; leave it out")
