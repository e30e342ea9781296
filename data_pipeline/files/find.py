"""The image files that files, folders and globs name."""

import collections
import glob
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from data_pipeline.errors import DataError, UnusableError
from data_pipeline.files import places
from data_pipeline.files.decode import HEAD, is_image

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm", ".bmp"),
    *(".webp", ".gif", ".dcm", ".jpe", ".dib", ".apng", ".dicom"),
)


class Found(NamedTuple):
    """What patterns name.

    Attributes:
      paths: of files, sorted within each pattern, each real file once.
      faults: patterns and links that lead to no file, and why.
      skipped: how many files of folders are no images, by their ending.
    """

    paths: list[str]
    faults: list[tuple[str, UnusableError]]
    skipped: collections.Counter[str]

    def about_skipped(self) -> str:
        """A line that says what was skipped; empty where nothing was."""
        if not self.skipped:
            return ""
        count = sum(self.skipped.values())
        endings = ", ".join(f"{n} {ending}" for ending, n in sorted(self.skipped.items()))
        return f"skipped: {count} {'file' if count == 1 else 'files'} of other kinds ({endings})"


def find(patterns: Sequence[str]) -> Found:
    """Finds the files that patterns name.

    Args:
      patterns: each a file, a folder or a glob, where `**` goes through folders. Of a folder, the
        files that end in one of `SUFFIXES` or whose first bytes are an image's; neither hidden
        files nor folders inside it.
    """
    paths: dict[str, str] = {}  # by real path
    found = Found([], [], collections.Counter())
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        try:
            matches = _match(str(places.local(pattern)), found)
        except UnusableError as error:
            found.faults.append((pattern, error))
            continue
        except DataError as error:
            problem, _, remedy = str(error).removeprefix(f"{pattern}: ").partition("; ")
            found.faults.append((pattern, UnusableError(problem, remedy)))
            continue
        except OSError as error:
            reason = error.strerror or type(error).__name__
            found.faults.append((pattern, UnusableError(reason, "check its permissions")))
            continue
        for path in matches:
            if os.path.exists(path):
                paths.setdefault(os.path.realpath(path), path)
            else:
                found.faults.append((path, _broken_link(path)))
    found.paths.extend(paths.values())
    return found


def _match(pattern: str, found: Found) -> list[str]:
    """The files and broken links that a pattern names, sorted, at least one."""
    if os.path.isdir(pattern):
        names = sorted(name for name in os.listdir(pattern) if not name.startswith("."))
        matches = [os.path.join(pattern, name) for name in names]
        return _images(pattern, [path for path in matches if not os.path.isdir(path)], found)
    if os.path.lexists(pattern):  # first, as a file's name may hold [ or *
        return [pattern]
    if not glob.has_magic(pattern):
        raise UnusableError("does not exist", "check the path")
    matches = sorted(glob.glob(pattern, recursive=True))
    matches = [path for path in matches if not os.path.isdir(path)]
    if not matches:
        raise UnusableError("matches no file", "check the pattern, and quote it in a shell")
    return matches


def _images(folder: str, paths: Sequence[str], found: Found) -> list[str]:
    """Those of a folder's files that are images; the others are counted."""
    images = []
    for path in paths:
        if path.lower().endswith(SUFFIXES) or _starts_as_image(path):
            images.append(path)
        else:
            found.skipped[pathlib.PurePath(path).suffix.lower() or "without ending"] += 1
    if not images:
        remedy = f"name one that directly holds files ending in {' '.join(SUFFIXES)}"
        raise UnusableError("is a folder without image files", remedy)
    return images


def _broken_link(path: str) -> UnusableError:
    is_annexed = "/annex/objects/" in (os.readlink(path) if os.path.islink(path) else "")
    remedy = "get it with git annex get" if is_annexed else "restore the file, or the link"
    return UnusableError("is a link to a file that is not there", remedy)


def _starts_as_image(path: str) -> bool:
    if not os.path.isfile(path):  # opening a pipe would wait forever
        return False
    try:
        with open(path, "rb") as file:
            return is_image(file.read(HEAD))
    except OSError:  # it is counted as skipped
        return False
