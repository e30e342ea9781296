"""DICOM: levels as the standard's own formulas show them, and what cannot be shown."""

import io
import sys

import hypothesis
import hypothesis.strategies as st
import imagecodecs
import numpy as np
import pydicom
import pydicom.uid
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from data_pipeline.errors import UnusableError
from data_pipeline.files.decode import HEAD, decode, is_image

MAMMOGRAM = "1.2.840.10008.5.1.4.1.1.1.2"


def drawn(bits, signed=False, size=(30, 41)):
    """Noise over all levels that are stored, with both ends."""
    low = -(2 ** (bits - 1)) if signed else 0
    levels = np.random.default_rng(bits).integers(low, low + 2**bits, size)
    levels[0, 0], levels[0, 1] = low, low + 2**bits - 1
    return levels


def dataset(levels, bits=12, signed=False, colours="MONOCHROME2", **elements):
    """A mammogram whose stored levels are (H, W) or (H, W, 3)."""
    allocated = 8 if bits <= 8 else 16
    kind = f"{'i' if signed else 'u'}{allocated // 8}"
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = MAMMOGRAM
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.SOPClassUID, data.SOPInstanceUID = MAMMOGRAM, "1.2.3"
    data.Rows, data.Columns = levels.shape[:2]
    data.SamplesPerPixel = 1 if levels.ndim == 2 else 3
    if levels.ndim == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = colours
    data.BitsAllocated, data.BitsStored, data.HighBit = allocated, bits, bits - 1
    data.PixelRepresentation = int(signed)
    data.PixelData = levels.astype(f"<{kind}").tobytes() + b"\0" * (
        levels.size * allocated // 8 % 2
    )
    for name, value in elements.items():
        setattr(data, name, value)
    return data


def saved(data, syntax=None, body=None, **options):
    """The file's bytes; `body` is a frame that is encoded in a transfer syntax."""
    if syntax is not None:
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelData = encapsulate([body])
        data["PixelData"].VR = "OB"
    buffer = io.BytesIO()
    data.save_as(buffer, **{"enforce_file_format": True, **options})
    return buffer.getvalue()


def refusal(data):
    with pytest.raises(UnusableError) as caught:
        decode(data)
    return caught.value.about("x.dcm")


def shown(share, bits):
    """A share of the range, 0 to 1, in the nearest level of the image."""
    return np.floor(share * (255 if bits <= 8 else 65535) + 0.5)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("colours", ["MONOCHROME1", "MONOCHROME2"])
def test_stored_levels_fill_the_range(bits, signed, colours):
    levels = drawn(bits, signed)
    data = saved(dataset(levels, bits, signed, colours))
    pixels = decode(data)
    share = (levels - levels.min()) / (2**bits - 1)
    share = 1 - share if colours == "MONOCHROME1" else share
    np.testing.assert_array_equal(pixels[..., 0], shown(share, bits))
    assert pixels.dtype == (np.uint8 if bits <= 8 else np.uint16)
    assert is_image(data[:HEAD])


def linear(x, center, width):
    """PS3.3 C.11.2.1.2.1, as it is written there, with y from 0 to 1."""
    y = ((x - (center - 0.5)) / (width - 1) + 0.5) if width > 1 else np.zeros_like(x)
    y = np.where(x <= center - 0.5 - (width - 1) / 2, 0, y)
    return np.where(x > center - 0.5 + (width - 1) / 2, 1, y)


def linear_exact(x, center, width):
    y = (x - center) / width + 0.5
    y = np.where(x <= center - width / 2, 0, y)
    return np.where(x > center + width / 2, 1, y)


def sigmoid(x, center, width):
    return 1 / (1 + np.exp(-4 * (x - center) / width))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("width", [1, 2, 40, 60000])
@pytest.mark.parametrize("function", [None, linear, linear_exact, sigmoid])
def test_windows(function, width, bits):
    levels, center = drawn(bits), 2.0 ** (bits - 1) + 3
    data = dataset(levels, bits, WindowCenter=center, WindowWidth=width)
    if function is not None:
        data.VOILUTFunction = function.__name__.upper()
    with np.errstate(over="ignore"):
        expected = shown((function or linear)(levels.astype(np.float64), center, width), bits)
    np.testing.assert_array_equal(decode(saved(data))[..., 0], expected)


def test_windows_are_of_rescaled_values_and_come_before_inversion():
    levels = drawn(12)
    elements = {"RescaleSlope": 2.5, "RescaleIntercept": -1000, "WindowCenter": 3000}
    data = dataset(levels, 12, False, "MONOCHROME1", **elements, WindowWidth=4000)
    expected = shown(1 - linear(levels * 2.5 - 1000, 3000, 4000), 12)
    np.testing.assert_array_equal(decode(saved(data))[..., 0], expected)


def test_the_first_of_several_windows_is_taken():
    levels = drawn(12)
    data = dataset(levels, WindowCenter=[500, 2000], WindowWidth=[800, 4000])
    expected = shown(linear(levels.astype(float), 500, 800), 12)
    np.testing.assert_array_equal(decode(saved(data))[..., 0], expected)


def test_windows_without_values_do_not_count():
    levels = drawn(12)
    data = dataset(levels, WindowCenter=None, WindowWidth=None, RescaleSlope=None)
    np.testing.assert_array_equal(decode(saved(data))[..., 0], shown(levels / 4095, 12))


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.5, 7), (-1, 4095)])
def test_rescaling_alone_keeps_the_range(slope, intercept):
    levels = drawn(12)
    data = dataset(levels, RescaleSlope=slope, RescaleIntercept=intercept)
    share = levels / 4095 if slope > 0 else 1 - levels / 4095
    np.testing.assert_allclose(decode(saved(data))[..., 0], shown(share, 12), rtol=0, atol=1)


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("first", [0, 100])
def test_tables(name, bits, first):
    """Of 1,000 entries, so that levels below and above them take its ends."""
    levels = drawn(12)
    table = np.random.default_rng(5).integers(0, 2**bits, 1000)
    item = Dataset()
    item.LUTDescriptor = [1000, first, bits]
    item.add_new((0x0028, 0x3006), "US", [int(level) for level in table])
    if name == "ModalityLUTSequence":
        item.ModalityLUTType = "US"
    data = dataset(levels, **{name: [item], "WindowCenter": 3, "WindowWidth": 5})
    if name == "ModalityLUTSequence":
        del data.WindowCenter, data.WindowWidth
    values = table[np.clip(levels - first, 0, 999)]
    expected = shown(values / (2**bits - 1), 12)
    np.testing.assert_array_equal(decode(saved(data))[..., 0], expected)
    item["LUTData"].VR, item.LUTData = "OW", table.astype("<u2").tobytes()
    np.testing.assert_array_equal(decode(saved(data))[..., 0], expected)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_run_lengths(bits):
    levels = np.sort(drawn(bits), axis=1)
    data = dataset(levels, bits)
    data.compress(pydicom.uid.RLELossless)
    np.testing.assert_array_equal(decode(saved(data))[..., 0], shown(levels / (2**bits - 1), bits))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize(
    "syntax", ["JPEGLossless", "JPEGLosslessSV1", "JPEG2000Lossless", "JPEGLSLossless"]
)
def test_compression_without_loss(syntax, bits):
    levels = drawn(bits).astype(np.uint8 if bits == 8 else np.uint16)
    if syntax.startswith("JPEGLossless"):
        body = imagecodecs.jpeg8_encode(levels, bitspersample=bits, lossless=True)
    elif syntax == "JPEG2000Lossless":
        body = imagecodecs.jpeg2k_encode(levels, codecformat="j2k", bitspersample=bits)
    else:
        body = imagecodecs.jpegls_encode(levels)
    data = saved(dataset(levels, bits), getattr(pydicom.uid, syntax), body)
    np.testing.assert_array_equal(decode(data)[..., 0], shown(levels / (2**bits - 1), bits))


def test_jpeg_with_loss():
    rows, cols = np.mgrid[:40, :48]
    levels = (rows * 2 + cols * 3).astype(np.uint8)
    body = imagecodecs.jpeg8_encode(levels, level=99)
    data = saved(dataset(levels, 8), pydicom.uid.JPEGBaseline8Bit, body)
    assert np.abs(decode(data)[..., 0].astype(int) - levels).max() <= 3


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high", [11, 13, 15])
def test_other_bits_beside_the_levels_are_left_out(high, signed):
    """Before 1998 overlays stood above the levels, and some scanners left bits free below them."""
    levels = drawn(12, signed)
    noise = np.random.default_rng(1).integers(0, 2**16, levels.shape)
    place = high - 11
    stored = (levels & 0xFFF) << place | (noise & ~(0xFFF << place) & 0xFFFF)
    data = dataset(stored, 12, HighBit=high, PixelRepresentation=int(signed))
    share = (levels - levels.min()) / 4095
    data.PixelData = stored.astype("<u2").tobytes()
    np.testing.assert_array_equal(decode(saved(data))[..., 0], shown(share, 12))


def test_a_frame_in_several_fragments():
    levels = drawn(12).astype(np.uint16)
    body = imagecodecs.jpeg8_encode(levels, bitspersample=12, lossless=True)
    data = dataset(levels)
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    for has_bot in (False, True):
        data.PixelData = encapsulate([body], fragments_per_frame=3, has_bot=has_bot)
        data["PixelData"].VR = "OB"
        np.testing.assert_array_equal(decode(saved(data))[..., 0], shown(levels / 4095, 12))


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("bits", [8, 16])
def test_colour(bits, planar):
    levels = drawn(bits, size=(30, 41, 3))
    stored = np.moveaxis(levels, -1, 0) if planar else levels
    data = dataset(levels, bits, colours="RGB", PlanarConfiguration=planar)
    data.PixelData = stored.astype("u1" if bits == 8 else "<u2").tobytes()
    np.testing.assert_array_equal(decode(saved(data)), levels)


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
def test_byte_orders_and_files_without_preamble(implicit, little):
    levels = drawn(12)
    data = dataset(levels)
    if not little:
        data.PixelData = levels.astype(">u2").tobytes()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    elif implicit:
        data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    expected = shown(levels / 4095, 12)
    np.testing.assert_array_equal(decode(saved(data))[..., 0], expected)
    if little:
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, data, implicit_vr=implicit, little_endian=True)
        bare = buffer.getvalue()
        assert bare[:2] == b"\x02\0"  # the group that tells the transfer syntax
        np.testing.assert_array_equal(decode(bare)[..., 0], expected)
        del data.file_meta
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, data, implicit_vr=implicit, little_endian=True)
        assert buffer.getvalue()[:2] == b"\x08\0"
        np.testing.assert_array_equal(decode(buffer.getvalue())[..., 0], expected)


def without(name):
    data = dataset(drawn(12))
    delattr(data, name)
    return saved(data)


def frames(count):
    data = dataset(drawn(12), NumberOfFrames=count)
    data.PixelData = data.PixelData * count
    return saved(data)


REFUSED = {
    "report": (without("PixelData"), "is a DICOM file without an image (Digital Mammo"),
    "frames": (frames(3), "holds 3 images; save one image to a file"),
    "palette": (saved(dataset(drawn(8), 8, colours="PALETTE COLOR")), "colour space PALETTE"),
    "32-bit": (saved(dataset(drawn(12), BitsAllocated=32)), "has 32-bit samples"),
    "film": (
        saved(dataset(drawn(8), 8), pydicom.uid.MPEG2MPML, b"\0" * 8),
        "holds MPEG2 Main Profile / Main Level pixels, which are not read; convert",
    ),
    "large": (saved(dataset(drawn(12), Rows=60000, Columns=60000)), "60000x60000 pixels"),
    "no rows": (without("Rows"), "is damaged"),
    "no colours": (without("PhotometricInterpretation"), "is damaged"),
    "too few pixels": (saved(dataset(drawn(12), Rows=31)), "is damaged"),
    "window of no width": (
        saved(dataset(drawn(12), WindowCenter=9, WindowWidth=0)),
        "is damaged or truncated (its window has center 9 and width 0)",
    ),
    "no slope": (
        saved(dataset(drawn(12), RescaleSlope=0, RescaleIntercept=5)),
        "is damaged or truncated (its levels all mean the same)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals_say_what_is_wrong(kind):
    data, problem = REFUSED[kind]
    assert problem in refusal(data)


def test_a_single_frame_is_an_image():
    np.testing.assert_array_equal(decode(frames(1))[..., 0], shown(drawn(12) / 4095, 12))


def test_a_file_compressed_as_a_whole_is_refused_before_it_is_inflated():
    data = dataset(drawn(12))
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    assert "is compressed as a whole; store it unpacked" in refusal(saved(data))


def test_pydicom_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    line = refusal(saved(dataset(drawn(12))))
    assert line.startswith("x.dcm: is a DICOM file, which needs pydicom; ")
    assert line.endswith("install it with pip install 'singan-jax[dicom]'")


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_signed_levels_without_loss(bits):
    levels = drawn(bits, signed=True)
    stored = (levels & (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    body = imagecodecs.jpeg8_encode(stored, bitspersample=bits, lossless=True)
    data = saved(dataset(levels, bits, signed=True), pydicom.uid.JPEGLosslessSV1, body)
    share = (levels - levels.min()) / (2**bits - 1)
    np.testing.assert_array_equal(decode(data)[..., 0], shown(share, bits))


def test_pixels_of_another_size_than_the_header_says_are_damage():
    levels = drawn(12).astype(np.uint16)
    for body in (
        imagecodecs.jpeg8_encode(levels[:-1], bitspersample=12, lossless=True),
        imagecodecs.jpeg2k_encode(levels[:-1], codecformat="j2k"),
    ):
        data = saved(dataset(levels), pydicom.uid.JPEGLossless, body)
        assert "is damaged or truncated (its pixels are 41x29)" in refusal(data)


def compressed(kind):
    """A file of each way to store pixels."""
    levels = drawn(12).astype(np.uint16)
    syntax, body = {
        "lossless": (
            "JPEGLossless",
            imagecodecs.jpeg8_encode(levels, bitspersample=12, lossless=True),
        ),
        "extended": ("JPEGExtended12Bit", imagecodecs.jpeg8_encode(levels, bitspersample=12)),
        "2000": ("JPEG2000Lossless", imagecodecs.jpeg2k_encode(levels, codecformat="j2k")),
        "ls": ("JPEGLSLossless", imagecodecs.jpegls_encode(levels)),
    }[kind]
    return saved(dataset(levels), getattr(pydicom.uid, syntax), body)


def rle():
    data = dataset(np.sort(drawn(12), axis=1))
    data.compress(pydicom.uid.RLELossless)
    return saved(data)


FUZZED = [
    saved(dataset(drawn(12), WindowCenter=900, WindowWidth=700)),
    rle(),
    *map(compressed, ("lossless", "extended", "2000", "ls")),
    saved(dataset(drawn(8, size=(30, 41, 3)), 8, colours="RGB")),
]


@pytest.mark.filterwarnings("ignore")  # pydicom's opinions of the damage
@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(
    which=st.integers(0, len(FUZZED) - 1),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    in_header=st.booleans(),
    kept=st.floats(0.1, 1),
)
def test_damage_gives_an_image_or_a_refusal(which, changes, in_header, kept):
    data = bytearray(FUZZED[which])
    for place, value in changes:
        data[place % (800 if in_header else len(data))] = value
    try:
        pixels = decode(bytes(data[: int(kept * len(data))]))
    except UnusableError:  # any other exception fails the test
        return
    assert pixels.dtype in (np.uint8, np.uint16)
    assert pixels.shape[2] in (1, 3)


@pytest.mark.filterwarnings("ignore")
def test_random_bytes_behind_the_marks():
    rng = np.random.default_rng(0)
    for start in (bytes(128) + b"DICM", b"\x08\0\5\0CS", b"\x08\0\0\0\4\0\0\0"):
        for length in (0, 10, 300):
            assert "x.dcm" in refusal(start + rng.bytes(length))
