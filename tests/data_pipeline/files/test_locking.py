"""One process at a time in a folder, where its file system can tell."""

import errno
import fcntl
import os
import subprocess
import sys
import warnings

import pytest

from data_pipeline.errors import InputWarning
from data_pipeline.files.locking import locked

HOLD = """
import pathlib, sys
from data_pipeline.files.locking import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def failing(number):
    def flock(*args):
        raise OSError(number, os.strerror(number))

    return flock


def test_a_second_process_is_kept_out(tmp_path):
    folder = tmp_path / "new" / "folder"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError), locked(folder):
        pass
    other.communicate("")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):  # and given back
            with locked(folder):
                pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_of_and_used(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", failing(number))
    with pytest.warns(InputWarning) as told, locked(tmp_path):
        (tmp_path / "written").touch()
    assert len(told) == 1
    assert str(told[0].message) == (
        f"{tmp_path}: its file system has no locks ({os.strerror(number)}), so nothing keeps a "
        "second process out; run one command at a time on it"
    )
    assert told[0].filename == __file__


def test_other_errors_name_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error") as caught, locked(tmp_path):
        pass
    assert caught.value.filename == str(tmp_path / ".lock")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file"):
        pass
