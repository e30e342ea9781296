"""The devices that programs are made for: those of this process, or others only described.

A compiler needs no device to compile for one. Where a program is made for a TPU on a machine that
has none (see `launch.benchmark --suites=compiled`), whatever asks here for the devices is told of
that TPU, and so makes the choices that it would make there.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Literal

import jax

Backend = Literal["cpu", "gpu", "tpu"]
_DESCRIBED: contextvars.ContextVar[tuple[jax.Device, ...]] = contextvars.ContextVar("described")


@contextlib.contextmanager
def described(devices: Sequence[jax.Device]) -> Iterator[None]:
    """Inside, programs are made for these devices of a topology instead of those at hand."""
    token = _DESCRIBED.set(tuple(devices))
    try:
        yield
    finally:
        _DESCRIBED.reset(token)


def devices() -> tuple[jax.Device, ...]:
    """The devices of this process, or those described."""
    return _DESCRIBED.get(None) or tuple(jax.local_devices())


def backend() -> Backend:
    """Their kind."""
    given = _DESCRIBED.get(None)
    name = given[0].platform if given else jax.default_backend()
    kinds: dict[str, Backend] = {"cpu": "cpu", "tpu": "tpu"}
    return kinds.get(name, "gpu")  # "gpu", "cuda" or "rocm"


def lowering_platforms() -> tuple[str, ...] | None:
    """What JAX is to lower programs for; None where it is for the devices at hand."""
    if _DESCRIBED.get(None) is None:
        return None
    return ("cuda",) if backend() == "gpu" else (backend(),)
