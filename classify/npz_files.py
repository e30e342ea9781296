"""Files of arrays: `.npz` without pickles, written whole or not at all."""

import pathlib
import zipfile

import numpy as np

from data_pipeline.files.writing import replacing

# What NumPy and zipfile raise on a file with wrong bytes; the last, on flags they do not know.
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError)


def write(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays by name, so that at any moment the old or the new file is there, whole."""
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a file; raises one of `DAMAGE` where it cannot be read."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return dict(archive)
