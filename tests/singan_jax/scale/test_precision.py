"""What accelerators' products do to the original code's recorded gradients, emulated on CPU."""

import contextlib
import functools
import types

import goldens_io as goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from singan_jax import backend, conv
from singan_jax.scale import losses
from singan_jax.scale.networks import Discriminator, Generator, ImageNorm, train_pass


def rounded(bits):
    """Products of what is left of the arrays with so many bits behind the leading one."""

    def products(multiply, a, b, pad):
        a, b = (jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=bits) for x in (a, b))
        return multiply(a, b, pad)

    return products


def three_passes(multiply, a, b, pad):
    """Each array as a sum of two of bfloat16; the product of both remainders is left out."""
    high_a, high_b = (jax.lax.reduce_precision(x, 8, 7) for x in (a, b))
    low_a, low_b = (jax.lax.reduce_precision(x, 8, 7) for x in (a - high_a, b - high_b))
    high = multiply(high_a, high_b, pad)
    return high + multiply(high_a, low_b, pad) + multiply(low_a, high_b, pad)


def whole(multiply, a, b, pad):
    return multiply(a, b, pad)


BFLOAT16, TF32 = rounded(7), rounded(10)
TPU = {  # in the forward pass and in the backward one
    "fast": (BFLOAT16, BFLOAT16),
    "balanced": (three_passes, BFLOAT16),
    "exact": (whole, whole),
}
GPU = {"fast": (TF32, TF32), "balanced": (whole, TF32), "exact": (whole, whole)}


@pytest.fixture
def multiplying(monkeypatch):
    """Has the maps multiply in other ways."""

    def multiply(forward, backward):
        jax.clear_caches()
        products = [None]  # of the map that is traced

        @contextlib.contextmanager
        def products_of(**told):
            before, products[0] = products[0], backward if told["backward"] else forward
            yield
            products[0] = before

        monkeypatch.setattr(conv, "products_of", products_of)
        for implementations in (conv.CONVOLVE, conv.WEIGHT_GRADIENT):
            one = implementations["direct"]
            for name in implementations:
                emulated = functools.partial(lambda one, *given: products[0](one, *given), one)
                monkeypatch.setitem(implementations, name, emulated)

    yield multiply
    jax.clear_caches()


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]).astype(np.float64)


def error(actual, expected):
    """Relative, of all arrays as one vector."""
    return np.linalg.norm(flat(actual) - flat(expected)) / np.linalg.norm(flat(expected))


def errors():
    """Of the gradients of the penalty, of the critic's loss and of the generator's."""
    nets = goldens.load("networks.npz")
    generator, critic = Generator(8, 5), Discriminator(8, 5)
    d0, d1, g0 = (goldens.variables(goldens.group(nets, name)) for name in ("D0", "D1", "G0"))
    names = ("real", "fake_train", "noise_in", "prev", "rec_in", "rec_prev")
    real, fake, noisy, prev, rec_in, rec_prev = (goldens.nhwc(nets[name]) for name in names)

    def penalty(params):
        variables = {**d0, "params": params}
        return 0.1 * losses.gradient_penalty(critic, variables, real, fake, nets["alpha"])[0]

    def critic_loss(params):
        variables = {**d0, "params": params}
        return losses.critic_loss(critic, variables, real, fake, nets["alpha"], 0.1)[0]

    def generator_loss(params):
        inputs = jnp.concatenate([noisy, rec_in]), jnp.concatenate([prev, rec_prev])
        images, _ = train_pass(generator, {**g0, "params": params}, *inputs)
        score = train_pass(critic, d1, images[:1])[0].mean()
        return 10.0 * losses.reconstruction_loss(images[1], real[0]) - score

    found = {
        "dGP": jax.grad(penalty)(d0["params"]),
        "dD": jax.grad(critic_loss)(d0["params"]),
        "dG": jax.grad(generator_loss)(g0["params"]),
    }
    return {
        name: error(gradients, goldens.params(goldens.group(nets, name)))
        for name, gradients in found.items()
    }


@pytest.mark.parametrize("device", [TPU, GPU], ids=["tpu", "gpu"])
def test_the_default_keeps_its_tolerance(multiplying, device):
    """That of the table in `singan_jax.conv.precision`: half a percent."""
    multiplying(*device["balanced"])
    assert 1e-4 < max(errors().values()) < 5e-3


@pytest.mark.parametrize("device", [TPU, GPU], ids=["tpu", "gpu"])
def test_the_fast_one_is_off_by_percents(multiplying, device):
    """As the table says; were it not so, there would be no reason for another default."""
    multiplying(*device["fast"])
    found = errors()
    assert 0.05 < found["dGP"] < 0.3
    assert 0.03 < found["dD"] < 0.2
    assert 0.003 < found["dG"] < 0.1


def test_the_exact_one_is_float32(multiplying):
    multiplying(*TPU["exact"])
    assert max(errors().values()) < 1e-5


def test_three_passes_are_right_to_sixteen_bits(multiplying):
    multiplying(three_passes, three_passes)
    assert 1e-6 < max(errors().values()) < 1e-4


@pytest.mark.parametrize("mean", [0.0, 3.0, -10.0])
def test_a_norm_that_reads_its_input_once_is_that_of_float64(mean):
    """The variance as a difference of means loses what mean^2 is larger than it, in bits."""
    rng = np.random.default_rng(0)
    x = rng.normal(mean, 1.0, (2, 9, 11, 5)).astype(np.float32)
    exact = x.astype(np.float64)
    exact -= exact.mean((1, 2), keepdims=True)
    exact /= np.sqrt(np.square(exact).mean((1, 2), keepdims=True) + 1e-5)
    norm = ImageNorm()
    variables = {"params": {"scale": jnp.ones(5), "bias": jnp.zeros(5)}}
    variables["batch_stats"] = {"mean": jnp.zeros(5), "var": jnp.ones(5)}
    found = []
    for platform in ("cpu", "cuda"):
        with backend.described([types.SimpleNamespace(platform=platform)]):
            found.append(norm.apply(variables, jnp.asarray(x), train=True))
    assert (found[0] != found[1]).any()
    for normalised in found:
        np.testing.assert_allclose(normalised, exact, atol=2e-6 * (1 + mean**2))
