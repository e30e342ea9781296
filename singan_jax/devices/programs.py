"""The compiled programs of a bucket.

Each scale has three (begin, chunk, finish), compiled once, ahead of time, for a number of members;
a thread compiles the next scale's while this one trains.
"""

import concurrent.futures
import contextvars
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from singan_jax import backend
from singan_jax.devices import sharding
from singan_jax.devices.bucket import Bucket
from singan_jax.devices.packs import Packs
from singan_jax.scale import train_scale
from singan_jax.scale.layout import PLAIN, Layout

_MEMORY_SHARE = 0.85  # of a device's memory that programs and their arguments may take


class ScalePrograms(NamedTuple):
    """Compiled for `members`; see `train_scale` for what each does with one member.

    Attributes:
      members: number of members, a multiple of the number of devices.
      begin: a `Start` to (task, state).
      chunk: (scales, task, state, start, stop) to (state, metrics); takes over state's memory.
      finish: (task, state) to (frozen, rec, rec_next).
    """

    members: int
    begin: Any
    chunk: Any
    finish: Any


_Key = tuple[tuple[jax.Device, ...], int, int]  # devices, scale, members


class Compiler:
    """Compiles the programs of a bucket in a thread of its own, for the devices of the caller's."""

    def __init__(self, bucket: Bucket):
        """`bucket` is the one the members belong to; compiles nothing yet."""
        self.bucket = bucket
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "compile")
        self._pending: dict[_Key, concurrent.futures.Future[ScalePrograms]] = {}

    def prefetch(self, scale: int, members: int) -> None:
        """Starts compiling a scale in the background, if there is such a scale."""
        key = (backend.devices(), scale, members)
        if scale < self.bucket.pyramid.num_scales and key not in self._pending:
            here = contextvars.copy_context()
            self._pending[key] = self._thread.submit(here.run, self._compile, scale, members)

    def programs(self, scale: int, members: int) -> ScalePrograms:
        """The programs of a scale for at most `members`; fewer where memory does not allow more.

        Raises:
          MemoryError: not even one member per device fits.
        """
        self.prefetch(scale, members)
        return self._pending[backend.devices(), scale, members].result()

    def _compile(self, scale: int, members: int) -> ScalePrograms:
        members = sharding.padded_size(members)
        while True:
            chunk = chunk_program(self.bucket, scale, members)
            if sharding.fits(chunk, _MEMORY_SHARE):
                break
            if members == sharding.padded_size(1):
                size = "x".join(map(str, self.bucket.pyramid.sizes[scale][::-1]))
                raise MemoryError(
                    f"one member per device at {size} pixels does not fit the device's memory; "
                    "lower `config.max_size`"
                )
            members = sharding.padded_size(members // 2)
        begin, finish = _ends(self.bucket, scale, members)
        return ScalePrograms(members, begin, chunk, finish)

    def forget(self, scale: int) -> None:
        """Lets go of a scale's programs, as there is not room for those of all scales."""
        for key in [key for key in self._pending if key[1] == scale]:
            del self._pending[key]

    def close(self) -> None:
        """Stops the compiling thread, and lets go of the programs."""
        self._thread.shutdown(cancel_futures=True)
        self._pending.clear()


# A process that trains fleets of one shape again and again, as a notebook does, finds the programs
# of the last ones here: even where they are compiled on disk, tracing them anew takes seconds.
@backend.cached(64)
def chunk_program(bucket: Bucket, scale: int, members: int) -> Any:
    """The `ScalePrograms.chunk` of a scale, whether or not a device has the memory for it."""
    shapes = bucket.shapes[scale]
    scales = tuple(s.frozen for s in bucket.shapes[:scale])
    chunk = functools.partial(_chunk, bucket, scale)
    width, size = bucket.config.width(scale), bucket.pyramid.sizes[scale]
    packs = functools.partial(Packs.of, width=width, size=size)
    spread = sharding.over_members(chunk, shared=2, donate=(2,), packs=packs)
    count = sharding.scalar_spec(jnp.int32)
    return compiled(spread, members, scales, shapes.task, shapes.state, shared=(count, count))


def _chunk(bucket: Bucket, scale: int, *arguments: Any, layout: Layout = PLAIN) -> Any:
    settings = bucket.config, bucket.pyramid, scale
    if layout.members:
        return train_scale.train_pack(*settings, layout, *arguments)
    return train_scale.train_chunk(*settings, *arguments)


@backend.cached(64)
def _ends(bucket: Bucket, scale: int, members: int) -> tuple[Any, Any]:
    shapes = bucket.shapes[scale]
    begin = functools.partial(train_scale.begin, bucket.config, scale)
    finish = functools.partial(train_scale.finish, bucket.config, bucket.pyramid, scale)
    return (
        compiled(sharding.over_members(begin), members, shapes.start),
        compiled(sharding.over_members(finish), members, shapes.task, shapes.state),
    )


def compiled(spread: Any, members: int, *arguments: Any, shared: tuple[Any, ...] = ()) -> Any:
    """Compiles a function over `members` members; `arguments` are the shapes of one member."""
    specs = sharding.specs(arguments, members)
    traced = spread.trace(*specs, *shared)
    return traced.lower(lowering_platforms=backend.lowering_platforms()).compile()
