"""Names made of files' names: safe, told apart, and always the same."""

import collections
import unicodedata

import hypothesis
import hypothesis.strategies as st
import pytest

from data_pipeline.files import names

TEXT = st.text(max_size=200) | st.text(
    st.sampled_from("aA.é\u0301_-/ \\:*ß中🙂\n\udcff"), max_size=300
)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("mdb001.png", "mdb001"),
        ("x.v2-_.tif", "x.v2-_"),
        ("scan.v1", "scan.v1"),
        ("scan.v2.PNG", "scan.v2"),
        ("photo.jpeg.jpg", "photo.jpeg"),
        ("photo_alpha_rec=5.png", "photo_alpha_rec=5"),
        ("two words é.png", "two_words_é"),
        ("re\u0301sume\u0301.png", "résumé"),
        ("乳房.dcm", "乳房"),
        ("मैमोग्राम.webp", "मैमोग्राम"),
        ("🙂.gif", "_"),
        (".hidden.png", "_hidden"),
        ("..png", "_.png"),
        ("...", "_._"),
        ("a\nb.png", "a_b"),
        ("a,b[1]*?.png", "a_b_1___"),
        ("CON.png", "_CON"),
        ("com1.old.png", "_com1.old"),
        ("console.png", "console"),
        ("dot..png", "dot_"),
        ("folder/sub/x.png", "x"),
    ],
)
def test_names_of_files(file, name):
    assert names.of_file(file) == name


@hypothesis.given(TEXT)
def test_safe(text):
    name = names.safe(text)
    assert name
    assert len(name.encode()) <= names.MAX_BYTES
    assert unicodedata.is_normalized("NFC", name)
    assert not set(name) & set("/\\:*?\"<>|,[]{}$&;!#% \0\n\t'`")
    assert all(unicodedata.category(c)[0] not in "CZ" for c in name)
    assert not name.startswith(".")
    assert not name.endswith(".")
    assert names.safe(name) == name
    assert names.safe(unicodedata.normalize("NFD", text)) == name or len(text) > 40


def test_texts_in_any_script_have_names_of_their_own():
    texts = ["乳房", "乳腺", "рак", "грудь", "σάρωση", "スキャン", "scan"]
    assert len({names.safe(text) for text in texts}) == len(texts)


def test_long_names_keep_their_start_and_differ():
    first, second = "乳" * 200 + "a", "乳" * 200 + "b"
    assert names.safe(first) != names.safe(second)
    assert names.safe(first)[:30] == "乳" * 30
    assert names.safe("x" * 120) == "x" * 120


PATHS = st.lists(
    st.lists(
        st.sampled_from(
            ["a", "A", "b", "photo", "é", "e\u0301", "🙂", "ß", "ss", "x" * 200, "乳" * 90]
        ),
        min_size=1,
        max_size=3,
    )
    .map("/".join)
    .flatmap(
        lambda stem: st.sampled_from([".png", ".jpg", ".PNG", ".png.png", "", ".v1"]).map(
            stem.__add__
        )
    ),
    unique=True,
    max_size=12,
)


@hypothesis.given(PATHS)
def test_files_have_names_that_differ(paths):
    found = names.of_files(paths)
    assert len(found) == len(paths)
    assert len({name.casefold() for name in found}) == len(paths)
    for name in found:
        assert names.safe(name) == name
        assert len(name.encode()) <= names.MAX_BYTES
    own = [names.of_file(path) for path in paths]
    counts = collections.Counter(name.casefold() for name in own)
    for name, given in zip(own, found, strict=True):
        assert given == name or counts[name.casefold()] > 1 or given.casefold() in counts
    backwards = names.of_files(paths[::-1])[::-1]
    assert backwards == found  # nothing depends on the order


def test_files_of_one_name_keep_their_ending_or_their_folders():
    assert names.of_files(["photo.png", "photo.jpg", "x.png"]) == ["photo.png", "photo.jpg", "x"]
    assert names.of_files(["/in/a/x.png", "/in/b/x.png"]) == ["a_x", "b_x"]
    assert names.of_files(["/p/1/cc/x.png", "/p/2/cc/x.png"]) == ["1_cc_x", "2_cc_x"]
    three = ["/in/a.png", "/in/a.jpg", "/to/a.png"]
    assert names.of_files(three) == ["in_a.png", "in_a.jpg", "to_a.png"]
    assert names.of_files(["/d/Scan.png", "/d/scan.png"])[0].startswith("Scan~")
    assert names.of_files([]) == []
