"""Each map asks the device for the products that the setting promises."""

import types

import jax
import jax.numpy as jnp
import pytest

from singan_jax import backend, conv

PLATFORMS = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}


def asked_for(device, precision):
    """What convolutions of float32 ask for, (of the map, its input gradient, its weight one)."""
    x, w, g = jnp.ones((1, 9, 9, 4)), jnp.ones((3, 3, 4, 4)), jnp.ones((1, 7, 7, 4))

    def maps(x, w, g):
        y, pullback = jax.vjp(lambda x, w: conv.convolve(x, w, precision=precision), x, w)
        return y, *pullback(g)

    with backend.described([types.SimpleNamespace(platform=PLATFORMS[device])]):
        jaxpr = jax.make_jaxpr(maps)(x, w, g).jaxpr
    return [found for equation in jaxpr.eqns for found in precisions(equation)]


def precisions(equation):
    """Those of an equation, or of what is called by it."""
    if equation.primitive.name == "conv_general_dilated":
        asked = equation.params["precision"]
        return [asked and asked[0].name.lower()]
    jaxprs = [getattr(value, "jaxpr", None) for value in equation.params.values()]
    return [p for j in jaxprs if j is not None for e in j.eqns for p in precisions(e)]


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("cpu", "fast", [None] * 3),
        ("cpu", "exact", [None] * 3),
        ("tpu", "fast", ["default"] * 3),
        ("tpu", "balanced", ["high", "default", "default"]),
        ("tpu", "exact", ["highest"] * 3),
        ("gpu", "fast", ["default"] * 3),
        ("gpu", "balanced", ["highest", "default", "default"]),
        ("gpu", "exact", ["highest"] * 3),
    ],
)
def test_each_map_asks_for_what_is_promised(device, precision, expected):
    assert asked_for(device, precision) == expected


def test_second_derivatives_are_maps_of_the_same_precision():
    """The gradient penalty's: an input gradient, differentiated by weights."""

    def penalty(w):
        gradient = jax.grad(lambda x: jnp.sin(conv.convolve(x, w, precision="exact")).sum())
        return jnp.square(gradient(jnp.ones((1, 9, 9, 4)))).sum()

    with backend.described([types.SimpleNamespace(platform="tpu")]):
        jaxpr = jax.make_jaxpr(jax.grad(penalty))(jnp.ones((3, 3, 4, 5))).jaxpr
    found = [p for equation in jaxpr.eqns for p in precisions(equation)]
    assert len(found) >= 5
    assert set(found) == {"highest"}
