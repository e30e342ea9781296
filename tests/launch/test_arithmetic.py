"""FLOP that are needed, against those of the program that JAX traces."""

import jax
import jax.numpy as jnp
import pytest
from jax.interpreters import partial_eval

from classify.backbones.backbone import load_backbone
from launch.benchmarks import arithmetic
from singan_jax.config import Config
from singan_jax.conv import direct
from singan_jax.conv.implementations import WEIGHT_GRADIENT
from singan_jax.devices.bucket import Bucket
from singan_jax.scale import train_scale, train_step

CONFIGS = [
    Config(max_size=32, num_layers=3, base_channels=8, max_channels=8),
    Config(max_size=32, num_layers=4, base_channels=6, max_channels=6, d_steps=2, g_steps=1),
]


def useful(jaxpr):
    """FLOP of all convolutions; of a padded one, those that its padding takes part in left out."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            x, w = (variable.aval for variable in equation.invars)
            y, numbers = equation.outvars[0].aval, equation.params["dimension_numbers"]
            if any(map(any, equation.params["padding"])):
                total += 2 * 9 * x.size * y.shape[numbers.out_spec[1]]
            else:
                total += 2 * y.size * w.size // w.shape[numbers.rhs_spec[0]]
        elif equation.primitive.name != "cond":  # of pictures, which are drawn now and then
            inner = sum(map(useful, arithmetic._programs(equation.params.values())))
            total += inner * equation.params.get("length", 1)
    return total


def without_padding(x, g, pad):
    """The weight gradient of a convolution, its padding left out."""
    if pad:
        return direct.weight_gradient(g, x, 0)[::-1, ::-1].transpose(0, 1, 3, 2)
    return direct.weight_gradient(x, g, 0)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("scale", [0, 2])
def test_an_iteration(config, scale, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")  # where layers are convolutions
    monkeypatch.setitem(WEIGHT_GRADIENT, "direct", without_padding)
    bucket = Bucket(config, (31, 32, 3))
    shapes, pyramid = bucket.shapes[scale], bucket.pyramid
    assert len(set(pyramid.sizes)) == 3

    def iteration(scales, task, state, number):
        draws = train_scale.draw(config, pyramid, scale, scales, task, number)
        return train_step.iterate(config, scale, state, task, draws, number)

    scales = tuple(one.frozen for one in bucket.shapes[:scale])
    number = jax.ShapeDtypeStruct((), jnp.int32)
    jaxpr = jax.make_jaxpr(iteration)(scales, shapes.task, shapes.state, number).jaxpr
    needed, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    assert arithmetic.iteration(config, scale, pyramid.sizes) == useful(needed)


def test_an_iteration_is_about_63_forward_passes():
    config, sizes = Config(), [(1000, 1000)]
    forward = sum(arithmetic.generator(config, 0, sizes[0]))
    assert arithmetic.iteration(config, 0, sizes) == pytest.approx(63 * forward, rel=0.05)
    assert forward == pytest.approx(18 * (3 * 32**2 + 6 * 32) * 1000**2, rel=0.02)


def test_a_sample_is_a_pass_through_each_scale():
    config = Config(num_layers=2, base_channels=4)
    # 3 to 4 and 4 to 3 channels; the first layer makes a border of one pixel.
    small, large = (18 * 12 * ((side + 2) ** 2 + side**2) for side in (5, 9))
    assert arithmetic.sample(config, [(5, 5), (9, 9)]) == small + large


def test_products_of_any_function():
    def function(x, w):
        y = jax.lax.conv(x, w, (1, 1), "SAME")  # (2, 5, 6, 6)
        y, _ = jax.lax.scan(lambda y, _: (y @ jnp.ones((6, 6)), None), y, length=4)
        return jax.jit(jnp.sin)(y).sum()

    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, 3, 6, 6), (5, 3, 3, 3))]
    wanted = 2 * (2 * 5 * 36) * (3 * 9) + 4 * 2 * (2 * 5 * 36) * 6
    assert arithmetic.of_function(function, *shapes) == wanted


def test_products_of_a_backbone_grow_with_its_patches():
    backbone = load_backbone("resnet_small", "random", 64)
    two, four = (
        arithmetic.of_function(backbone.features, backbone.variables, pixels)
        for pixels in (jax.ShapeDtypeStruct((n, 64, 64, 3), jnp.uint8) for n in (2, 4))
    )
    assert four == 2 * two > 0
