"""Writing files whole or not at all, and telling what differs between two settings.

A copy of this file is in `data_pipeline`, which imports nothing from this package, and the other
way round; a test holds them equal.
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

    At any moment the old or the new content is there, whole; where the block raises, or is
    interrupted, nothing but the old.

    Args:
      path: of the file to write or replace; its folder exists.
      sync: make sure that the content is on disk first, so that this also holds if the machine
        loses power; for thousands of small files which can be made again, it costs too much.

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
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file as `replacing` does; text as UTF-8."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What settings differ from those of an earlier run, as "seed 0 there, 1 here, ..."; or "".

    Args:
      there: as the earlier run wrote them down.
      here: as asked for now; settings that are only there are left out.
    """
    return ", ".join(
        f"{name} {there.get(name)} there, {value} here"
        for name, value in here.items()
        if there.get(name) != value
    )
