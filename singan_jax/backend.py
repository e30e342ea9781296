"""The devices that programs are made for: those of this process, or others only described.

A compiler needs no device to compile for one. Where a program is made for a TPU on a machine that
has none (see `launch.benchmark --suites=tpu`), whatever asks here for the devices is told of
that TPU, and so makes the choices that it would make there.
"""

import contextlib
import contextvars
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax

Backend = Literal["cpu", "gpu", "tpu"]
_DESCRIBED: contextvars.ContextVar[tuple[jax.Device, ...]] = contextvars.ContextVar("described")
_CHOSEN: contextvars.ContextVar[tuple[jax.Device, ...]] = contextvars.ContextVar("chosen")
_MEMORY: contextvars.ContextVar[int | None] = contextvars.ContextVar("memory", default=None)

_MAPPINGS = pathlib.Path("/proc/self/maps")  # a line for each
_LIMIT = pathlib.Path("/proc/sys/vm/max_map_count")
_SHARE_OF_MAPPINGS = 1 / 4  # of the limit; programs in use stay, and may be twice as many
_KEPT: list[Any] = []  # the caches of `cached`


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
    """Those of this thread, where it chose some with `on`; else those described, or at hand."""
    return _CHOSEN.get(None) or _DESCRIBED.get(None) or tuple(jax.local_devices())


@contextlib.contextmanager
def on(chosen: Sequence[jax.Device]) -> Iterator[None]:
    """Within this context, all that this thread computes is on the `chosen` devices.

    Other threads do not notice; a thread that is to follow this one runs in a copy of its context
    (`contextvars.copy_context`).
    """
    token = _CHOSEN.set(tuple(chosen))
    try:
        with jax.default_device(chosen[0]):
            yield
    finally:
        _CHOSEN.reset(token)


def cached(most: int | None = None) -> Callable[[Callable[..., Any]], Any]:
    """As `functools.lru_cache`, for what makes programs: those of other devices are others.

    Args:
      most: number of results to keep; None for all.
    """

    def decorator(make: Callable[..., Any]) -> Any:
        @functools.lru_cache(most)
        def kept(_: tuple[jax.Device, ...], *arguments: Any) -> Any:
            make_room()
            return make(*arguments)

        _KEPT.append(kept)

        @functools.wraps(make)
        def made(*arguments: Any) -> Any:
            return kept(devices(), *arguments)

        made.cache_clear = kept.cache_clear  # type: ignore[attr-defined]
        return made

    return decorator


def make_room() -> None:
    """Forgets programs where the process keeps so many that the next might end it.

    What XLA compiles for a CPU lies in hundreds of pieces of memory, 2,000 and more for the
    training of a scale. Linux gives a process 65,530 pieces; it crashes when it asks for more.
    """
    limit = _limit_of_mappings()
    for forget in (*(kept.cache_clear for kept in _KEPT), jax.clear_caches):
        if limit is None or _mappings() < _SHARE_OF_MAPPINGS * limit:
            return
        forget()


def _mappings() -> int:
    return _MAPPINGS.read_bytes().count(b"\n")


def _limit_of_mappings() -> int | None:
    """None where there is none, as on macOS."""
    return int(_LIMIT.read_text()) if _LIMIT.exists() and _MAPPINGS.exists() else None


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
