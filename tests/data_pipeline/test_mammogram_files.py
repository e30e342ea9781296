"""Mammograms and masks on disk: 8-bit grayscale comes back exactly, all else is one clear line."""

import io
import os
import pathlib

import numpy as np
import PIL.Image
import pytest
import tifffile

from data_pipeline import mammogram_files
from data_pipeline.errors import DataError

HEIGHT, WIDTH = 30, 41
RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
GRAY16 = RNG.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def tiff(pixels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **{"photometric": "minisblack", **options})
    return buffer.getvalue()


def pgm(pixels, kind=5, maxval=255):
    header = f"P{kind}\n# a comment\n{pixels.shape[1]} {pixels.shape[0]}\n{maxval}\n".encode()
    if kind in (2, 3):
        return header + b" ".join(b"%d" % value for value in pixels.ravel())
    return header + pixels.astype(">u2" if maxval > 255 else "u1").tobytes()


def png(pixels):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def load(folder, data):
    path = folder / "mammogram.dat"
    path.write_bytes(data)
    return mammogram_files.load(path)


def refusal(folder, data):
    with pytest.raises(DataError) as error:
        load(folder, data)
    line = str(error.value)
    assert line.startswith(f"{folder / 'mammogram.dat'}: ")
    assert "\n" not in line
    assert "; " in line  # what to do
    return line


GOOD = {
    "tiff": tiff(GRAY),
    "big-endian": tiff(GRAY, byteorder=">"),
    "bigtiff": tiff(GRAY, bigtiff=True),
    "lzw": tiff(GRAY, compression="lzw"),
    "deflate-strips": tiff(GRAY, compression="zlib", rowsperstrip=7),
    "tiles": tiff(GRAY, tile=(16, 16)),
    "inverted": tiff(255 - GRAY, photometric="miniswhite"),
    "rotation-tag": tiff(GRAY, extratags=[(274, 3, 1, 6, True)]),
    "pgm": pgm(GRAY),
    "plain-pgm": pgm(GRAY, kind=2),
    "png": png(GRAY),
}


def test_masks_of_one_bit_become_black_and_white(tmp_path):
    mask = GRAY > 99
    for data in (tiff(mask), png(mask), b"P4 41 30\n" + np.packbits(~mask, axis=1).tobytes()):
        np.testing.assert_array_equal(load(tmp_path, data), np.where(mask, 255, 0))


@pytest.mark.parametrize("kind", GOOD)
def test_eight_bit_grayscale_comes_back_exactly(tmp_path, kind):
    pixels = load(tmp_path, GOOD[kind])
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, GRAY)
    pixels[0, 0] = 1  # an array of its own, not a view of the file


REFUSED = {
    "16-bit-tiff": (tiff(GRAY16), "more than 8 bits"),
    "12-bit-pgm": (pgm(GRAY16 >> 4, maxval=4095), "more than 8 bits"),
    "signed-tiff": (tiff(GRAY.astype(np.int8)), "samples"),
    "float-tiff": (tiff(GRAY.astype(np.float32)), "32-bit floating-point samples"),
    "rgb-tiff": (tiff(RGB, photometric="rgb"), "in colour"),
    "rgb-png": (png(RGB), "in colour"),
    "two-channels": (tiff(RGB[..., :2], planarconfig="contig"), "transparent pixels"),
    "two-pages": (tiff(np.stack([GRAY, GRAY])), "2 pages"),
    "ppm": (pgm(RGB, kind=6), "in colour"),
    "text": (b"patient_id,study_id\n", "is a text, not an image"),
    "empty": (b"", "is empty"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
    "pgm-without-pixels": (b"P5 41 30 255\n", "is damaged"),
    "pgm-without-size": (b"P5 ", "is damaged"),
    "pgm-of-no-width": (b"P5 0 30 255\n", "is damaged"),
    "pgm-too-large": (b"P5 100000 1001 255\n", "100000x1001 pixels"),
    "tiff-header-alone": (tiff(GRAY)[:8], "is damaged"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_anything_else_is_refused(tmp_path, kind):
    data, problem = REFUSED[kind]
    assert problem in refusal(tmp_path, data)


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.98])
def test_truncated_files_are_refused(tmp_path, kind, kept):
    data = GOOD[kind]
    line = refusal(tmp_path, data[: int(len(data) * kept)])
    assert "is damaged" in line or "is not a PNG" in line


@pytest.mark.filterwarnings("ignore")  # the decoders' opinions of the damage
@pytest.mark.parametrize("kind", GOOD)
def test_damage_gives_an_image_or_a_clear_line(tmp_path, kind):
    rng = np.random.default_rng(len(GOOD[kind]))
    for _ in range(60):
        data = bytearray(GOOD[kind])
        for at in rng.integers(0, min(len(data), 400), 3):
            data[at] = rng.integers(0, 256)
        try:
            pixels = load(tmp_path, bytes(data))
        except DataError:  # any other exception fails the test
            continue
        assert (pixels.dtype, pixels.ndim) == (np.uint8, 2)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"none\.tif: cannot be read .*\(No such file"):
        mammogram_files.load(tmp_path / "none.tif")
    with pytest.raises(DataError, match=r"\(Is a directory\)"):
        mammogram_files.load(tmp_path)


def test_shape_of_a_pgm_needs_its_header_alone(tmp_path):
    path = tmp_path / "film.pgm"
    path.write_bytes(pgm(GRAY)[:40])
    assert mammogram_files.pgm_shape(path) == (HEIGHT, WIDTH)
    path.write_bytes(tiff(GRAY))
    with pytest.raises(DataError, match=r"film\.pgm: is no PGM; restore the original"):
        mammogram_files.pgm_shape(path)


@pytest.fixture
def source(tmp_path):
    """A folder with set/a.tif, beside a file outside of it."""
    (tmp_path / "source" / "set").mkdir(parents=True)
    (tmp_path / "source" / "set" / "a.tif").touch()
    (tmp_path / "elsewhere.tif").touch()
    return tmp_path / "source"


def test_find_gives_files_of_the_source(source, monkeypatch):
    assert mammogram_files.find(source, "set/a.tif") == source / "set" / "a.tif"
    os.symlink("a.tif", source / "set" / "link.tif")
    assert mammogram_files.find(source, "set/link.tif") == source / "set" / "link.tif"
    os.symlink(source, source.parent / "linked")  # the source itself may be a link
    assert mammogram_files.find(source.parent / "linked", "set/a.tif").is_file()
    monkeypatch.chdir(source)
    assert mammogram_files.find(pathlib.Path("."), "set/a.tif") == pathlib.Path("set/a.tif")


@pytest.mark.parametrize("name", ["set/none.tif", "set", "set/a.tif/b.tif"])
def test_find_refuses_what_is_not_there(source, name):
    with pytest.raises(DataError, match=f"^{name} is missing; "):
        mammogram_files.find(source, name)


@pytest.mark.parametrize("target", ["../../elsewhere.tif", "../..", "/etc/hostname", "/none"])
def test_find_refuses_links_out_of_the_source(source, target):
    os.symlink(target, source / "set" / "link.tif")
    with pytest.raises(DataError, match=r"^set/link.tif leads out of its source; "):
        mammogram_files.find(source, "set/link.tif")
    with pytest.raises(DataError, match="leads out of its source"):
        mammogram_files.find(source, "../elsewhere.tif")


def test_find_survives_a_link_to_itself(source):
    os.symlink("loop.tif", source / "set" / "loop.tif")
    with pytest.raises(DataError, match="is missing"):
        mammogram_files.find(source, "set/loop.tif")
