"""Paths and addresses as they are typed."""

import os
import pathlib
import urllib.parse

import hypothesis
import hypothesis.strategies as st
import pytest

from data_pipeline.errors import DataError
from data_pipeline.files import places

# Of file systems: anything but a slash and a NUL.
PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_home_folder(home):
    assert places.local("~") == home
    assert places.local("~/fleet") == home / "fleet"
    assert places.local("fleet~") == pathlib.Path("fleet~")
    assert places.local("runs/~x") == pathlib.Path("runs/~x")
    assert places.local("~root/x") == pathlib.Path(os.path.expanduser("~root")) / "x"
    with pytest.raises(DataError, match=r"^~nobody-here/x: there is no such home folder; write"):
        places.local("~nobody-here/x")


@pytest.mark.parametrize(
    "address",
    [
        *("gs://bucket/x", "s3://bucket/x", "https://host/x.png", "HTTP://host/x", "hdfs:/x"),
        *("abfss://a@b/c", "gs:/bucket/x", "file://server/share/x", "ftp://h/x"),
    ],
)
def test_addresses_of_other_machines_are_refused(address):
    with pytest.raises(DataError, match="is an address, not a folder or file; copy it here") as e:
        places.local(address)
    assert str(e.value).startswith(f"{address}: ")


def test_an_address_that_was_made_a_path_is_refused_too():
    with pytest.raises(DataError, match=r"^gs:/bucket/x: is an address"):
        places.local(pathlib.PurePosixPath("gs://bucket/x"))


@pytest.mark.parametrize("text", ["a:b", "scan 3:4.png", "C:/films", "12:30/x", ":/x", "a b:/c"])
def test_colons_alone_make_no_address(text):
    assert places.local(text) == pathlib.Path(text)


def test_addresses_of_files_here():
    for start in ("file://", "file://localhost", "FILE://", "file:"):
        assert places.local(f"{start}/data/a%20b%23.png") == pathlib.Path("/data/a b#.png")


def test_what_cannot_be_a_path():
    with pytest.raises(DataError, match=r"^the name of a file or folder is empty; name one"):
        places.local("")
    with pytest.raises(DataError, match="may hold a NUL; leave it out"):
        places.local("a\0b")


@pytest.mark.parametrize("name", ["~", "~x", "gs:", "file:", "[a]", "*", "a,b", "x[1].png"])
def test_files_that_exist_win(tmp_path, name):
    (tmp_path / name).mkdir()
    for text in (name, f"{name}/", f"./{name}"):
        assert os.path.samefile(places.local(text), tmp_path / name)
    (tmp_path / name / "bucket").mkdir()
    assert os.path.samefile(places.local(f"{name}//bucket"), tmp_path / name / "bucket")


@hypothesis.given(st.lists(PART, min_size=1, max_size=3))
@hypothesis.settings(
    max_examples=80, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_round_trips(home, parts):
    """A path, the same below the home folder, and its file:// address mean one place."""
    path = "/".join(parts)
    absolute = f"/data/{path}"
    assert places.local(absolute) == pathlib.Path(absolute)
    address = "file://" + urllib.parse.quote(absolute.encode(errors="surrogateescape"))
    assert places.local(address) == pathlib.Path(absolute)
    assert places.local(f"~/{path}") == home / path
    assert places.local(f"./{path}") == pathlib.Path(path)
    assert places.local(places.local(absolute)) == places.local(absolute)
