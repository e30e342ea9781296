"""The compiled programs of a bucket: all members of one shape and one config.

Each scale has three (begin, chunk, finish), compiled once, ahead of time, for a number of members;
a thread compiles the next scale's while this one trains.
"""

import concurrent.futures
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from singan_jax import pyramid, sharding, train_scale
from singan_jax.config import Config
from singan_jax.generate import FrozenScale
from singan_jax.pyramid import Pyramid
from singan_jax.train_step import Hyper, ScaleState, Task

_MEMORY_SHARE = 0.85  # of a device's memory that programs and their arguments may take


class ScaleShapes(NamedTuple):
    """Shapes of one member's arrays at one scale."""

    task: Task
    state: ScaleState
    frozen: FrozenScale
    rec: jax.ShapeDtypeStruct
    rec_next: jax.ShapeDtypeStruct


class ScalePrograms(NamedTuple):
    """Compiled for `members`; see `train_scale` for what each does with one member.

    Attributes:
      members: number of members, a multiple of the number of devices.
      begin: (key, hyper, real, rec_prev, healthy, inherited) to (task, state).
      chunk: (scales, task, state, start, stop) to (state, metrics); takes over state's memory.
      finish: (task, state) to (frozen, rec, rec_next).
    """

    members: int
    begin: Any
    chunk: Any
    finish: Any


def inherits(config: Config, scale: int) -> bool:
    """Whether a scale starts from the weights of the one before."""
    return scale > 0 and config.width(scale) == config.width(scale - 1)


class Bucket:
    """Shapes and programs of all members of one shape."""

    def __init__(self, config: Config, shape: tuple[int, int, int], images: int = 1):
        """`shape` is (H, W, C) of the images, of which each member has `images`."""
        self.config, self.images = config, images
        self.channels = shape[2]
        self.pyramid: Pyramid = pyramid.plan(shape[:2], config)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "compile")
        self._pending: dict[tuple[int, int], concurrent.futures.Future[ScalePrograms]] = {}

    @functools.cached_property
    def shapes(self) -> list[ScaleShapes]:
        """Of every scale, coarsest first."""
        found: list[ScaleShapes] = []
        key = jax.eval_shape(lambda: jax.random.key(0))
        hyper = jax.eval_shape(lambda: Hyper.of(self.config, {}))
        for scale, size in enumerate(self.pyramid.sizes):
            real = jax.ShapeDtypeStruct((self.images, *size, self.channels), jnp.float32)
            healthy = jax.ShapeDtypeStruct((), jnp.bool_)
            task, state = jax.eval_shape(
                functools.partial(train_scale.begin, self.config, scale, inherited=None),
                key,
                hyper,
                real,
                real,
                healthy,
            )
            finish = functools.partial(train_scale.finish, self.config, self.pyramid, scale)
            frozen, rec, rec_next = jax.eval_shape(finish, task, state)
            found.append(ScaleShapes(task, state, frozen, rec, rec_next))
        return found

    def build_pyramid(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """(members, images, H, W, C) on the devices to their scales."""
        build = functools.partial(
            pyramid.build, pyramid=self.pyramid, uint8=self.config.uint8_resize
        )
        return sharding.over_members(build)(images)

    def prefetch(self, scale: int, members: int) -> None:
        """Starts compiling a scale in the background, if there is such a scale."""
        key = (scale, members)
        if scale < self.pyramid.num_scales and key not in self._pending:
            self._pending[key] = self._thread.submit(self._compile, scale, members)

    def programs(self, scale: int, members: int) -> ScalePrograms:
        """The programs of a scale for at most `members`; fewer where memory does not allow more.

        Raises:
          MemoryError: not even one member per device fits.
        """
        self.prefetch(scale, members)
        return self._pending[scale, members].result()

    def _compile(self, scale: int, members: int) -> ScalePrograms:
        members = sharding.padded_size(members)
        while True:
            chunk = self._lower_chunk(scale, members)
            if sharding.fits(chunk, _MEMORY_SHARE):
                break
            if members == sharding.padded_size(1):
                size = "x".join(map(str, self.pyramid.sizes[scale][::-1]))
                raise MemoryError(
                    f"one member per device at {size} pixels does not fit the device's memory; "
                    "lower --config.max_size"
                )
            members = sharding.padded_size(members // 2)
        return ScalePrograms(
            members, self._lower_begin(scale, members), chunk, self._lower_finish(scale, members)
        )

    def _lower_begin(self, scale: int, members: int) -> Any:
        shapes = self.shapes[scale]
        begin = functools.partial(train_scale.begin, self.config, scale)
        arguments: tuple[Any, ...] = (
            shapes.task.key,
            shapes.task.hyper,
            shapes.task.real,
            shapes.task.real,
            shapes.state.healthy,
        )
        if inherits(self.config, scale):
            networks = (shapes.state.generator.variables, shapes.state.discriminator.variables)
            spread = sharding.over_members(begin)
            arguments = (*arguments, networks)
        else:
            spread = sharding.over_members(functools.partial(begin, inherited=None))
        return spread.lower(*sharding.specs(arguments, members)).compile()

    def _lower_chunk(self, scale: int, members: int) -> Any:
        shapes = self.shapes[scale]
        scales = tuple(s.frozen for s in self.shapes[:scale])
        chunk = functools.partial(train_scale.train_chunk, self.config, self.pyramid, scale)
        spread = sharding.over_members(chunk, shared=2, donate=(2,))
        arguments = sharding.specs((scales, shapes.task, shapes.state), members)
        count = sharding.scalar_spec(jnp.int32)
        return spread.lower(*arguments, count, count).compile()

    def _lower_finish(self, scale: int, members: int) -> Any:
        shapes = self.shapes[scale]
        finish = functools.partial(train_scale.finish, self.config, self.pyramid, scale)
        arguments = sharding.specs((shapes.task, shapes.state), members)
        return sharding.over_members(finish).lower(*arguments).compile()

    def close(self) -> None:
        """Stops the compiling thread."""
        self._thread.shutdown(cancel_futures=True)


def relative_cost(config: Config, plan: Pyramid, scale: int) -> float:
    """Time of one iteration at a scale, in arbitrary units; fitted on CPU at widths 32 and 64."""
    height, width = plan.sizes[scale]
    return height * width * config.width(scale) * (config.width(scale) + 128)
