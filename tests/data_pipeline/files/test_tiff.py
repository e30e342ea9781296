"""TIFF: depths, compressions, and stacks in one page."""

import contextlib
import io

import numpy as np
import PIL.Image
import pytest
import tifffile
from image_files import GRAY, RGB, drawn, pillow_bytes, tiff_bytes

from data_pipeline.errors import UnusableError
from data_pipeline.files.decode import decode

STACK = np.stack([drawn(1, seed=n)[..., 0] for n in range(6)])  # (slices, H, W)


def refusal(data):
    with pytest.raises(UnusableError) as caught:
        decode(data)
    return caught.value.about("x.tif")


def packed(levels, bits, order="<", photometric=1):
    """A TIFF of one strip whose rows are bits without gaps, written by hand."""
    height, width = levels.shape
    rows = (levels[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    strip = np.packbits(rows.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    entries = [
        *((256, width), (257, height), (258, bits), (259, 1), (262, photometric)),
        *((273, 8), (277, 1), (278, height), (279, len(strip))),
    ]
    number = {"<": "little", ">": "big"}[order]

    def field(value, size):
        return value.to_bytes(size, number)

    data = (b"II" if order == "<" else b"MM") + field(42, 2) + field(8 + len(strip), 4) + strip
    data += field(len(entries), 2)
    for tag, value in entries:
        data += field(tag, 2) + field(4, 2) + field(1, 4) + field(value, 4)
    return data + bytes(4)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
def test_packed_bits_are_scaled_to_the_nearest(bits, order):
    levels = np.random.default_rng(bits).integers(0, 2**bits, (30, 41))
    levels[0, :2] = 0, 2**bits - 1
    top = 255 if bits <= 8 else 65535
    expected = np.floor(levels / (2**bits - 1) * top + 0.5)
    np.testing.assert_array_equal(decode(packed(levels, bits, order))[..., 0], expected)
    inverted = decode(packed(levels, bits, order, photometric=0))[..., 0]
    np.testing.assert_array_equal(inverted, top - expected)


@pytest.mark.parametrize("compression", ["group4", "packbits"])
def test_one_bit_compressed(compression):
    bits = drawn(1, 1)[..., 0] == 1
    data = pillow_bytes(PIL.Image.fromarray(bits), "TIFF", compression=compression)
    np.testing.assert_array_equal(decode(data)[..., 0], np.where(bits, 255, 0))


def test_jpeg_inside_tiff_comes_out_as_rgb():
    smooth = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    smooth = np.stack([smooth, smooth * 2, 255 - smooth], -1)
    data = tiff_bytes(smooth, photometric="rgb", compression="jpeg", compressionargs={"level": 95})
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.YCBCR
    assert np.abs(decode(data).astype(int) - smooth).mean() < 3


def in_one_page(**options):
    """A stack as ImageJ writes large ones: one page, and the number of slices in its words."""
    pages = tiff_bytes(STACK, photometric="minisblack", **options)
    with tifffile.TiffFile(io.BytesIO(pages)) as file:
        assert len(file.pages) == 6
        second = int.from_bytes(pages[4:8], "little")
        count = int.from_bytes(pages[second : second + 2], "little")
        end = second + 2 + 12 * count
    return pages[:end] + bytes(4) + pages[end + 4 :]


STACKS = {
    "pages": (tiff_bytes(STACK, photometric="minisblack"), "has 6 pages"),
    "shaped": (
        tiff_bytes(STACK, photometric="minisblack", metadata={"axes": "ZYX"}),
        "has 6 pages",
    ),
    "ome": (tiff_bytes(STACK, ome=True, metadata={"axes": "ZYX"}), "has 6 pages"),
    "imagej": (in_one_page(imagej=True, metadata={"axes": "ZYX"}), "holds a stack of 6 images"),
    "tifffile": (in_one_page(metadata={"axes": "ZYX"}), "holds a stack of 6 images"),
    "volumetric": (tiff_bytes(STACK, photometric="minisblack", volumetric=True), "channels"),
}


@pytest.mark.parametrize("kind", STACKS)
def test_stacks_are_refused(kind):
    data, problem = STACKS[kind]
    assert problem in refusal(data)


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}, {"metadata": {"a": 1}}])
def test_single_images_of_the_same_programs_are_read(options):
    np.testing.assert_array_equal(decode(tiff_bytes(GRAY[..., 0], **options)), GRAY)


def test_previews_beside_the_image_do_not_count():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(RGB, photometric="rgb")
        writer.write(RGB[::4, ::4], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(decode(buffer.getvalue()), RGB)
    pyramid = io.BytesIO()
    with tifffile.TiffWriter(pyramid) as writer:
        writer.write(RGB, photometric="rgb", subifds=1)
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(decode(pyramid.getvalue()), RGB)


def test_other_files_that_a_tiff_names_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("other.ome.tif", RGB[..., 0], ome=True)
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="41" SizeY="30" '
        'SizeZ="1" SizeC="1" SizeT="2"><Channel ID="Channel:0" SamplesPerPixel="1"/>'
        '<TiffData IFD="0" PlaneCount="1" FirstT="0"/>'
        '<TiffData IFD="0" PlaneCount="1" FirstT="1"><UUID FileName="other.ome.tif">'
        "urn:uuid:1</UUID></TiffData></Pixels></Image></OME>"
    )
    data = tiff_bytes(GRAY[..., 0], description=xml, metadata=None)

    opened = []
    monkeypatch.setattr("builtins.open", lambda *args, **options: opened.append(args))
    with contextlib.suppress(UnusableError):  # any other exception fails the test
        decode(data)
    assert not opened


def test_damage_is_told_in_one_line_alone(caplog, capsys):
    data = bytearray(tiff_bytes(GRAY[..., 0], compression="zlib"))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    assert "is damaged" in refusal(bytes(data))
    assert not caplog.records
    assert capsys.readouterr() == ("", "")
