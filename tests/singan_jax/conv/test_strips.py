"""Convolutions of images in strips against those of whole images: values and derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singan_jax import conv
from singan_jax.conv.strips import Strips

SIZES = st.tuples(*[st.integers(1, n) for n in (9, 40, 5, 3)])  # N, H, W, C


@settings(deadline=None, max_examples=8)
@given(SIZES)
def test_an_image_comes_back_whole(shape):
    images = jnp.arange(np.prod(shape), dtype=float).reshape(shape)
    strips = Strips.of(images)
    cut = strips.split(images)
    assert len(cut) % 8 == 0 or shape[1] < 16
    np.testing.assert_array_equal(strips.join(cut), images)
    np.testing.assert_array_equal(strips.masked(cut), cut)
    assert cut.sum() == images.sum()


@settings(deadline=None, max_examples=8)
@given(SIZES)
def test_mean_is_that_of_each_image(shape):
    images = jax.random.normal(jax.random.key(1), shape)
    strips = Strips.of(images)
    means = strips.mean(strips.split(images))
    np.testing.assert_allclose(means, images.mean((1, 2), keepdims=True), rtol=1e-4, atol=1e-6)
    repeated = strips.repeated(means)
    np.testing.assert_array_equal(repeated[:: strips.pieces], means)
    assert len(repeated) == len(strips.split(images))


def whole(weights, images):
    for w in weights:
        images = jnp.sin(conv.convolve(images, w, 0, "direct"))
    return images


def cut(weights, images):
    strips = Strips.of(images)
    x = strips.split(images)
    for w in weights:
        x = jnp.sin(conv.convolve(x, w, 0, "direct", strips))
        strips = strips.taller(-2)
        x += 5 * (1 - strips.masked(jnp.ones_like(x)))  # rows of no image may be anything
    return strips.join(x)


def everything(network, weights, images):
    """Value, gradients, and the gradients of a penalty on the input gradient."""

    def total(weights, images):
        y = network(weights, images)
        return jnp.sum(jnp.cos(y) * jnp.sin(0.1 * jnp.arange(y.size).reshape(y.shape)))

    def penalty(weights, images):
        gradient = jax.grad(total, 1)(weights, images)
        return jnp.square(jnp.sqrt(1 + jnp.square(gradient).sum(-1)) - 1).sum()

    gradients = (jax.grad(f, (0, 1))(weights, images) for f in (total, penalty))
    return network(weights, images), *gradients


@pytest.mark.parametrize("shape", [(1, 17, 9), (2, 16, 11), (3, 9, 12), (8, 7, 8), (1, 7, 7)])
def test_value_and_derivatives(shape):
    with jax.enable_x64(True):
        images = jax.random.normal(jax.random.key(0), (*shape, 3))
        channels = (3, 4, 4, 2)
        weights = [
            jax.random.normal(jax.random.key(n), (3, 3, *channels[n : n + 2])) / 4 for n in range(3)
        ]
        actual, expected = (
            jax.jit(functools.partial(everything, network))(weights, images)
            for network in (cut, whole)
        )
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, 1e-9, 1e-9), actual, expected)
