"""The devices that programs are made for: those of this process, or others only described.

A compiler needs no device to compile for one. Where a program is made for a TPU on a machine that
has none (see `launch.benchmark --suites=tpu`), whatever asks here for the devices is told of
that TPU, and so makes the choices that it would make there.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax

Backend = Literal["cpu", "gpu", "tpu"]
_DESCRIBED: contextvars.ContextVar[tuple[jax.Device, ...]] = contextvars.ContextVar("described")
_MEMORY: contextvars.ContextVar[int | None] = contextvars.ContextVar("memory", default=None)


@contextlib.contextmanager
def described(devices: Sequence[jax.Device], memory: int | None = None) -> Iterator[None]:
    """Inside, programs are made for these devices of a topology instead of those at hand.

    Args:
      devices: of one kind.
      memory: bytes that each of them has, where something asks for that.
    """
    tokens = _DESCRIBED.set(tuple(devices)), _MEMORY.set(memory)
    try:
        yield
    finally:
        _DESCRIBED.reset(tokens[0])
        _MEMORY.reset(tokens[1])


def devices() -> tuple[jax.Device, ...]:
    """The devices of this process, or those described."""
    return _DESCRIBED.get(None) or tuple(jax.local_devices())


def cached(most: int | None = None) -> Callable[[Callable[..., Any]], Any]:
    """As `functools.lru_cache`, for what makes programs: those of other devices are others.

    Args:
      most: number of results to keep; None for all.
    """

    def decorator(make: Callable[..., Any]) -> Any:
        @functools.lru_cache(most)
        def kept(_: tuple[jax.Device, ...], *arguments: Any) -> Any:
            return make(*arguments)

        @functools.wraps(make)
        def made(*arguments: Any) -> Any:
            return kept(devices(), *arguments)

        made.cache_clear = kept.cache_clear  # type: ignore[attr-defined]
        return made

    return decorator


def described_memory() -> int | None:
    """Bytes of memory of each described device; None where devices are those at hand."""
    return _MEMORY.get()


def backend() -> Backend:
    """The kind of the devices described, or at hand."""
    given = _DESCRIBED.get(None)
    name = given[0].platform if given else jax.default_backend()
    kinds: dict[str, Backend] = {"cpu": "cpu", "tpu": "tpu"}
    return kinds.get(name, "gpu")  # "gpu", "cuda" or "rocm"


def lowering_platforms() -> tuple[str, ...] | None:
    """What JAX is to lower programs for; None where it is for the devices at hand."""
    if _DESCRIBED.get(None) is None:
        return None
    return ("cuda",) if backend() == "gpu" else (backend(),)
