"""Finds the image files that files, folders and globs name."""

import glob
import os
from collections.abc import Sequence

from singan_jax.errors import ImageError, os_reason
from singan_jax.images.decode import UnusableError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm", ".bmp")


def find_images(patterns: Sequence[str]) -> tuple[list[str], list[ImageError]]:
    """Finds the files that patterns name.

    Args:
        patterns: each a file, a folder (its files with one of `SUFFIXES`; neither hidden files nor
            folders inside it) or a glob, where `**` goes through folders.

    Returns:
        The paths, sorted within each pattern, each real file once; and an error for each pattern
        that matched none.
    """
    paths: dict[str, str] = {}  # by real path
    errors = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        try:
            found = _match(os.path.expanduser(pattern))
        except UnusableError as e:
            errors.append(ImageError(pattern, e.problem, e.remedy))
        except OSError as e:
            errors.append(ImageError(pattern, os_reason(e), "check its permissions"))
        else:
            for path in found:
                paths.setdefault(os.path.realpath(path), path)
    return list(paths.values()), errors


def _match(pattern: str) -> list[str]:
    """The files a pattern names, sorted, at least one."""
    if os.path.isdir(pattern):
        names = sorted(name for name in os.listdir(pattern) if not name.startswith("."))
        found = [os.path.join(pattern, n) for n in names if n.lower().endswith(SUFFIXES)]
        found = [path for path in found if os.path.isfile(path)]
        if not found:
            remedy = f"name one that directly holds files ending in {' '.join(SUFFIXES)}"
            raise UnusableError("is a folder without image files", remedy)
    elif os.path.lexists(pattern):  # first, as a file's name may hold [ or *
        found = [pattern]
    elif glob.has_magic(pattern):
        matches = sorted(glob.glob(pattern, recursive=True))
        found = [path for path in matches if not os.path.isdir(path)]
        if not found:
            raise UnusableError("matches no file", "check the pattern, and quote it in a shell")
    else:
        raise UnusableError("does not exist", "check the path")
    return found
