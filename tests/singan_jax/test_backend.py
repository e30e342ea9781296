"""Programs are kept for the next that asks, as long as the process has room for them."""

import gc
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from singan_jax import backend

MAPPINGS = pathlib.Path("/proc/self/maps")
linux_only = pytest.mark.skipif(not MAPPINGS.exists(), reason="no such limit here")


def mappings():
    gc.collect()
    return MAPPINGS.read_text().count("\n")


@pytest.fixture
def limit(monkeypatch):
    """Sets how many mappings the process may have; None for no limit."""
    return lambda value: monkeypatch.setattr(backend, "_limit_of_mappings", lambda: value)


@pytest.mark.parametrize("given", [None, 1_000_000_000])
def test_a_result_is_kept(limit, given):
    limit(given)
    made = []
    make = backend.cached(8)(lambda n: made.append(n) or object())
    assert make(1) is make(1)
    assert make(2) is not make(1)
    assert made == [1, 2]


@linux_only
def test_only_what_was_made_last_is_kept_where_there_is_no_room(limit):
    limit(1)
    made = []
    make, other = (backend.cached(8)(lambda n: made.append(n) or object()) for _ in range(2))
    first, second = make(1), other(2)
    assert other(2) is second
    assert make(1) is not first
    assert made == [1, 2, 1]


@linux_only
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of programs for CPU")
def test_programs_give_their_memory_back(limit):
    """Each of these is compiled to pieces of its own."""

    @backend.cached()
    def compiled(seed):
        kernels = jnp.asarray(np.random.default_rng(seed).normal(size=(6, 3, 3, 4, 4)), float)

        def network(x):
            for kernel in kernels:
                x = jax.lax.conv_general_dilated(
                    x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
                x = jnp.sin(jnp.cumsum(x, axis=seed % 2 + 1))
            return x

        return jax.jit(jax.grad(lambda x: network(x).sum())).lower(jnp.ones((1, 9, 9, 4))).compile()

    limit(math.inf)
    start = mappings()
    for seed in range(4):
        compiled(seed)
    many = mappings()
    assert many > start + 30
    limit(1)
    backend.make_room()
    assert mappings() < start + (many - start) / 4
