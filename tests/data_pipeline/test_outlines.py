"""Lesions' masks against exact geometry worked out pixel by pixel, and every refusal."""

import fractions
import math

import numpy as np
import pytest
import tifffile

from data_pipeline import outlines
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Box, Lesion

SHAPE = (40, 50)
SQUARE = ((10, 20), (19, 20), (19, 29), (10, 29))  # 10 x 10 pixels


def exact_polygon(outline, shape):
    """Pixels whose centres are inside by the even-odd rule, or on an edge; in fractions."""
    edges = list(zip(outline, (*outline[1:], outline[0]), strict=True))

    def covers(x, y):
        crossings = 0
        for (x0, y0), (x1, y1) in edges:
            cross = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
            within = min(x0, x1) <= x <= max(x0, x1) and min(y0, y1) <= y <= max(y0, y1)
            if cross == 0 and within:
                return True
            if (y0 > y) != (y1 > y):
                crossings += x0 + fractions.Fraction((y - y0) * (x1 - x0), y1 - y0) > x
        return crossings % 2 == 1

    height, width = shape
    return np.array([[covers(x, y) for x in range(width)] for y in range(height)])


@pytest.mark.parametrize("seed", range(30))
def test_rasterise_is_exact(seed):
    rng = np.random.default_rng(seed)
    shape = (12, 15)
    vertices = rng.integers(-4, 19, (rng.integers(3, 9), 2))  # partly outside, crossing itself
    outline = tuple(map(tuple, vertices.tolist()))
    expected = exact_polygon(outline, shape)
    np.testing.assert_array_equal(outlines.rasterise(outline, shape), expected)


def test_rasterise_clips_what_is_far_outside():
    far = 999_999
    triangle = ((-far, -far), (far, -far), (0, far))
    assert outlines.rasterise(triangle, SHAPE).all()
    assert not outlines.rasterise(((60, 0), (far, 0), (far, far)), SHAPE).any()


@pytest.mark.parametrize("seed", range(10))
def test_bounding_box_is_the_tightest(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(SHAPE) < 0.003
    mask[rng.integers(SHAPE[0]), rng.integers(SHAPE[1])] = True
    pixels = [(x, y) for y in range(SHAPE[0]) for x in range(SHAPE[1]) if mask[y, x]]
    xs, ys = zip(*pixels, strict=True)
    box = outlines.bounding_box(mask)
    assert box == Box(min(xs), min(ys), max(xs) + 1, max(ys) + 1)
    assert all(type(side) is int for side in box)


def test_bounding_box_of_nothing():
    with pytest.raises(DataError, match="empty"):
        outlines.bounding_box(np.zeros(SHAPE, bool))


def test_mask_of_an_outline():
    mask = outlines.lesion_mask(Lesion("1", "Benign", SQUARE), SHAPE)
    expected = np.zeros(SHAPE, bool)
    expected[20:30, 10:20] = True
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)
    assert outlines.bounding_box(mask) == Box(10, 20, 20, 30)


def test_an_outline_partly_outside_is_clipped():
    circle = tuple(
        (round(48 + 10 * math.cos(t)), round(2 + 10 * math.sin(t))) for t in np.arange(0, 6.2, 0.1)
    )
    mask = outlines.lesion_mask(Lesion("1", "Malign", circle), SHAPE)
    np.testing.assert_array_equal(mask, exact_polygon(circle, SHAPE))
    assert outlines.bounding_box(mask) == Box(38, 0, 50, 13)


def refusal(lesion, shape=SHAPE):
    with pytest.raises(DataError) as error:
        outlines.lesion_mask(lesion, shape)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("shift", [(50, 0), (-20, 0), (0, 40), (0, -30), (10**5, 10**5)])
def test_an_outline_outside_the_image_is_refused(shift):
    moved = tuple((x + shift[0], y + shift[1]) for x, y in SQUARE)
    line = refusal(Lesion("7", "Benign", moved))
    assert line.startswith("lesion 7: its outline is outside the 50x40 image; ")


@pytest.mark.parametrize(
    "outline",
    [
        ((5, 5), (5, 5), (5, 5)),
        ((5, 5), (20, 5), (9, 5)),
        ((5, 5), (5, 30), (5, 9)),
        ((3, 4), (9, 8), (6, 6), (15, 12)),  # slanted
        ((49, 5), (60, 5), (60, 9), (49, 9)),  # one column of it is in the image
    ],
)
def test_a_lesion_without_area_is_refused(outline):
    assert "lesion 7: it is a point or a line" in refusal(Lesion("7", "Benign", outline))


def test_the_smallest_lesion():
    mask = outlines.lesion_mask(Lesion("1", "Benign", ((5, 5), (6, 5), (6, 6))), SHAPE)
    assert outlines.bounding_box(mask) == Box(5, 5, 7, 7)


def test_a_lesion_without_outline_and_mask_is_refused():
    assert "lesion 7: it has neither" in refusal(Lesion("7", "Benign"))


@pytest.fixture
def masked(tmp_path):
    """Makes a lesion with a mask file of the pixels given."""

    def make(pixels, outline=()):
        path = tmp_path / "mask.tif"
        tifffile.imwrite(path, pixels, photometric="minisblack")
        return Lesion("7", "Malign", outline, path)

    return make


def square_mask(left=10, top=20, side=10, shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask[top : top + side, left : left + side] = 255
    return mask


def test_a_mask_takes_precedence_over_the_outline(masked):
    pixels = square_mask(side=9)
    pixels[22, 12] = 0
    pixels[25, 15] = 1  # whatever is not 0 is lesion
    for outline in ((), SQUARE):
        mask = outlines.lesion_mask(masked(pixels, outline), SHAPE)
        np.testing.assert_array_equal(mask, pixels > 0)


@pytest.mark.parametrize("shift", range(8))
def test_mask_and_outline_must_share_half_of_their_union(masked, shift):
    lesion = masked(square_mask(left=10 + shift), SQUARE)
    shared = 10 * (10 - shift)
    agreement = shared / (200 - shared)
    if agreement >= 0.5:
        np.testing.assert_array_equal(
            outlines.lesion_mask(lesion, SHAPE), square_mask(left=10 + shift) > 0
        )
    else:
        line = refusal(lesion)
        assert line.startswith(f"{lesion.mask_file}: shares {agreement:.0%} of its area")
        assert "lesion 7" in line


def test_a_mask_without_the_pixels_on_the_outline_agrees(masked):
    mask = square_mask(left=11, top=21, side=8)
    assert outlines.lesion_mask(masked(mask, SQUARE), SHAPE).sum() == 64


@pytest.mark.parametrize("shape", [(40, 49), (41, 50), (50, 40)])
def test_a_mask_of_another_size_is_refused(masked, shape):
    line = refusal(masked(square_mask(shape=shape), SQUARE))
    assert f"the mask is {shape[1]}x{shape[0]} pixels, its mammogram 50x40" in line
    assert "mask.tif: " in line


def test_an_empty_mask_is_refused(masked):
    assert "mask.tif: the mask is empty" in refusal(masked(square_mask(side=0), SQUARE))
    assert "mask.tif: the mask is empty" in refusal(masked(square_mask(side=0)))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_a_mask_without_area_is_refused(masked, size):
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[5 : 5 + size[0], 5 : 5 + size[1]] = 255
    assert "it is a point or a line" in refusal(masked(pixels))


def test_a_mask_that_cannot_be_read_is_refused(masked):
    lesion = masked(square_mask())
    lesion.mask_file.write_bytes(lesion.mask_file.read_bytes()[:-500])
    assert "mask.tif: is damaged" in refusal(lesion)
    lesion.mask_file.unlink()
    assert "mask.tif: cannot be read (No such file" in refusal(lesion)
