"""Which files patterns name, and what is said of those that are left out."""

import os

import pytest
from image_files import GRAY, LOSSLESS, pillow_bytes

from data_pipeline.files.find import SUFFIXES, find

PNG = LOSSLESS["png-rgb"][1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures in b, a and deep/c; a hidden one; texts; an empty folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("b.PNG", "a.png", ".hidden.png", "deep/c.png"):
        (tmp_path / "in" / name).write_bytes(PNG)
    for name in ("notes.txt", "README", "more.TXT"):
        (tmp_path / "in" / name).write_text("no image")
    return tmp_path


def test_files_folders_and_globs(folder):
    assert find(["in"]).paths == ["in/a.png", "in/b.PNG"]
    assert find(["in/b.PNG", "in"]).paths == ["in/b.PNG", "in/a.png"]
    assert find(["in/**/*.png"]).paths == ["in/a.png", "in/deep/c.png"]
    assert find(["in/*.*"]).paths == ["in/a.png", "in/b.PNG", "in/more.TXT", "in/notes.txt"]
    assert find("in/a.png").paths == ["in/a.png"]
    assert find([folder / "in" / "a.png"]).paths == [str(folder / "in/a.png")]
    os.symlink("a.png", "in/link.png")
    found = find(["in/a.png", "in/link.png", "in"])
    assert (found.paths, found.faults) == (["in/a.png", "in/b.PNG"], [])


def test_what_is_skipped_is_counted_by_its_ending(folder):
    found = find(["in"])
    assert found.skipped == {".txt": 2, "without ending": 1}
    line = "skipped: 3 files of other kinds (2 .txt, 1 without ending)"
    assert found.about_skipped() == line
    os.remove("in/README")
    os.remove("in/more.TXT")
    assert find(["in"]).about_skipped() == "skipped: 1 file of other kinds (1 .txt)"
    assert find(["in/a.png", "in/deep"]).about_skipped() == ""
    assert find(["in/notes.txt"]).about_skipped() == ""  # named by the user himself


@pytest.mark.parametrize("ending", SUFFIXES)
def test_every_ending_is_found_in_any_letters(folder, ending):
    for name in (f"x{ending}", f"y{ending.upper()}"):
        (folder / "empty" / name).write_bytes(b"")
    assert find(["empty"]).paths == [f"empty/x{ending}", f"empty/y{ending.upper()}"]


def test_images_without_their_ending_are_found_by_their_first_bytes(folder):
    for name, data in {
        "IM0001": bytes(128) + b"DICM" + bytes(9),
        "1.2.840.10008.7": bytes(128) + b"DICM",
        "scan": pillow_bytes(GRAY, "TIFF"),
        "picture.PNG_original": PNG,
        "empty": b"",
    }.items():
        (folder / "empty" / name).write_bytes(data)
    found = find(["empty"])
    wanted = ["1.2.840.10008.7", "IM0001", "picture.PNG_original", "scan"]
    assert found.paths == [f"empty/{name}" for name in wanted]
    assert found.about_skipped() == "skipped: 1 file of other kinds (1 without ending)"


def test_a_pipe_in_a_folder_is_not_waited_for(folder):
    os.mkfifo(folder / "in" / "pipe")
    assert find(["in"]).skipped["without ending"] == 2


@pytest.mark.parametrize("name", ["x[1].png", "*.png", "a?b.png", "{a}.png", "a,b.png", "~.png"])
def test_names_that_look_like_patterns_are_taken_literally(folder, name):
    (folder / "empty" / name).write_bytes(PNG)
    assert find([f"empty/{name}"]).paths == [f"empty/{name}"]


def test_home_folders_and_addresses(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert find(["~/in/a.png"]).paths == [f"{folder}/in/a.png"]
    assert find(["~/in/*.png"]).paths == [f"{folder}/in/a.png"]
    assert find([f"file://{folder}/in/a.png"]).paths == [f"{folder}/in/a.png"]


def faults(*patterns):
    found = find(patterns)
    return found.paths, [error.about(path) for path, error in found.faults]


def test_patterns_that_give_nothing(folder):
    paths, lines = faults("none.png", "in/a.png", "empty", "no*.png", "", "gs://b/x.png")
    assert paths == ["in/a.png"]
    assert lines == [
        "none.png: does not exist; check the path",
        f"empty: is a folder without image files; name one that directly holds files ending in "
        f"{' '.join(SUFFIXES)}",
        "no*.png: matches no file; check the pattern, and quote it in a shell",
        ": the name of a file or folder is empty; name one, or . for this folder",
        "gs://b/x.png: is an address, not a folder or file; copy it here, or name the folder where "
        "it is mounted",
    ]


@pytest.mark.parametrize("pattern", ["in/gone.png", "in", "in/g*.png"])
def test_broken_links_are_faults(folder, pattern):
    os.symlink("nowhere.png", "in/gone.png")
    paths, lines = faults(pattern)
    assert paths == (["in/a.png", "in/b.PNG"] if pattern == "in" else [])
    assert lines == [
        "in/gone.png: is a link to a file that is not there; restore the file, or the link"
    ]


def test_links_of_git_annex_and_to_themselves(folder):
    os.symlink("../.git/annex/objects/Xj/SHA256E-s9--ab.png", "in/annexed.png")
    assert faults("in/annexed.png")[1] == [
        "in/annexed.png: is a link to a file that is not there; get it with git annex get"
    ]
    os.symlink("loop.png", "in/loop.png")
    assert "is a link to a file that is not there" in faults("in/loop.png")[1][0]


def test_a_folder_that_cannot_be_listed(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", refuse)
    assert faults("in") == ([], ["in: Permission denied; check its permissions"])


def test_each_real_file_once(folder):
    os.symlink("in", "also")
    assert find(["in", "also", "in/deep/../a.png"]).paths == ["in/a.png", "in/b.PNG"]
