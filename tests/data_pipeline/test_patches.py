"""Patches: geometry, breast rule and resizing against loops over pixels, on drawn images."""

import fractions
import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from data_pipeline import patches
from data_pipeline.mammograms import Box, DataError
from data_pipeline.patches import PatchSettings, healthy_patches, lesion_patches, resize, zoomed


def drawn_image(seed, height, width):
    """A bright disc that leaves the image at the left, on a dark noisy ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    radius = rng.uniform(0.3, 0.6) * min(height, width)
    disc = (x - rng.uniform(0, width / 2)) ** 2 + (y - rng.uniform(0, height)) ** 2 < radius**2
    return (disc * rng.uniform(60, 150) + rng.normal(40, 15, disc.shape)).clip(0, 255).astype("u1")


def drawn_boxes(seed, height, width, count):
    rng = np.random.default_rng(seed)
    boxes = []
    for _ in range(count):
        left, top = rng.integers(0, width), rng.integers(0, height)
        right = rng.integers(left + 1, min(width, left + 9) + 1)
        bottom = rng.integers(top + 1, min(height, top + 9) + 1)
        boxes.append(Box(*map(int, (left, top, right, bottom))))
    return boxes


def loop_otsu(image):
    """The level with the greatest variance between the classes at or below it and above it."""
    levels = [int(v) for v in image.ravel()]
    scores = {}
    for level in range(min(levels), max(levels)):
        dark = [v for v in levels if v <= level]
        bright = [v for v in levels if v > level]
        gap = sum(dark) / len(dark) - sum(bright) / len(bright)
        scores[level] = len(dark) * len(bright) * gap**2
    return max(scores, key=scores.get)


def loop_healthy_boxes(image, lesion_boxes, side, step, min_breast):
    """The thesis' method: every pixel of every window is looked at."""
    threshold = loop_otsu(image)
    lesions = {
        (y, x)
        for box in lesion_boxes
        for y in range(box.top, box.bottom)
        for x in range(box.left, box.right)
    }
    found = []
    for top in range(0, image.shape[0], step):
        for left in range(0, image.shape[1], step):
            if top + side > image.shape[0] or left + side > image.shape[1]:
                continue
            window = set(itertools.product(range(top, top + side), range(left, left + side)))
            breast = sum(image[y, x] > threshold for y, x in window)
            if breast >= min_breast * side * side and not window & lesions:
                found.append(Box(left, top, left + side, top + side))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_healthy_boxes_against_a_loop_over_pixels(seed):
    rng = np.random.default_rng(100 + seed)
    height, width = (int(n) for n in rng.integers(20, 50, 2))
    image = drawn_image(seed, height, width)
    lesions = drawn_boxes(seed, height, width, count=seed % 4)
    side = int(rng.integers(3, 12))
    step = int(rng.integers(1, side + 3))
    least = [0.5, 0.6, 0.0, 1.0][seed % 4]
    found = patches.healthy_boxes(image, lesions, side, step, least)
    assert found == loop_healthy_boxes(image, lesions, side, step, least)
    assert found or least == 1
    assert all(type(edge) is int for box in found for edge in box)


def test_breast_fraction_is_met_exactly_at_the_limit():
    image = np.zeros((10, 30), np.uint8)
    image[:5, :10] = 200  # 50 % of the first window
    image[:6, 10:20] = 200  # 60 % of the second
    image[:6, 20:30] = 200
    image[0, 20] = 0  # 59 % of the third
    lefts = {
        least: [box.left for box in patches.healthy_boxes(image, [], 10, 10, least)]
        for least in (0.5, 0.51, 0.6, 0.61)
    }
    assert lefts == {0.5: [0, 10, 20], 0.51: [10, 20], 0.6: [10], 0.61: []}


def test_a_window_may_touch_a_lesion_but_share_no_pixel():
    image = np.tile(np.array([[90, 200]], np.uint8), (20, 10))
    touching = Box(10, 0, 12, 20)
    assert [b.left for b in patches.healthy_boxes(image, [touching], 10, 10, 0.5)] == [0, 0]
    sharing = Box(9, 10, 12, 11)
    assert patches.healthy_boxes(image, [sharing], 10, 10, 0.5) == [
        Box(0, 0, 10, 10),
        Box(10, 0, 20, 10),
    ]


def test_film_rule_is_the_thesis():
    image = np.full((500, 640), 100, np.uint8)
    image[:, ::2] = 50
    found = list(healthy_patches(image, [Box(630, 0, 640, 5)], "Film", PatchSettings()))
    # 80 % of 224 is 179; a third window would end at 582 of 500 rows, at 582 of 640 columns.
    expected = [(left, top) for top in (0, 179) for left in (0, 179, 358)]
    assert [(p.box.left, p.box.top) for p in found] == expected
    assert {(p.box.width, p.box.height, p.zoom_group, p.lesion) for p in found} == {
        (224, 224, 0, None)
    }
    for patch in found:
        left, top, right, bottom = patch.box
        np.testing.assert_array_equal(patch.pixels, image[top:bottom, left:right])


def test_digital_rule_is_the_thesis():
    image = np.full((250, 502), 100, np.uint8)
    image[:, 200:] = 10
    found = list(healthy_patches(image, [], "Digital", PatchSettings(size=30)))
    assert [p.box for p in found] == [  # 20 % of 502, rounded down, side by side
        Box(left, top, left + 100, top + 100) for top in (0, 100) for left in (0, 100)
    ]
    assert {p.pixels.shape for p in found} == {(30, 30)}


def test_settings_of_the_healthy_rules_are_used():
    image = np.full((40, 100), 100, np.uint8)
    image[::2] = 10  # half of each window of even height is breast
    count = {
        (form, name): len(list(healthy_patches(image, [], form, PatchSettings(**{name: value}))))
        for form in ("Film", "Digital")
        for name, value in [("film_window", 20), ("digital_breast", 0.5), ("size", 8)]
    }
    assert count["Film", "film_window"] == 2 * 6
    assert count["Film", "digital_breast"] == count["Film", "size"] == 0  # smaller than 224
    assert count["Digital", "digital_breast"] == 2 * 5
    assert count["Digital", "size"] == 0
    dense = PatchSettings(
        film_window=20, film_step=0.01, digital_window=0.1, digital_step=0.5, digital_breast=0.5
    )
    assert len(list(healthy_patches(image, [], "Film", dense))) == 21 * 81  # a step of 1 pixel
    assert len(list(healthy_patches(image, [], "Digital", dense))) == 7 * 19
    strict = PatchSettings(film_window=20, film_breast=0.51)
    assert list(healthy_patches(image, [], "Film", strict)) == []


def test_an_image_of_one_level_gives_no_healthy_patches():
    image = np.full((300, 300), 7, np.uint8)
    assert list(healthy_patches(image, [], "Film", PatchSettings())) == []


@hypothesis.given(st.data())
def test_zoomed_scales_about_the_centre_and_clips(data):
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right = data.draw(st.integers(left + 1, width))
    bottom = data.draw(st.integers(top + 1, height))
    zoom = data.draw(st.integers(1, 5))
    box = zoomed(Box(left, top, right, bottom), zoom, (height, width))
    for near, far, start, end, limit in [
        (box.left, box.right, left, right, width),
        (box.top, box.bottom, top, bottom, height),
    ]:
        middle, half = fractions.Fraction(start + end, 2), fractions.Fraction(zoom * (end - start))
        # Half a pixel to the low side where the exact box would cut pixels in two.
        shift = fractions.Fraction((zoom - 1) * (end - start) % 2, 2)
        assert near == max(0, middle - half / 2 - shift)
        assert far == min(limit, middle + half / 2 - shift)


def test_zoom_1_is_the_box_itself():
    for box in drawn_boxes(3, 40, 50, 20):
        assert zoomed(box, 1, (40, 50)) == box


def test_lesion_patches_are_cut_in_order_and_native_ones_untouched():
    image = drawn_image(1, 60, 80)
    boxes = [Box(10, 20, 16, 28), Box(70, 0, 80, 10)]
    found = list(lesion_patches(image, boxes, PatchSettings(size=None, zooms=(3, 1))))
    assert [(p.lesion, p.zoom_group, p.box) for p in found] == [
        (0, 3, Box(4, 12, 22, 36)),
        (0, 1, boxes[0]),
        (1, 3, Box(60, 0, 80, 20)),
        (1, 1, boxes[1]),
    ]
    for patch in found:
        left, top, right, bottom = patch.box
        np.testing.assert_array_equal(patch.pixels, image[top:bottom, left:right])
        assert not np.shares_memory(patch.pixels, image)
        assert patch.pixels.flags.c_contiguous


def test_lesion_patches_of_a_size():
    image = drawn_image(2, 60, 80)
    found = list(lesion_patches(image, [Box(10, 20, 16, 28)], PatchSettings(size=12)))
    assert [p.zoom_group for p in found] == [1, 2, 3]
    for patch in found:
        left, top, right, bottom = patch.box
        assert (patch.pixels.dtype, patch.pixels.shape) == (np.uint8, (12, 12))
        assert patch.pixels.flags.c_contiguous
        check_resized(patch.pixels, image[top:bottom, left:right])


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 0),
        ("zooms", (0, 1)),
        ("zooms", (1.5,)),
        ("zooms", (2, 2)),
        ("film_window", 0),
        ("film_step", 0.0),
        ("digital_step", float("nan")),
        ("digital_step", float("inf")),
        ("digital_window", 1.1),
        ("digital_window", 0.0),
        ("film_breast", -0.1),
        ("digital_breast", 60),
    ],
)
def test_settings_that_make_no_sense_are_named(name, value):
    with pytest.raises(DataError, match=f"patch setting {name} is .*; it must be") as caught:
        PatchSettings(**{name: value})
    assert "\n" not in str(caught.value)
