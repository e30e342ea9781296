"""Pyramids of the presets: scales by other rules, and images stretched before all else."""

import dataclasses
import decimal
import json
import math

import numpy as np
import PIL.Image
import pytest

from singan_jax.config import Config, ConfigError, preset, validate
from singan_jax.scale.pyramid import Pyramid, build_pyramid, stretch
from singan_jax.workdir.record import FleetRecord, read_record, write_record

SUPER = preset("super_resolution")


def steps_above(limit, side, ratio):
    """How many times a side can be multiplied by the ratio and stay at or above a limit."""
    count, side = 0, decimal.Decimal(side)
    while side * ratio >= limit:
        side, count = side * ratio, count + 1
    return count


@pytest.mark.parametrize(
    ("height", "width", "skipped", "finest_index"),
    [
        (80, 120, 0, 7),  # the official num_scales is 7, and 8 where training counts
        (120, 80, -1, 8),  # by the width, an upright image is told to grow: one scale more
        (400, 600, 3, 11),
        (600, 400, 2, 12),
        (19, 30, 0, 1),
    ],
)
def test_the_scales_of_super_resolution_are_the_official_ones(height, width, skipped, finest_index):
    # Counted by multiplying, to 28 digits: whole steps down to 18 pixels, one more, less those by
    # which the width shrinks to the longest side allowed (more, where that is above the width).
    ratio = decimal.Decimal(4) ** (decimal.Decimal(-1) / 6)
    limit = min(250, max(height, width))
    own = steps_above(limit, width, ratio) if limit <= width else -steps_above(width, limit, ratio)
    assert own == skipped
    stop = steps_above(18, min(height, width), ratio) + 1 - own
    assert stop == finest_index
    shrunk = min(1.0, 250 / max(height, width))
    finest = (math.ceil(height * shrunk), math.ceil(width * shrunk))
    factor = (18 / min(finest)) ** (1 / stop)
    sizes = [tuple(math.ceil(s * factor ** (stop - n)) for s in finest) for n in range(stop + 1)]
    assert list(Pyramid.of((height, width), SUPER).sizes) == sizes
    as_trained = dataclasses.replace(SUPER, pyramid_rule="training")
    assert Pyramid.of((80, 120), as_trained).num_scales == 9
    assert Pyramid.of((80, 120), SUPER).num_scales == 8


def test_the_last_bit_of_the_ratio_is_the_official_scripts():
    in_scale = pow(4, 1 / 6)
    assert SUPER.scale_factor == 1 / in_scale
    # Exactly 6 steps lie between 72 and 18 pixels; the script's rounding makes that 5.999...
    stop = int(math.log(18 / 72, 1 / in_scale)) + 1
    assert stop == 6
    assert Pyramid.of((72, 72), SUPER).num_scales == stop + 1


@pytest.mark.parametrize("size", [(224, 224), (256, 256), (100, 300)])
def test_the_thesis_finest_scale_has_250x167_pixels(size):
    config = validate(preset("thesis"))
    plan = Pyramid.of(size, config)
    assert plan.image_size == size
    assert plan.sizes[-1] == (167, 250)
    assert min(plan.sizes[0]) in (25, 26)
    assert (config.scale_factor, config.steps_per_scale, config.round_steps) == (0.8, 6000, 30)


def test_animations_go_down_to_20_pixels():
    config = preset("animation")
    assert dataclasses.replace(config, min_size=25, noise_padding=False) == Config()
    assert min(Pyramid.of((160, 200), config).sizes[0]) in (20, 21)


def interpolated(image, size):
    """(H, W, C) by NumPy's linear interpolation, one axis after the other."""
    image = image.astype(np.float64)
    for axis, wanted in enumerate(size):
        old = image.shape[axis]
        centre = (np.arange(wanted) + 0.5) * old / wanted - 0.5  # held at the ends
        image = np.apply_along_axis(
            lambda line, c=centre, n=old: np.interp(c, np.arange(n), line), axis, image
        )
    return image


@pytest.mark.parametrize("wanted", ["30x20", "38x12", "12x40"])
def test_images_are_stretched_first_and_then_as_ever(wanted):
    plain = Config(min_size=12, max_size=40, num_layers=5)
    config = dataclasses.replace(plain, stretch=wanted)
    width, height = map(int, wanted.split("x"))
    image = np.random.default_rng(0).uniform(-1, 1, (2, 17, 19, 3)).astype(np.float32)
    plan = Pyramid.of((17, 19), config)
    assert plan.stretch_size == config.stretch_size == (height, width)
    actual = build_pyramid(image, plan)
    stretched = np.stack([interpolated(one, (height, width)) for one in image])
    expected = build_pyramid(stretched.astype(np.float32), Pyramid.of((height, width), plain))
    assert len(actual) == plan.num_scales == len(expected)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=2e-6)


def test_a_stretched_image_has_whole_levels_where_the_official_code_reads_it_from_a_file():
    config = Config(min_size=12, stretch="30x20")
    image = np.random.default_rng(1).uniform(-1, 1, (1, 17, 19, 1)).astype(np.float32)
    actual = build_pyramid(image, Pyramid.of((17, 19), config), uint8=True)
    levels = np.rint((interpolated(image[0], (20, 30)) + 1) / 2 * 255)
    file = (levels[None].astype(np.float32) / np.float32(255) - np.float32(0.5)) * 2
    plain = Pyramid.of((20, 30), dataclasses.replace(config, stretch=""))
    for a, e in zip(actual, build_pyramid(file, plain, uint8=True), strict=True):
        wrong = np.abs(np.asarray(a) - np.asarray(e)) * 127.5
        assert wrong.max() < 1.01  # a level, where a truncation falls the other way
        assert (wrong > 1e-3).mean() < 0.02


@pytest.mark.parametrize("size", [(24, 24), (9, 60), (40, 7)])
def test_samples_come_back_as_pillow_shrinks_and_enlarges(size):
    image = np.random.default_rng(2).uniform(-1, 1, (1, 17, 25, 2)).astype(np.float32)
    actual = stretch(image, size, antialias=True)
    for channel in range(2):
        shown = PIL.Image.fromarray(image[0, ..., channel])
        expected = shown.resize(size[::-1], PIL.Image.Resampling.BILINEAR)
        np.testing.assert_allclose(actual[0, ..., channel], expected, rtol=0, atol=2e-6)


def test_images_are_shown_at_their_own_size():
    plan = Pyramid.of((24, 24), Config(min_size=12, max_size=30, stretch="60x40"))
    assert plan.sizes[-1] == (20, 30)
    assert plan.own_size((20, 30)) == (24, 24)
    assert plan.own_size((40, 60)) == (48, 48)
    assert Pyramid.of((24, 24), Config(min_size=12)).own_size((7, 9)) == (7, 9)


@pytest.mark.parametrize(
    ("name", "value"),
    [("stretch", "572"), ("stretch", "0x5"), ("stretch", "5 x 5"), ("pyramid_rule", "ceil")],
)
def test_settings_that_mean_nothing_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"`config.{name}`={value} is out of range"):
        validate(dataclasses.replace(Config(), **{name: value}))


def test_an_image_too_small_once_stretched_is_refused():
    with pytest.raises(ValueError, match="is 20x30 pixels, stretched, but SinGAN's coarsest"):
        Pyramid.of((99, 99), Config(stretch="20x30"))


def test_a_fleet_of_an_earlier_version_has_no_such_settings(tmp_path):
    config = dataclasses.replace(preset("thesis"), seed=3)
    write_record(tmp_path, FleetRecord(config, ()))
    assert read_record(tmp_path).config == config
    path = tmp_path / "fleet.json"
    content = json.loads(path.read_text())
    del content["config"]["stretch"], content["config"]["pyramid_rule"]
    path.write_text(json.dumps(content))
    earlier = read_record(tmp_path).config
    assert earlier == dataclasses.replace(config, stretch="")
