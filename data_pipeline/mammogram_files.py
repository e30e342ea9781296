"""Mammograms and lesion masks on disk: finds them inside their source and loads them.

Both real sources are 8-bit grayscale: BCDR as TIFF, mini-MIAS as PGM. Other depths and colours are
refused, for a converted file would give patches that look plausible and are wrong.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from data_pipeline.errors import DataError, UnusableError
from data_pipeline.files import netpbm
from data_pipeline.files.decode import decode

_ORIGINAL = "restore the original of 8-bit grayscale"
_HEADER = 1000  # bytes of a PGM that hold its header, comments included


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

    A tag that asks for a rotation is ignored, since outlines refer to the pixels as stored.

    Args:
      path: see `files.decode`; its content decides, not its suffix.

    Returns:
      (H, W) uint8.

    Raises:
      DataError: the file cannot be read, is damaged or truncated, or is not 8-bit grayscale.
    """
    with _faults_name(path):
        pixels = decode(path.read_bytes(), upright=False)
        if pixels.shape[2] != 1:
            raise DataError(f"is in colour; {_ORIGINAL}")
        if pixels.dtype != np.uint8:
            raise DataError(f"has more than 8 bits a pixel; {_ORIGINAL}")
        return pixels[..., 0]


def pgm_shape(path: pathlib.Path) -> tuple[int, int]:
    """Reads (H, W) of a PGM from its header alone.

    Raises:
      DataError: the file cannot be read or is no 8-bit PGM.
    """
    with _faults_name(path):
        with path.open("rb") as file:
            start = file.read(_HEADER)
        if not netpbm.is_netpbm(start):
            raise DataError(f"is no PGM; {_ORIGINAL}")
        header = netpbm.read_header(start)
        return header.height, header.width


@contextlib.contextmanager
def _faults_name(path: pathlib.Path) -> Iterator[None]:
    """Turns whatever goes wrong with a file into a DataError of one line that names it."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except UnusableError as error:
        raise DataError(error.about(path)) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f"{path}: cannot be read ({reason}); replace it by an intact copy"
        ) from error
    except ValueError as error:  # of a header
        raise DataError(f"{path}: is damaged ({error}); replace it by an intact copy") from error
