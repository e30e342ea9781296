"""Members side by side in one array train as each by itself, whoever the others are."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from singan_jax.devices.bucket import Bucket
from singan_jax.scale import train_scale
from singan_jax.scale.layout import Layout
from singan_jax.scale.train_step import Hyper

MEMBERS = 3
STEPS = 3
CONFIG = dataclasses.replace(tiny.CONFIG, num_layers=3, lr_decay_step=2)
# Everything that members may do differently, or at another time.
VARIED = dataclasses.replace(
    CONFIG, noise_padding=True, redraw_z_rec=True, uint8_resize=True, round_steps=2
)
LAYOUTS = [Layout(MEMBERS), Layout(MEMBERS, strips=True)]


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.lists(st.integers(1, 4), max_size=3))
def test_packing_is_undone(members, shape):
    tree = {
        "array": jnp.arange(members * np.prod(shape, dtype=int)).reshape(members, *shape),
        "number": jnp.arange(members),
    }
    layout = Layout(members)
    packed = layout.pack(tree)
    assert packed["number"].shape == (members,)
    unpacked = layout.unpack(packed, tree)
    jax.tree.map(np.testing.assert_array_equal, unpacked, tree)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_numbers_of_each_member(members, channels, pixels):
    layout = Layout(members)
    each = jax.random.normal(jax.random.key(0), (members, 2, pixels, channels))
    packed = layout.pack(each)
    np.testing.assert_allclose(layout.mean(packed), each.mean((1, 2, 3)), rtol=1e-5, atol=1e-6)
    sums = layout.unpack(layout.channel_sum(packed), each)
    np.testing.assert_allclose(sums[..., 0], each.sum(-1), rtol=1e-5, atol=1e-6)
    numbers = jnp.arange(members)
    spread = layout.unpack(layout.spread(numbers, members * channels), each[:, 0, 0])
    np.testing.assert_array_equal(spread, np.repeat(numbers[:, None], channels, 1))
    chosen = layout.select(numbers % 2 == 0, packed, 0 * packed)
    np.testing.assert_array_equal(layout.unpack(chosen, each)[1::2], 0 * each[1::2])
    bad = each.at[members // 2, 1, 0, 0].set(jnp.nan)
    np.testing.assert_array_equal(
        layout.finite([layout.pack(bad), numbers]), numbers != members // 2
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_weights_are_zero_between_members(members, c_in, c_out):
    kernels = np.random.default_rng(0).normal(size=(members, 3, 3, c_in, c_out))
    dense = Layout(members).block_diagonal(Layout(members).pack(jnp.asarray(kernels)))
    expected = np.zeros((3, 3, members * c_in, members * c_out))
    for n, kernel in enumerate(kernels):
        own = np.s_[n * c_in : (n + 1) * c_in], np.s_[n * c_out : (n + 1) * c_out]
        expected[:, :, *own] = kernel
    np.testing.assert_allclose(dense, expected, rtol=1e-6)


@functools.cache
def prepared(config, scale, images):
    """(scales, task, state) of members with their own images, settings and coarser scales."""
    bucket = Bucket(config, (17, 19, 3), images)
    keys = jax.random.split(jax.random.key(0), MEMBERS)
    hyper = jax.vmap(lambda lr, gp: Hyper.of(config, {"lr_g": lr, "lambda_gp": gp}))(
        jnp.array([1e-3, 5e-4, 2e-4]), jnp.array([0.1, 1.0, 0.0])
    )
    scales, rec_prev = (), None
    for n, size in enumerate(bucket.pyramid.sizes[: scale + 1]):
        shape = (MEMBERS, images, *size, 3)
        real = jax.random.uniform(jax.random.key(n), shape, minval=-1.0)
        rec_prev = jnp.zeros_like(real) if rec_prev is None else rec_prev
        start = train_scale.Start(keys, hyper, real, rec_prev, jnp.ones(MEMBERS, bool))
        begin = functools.partial(train_scale.begin, config, n)
        task, state = jax.jit(jax.vmap(begin))(start)
        if n < scale:
            finish = functools.partial(train_scale.finish, config, bucket.pyramid, n)
            frozen, _, rec_prev = jax.jit(jax.vmap(finish))(task, state)
            scales = (*scales, frozen)
    return bucket, (scales, task, state)


@functools.cache
def program(config, scale, images, layout):
    """Trains stacked members, as a pack or (where `layout` is None) one after another."""
    bucket, _ = prepared(config, scale, images)
    if layout is None:
        alone = functools.partial(train_scale.train_chunk, config, bucket.pyramid, scale)
        return jax.jit(lambda *own: jax.lax.map(lambda one: alone(*one, 0, STEPS), own))
    pack = functools.partial(train_scale.train_pack, config, bucket.pyramid, scale, layout)
    return jax.jit(lambda *own: pack(*own, 0, STEPS))


@pytest.mark.parametrize(
    ("config", "scale", "images", "layout"),
    [(CONFIG, 1, 1, LAYOUTS[0]), (CONFIG, 1, 1, LAYOUTS[1]), (VARIED, 0, 2, LAYOUTS[1])],
)
def test_a_pack_trains_as_members_alone(config, scale, images, layout):
    _, arguments = prepared(config, scale, images)
    (alone, metrics), (packed, in_pack) = (
        program(config, scale, images, way)(*arguments) for way in (None, layout)
    )
    for name in metrics:
        np.testing.assert_allclose(in_pack[name], metrics[name], rtol=2e-5, atol=1e-6)
    # Adam makes full steps of gradients that are rounding errors, so a few weights differ by steps.
    way = 2 * STEPS * 1e-3
    for a, e in zip(jax.tree.leaves(packed), jax.tree.leaves(alone), strict=True):
        assert a.shape == e.shape
        assert a.dtype == e.dtype
        errors = np.abs(np.asarray(a, float) - np.asarray(e, float))
        assert np.quantile(errors, 0.9) < 1e-5
        assert errors.max() < way


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_member_that_goes_wrong_leaves_the_others_as_they_are(layout):
    """To the bit: whatever it brings into products, at whichever iteration."""
    _, (scales, task, state) = prepared(CONFIG, 1, 1)
    run = program(CONFIG, 1, 1, layout)
    expected, right = run(scales, task, state)
    (coarse,), networks = scales, state.generator.variables
    kernel = networks["params"]["stack"]["block0"]["kernel"]

    def weights(value):
        bad = kernel.at[1, 0, 0].set(value)
        params = jax.tree.map(lambda x: bad if x is kernel else x, networks)
        return state._replace(generator=state.generator._replace(variables=params))

    cases = {
        "weights that are no numbers": (scales, task, weights(jnp.nan)),
        "weights too large": (scales, task, weights(3e38)),
        "a coarser scale": (
            (coarse._replace(noise_amp=coarse.noise_amp.at[1].set(jnp.inf)),),
            task,
            state,
        ),
        "a learning rate": (
            scales,
            task._replace(hyper=task.hyper._replace(lr_g=task.hyper.lr_g.at[1].set(1e38))),
            state,
        ),
        "an image": (scales, task._replace(real=task.real.at[1, 0, 3, 3].set(jnp.nan)), state),
    }
    for name, arguments in cases.items():
        after, metrics = run(*arguments)
        np.testing.assert_array_equal(after.healthy, [True, False, True], name)
        assert after.failed_at[1] in range(STEPS), name
        for member in (0, 2):
            jax.tree.map(
                lambda a, e, n=member, case=name: np.testing.assert_array_equal(a[n], e[n], case),
                (after, metrics),
                (expected, right),
            )


def test_a_member_does_not_depend_on_who_shares_its_pack():
    _, arguments = prepared(CONFIG, 1, 1)
    run = program(CONFIG, 1, 1, LAYOUTS[1])
    expected = run(*arguments)
    others = jnp.array([0, 2, 2])  # the first keeps its place, not its company
    actual = run(*jax.tree.map(lambda x: x[others], arguments))
    jax.tree.map(lambda a, e: np.testing.assert_array_equal(a[0], e[0]), actual, expected)
    jax.tree.map(lambda a, e: np.testing.assert_array_equal(a[1], e[2]), actual, expected)
