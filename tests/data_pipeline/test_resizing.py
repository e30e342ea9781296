"""Resizing: by areas against exact fractions; as OpenCV against its own results and a loop."""

import fractions
import math
import pathlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from data_pipeline.resizing import resize, resize_as_opencv

# Drawn arrays, and what cv2.resize(..., interpolation=cv2.INTER_LINEAR) of OpenCV 4.8.1 makes of
# them on x86; 5.0.0 gives the same bits.
GOLDENS = pathlib.Path(__file__).parents[1] / "goldens/opencv_linear.npz"


def taps(source, target):
    """For each output pixel of an axis its {input pixel: weight}, in exact fractions."""
    for out in range(target):
        weights = dict.fromkeys(range(source), fractions.Fraction(0))
        if target <= source:
            for k in range(source):  # in units of 1 / target of an input pixel
                overlap = min((out + 1) * source, (k + 1) * target) - max(out * source, k * target)
                weights[k] = fractions.Fraction(max(0, overlap), source)
        else:
            at = fractions.Fraction((2 * out + 1) * source, 2 * target) - fractions.Fraction(1, 2)
            at = min(max(at, fractions.Fraction(0)), fractions.Fraction(source - 1))
            low = int(at)
            weights[low] += 1 - (at - low)
            if at > low:
                weights[low + 1] += at - low
        assert sum(weights.values()) == 1
        yield {k: weight for k, weight in weights.items() if weight}


def check_resized(got, pixels):
    """Every pixel within half a level of its exact value."""
    columns = list(taps(pixels.shape[1], got.shape[1]))
    for y, row in enumerate(taps(pixels.shape[0], got.shape[0])):
        for x, column in enumerate(columns):
            exact = sum(
                v * h * int(pixels[i, j]) for i, v in row.items() for j, h in column.items()
            )
            assert abs(got[y, x] - exact) <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((23, 17), (7, 5)),  # both shrink
        ((23, 17), (23, 5)),
        ((5, 8), (11, 9)),  # both grow
        ((5, 17), (11, 4)),  # one each
        ((1, 9), (4, 1)),
        ((1, 1), (3, 2)),
        ((12, 12), (4, 6)),  # whole factors
        ((6, 5), (6, 5)),
    ],
)
def test_resize_against_exact_fractions(shape, size):
    pixels = np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)
    got = resize(pixels, *size)
    assert (got.shape, got.dtype) == (size, np.uint8)
    check_resized(got, pixels)


def test_resize_keeps_what_it_must():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30), np.uint8)
    np.testing.assert_array_equal(resize(pixels, 40, 30), pixels)
    for level in (0, 1, 254, 255):
        for size in ((7, 11), (224, 224), (97, 13)):
            flat = np.full((61, 43), level, np.uint8)
            np.testing.assert_array_equal(resize(flat, *size), np.full(size, level))
    blocks = pixels.reshape(20, 2, 15, 2).astype(float).mean(axis=(1, 3))
    np.testing.assert_array_equal(resize(pixels, 20, 15), np.rint(blocks))
    ramp = np.tile(np.arange(0, 200, 10, dtype=np.uint8), (3, 1))
    inside = resize(ramp, 3, 100)[1, 2:-2]  # each input pixel becomes five, 2 levels apart
    np.testing.assert_array_equal(inside, np.arange(0, 191, 2))


def test_opencv_goldens():
    with np.load(GOLDENS) as archive:
        arrays = {name: archive[name] for name in archive.files}
    sources = [name for name in arrays if name.endswith("_source")]
    assert len(sources) == 13
    for name in sources:
        wanted = arrays[name.replace("source", "resized")]
        found = resize_as_opencv(arrays[name], *wanted.shape)
        assert (found.dtype, found.flags.c_contiguous) == (np.uint8, True)
        np.testing.assert_array_equal(found, wanted)


def opencv_tap(out, source, target):
    """Where an output pixel of an axis is: (input pixel before it, float32 fraction beyond)."""
    centre = np.float32((out + 0.5) * (1.0 / (target / source)) - 0.5)
    before = math.floor(centre)
    return before, np.float32(centre - np.float32(before))


def opencv_weights(fraction):
    """11-bit whole numbers, halves to even."""
    return round(float((np.float32(1) - fraction) * 2048)), round(float(fraction * 2048))


def opencv_pixel(pixels, y, x, height, width):
    """One output pixel, in Python's whole numbers."""
    rows, columns = pixels.shape
    left, fraction = opencv_tap(x, columns, width)
    if left < 0:
        left, fraction = 0, np.float32(0)
    elif left >= columns - 1:
        left, fraction = columns - 1, np.float32(0)
    a, b = opencv_weights(fraction)
    top, fraction = opencv_tap(y, rows, height)
    total = 0
    for row, weight in zip((top, top + 1), opencv_weights(fraction), strict=True):
        line = pixels[min(max(row, 0), rows - 1)].tolist()
        across = a * line[left] + b * line[min(left + 1, columns - 1)]
        total += (weight * (across >> 4)) >> 16
    return (total + 2) >> 2


sides = st.integers(1, 24)


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 2**32 - 1))
def test_opencv_against_a_loop_over_pixels(shape, size, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    found = resize_as_opencv(pixels, *size)
    wanted = [[opencv_pixel(pixels, y, x, *size) for x in range(size[1])] for y in range(size[0])]
    np.testing.assert_array_equal(found, wanted)


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 2**32 - 1))
def test_opencv_is_bilinear_interpolation_at_pixel_centres(shape, size, seed):
    """Within a level of the exact value: half for rounding, the rest for what it cuts."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    exact = pixels.astype(np.float64)
    for axis, (source, target) in enumerate(zip(shape, size, strict=True)):
        centres = ((2 * np.arange(target) + 1) * source / (2 * target) - 0.5).clip(0, source - 1)
        weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(source)))
        exact = np.moveaxis(np.tensordot(weights, exact, (1, axis)), 0, axis)
    assert np.max(np.abs(resize_as_opencv(pixels, *size) - exact)) <= 1


def test_opencv_keeps_size_and_flat_images():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30), np.uint8)
    np.testing.assert_array_equal(resize_as_opencv(pixels, 40, 30), pixels)
    for level in (0, 1, 254, 255):
        flat = np.full((61, 43), level, np.uint8)
        for size in ((7, 11), (224, 224)):
            np.testing.assert_array_equal(resize_as_opencv(flat, *size), np.full(size, level))


def test_only_one_of_the_two_antialiases():
    stripes = np.tile(np.array([0, 0, 255, 255], np.uint8), (64, 16))  # a period of 4 pixels
    assert np.ptp(resize(stripes, 16, 16)) == 0
    assert np.ptp(resize_as_opencv(stripes, 16, 15)) > 100
