"""Patches: geometry and breast rule, by both sets of rules, against loops and written formulas."""

import dataclasses
import fractions
import itertools
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from data_pipeline import patches
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Box
from data_pipeline.patches import (
    PatchSettings,
    healthy_patches,
    lesion_patches,
    zoomed,
    zoomed_and_shifted,
)
from data_pipeline.resizing import resize, resize_as_opencv


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
    """Every pixel of every window is looked at."""
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


def test_windows_of_films():
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


def test_windows_of_digital_images():
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


@st.composite
def boxes_in_images(draw, most=60):
    """(box, (H, W)) of a box within an image."""
    height, width = draw(st.integers(1, most)), draw(st.integers(1, most))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    right = draw(st.integers(left + 1, width))
    bottom = draw(st.integers(top + 1, height))
    return Box(left, top, right, bottom), (height, width)


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
        assert zoomed(box, 1, (40, 50)) == zoomed_and_shifted(box, 1, (40, 50)) == box


def test_a_box_beyond_the_left_or_top_is_shifted_by_the_thesis_and_cut_by_the_clean_rules():
    box, shape = Box(10, 20, 110, 40), (1000, 800)
    assert zoomed_and_shifted(box, 3, shape) == Box(0, 0, 300, 60)
    assert zoomed(box, 3, shape) == Box(0, 0, 210, 60)
    at_right = Box(690, 970, 790, 990)
    assert zoomed_and_shifted(at_right, 3, shape) == zoomed(at_right, 3, shape)
    assert zoomed(at_right, 3, shape) == Box(590, 950, 800, 1000)


@hypothesis.given(boxes_in_images(), st.integers(1, 5))
def test_zoomed_and_shifted_is_the_thesis_written_out(boxed, zoom):
    """In floats, corner first, as its code goes about it."""
    (left, top, right, bottom), (height, width) = boxed
    found = zoomed_and_shifted(Box(left, top, right, bottom), zoom, (height, width))
    for start, end, limit, near, far in [
        (left, right, width, found.left, found.right),
        (top, bottom, height, found.top, found.bottom),
    ]:
        side = zoom * (end - start)
        corner = math.trunc(start + (end - start) / 2 - side / 2)
        corner = min(max(corner, 0), limit)
        assert (near, far) == (corner, min(max(corner + side, 0), limit))


@hypothesis.given(boxes_in_images(), st.integers(1, 5))
def test_a_shifted_box_is_in_the_image_and_holds_its_lesion_and_the_clean_box(boxed, zoom):
    box, (height, width) = boxed
    found, clean = (enlarge(box, zoom, (height, width)) for enlarge in (zoomed_and_shifted, zoomed))
    assert found.left >= 0
    assert found.top >= 0
    assert found.right <= width
    assert found.bottom <= height
    for inside in (box, clean):
        assert found.left <= inside.left
        assert found.top <= inside.top
        assert found.right >= inside.right
        assert found.bottom >= inside.bottom
    assert (found.left, found.top) == (clean.left, clean.top)


def thesis_windows(lesions, side, step, shape):
    """Those windows that no lesion's widened box meets or touches, in exact fractions."""
    margin = fractions.Fraction(side, 10)
    for top in range(0, shape[0] - side + 1, step):
        for left in range(0, shape[1] - side + 1, step):
            meets = any(
                left <= box.right + margin
                and box.left - margin <= left + side
                and top <= box.bottom + margin
                and box.top - margin <= top + side
                for box in lesions
            )
            if not meets:
                yield Box(left, top, left + side, top + side)


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(
    st.lists(boxes_in_images(40), max_size=3), st.integers(8, 30), st.floats(0.3, 1.5)
)
def test_windows_keep_away_from_lesions_as_in_the_thesis(boxed, side, step):
    lesions, shape = [box for box, _ in boxed], (60, 50)
    image = np.full(shape, 100, np.uint8)
    image[-1, -1] = 10  # all else is brighter than Otsu's threshold
    settings = PatchSettings(
        rules="thesis", size=None, film_window=side, film_step=step, film_breast=0
    )
    found = [patch.box for patch in healthy_patches(image, lesions, "Film", settings)]
    assert found == list(thesis_windows(lesions, side, max(1, int(step * side)), shape))


def test_touching_the_widened_box_is_meeting_it():
    image = np.tile(np.array([[90, 200]], np.uint8), (20, 50))  # half is breast
    thesis = PatchSettings(rules="thesis", size=None, film_window=20, film_step=0.05)
    lefts = {
        rules: {
            patch.box.left
            for patch in healthy_patches(
                image, [Box(40, 5, 50, 9)], "Film", dataclasses.replace(thesis, rules=rules)
            )
        }
        for rules in ("clean", "thesis")
    }
    # 10 % of 20 pixels: a window may end before column 38, and start behind column 52.
    assert lefts["thesis"] == {*range(18), *range(53, 81)}
    assert lefts["clean"] == {*range(21), *range(50, 81)}


def test_windows_of_the_thesis_avoid_all_lesions():
    image = np.full((224, 1000), 100, np.uint8)
    image[:, ::2] = 50
    lesions = [Box(30, 30, 60, 60), Box(900, 30, 930, 60)]
    settings = PatchSettings(rules="thesis")
    found = list(healthy_patches(image, lesions, "Film", settings))
    assert [patch.box.left for patch in found] == [179, 358, 537]
    assert len(set(found)) == 3


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
    thesis = list(
        lesion_patches(image, [Box(10, 20, 16, 28)], PatchSettings(rules="thesis", size=12))
    )
    for patch in thesis:
        left, top, right, bottom = patch.box
        np.testing.assert_array_equal(
            patch.pixels, resize_as_opencv(image[top:bottom, left:right], 12, 12)
        )
    for patch in found:
        left, top, right, bottom = patch.box
        assert (patch.pixels.dtype, patch.pixels.shape) == (np.uint8, (12, 12))
        assert patch.pixels.flags.c_contiguous
        np.testing.assert_array_equal(patch.pixels, resize(image[top:bottom, left:right], 12, 12))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rules", "theses"),
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
