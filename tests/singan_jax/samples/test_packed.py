"""Samples of members side by side are those of each by itself, whoever the others are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from singan_jax.devices import packs, sharding
from singan_jax.devices.bucket import Bucket
from singan_jax.samples import sample
from singan_jax.scale.layout import Layout

MEMBERS, COUNT = 3, 4
BUCKET = Bucket(tiny.CONFIG, (17, 19, 3))


def drawn(shapes, members, seed=0):
    """Arrays of these shapes for so many members: weights of a size at which outputs vary."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        x = rng.normal(size=(members, *leaf.shape)) * 0.3
        return np.asarray(np.abs(x) + 0.5 if "var" in jax.tree_util.keystr(path) else x, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def plan_of(start=0, **changes):
    scales = BUCKET.pyramid.num_scales
    return sample.SamplePlan(BUCKET.config, BUCKET.pyramid, 3, scales, start, **changes)


@pytest.fixture(scope="module")
def given():
    """Frozen scales, sampling keys and first samples of the members."""
    scales = drawn(tuple(shapes.frozen for shapes in BUCKET.shapes), MEMBERS)
    keys = jax.random.split(jax.random.key(1), MEMBERS)
    return scales, keys, jnp.array([0, 5, 2], jnp.int32)


def alone(plan, scales, keys, firsts):
    """(members, COUNT, H, W, C) by `sample_one`."""
    one = jax.jit(functools.partial(sample.sample_one, plan))

    def of_member(m):
        own = jax.tree.map(lambda x: x[m], scales)
        return np.stack([one(own, keys[m], firsts[m] + n) for n in range(COUNT)])

    return np.stack([of_member(m) for m in range(MEMBERS)])


@pytest.mark.parametrize("layout", [Layout(MEMBERS), Layout(MEMBERS, strips=True)])
@pytest.mark.parametrize(
    "plan", [plan_of(), plan_of(1), plan_of(scale_h=1.5, scale_v=0.8)], ids=["", "start", "size"]
)
def test_samples_are_those_of_each_member(given, layout, plan):
    packed = jax.jit(functools.partial(sample.sample_pack, plan, COUNT, layout))(*given)
    expected = alone(plan, *given)
    assert packed.shape == expected.shape
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(packed, expected, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e38])
def test_a_member_that_is_not_finite_leaves_the_others_as_they_are(given, bad):
    scales, *rest = given
    draw = jax.jit(functools.partial(sample.sample_pack, plan_of(), COUNT, Layout(MEMBERS, True)))
    before = draw(scales, *rest)
    spoiled = jax.tree.map(np.copy, scales)
    spoiled[0].generator["params"]["stack"]["block1"]["kernel"][1] = bad
    after = draw(spoiled, *rest)
    np.testing.assert_array_equal(after[0], before[0])
    np.testing.assert_array_equal(after[2], before[2])
    assert not np.isfinite(after[1]).all()


def test_a_fleet_is_sampled_by_packs_where_there_are_any(given, monkeypatch):
    """As on a TPU, but compiled for the devices at hand; five members do not fill the last pack."""
    scales, keys, firsts = (jax.tree.map(lambda x: x[jnp.arange(5) % 3], tree) for tree in given)
    stacked = sharding.padded((scales, keys, firsts), sharding.padded_size(5))
    sample.program.cache_clear()
    monkeypatch.setattr(packs, "backend", lambda: "tpu")
    made = []
    monkeypatch.setattr(sample, "sample_pack", _noting(sample.sample_pack, made))
    images = sample.program(plan_of(), COUNT)(*sharding.to_devices(stacked))
    sample.program.cache_clear()
    assert made
    expected = alone(plan_of(), *given)
    np.testing.assert_allclose(np.asarray(images)[:5], expected[[0, 1, 2, 0, 1]], atol=1e-5)


def _noting(function, calls):
    def noted(plan, count, layout, *arguments):
        calls.append(layout)
        return function(plan, count, layout, *arguments)

    return noted
