"""Files written whole or not at all; JSON; and what differs between two settings."""

import contextlib
import json
import math
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


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON as every reader of it takes it: a number that is not finite becomes null.

    Args:
      value: of dictionaries, sequences, texts, numbers (NumPy's too), bool and None.
      indent: blanks of a level; all on one line where None.
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):  # of NumPy
        return _finite(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
