"""Writing files whole or not at all, and telling what differs between two settings.

`singan_jax` and `data_pipeline` import nothing from each other, so each has a copy of this file; a
test keeps the two identical.
"""

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, sync: bool = True) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` once the block has written it.

    At any moment the file holds all of the old content or all of the new; if the block raises or
    is interrupted, it keeps the old.

    Args:
      path: the file to write or replace; its folder exists.
      sync: make sure that the content is on disk first, so that this also holds if the machine
        loses power; too slow for thousands of small files that can be made again.

    Raises:
      OSError: the file cannot be written.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file as `replacing` does; text as UTF-8."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Settings that differ from an earlier run's, as "seed 0 there, 1 here, ..."; "" if none do.

    Args:
      there: the earlier run's settings, as it recorded them.
      here: the settings asked for now; those found only in `there` are ignored.
    """
    return ", ".join(
        f"{name} {there.get(name)} there, {value} here"
        for name, value in here.items()
        if there.get(name) != value
    )
