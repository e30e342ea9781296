"""Paths and addresses as people write them on a command line or in a file of settings."""

import os
import pathlib
import re
import urllib.parse
import urllib.request

from data_pipeline.errors import DataError

# With one slash, as in a pathlib.Path made of it; but not the one letter of a drive.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def local(text: str | os.PathLike[str]) -> pathlib.Path:
    """The path that a text means.

    Args:
      text: a path, in which `~` and `~user` stand for a home folder, or a file:// address.

    Returns:
      The path; it need not exist.

    Raises:
      DataError: the text is empty, has a NUL, or is an address of something that is not on this
        machine's file systems, or a home folder that is not known.
    """
    text = os.fspath(text)
    if not text:
        raise DataError("the name of a file or folder is empty; name one, or . for this folder")
    if "\0" in text:
        raise DataError(f"{text!r}: no file's name may hold a NUL; leave it out")
    if os.path.lexists(text):  # whatever it looks like
        return pathlib.Path(text)
    address = _ADDRESS.match(text)
    if address and address[1].lower() == "file":
        parts = urllib.parse.urlsplit(text)
        if parts.netloc.lower() in ("", "localhost"):
            return pathlib.Path(urllib.request.url2pathname(parts.path))
    if address:
        remedy = "copy it here, or name the folder where it is mounted"
        raise DataError(f"{text}: is an address, not a folder or file; {remedy}")
    expanded = os.path.expanduser(text)  # pathlib's would take ./~ for ~
    if expanded == text and text.startswith("~"):
        raise DataError(f"{text}: there is no such home folder; write the whole path")
    return pathlib.Path(expanded)
