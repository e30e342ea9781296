"""Replays what an official model made with recorded noise: injections, enlargement, animation."""

import functools

import goldens_io as goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from singan_jax.manipulate import animation, operations
from singan_jax.manipulate.input_images import fit
from singan_jax.samples import sample
from singan_jax.scale.pyramid import build_pyramid

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def run():
    from singan_jax.official.run import read_run

    return read_run(goldens.FOLDER / "official_run")


@pytest.fixture(scope="module")
def toolbox():
    return goldens.load("toolbox.npz")


def draws(toolbox, name):
    """The recorded noise of one vector, (1, h, w, 1 or C) each."""
    found = goldens.group(toolbox, f"{name}/draw")
    return [jnp.asarray(goldens.nhwc(found[key])) for key in sorted(found)]


def plan(run, start_scale=0):
    return sample.SamplePlan(run.config, run.pyramid, run.channels, len(run.scales), start_scale)


def unit(pixels):
    return (pixels.astype(np.float32) / np.float32(255) - 0.5) * 2


def close(name, errors):
    """Checks differences, in levels of 255: within 1e-4 of [-1, 1] for the most part.

    Rounding decides on isolated pixels which level the truncation between scales takes, and the
    networks spread that over their surroundings.
    """
    exact = (errors < 1e-4 / 2 * 255).mean()
    print(
        f"{name}: largest {errors.max():.5f}/255, mean {errors.mean():.6f}/255, {exact:.0%} exact"
    )
    assert errors.max() <= 2
    assert errors.mean() < 0.05
    assert exact > 0.5


def levels(actual, expected):
    return np.abs(np.asarray(actual, np.float64) - expected) / 2 * 255


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_injection(run, toolbox, scale):
    """What enters the start scale, and what the scales make of what entered it there.

    Flat parts of the reference lie on levels to the last bit, so that which of them the truncation
    takes one lower hangs on the processor's rounding: the second step starts from the recording.
    """
    at_scale = plan(run, scale)
    image = fit(unit(toolbox["inject/reference"]), run.pyramid.sizes[-1])
    coarse = operations.coarse_inputs(at_scale, image[None])
    expected = goldens.nhwc(toolbox[f"inject{scale}/coarse_input"])
    close(f"coarse_input{scale}", levels(coarse, expected))
    refine = jax.jit(functools.partial(sample.run, at_scale, first=scale))
    out = refine(run.scales, jnp.asarray(expected), draws(toolbox, f"inject{scale}"))
    close(f"inject{scale}", levels(out, goldens.nhwc(toolbox[f"inject{scale}/out"])))


def test_super_resolution(run, toolbox):
    doubled = operations.Enlargement(run.config, run.pyramid, run.channels, 2.0)
    noises = draws(toolbox, "sr")
    assert [noise.shape[1:3] for noise in noises] == doubled.sizes
    *_, (image,) = build_pyramid(jnp.asarray(unit(toolbox["image"]))[None], run.pyramid, uint8=True)
    enlarge = jax.jit(functools.partial(operations.enlarge_with, doubled))
    out = enlarge(run.scales[-1], image, noises)
    assert out.shape[:2] == doubled.size
    close("sr", levels(out, goldens.hwc(toolbox["sr/out"])))


def test_animation(run, toolbox):
    frames = toolbox["animation/frames"]
    walk = animation.Walk(start_scale=1, alpha=0.1, beta=0.9)
    noises = [noise[0] for noise in draws(toolbox, "animation")]
    z_rec = animation.padded_z_rec(run.config, run.pyramid, run.scales)
    per_scale = 1 + len(frames)
    fresh = [noises[n * per_scale : (n + 1) * per_scale] for n in range(len(run.scales))]
    state = [animation.start(z, noise[0]) for z, noise in zip(z_rec, fresh, strict=True)]
    render = jax.jit(functools.partial(animation.render, run.config, run.pyramid, run.scales))
    for k, expected in enumerate(frames, 1):
        state = [
            animation.step(walk, z, s, noise[k])
            for z, s, noise in zip(z_rec, state, fresh, strict=True)
        ]
        maps = [s[0] if n >= walk.start_scale else z_rec[n] for n, s in enumerate(state)]
        shown = np.clip((np.asarray(render(maps), np.float64) + 1) / 2, 0, 1) * 255
        # The recorded frames are truncated to levels: anything up to one above them is right.
        close(f"frame {k}", np.abs(shown - 0.5 - expected).clip(0.5) - 0.5)
