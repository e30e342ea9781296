"""PGM, PPM and PBM: headers as they are met, levels to the nearest."""

import numpy as np
import pytest
from image_files import GRAY, GRAY16, RGB, netpbm_bytes

from data_pipeline.errors import UnusableError
from data_pipeline.files.decode import decode

HEIGHT, WIDTH, _ = GRAY.shape
RAW = GRAY.tobytes()
PLAIN = b" ".join(b"%d" % level for level in GRAY.ravel())
SIZE = b"%d %d" % (WIDTH, HEIGHT)


def refusal(data):
    with pytest.raises(UnusableError) as caught:
        decode(data)
    return caught.value.about("x.pgm")


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("maxval", [1, 15, 100, 254, 255, 256, 1023, 4095, 65534, 65535])
def test_levels_are_scaled_to_the_nearest(maxval, plain):
    levels = np.random.default_rng(maxval).integers(0, maxval + 1, (HEIGHT, WIDTH, 1))
    top = 255 if maxval < 256 else 65535
    pixels = decode(netpbm_bytes(levels, maxval, plain))
    np.testing.assert_array_equal(pixels, np.floor(levels / maxval * top + 0.5))
    assert pixels.dtype == (np.uint8 if maxval < 256 else np.uint16)


HEADERS = {
    "plain": b"%b\n%b\n255\n",
    "one line": b"%b %b 255 ",
    "comments": b"%b # kind\n# size\n%b\n#levels\n255\n",
    "comment next to numbers": b"%b\n%b#size\n255\n",
    "comment behind the levels": b"%b\n%b\n255# white\n",
    "comment behind the levels and a blank": b"%b\n%b\n255 # white\n",
    "comment of DOS behind the levels": b"%b\r\n%b\r\n255# white\r\n",
    "CRLF": b"%b\r\n%b\r\n255\r\n",
    "CRLF and comments": b"%b\r\n# a\r\n%b\r\n# b\r\n255\r\n",
    "CR": b"%b\r%b\r255\r",
    "tabs": b"%b\t%b\t255\t",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers(kind):
    raw = HEADERS[kind] % (b"P5", SIZE)
    np.testing.assert_array_equal(decode(raw + RAW), GRAY)
    np.testing.assert_array_equal(decode(HEADERS[kind] % (b"P2", SIZE) + PLAIN), GRAY)
    colour = HEADERS[kind] % (b"P6", SIZE) + RGB.tobytes()
    np.testing.assert_array_equal(decode(colour), RGB)
    with pytest.raises(UnusableError, match="damaged"):
        decode(raw + RAW[:-1])


@pytest.mark.parametrize("kind", ["plain", "CRLF", "CR", "comments"])
def test_bytes_behind_the_samples_do_not_shift_them(kind):
    header = HEADERS[kind] % (b"P5", SIZE)
    for tail in (b"\n", b"\r\n", b"\x1a", bytes(100)):
        np.testing.assert_array_equal(decode(header + RAW + tail), GRAY)


@pytest.mark.parametrize("first", [b"\n", b"#", b"\r", b" "])
def test_a_first_sample_that_looks_like_part_of_the_header(first):
    data = b"P5\n" + SIZE + b"\n255\n" + first + RAW[1:]
    assert decode(data)[0, 0, 0] == first[0]
    np.testing.assert_array_equal(decode(data)[..., 0].ravel()[1:], GRAY.ravel()[1:])


def test_samples_that_a_transfer_as_text_has_changed_are_restored():
    """As FTP does, and git with autocrlf: a carriage return before each line feed."""
    levels = np.where(GRAY < 60, 10, GRAY)
    levels[0, :4, 0] = 13, 10, 10, 13
    data = b"P5\n" + SIZE + b"\n255\n" + levels.tobytes()
    sent = data.replace(b"\n", b"\r\n")
    assert len(sent) > len(data) + 100
    np.testing.assert_array_equal(decode(sent), levels)
    assert "damaged" in refusal(sent[: len(data)].replace(b"\r\n", b"\n")[:-9])


@pytest.mark.parametrize("plain", [False, True])
def test_several_images_in_a_file_are_refused(plain):
    one = netpbm_bytes(GRAY, 255, plain)
    assert "holds several images; save one image to a file" in refusal((one + b"\n" * plain) * 2)


def test_bits():
    bits = GRAY[..., 0] > 99
    expected = np.where(bits, 255, 0)
    raw = b"P4\n" + SIZE + b"\n" + np.packbits(~bits, axis=1).tobytes()
    np.testing.assert_array_equal(decode(raw)[..., 0], expected)
    digits = b"".join(b"%d" % bit for bit in ~bits.ravel())
    np.testing.assert_array_equal(decode(b"P1\n" + SIZE + b"\n" + digits)[..., 0], expected)
    spaced = b"\n# rows\n".join(b" ".join(b"%d" % bit for bit in row) for row in ~bits)
    np.testing.assert_array_equal(decode(b"P1\n" + SIZE + b"\n" + spaced)[..., 0], expected)


@pytest.mark.parametrize(
    "data",
    [
        netpbm_bytes(GRAY, 0),
        netpbm_bytes(GRAY, 200),  # samples above the maximum
        netpbm_bytes(GRAY16, 70000),
        netpbm_bytes(GRAY, 255, plain=True)[:-40],
        netpbm_bytes(GRAY, 255, plain=True).replace(b" 1", b" x", 9),
        netpbm_bytes(GRAY, 255, plain=True).replace(b" 1", b" -1", 9),
        netpbm_bytes(GRAY, 255, plain=True).replace(b" 1", b" 99999999999", 9),
        b"P5 0 30 255\n",
        b"P5 ",
        b"P1\n2 2\n0 1 7 1",
    ],
)
def test_damage(data):
    assert "is damaged" in refusal(data)
