"""Image files as members: names, checks, and levels to floats and back."""

import os
import pickle
import warnings

import numpy as np
import pytest
from image_files import (
    GRAY,
    GRAY16,
    HEIGHT,
    LOSSLESS,
    RGB,
    RGB16,
    WIDTH,
    drawn,
    netpbm_bytes,
    pillow_bytes,
)

from data_pipeline.errors import InputWarning
from singan_jax.config import Config
from singan_jax.errors import ImageError
from singan_jax.images.read import (
    Image,
    find_images,
    from_float,
    read_image,
    read_images,
    read_pixels,
    write_png,
)


@pytest.fixture
def read(tmp_path):
    """Writes bytes under a name and reads the image."""

    def write_and_read(data, name="image.bin", **settings):
        (tmp_path / name).write_bytes(data)
        return read_image(tmp_path / name, Config(**settings))

    return write_and_read


def refusal(read, data, **options):
    with pytest.raises(ImageError) as caught:
        read(data, **options)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"{caught.value.path}: {caught.value.problem}; ")
    return str(caught.value)


@pytest.mark.parametrize("kind", ["png-gray", "tiff-planar", "pgm16", "webp-rgb"])
def test_files_keep_every_bit(read, kind):
    expected, data = LOSSLESS[kind]
    image = read(data, name="mdb001.png")
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.bit_depth == expected.dtype.itemsize * 8
    assert image.shape == expected.shape
    assert image.name == "mdb001"


@pytest.mark.parametrize("pixels", [GRAY, GRAY16], ids=["8 bits", "16 bits"])
def test_gray_that_is_stored_as_colour_trains_as_gray(tmp_path, pixels):
    write_png(tmp_path / "x.png", pixels.repeat(3, axis=2))
    image = read_image(tmp_path / "x.png", Config())
    np.testing.assert_array_equal(image.pixels, pixels)
    np.testing.assert_array_equal(image.in_colour().pixels, pixels.repeat(3, axis=2))
    # Who measures samples sees what is in the file.
    assert read_pixels(tmp_path / "x.png").shape == (HEIGHT, WIDTH, 3)


def test_stretch_levels(read):
    dark = np.where(GRAY16 > 4095, 4095, GRAY16)
    data = netpbm_bytes(dark, 65535)
    np.testing.assert_array_equal(read(data).pixels, dark)
    expected = np.floor(dark * (65535 / 4095) + 0.5)
    np.testing.assert_array_equal(read(data, stretch_levels=True).pixels, expected)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (pillow_bytes(RGB[:1, :1], "PNG"), "is 1x1 pixels, but SinGAN's"),
        (pillow_bytes(RGB[:, :24], "PNG"), "is 24x30 pixels"),
        (netpbm_bytes(GRAY16 * 0 + 7, 65535), "all pixels are equal"),
        (netpbm_bytes(RGB * 0 + RGB[5, 5], 255), "all pixels are equal"),
    ],
)
def test_refusals_say_what_is_wrong(read, data, problem):
    assert problem in refusal(read, data)


def test_min_size_is_the_callers(read):
    data = pillow_bytes(RGB[:, :24], "PNG")
    assert read(data, min_size=24).shape == (30, 24, 3)
    long = pillow_bytes(np.tile(RGB, (1, 9, 1)), "PNG")
    assert "shrinks to 250x21 at max_size 250" in refusal(read, long)
    message = refusal(read, data)
    assert "needs 25; enlarge or crop it, or lower `config.min_size`" in message


def test_paths_that_are_no_readable_file(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match="not a regular file"):
        read_image(tmp_path, Config())
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "none.png", Config())
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        read_image(tmp_path / "pipe.png", Config())
    (tmp_path / "locked.png").write_bytes(LOSSLESS["png-rgb"][1])

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match=r"cannot be read \(Permission denied\)"):
        read_image(tmp_path / "locked.png", Config())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures in b, a and deep/c, which differ; a text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for seed, name in enumerate(("b.PNG", "a.png", "deep/c.png")):
        write_png(tmp_path / "in" / name, drawn(3, seed=seed))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path


def test_find_images_tells_what_it_skips(folder):
    with pytest.warns(InputWarning) as told:
        assert find_images(["in"]) == (["in/a.png", "in/b.PNG"], [])
    assert [str(warning.message) for warning in told] == ["skipped: 1 file of other kinds (1 .txt)"]
    paths, (error,) = find_images(["in/*.png", "none.png"])
    assert paths == ["in/a.png"]
    assert str(error) == "none.png: does not exist; check the path"


@pytest.mark.filterwarnings("ignore::data_pipeline.errors.InputWarning")
def test_read_images_keeps_order_and_reports_the_rest(folder):
    (folder / "in" / "bad.png").write_bytes(b"")
    found, errors = read_images(["in", "in/deep", "gone.png", "in/notes.txt"], Config())
    assert [image.name for image in found] == ["a", "b", "c"]
    assert [image.source for image in found] == ["in/a.png", "in/b.PNG", "in/deep/c.png"]
    assert [e.path for e in errors] == ["gone.png", "in/bad.png", "in/notes.txt"]
    assert read_images(["in/a.png"], Config(min_size=31))[0] == []


def test_read_images_tells_files_of_one_name_apart(folder):
    write_png(folder / "in" / "deep" / "a.png", GRAY)
    write_png(folder / "in" / "乳房.png", drawn(3, seed=7))
    (folder / "in" / "a.jpg").write_bytes(pillow_bytes(drawn(3, seed=8), "JPEG"))
    paths = ["in/a.png", "in/deep/a.png", "in/a.jpg", "in/乳房.png"]
    images, errors = read_images(paths, Config())
    assert not errors
    assert [image.source for image in images] == paths
    assert [image.name for image in images] == ["in_a.png", "deep_a.png", "in_a.jpg", "乳房"]


def told_of(patterns, **settings):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        images, errors = read_images(patterns, Config(**settings))
    assert not errors
    return images, [str(warning.message) for warning in told]


def test_dark_images_are_told_of(folder):
    for name, bits in (("x", 12), ("y", 10), ("z", 16)):
        write_png(f"in/deep/{name}.png", drawn(1, 16, seed=bits) >> (16 - bits))
    _, lines = told_of(["in/deep"])
    assert lines == [
        "in/deep/x.png (and 1 more like it): of 16 bits, but no level needs more than 12, so it is "
        "dark to training; add `config.stretch_levels` if it should not be"
    ]
    images, lines = told_of(["in/deep"], stretch_levels=True)
    assert lines == []
    assert [int(image.pixels.max()) for image in images] == [255, 65535, 65535, 65535]


def test_the_same_picture_twice_is_told_of(folder):
    write_png("in/deep/twin.png", drawn(3, seed=2))
    (folder / "in/deep/third.bmp").write_bytes(pillow_bytes(drawn(3, seed=2), "BMP"))
    images, lines = told_of(["in/deep"])
    assert len(images) == 3
    assert lines == [
        "in/deep/third.bmp (and 1 more like it): the same picture as in/deep/c.png, which will "
        "give the same samples; leave one of them out"
    ]


def test_image_error_is_one_line_and_survives_pickling():
    error = ImageError("a\nb.png", "is bad", "mend it")
    assert str(error) == "a b.png: is bad; mend it"
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.path, copy.problem, copy.remedy) == ("a\nb.png", "is bad", "mend it")
    assert isinstance(error, ValueError)


def test_digest_depends_on_type_shape_and_pixels_alone():
    digest = Image("a", "a.png", GRAY).digest
    assert len(digest) == 64
    assert Image("b", "b.png", np.asfortranarray(GRAY), {"patient": "7"}).digest == digest
    assert Image("a", "a.png", GRAY16.astype(">u2")).digest == Image("a", "a.png", GRAY16).digest
    others = [GRAY.astype(np.uint16), GRAY.reshape(WIDTH, HEIGHT, 1), GRAY ^ (GRAY == 9)]
    assert digest not in {Image("a", "a.png", pixels).digest for pixels in others}


def test_image_refuses_other_arrays():
    for pixels in (GRAY[..., 0], drawn(5), RGB.astype(np.float32), RGB.astype(np.int16)):
        with pytest.raises(ValueError, match="pixels"):
            Image("a", "a.png", pixels)
    for pixels in (GRAY[..., 0], drawn(2), drawn(4), RGB.astype(np.float32)):
        with pytest.raises(ValueError, match="pixels"):
            write_png("never-written.png", pixels)


@pytest.mark.parametrize("bits", [8, 16])
def test_from_float_inverts_to_float_at_every_level(bits):
    dtype = np.dtype(f"uint{bits}")
    levels = np.arange(2**bits).astype(dtype).reshape(-1, 16, 1)
    (x,) = Image("a", "a.png", levels).to_float()
    assert x.dtype == np.float32
    assert (x.min(), x.max()) == (-1, 1)
    np.testing.assert_allclose(x, levels / (2**bits - 1) * 2 - 1, rtol=0, atol=1e-7)
    back = from_float(x, bits)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, levels)


def test_from_float_clips_rounds_and_refuses():
    x = np.array([-np.inf, -1.5, -1, 1, 1.5, np.inf])
    np.testing.assert_array_equal(from_float(x, 8), [0, 0, 0, 255, 255, 255])
    step = 2 / 255
    near = np.array([100 - 0.49, 100, 100 + 0.49, 100.51]) * step - 1
    np.testing.assert_array_equal(from_float(near, 8), [100, 100, 100, 101])
    with pytest.raises(ValueError, match="NaN"):
        from_float(np.array([0.0, np.nan]), 8)
    with pytest.raises(ValueError, match="bit depth is 12"):
        from_float(x, 12)


@pytest.mark.parametrize("pixels", [GRAY, RGB, GRAY16, RGB16, RGB16.astype(">u2"), RGB[::2, ::-1]])
def test_write_png_round_trip(tmp_path, pixels):
    path = tmp_path / "sample.png"
    path.write_text("replaced")
    write_png(path, pixels)
    np.testing.assert_array_equal(read_image(path, Config(min_size=11)).pixels, pixels)
    data = path.read_bytes()
    assert (data[24], data[25]) == (pixels.dtype.itemsize * 8, 0 if pixels.shape[2] == 1 else 2)
    assert os.listdir(tmp_path) == ["sample.png"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_write_png_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, error):
    path = tmp_path / "sample.png"
    write_png(path, RGB)

    def fail(*args):
        raise error

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(error):
        write_png(path, GRAY)
    assert os.listdir(tmp_path) == ["sample.png"]
    np.testing.assert_array_equal(read_image(path, Config()).pixels, RGB)
