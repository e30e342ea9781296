"""Files of arrays: `.npz` without pickles, written whole or not at all."""

import os
import pathlib
import zipfile

import numpy as np

# What NumPy and zipfile raise on a file with wrong bytes; the last, on flags they do not know.
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError)


def write(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays by name, so that at any moment the old or the new file is there, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a file; raises one of `DAMAGE` where it cannot be read."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return dict(archive)
