"""Which file belongs to which member."""

import pytest

from singan_jax.errors import ImageError
from singan_jax.images.match import NamedFiles


def test_the_likelier_ending_comes_first():
    files = NamedFiles(["in/photo.png", "in/photo_mask.png", "in/other.png"], ("_mask", ""))
    assert files.find(["photo"]) == "in/photo_mask.png"
    assert files.find(["other"]) == "in/other.png"
    assert files.find(["none"]) is None


def test_the_first_name_that_has_a_file_decides():
    files = NamedFiles(["in/photo.png", "in/photo_alpha_rec=5.png"])
    assert files.find(["photo_alpha_rec=5", "photo"]) == "in/photo_alpha_rec=5.png"
    assert files.find(["photo_alpha_rec=10", "photo"]) == "in/photo.png"


def test_two_files_of_one_name_are_refused_but_whole_names_tell_them_apart():
    files = NamedFiles(["in/photo.jpg", "in/photo.png"])
    with pytest.raises(
        ImageError, match=r"^in/photo.png: is named 'photo' too, as in/photo.jpg is"
    ):
        files.find(["photo"])
    assert files.find(["photo.png"]) == "in/photo.png"


def test_capitals_tell_files_apart_where_names_of_folders_could_not():
    files = NamedFiles(["in/Photo.png", "in/photo.jpg"])
    assert files.find(["photo"]) == "in/photo.jpg"
    assert files.find(["Photo"]) == "in/Photo.png"
