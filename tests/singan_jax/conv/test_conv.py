"""The convolution against `lax.conv_general_dilated` in float64: values and two derivatives."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from singan_jax import backend, conv

CHOICES = (*conv.IMPLEMENTATIONS, None)  # None: the choice measured for this backend
# (N, H, W, input channels, output channels)
SHAPES = [(1, 7, 9, 3, 12), (2, 11, 5, 12, 1), (3, 9, 13, 1, 3), (2, 7, 7, 20, 24), (1, 3, 3, 5, 2)]


def reference(x, w):
    return lax.conv_general_dilated(
        x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def implementation(choice):
    return lambda x, w: conv.convolve(x, w, 0, choice)


def drawn(shape, seed=0, members=()):
    n, height, width, c_in, c_out = shape
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(*members, n, height, width, c_in))
    return x, rng.normal(size=(*members, 3, 3, c_in, c_out)) / np.sqrt(9 * c_in)


def curved(y):
    """A scalar whose every derivative depends on y."""
    return jnp.sum(jnp.sin(y) * jnp.cos(0.1 * jnp.arange(y.size).reshape(y.shape)))


def derivatives(op):
    """Maps (x, w) to the value, the gradients, and those of the norm of the input gradient."""

    def penalty(x, w):
        gradient = jax.grad(lambda x: curved(op(x, w)))(x)
        return jnp.square(jnp.sqrt(1.0 + jnp.square(gradient).sum(-1)) - 1).sum()

    def everything(x, w):
        first = jax.grad(lambda x, w: curved(op(x, w)), (0, 1))(x, w)
        return op(x, w), first, jax.grad(penalty, (0, 1))(x, w)

    return everything


@functools.cache
def expected_of(shape):
    """What `derivatives` must give for `drawn(shape)`."""
    with jax.enable_x64(True):
        return jax.device_get(jax.jit(derivatives(reference))(*drawn(shape)))


def assert_close(actual, expected, tolerance):
    """Every entry within `tolerance` of the largest magnitude of its array."""

    def check(a, e):
        assert a.shape == e.shape
        scale = max(1.0, np.abs(e).max())
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * scale)

    jax.tree.map(check, actual, expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("choice", CHOICES)
def test_value_and_two_derivatives(choice, shape):
    x, w = drawn(shape)
    expected = expected_of(shape)
    with jax.enable_x64(True):
        actual = jax.jit(derivatives(implementation(choice)))(x, w)
        assert actual[0].dtype == jnp.float64
        assert_close(actual, expected, 1e-10)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[3]], ids=str)
@pytest.mark.parametrize("choice", CHOICES)
def test_single_precision(choice, shape):
    x, w = (jnp.asarray(a, jnp.float32) for a in drawn(shape))
    assert_close(jax.jit(derivatives(implementation(choice)))(x, w), expected_of(shape), 1e-5)


def test_winograd_rounds_little_more_than_the_plain_sum():
    x, w = (jnp.asarray(a, jnp.float32) for a in drawn((1, 34, 34, 64, 64)))
    with jax.enable_x64(True):
        exact = np.asarray(reference(x.astype(jnp.float64), w.astype(jnp.float64)))
    error = {
        n: np.std(np.asarray(conv.convolve(x, w, 0, n)) - exact) for n in ("direct", "winograd")
    }
    assert error["direct"] < error["winograd"] < 2.5 * error["direct"]


@pytest.mark.parametrize("choice", CHOICES)
def test_gradients_of_the_weight_gradient(choice):
    """Mixed derivatives reach the third map's own derivative: to x, to w, from each gradient."""

    def of_both(op):
        def size(x, w):
            return sum(
                jnp.sum(jnp.sin(g)) for g in jax.grad(lambda *a: curved(op(*a)), (0, 1))(x, w)
            )

        return jax.grad(size, (0, 1))

    with jax.enable_x64(True):
        x, w = (jnp.asarray(a) for a in drawn((2, 7, 9, 3, 5)))
        expected = jax.jit(of_both(reference))(x, w)
        assert_close(jax.jit(of_both(implementation(choice)))(x, w), expected, 1e-10)


@pytest.mark.parametrize("run", ["vmap", "map"])
@pytest.mark.parametrize("choice", CHOICES)
def test_members_with_their_own_weights(choice, run):
    with jax.enable_x64(True):
        x, w = (jnp.asarray(a) for a in drawn((2, 9, 7, 3, 8), members=(3,)))
        solo = jax.jit(derivatives(reference))
        alone = [solo(x[n], w[n]) for n in range(3)]
        expected = jax.tree.map(lambda *leaves: np.stack(leaves), *alone)
        member = derivatives(implementation(choice))
        fleet = (
            jax.vmap(member)
            if run == "vmap"
            else lambda x, w: lax.map(lambda a: member(*a), (x, w))
        )
        assert_close(jax.jit(fleet)(x, w), expected, 1e-10)


@pytest.mark.parametrize("device", ["cpu", "gpu", "tpu"])
def test_the_table_has_a_choice_for_every_layer(device):
    for name in ("convolve", "weight_gradient"):
        for c_in in (1, 3, 8, 32):
            for c_out in (1, 3, 8, 32):
                for dtype in (jnp.float32, jnp.bfloat16):
                    choice = conv.choose(name, c_in, c_out, dtype, device)
                    assert choice in conv.IMPLEMENTATIONS
                assert choice != "winograd"  # too coarse in bfloat16


@pytest.mark.parametrize("members", [(), (3,)], ids=["alone", "members"])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_forms_for_other_devices(platform, members):
    """Which a CPU computes too, slowly; `direct` is another there."""
    with jax.enable_x64(True):
        x, w = (jnp.asarray(a) for a in drawn((2, 7, 9, 3, 5), members=members))
        alone = jax.jit(derivatives(reference))
        if members:
            each = [alone(x[n], w[n]) for n in range(*members)]
            expected = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
        else:
            expected = alone(x, w)
        with backend.described([types.SimpleNamespace(platform=platform)]):
            op = derivatives(implementation("direct"))
            actual = jax.jit(jax.vmap(op) if members else op)(x, w)
        assert_close(actual, expected, 1e-10)


@pytest.mark.parametrize("batched", [(0, None), (None, 0)], ids=["x", "g"])
def test_a_weight_gradient_of_members_that_share_an_array(batched):
    x, g = np.ones((4, 1, 7, 8, 2)), np.ones((4, 1, 5, 6, 3))
    x, g = (np.random.default_rng(n).normal(size=a.shape) for n, a in enumerate((x, g)))
    x, g = (a if axis == 0 else a[0] for a, axis in zip((x, g), batched, strict=True))
    with jax.enable_x64(True):
        plain = jax.vmap(conv.weight_gradient, batched)(x, g)
        with backend.described([types.SimpleNamespace(platform="cuda")]):
            found = jax.vmap(functools.partial(conv.weight_gradient), batched)(x, g)
    np.testing.assert_allclose(found, plain, rtol=1e-12)
