"""Convolutions in bfloat16: near float32, with everything that is kept in float32."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import singan_jax
from singan_jax.scale import losses, networks, train_step

MIXED = dataclasses.replace(tiny.CONFIG, compute_dtype="bfloat16")


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]).astype(np.float64)


def test_only_the_convolutions_are_rounded():
    """Kernels and images here are such as bfloat16 holds exactly, sums are not."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(-8, 8, (1, 9, 9, 4)), jnp.float32) / 8
    kernel = jnp.asarray(rng.integers(-8, 8, (3, 3, 4, 5)), jnp.float32) / 8
    exact, mixed = (
        networks._convolve(x, kernel, networks.Arithmetic(dtype))
        for dtype in ("float32", "bfloat16")
    )
    assert mixed.dtype == jnp.float32
    # Sums of up to 36 terms may be rounded on the way, each time by at most 2^-9 of their size.
    np.testing.assert_allclose(mixed, exact, atol=9 * 2**-8 * float(jnp.abs(exact).max()))
    assert (mixed != exact).any()


@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_of_the_critic_point_the_same_way(seed):
    keys = jax.random.split(jax.random.key(seed), 3)
    real, fake = (jax.random.uniform(key, (1, 18, 20, 3), minval=-1.0) for key in keys[:2])
    gradients = []
    for config in (tiny.CONFIG, MIXED):
        _, critic = train_step.modules(config, 0)
        variables = critic.init(keys[2], real)

        def loss(params, critic=critic, variables=variables):
            whole = {**variables, "params": params}
            real_scores, fake_scores = (
                networks.train_pass(critic, whole, images)[0] for images in (real, fake)
            )
            penalty, _ = losses.gradient_penalty(critic, whole, real, fake, 0.3)
            return fake_scores.mean() - real_scores.mean() + 0.1 * penalty

        gradients.append(jax.grad(loss)(variables["params"]))
    exact, mixed = map(flat, gradients)
    cosine = exact @ mixed / np.linalg.norm(exact) / np.linalg.norm(mixed)
    assert 0.99 < cosine < 1 - 1e-9
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(gradients[1]))


@pytest.mark.slow
def test_a_fleet_trains_and_keeps_float32(tmp_path):
    singan_jax.train_fleet([tiny.image(1)], MIXED, tmp_path / "mixed")
    singan_jax.train_fleet([tiny.image(1)], tiny.CONFIG, tmp_path / "exact")
    mixed, exact = (tiny.weights(tmp_path / name)["image1"] for name in ("mixed", "exact"))
    assert {x.dtype.name for x in mixed.values() if x.dtype.kind == "f"} == {"float32"}
    kernels = [path for path in mixed if "kernel" in path]
    difference = max(np.abs(mixed[path] - exact[path]).max() for path in kernels)
    # 15 Adam steps of 5e-4 in whichever direction at most.
    assert 0 < difference < 2 * 15 * 5e-4


def test_refuses_other_types():
    with pytest.raises(singan_jax.ConfigError, match=r"`config\.compute_dtype`=float16"):
        singan_jax.config.validate(dataclasses.replace(tiny.CONFIG, compute_dtype="float16"))
