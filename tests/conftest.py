"""All tests run on four virtual CPU devices (or on the accelerator, where there is one)."""

import pytest

import singan_jax
from singan_jax import backend

singan_jax.configure_jax(cpu_devices=4)


@pytest.fixture(autouse=True, scope="module")
def _room():
    """A process of tests compiles more programs than Linux lets it keep."""
    backend.make_room()
