"""Gray levels: scaled to the nearest, and stretched by whole bits."""

import fractions
import math

import numpy as np
import pytest

from data_pipeline.errors import UnusableError
from data_pipeline.files import levels


@pytest.mark.parametrize("top", [1, 3, 100, 255, 256, 1023, 4095, 65535])
def test_scaled_is_the_nearest(top):
    every = range(top + 1)
    full = 255 if top < 256 else 65535
    found = levels.scaled(np.array(every), top)
    nearest = [
        math.floor(fractions.Fraction(n * full, top) + fractions.Fraction(1, 2)) for n in every
    ]
    np.testing.assert_array_equal(found, nearest)
    assert found.dtype == (np.uint8 if full == 255 else np.uint16)
    for wrong in ([-1], [top + 1]):
        with pytest.raises(ValueError, match="maximum level"):
            levels.scaled(np.array(wrong), top)


def test_looked_up_equals_indexing(monkeypatch):
    monkeypatch.setattr(levels, "_BLOCK", 7)
    table = np.random.default_rng(0).integers(0, 65536, 500).astype(np.uint16)
    places = np.random.default_rng(1).integers(0, 500, (5, 6, 3))
    for some in (places, places[:, ::2], places.astype(np.uint16), places[:0]):
        np.testing.assert_array_equal(levels.looked_up(table, some), table[some])


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint16, 12), (np.uint16, 10), (np.uint8, 7)])
def test_stretched_scales_by_bits_not_by_the_highest_level(dtype, bits):
    """So that images of one scanner keep their brightness relative to each other."""
    top, full = 2**bits - 1, np.iinfo(dtype).max
    pixels = np.random.default_rng(bits).integers(0, top // 2, (20, 30, 1)).astype(dtype)
    pixels[0, 0] = top // 2 + 5  # needs all of the bits, but is half of what they hold
    expected = np.floor(pixels * (full / top) + 0.5)
    found = levels.stretched(pixels)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    assert found.max() < 0.6 * full


def test_stretched_leaves_what_uses_its_range():
    for pixels in (np.array([0, 40000], np.uint16), np.array([0, 200], np.uint8)):
        np.testing.assert_array_equal(levels.stretched(pixels), pixels)
    black = np.zeros((2, 2, 1), np.uint16)
    np.testing.assert_array_equal(levels.stretched(black), black)


def test_twelve_bits_in_sixteen_equal_the_same_over_the_whole_range():
    """As if the scanner had stored the high bits: nearer than one level of the 12 bits."""
    stored = np.random.default_rng(0).integers(2048, 4096, (40, 48, 1)).astype(np.uint16)
    shifted = stored.astype(int) * 16
    assert np.abs(levels.stretched(stored) - shifted).max() < 16


def test_gray_if_equal():
    gray = np.random.default_rng(0).integers(0, 256, (4, 5, 1)).astype(np.uint8)
    colour = gray.repeat(3, axis=2)
    np.testing.assert_array_equal(levels.gray_if_equal(colour), gray)
    np.testing.assert_array_equal(levels.gray_if_equal(gray), gray)
    with_alpha = np.concatenate([colour, gray], axis=2)
    np.testing.assert_array_equal(levels.gray_if_equal(with_alpha), gray.repeat(2, axis=2))
    colour[3, 4, 2] ^= 1
    assert levels.gray_if_equal(colour) is colour


def test_check_size():
    levels.check_size(9459, 9459)
    with pytest.raises(UnusableError, match="10000x9459 pixels"):
        levels.check_size(10000, 9459)
    for size in ((0, 5), (5, -1)):
        with pytest.raises(ValueError, match="its size is"):
            levels.check_size(*size)
