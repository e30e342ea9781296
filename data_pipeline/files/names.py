"""Names of members, folders and files, made of the names of files.

A name is in Unicode's form NFC, of letters, digits and marks of any script and `._-=+~@`; all else
becomes `_`. So it is safe as a file's name on every system, in a glob, and in a list with commas.
"""

import collections
import hashlib
import os
import pathlib
import re
import unicodedata
from collections.abc import Callable, Sequence

from data_pipeline.files.find import SUFFIXES

MAX_BYTES = 120  # in UTF-8; file systems take 255, and what is made of a name is longer
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)  # by Windows
_KEPT = "._-=+~@"


def safe(text: str) -> str:
    """A text as a name: safe on file systems, at most `MAX_BYTES` long, never empty.

    Texts that differ may have one name, but a name that was cut is told from others by its end.
    """
    name = "".join(c if _is_kept(c) else "_" for c in unicodedata.normalize("NFC", text))
    name = re.sub(r"^\.|\.$", "_", name)  # would hide a folder, or vanish on Windows
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    if len(name.encode()) > MAX_BYTES:
        end = f"~{_digest(text)}"
        start = name.encode()[: MAX_BYTES - len(end)].decode(errors="ignore")
        name = unicodedata.normalize("NFC", start) + end
    return name or "_"


def of_file(path: str | os.PathLike[str]) -> str:
    """The name of what is made of a file: its own, without the ending of an image."""
    name = os.path.basename(os.fspath(path))
    stem, ending = os.path.splitext(name)
    return safe(stem if ending.lower() in SUFFIXES else name)


def of_files(paths: Sequence[str]) -> list[str]:
    """Names of files that differ, also where file systems tell no capitals from small letters.

    Files whose own names would be equal keep their ending, or are named after their folders too,
    or both, or get a mark made of their path: the first of these that tells all of them apart.

    Args:
      paths: of files, each once.
    """
    names = [of_file(path) for path in paths]
    for longer in _LONGER:
        counts = collections.Counter(map(str.casefold, names))
        alike: dict[str, list[int]] = {}
        for n, name in enumerate(names):
            if counts[name.casefold()] > 1:
                alike.setdefault(name.casefold(), []).append(n)
        if not alike:
            break
        for places in alike.values():
            told = [longer(paths[n]) for n in places]
            taken = {key for key in counts if counts[key] == 1}
            keys = {name.casefold() for name in told}
            if longer is _with_mark or (len(keys) == len(places) and not keys & taken):
                for n, name in zip(places, told, strict=True):
                    names[n] = name
    return names


def _is_kept(character: str) -> bool:
    return character in _KEPT or unicodedata.category(character)[0] in "LMN"


def _with_ending(path: str) -> str:
    return safe(os.path.basename(path))


def _with_folders(count: int, own: Callable[[str], str]) -> Callable[[str], str]:
    def name(path: str) -> str:
        folders = pathlib.Path(os.path.abspath(path)).parent.parts[1:][-count:]
        return safe("_".join([*folders, own(path)]))

    return name


def _with_mark(path: str) -> str:
    return safe(f"{of_file(path)}~{_digest(os.path.abspath(path))}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]


_LONGER = (
    _with_ending,
    *(_with_folders(count, own) for own in (of_file, _with_ending) for count in (1, 2, 3)),
    _with_mark,
)
