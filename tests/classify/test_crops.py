"""Random resized crops of test patches."""

import numpy as np
import pytest

from classify import crops


def digest(number):
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


def test_boxes_have_the_area_and_aspect_ratio_asked_for():
    boxes = [
        crops._box(224, 224, np.random.default_rng(seed)) for seed in range(400)
    ]  # left, top, right, bottom
    left, top, right, bottom = np.array(boxes).T
    width, height = right - left, bottom - top
    area = width * height / 224**2
    ratio = width / height
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (right <= 224).all()
    assert (bottom <= 224).all()
    assert area.min() > 0.795
    assert area.max() <= 1.0
    assert ratio.min() > 0.74
    assert ratio.max() < 1.35
    # Wide areas fit only at ratios near 1, so smaller ones are more frequent: mean below 0.9.
    assert 0.85 < area.mean() < 0.9
    assert abs(np.log(ratio).mean()) < 0.02


@pytest.mark.parametrize("shape", [(64, 64), (40, 50)])
def test_a_crop_has_the_size_of_the_whole_and_is_a_part_of_it(shape):
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    ramp = (rows * 2 + cols).astype(np.uint8)[..., None]
    for number in range(20):
        crop = crops.random_resized_crop(ramp, digest(number))
        assert crop.shape == ramp.shape
        assert crop.dtype == np.uint8
        assert crop.min() >= ramp.min()
        assert crop.max() <= ramp.max()
        # A ramp that is cropped and enlarged rises less steeply, by at most 1/sqrt(0.8 * 3/4).
        slope = np.diff(crop[..., 0].astype(float), axis=0).mean()
        assert 2 * 0.7 < slope <= 2


def test_a_crop_depends_on_the_patch_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    one, again, other = (crops.random_resized_crop(pixels, digest(n)) for n in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
