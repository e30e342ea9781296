"""The images and masks that manipulations start from: which file serves whom, and what it marks."""

import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
import tiny

import singan_jax
from singan_jax.images.read import write_png
from singan_jax.manipulate import input_images
from singan_jax.scale.pyramid import resize_matrix
from singan_jax.workdir.record import Member

SIZE = (17, 19)


def member(name, channels=3, settings=None, source=None):
    shape = (*SIZE, channels)
    source = source or f"{name}.png"
    return Member(name, source, "0" * 64, shape, 8, {}, 0, 0, settings=settings or {})


def drawn_mask(rows=slice(4, 9), columns=slice(5, 12)):
    mask = np.zeros(SIZE, bool)
    mask[rows, columns] = True
    return mask


def as_png(path, levels):
    write_png(path, np.asarray(levels, np.uint8)[..., None])


def read_inputs(path, *members):
    return input_images.read_matching(str(path), members, tiny.CONFIG)


def read_masks(path, *members):
    images = {m.name: tiny.image(1) for m in members}
    return input_images.read_masks(str(path), members, images)


# --- masks that shrink ------------------------------------------------------------------------


def resized(mask, size):
    """Which pixels the resize alone leaves: those of more than half."""
    rows, columns = (
        resize_matrix(old, new, new / old) for old, new in zip(mask.shape, size, strict=True)
    )
    return rows @ np.where(mask, 1.0, -1.0) @ columns.T > 0


def cells(mask, size):
    """The pixels of the wanted size in which a marked pixel's centre lies."""
    found = np.zeros(size, bool)
    for row, column in np.argwhere(mask):
        down, across = (row + 0.5) / mask.shape[0], (column + 0.5) / mask.shape[1]
        found[int(down * size[0]), int(across * size[1])] = True
    return found


def soft(inside, radius):
    """A mask at its final size, grown and blurred, as 0 to 1."""
    far = scipy.ndimage.distance_transform_edt(~inside) > radius
    blurred = scipy.ndimage.gaussian_filter((~far).astype(float), 5, mode="nearest")
    return (blurred - blurred.min()) / np.ptp(blurred)


def thin_masks():
    spot = np.zeros((400, 480), bool)
    spot[198:201, 238:241] = True
    yield "spot", spot, 1
    line = np.zeros((400, 480), bool)
    line[50:350, 100] = True
    yield "line", line, 30
    beside = np.zeros((400, 480), bool)
    beside[100:300, 300:450] = True
    beside[40:42, 60:62] = True
    yield "dot beside a blob", beside, 1
    corner = np.zeros((400, 480), bool)
    corner[-1, -1] = True
    yield "corner", corner, 1


@pytest.mark.parametrize(("mask", "least"), [pytest.param(m, n, id=i) for i, m, n in thin_masks()])
def test_what_is_thin_does_not_vanish(mask, least):
    size = (40, 48)
    left, there = resized(mask, size), cells(mask, size)
    near = scipy.ndimage.maximum_filter(left, 3)
    assert (there & ~near).sum() >= least  # the resize alone would lose these
    actual = input_images.soft_mask(mask, size, 0)
    expected = soft(left | (there & ~near), 0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
    down, across = np.unravel_index(actual.argmax(), size)
    assert there[down, across]


@pytest.mark.parametrize("size", [(40, 48), (100, 120), (400, 480), (900, 1000)])
@pytest.mark.parametrize("shape", ["box", "disk", "stripes"])
def test_where_nothing_is_lost_masks_stay_as_they_were(size, shape):
    rows, columns = np.mgrid[:400, :480]
    masks = {
        "box": (rows > 90) & (rows < 271) & (columns > 33) & (columns < 402),
        "disk": (rows - 200) ** 2 + (columns - 211) ** 2 < 111**2,
        "stripes": (rows // 100) % 2 == 0,
    }
    mask = masks[shape]
    assert not input_images._lost(mask, resized(mask, size)).any()
    actual = input_images.soft_mask(mask, size, 3)
    np.testing.assert_allclose(actual, soft(resized(mask, size), 3), rtol=0, atol=1e-6)


def test_a_mask_of_nothing_edits_nothing():
    assert not input_images.soft_mask(np.zeros((40, 50), bool), (20, 25), 7).any()


# --- mask files -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["0 and 1", "0 and 255", "8 levels", "alpha", "16 bits"])
def test_masks_mark_the_same_however_they_are_stored(tmp_path, kind):
    mask, file = drawn_mask(), tmp_path / "photo.png"
    if kind == "alpha":
        pixels = np.zeros((*SIZE, 4), np.uint8)
        pixels[mask, 3] = 255
        PIL.Image.fromarray(pixels).save(file)
    elif kind == "16 bits":
        write_png(file, np.where(mask, 65535, 0).astype(np.uint16)[..., None])
    else:
        high = {"0 and 1": 1, "0 and 255": 255, "8 levels": 230}[kind]
        levels = np.where(mask, high, 0)
        if kind == "8 levels":
            levels[0, :6] = [3, 30, 60, 90, 120, 127]  # darker than half
        as_png(file, levels)
    for path in (file, tmp_path):
        np.testing.assert_array_equal(read_masks(path, member("photo"))["photo"], mask)


def test_one_folder_may_hold_images_and_their_masks(tmp_path):
    write_png(tmp_path / "photo.png", tiny.image(5).pixels)
    as_png(tmp_path / "photo_mask.png", drawn_mask() * 255)
    found = read_inputs(tmp_path, member("photo"))
    np.testing.assert_array_equal(found["photo"].pixels, tiny.image(5).pixels)
    masks = input_images.read_masks(str(tmp_path), [member("photo")], found)
    np.testing.assert_array_equal(masks["photo"], drawn_mask())
    (tmp_path / "photo_mask.png").unlink()
    with pytest.raises(singan_jax.ImageError, match=r"photo\.png: is an input itself"):
        input_images.read_masks(str(tmp_path), [member("photo")], found)


def test_an_alpha_channel_is_the_mask_of_its_image(tmp_path):
    pixels = np.concatenate([tiny.image(5).pixels, 255 * drawn_mask()[..., None]], -1)
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photo.png")
    gray = np.concatenate([tiny.image(6, channels=1).pixels, 200 * drawn_mask()[..., None]], -1)
    PIL.Image.fromarray(gray.astype(np.uint8), "LA").save(tmp_path / "gray.png")
    members = [member("photo"), member("gray", 1)]
    images, masks = input_images.read_with_alpha(str(tmp_path), members, tiny.CONFIG)
    np.testing.assert_array_equal(images["photo"].pixels, tiny.image(5).pixels)
    np.testing.assert_array_equal(images["gray"].pixels, tiny.image(6, channels=1).pixels)
    for name in ("photo", "gray"):
        np.testing.assert_array_equal(masks[name], drawn_mask())
    write_png(tmp_path / "gray.png", tiny.image(6, channels=1).pixels)
    with pytest.raises(singan_jax.ImageError, match=r"gray\.png: has no alpha channel that could"):
        input_images.read_with_alpha(str(tmp_path), members, tiny.CONFIG)


# --- which file, and its channels -------------------------------------------------------------


def test_two_files_of_one_name_are_refused_with_both(tmp_path):
    write_png(tmp_path / "photo.png", tiny.image(5).pixels)
    PIL.Image.fromarray(tiny.image(6).pixels).save(tmp_path / "photo.jpg")
    with pytest.raises(singan_jax.ImageError) as refused:
        read_inputs(tmp_path, member("photo"))
    assert f"{tmp_path}/photo.png" in str(refused.value)
    assert f"{tmp_path}/photo.jpg" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_members_with_settings_have_files_of_their_own_or_share(tmp_path):
    settings = {"alpha_rec": 5.0}
    tuned, plain = member("photo_alpha_rec=5", settings=settings), member("photo")
    write_png(tmp_path / "photo.png", tiny.image(5).pixels)
    shared = read_inputs(tmp_path, tuned, plain)
    for found in shared.values():
        np.testing.assert_array_equal(found.pixels, tiny.image(5).pixels)
    write_png(tmp_path / "photo_alpha_rec=5.png", tiny.image(6).pixels)
    own = read_inputs(tmp_path, tuned, plain)
    np.testing.assert_array_equal(own[tuned.name].pixels, tiny.image(6).pixels)
    np.testing.assert_array_equal(own[plain.name].pixels, tiny.image(5).pixels)


def test_members_named_by_earlier_versions_are_found_by_their_source(tmp_path):
    write_png(tmp_path / "фото.png", tiny.image(5).pixels)
    old = member("_", source="/elsewhere/фото.png")
    np.testing.assert_array_equal(read_inputs(tmp_path, old)["_"].pixels, tiny.image(5).pixels)
    namesake = member("b", source="/another/фото.png")  # then a name says nothing
    with pytest.raises(singan_jax.ImageError, match="holds no image named '_'"):
        read_inputs(tmp_path, old, namesake)


def test_gray_inputs_serve_members_in_colour_and_gray_stored_as_colour_gray_ones(tmp_path):
    gray = tiny.image(6, channels=1).pixels
    threefold = np.repeat(gray, 3, axis=-1)
    write_png(tmp_path / "gray.png", gray)
    write_png(tmp_path / "stored.png", threefold)
    for file in ("gray.png", "stored.png"):
        found = read_inputs(tmp_path / file, member("rgb"), member("gray", 1))
        np.testing.assert_array_equal(found["rgb"].pixels, threefold)
        np.testing.assert_array_equal(found["gray"].pixels, gray)
    write_png(tmp_path / "colour.png", tiny.image(5).pixels)
    with pytest.raises(singan_jax.ImageError, match="is in colour, and 'gray' was trained on gray"):
        read_inputs(tmp_path / "colour.png", member("gray", 1))
