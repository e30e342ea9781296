"""A bucket: all members of one shape and one config, which share pyramid, shapes and programs."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from singan_jax import backend
from singan_jax.config import Config
from singan_jax.devices import sharding
from singan_jax.scale import train_scale
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.pyramid import Pyramid, build_pyramid
from singan_jax.scale.train_scale import Start, inherits
from singan_jax.scale.train_step import Hyper, ScaleState, Task


class ScaleShapes(NamedTuple):
    """One member's arrays at one scale, as shapes and types without values."""

    start: Start[jax.Array]
    task: Task
    state: ScaleState
    frozen: FrozenScale
    rec: jax.Array
    rec_next: jax.Array


class Bucket:
    """Pyramid and shapes of all members of one shape; see `shared_bucket`."""

    def __init__(self, config: Config, shape: tuple[int, int, int], images: int = 1):
        """`shape` is the (H, W, C) of an image; each member has `images` of them."""
        self.config, self.images = config, images
        self.channels = shape[2]
        self.pyramid = Pyramid.of(shape[:2], config)

    @functools.cached_property
    def shapes(self) -> list[ScaleShapes]:
        """The shapes at every scale, coarsest first."""
        found: list[ScaleShapes] = []
        key = jax.eval_shape(lambda: jax.random.key(0))
        hyper = jax.eval_shape(lambda: Hyper.of(self.config, {}))
        healthy = jax.eval_shape(lambda: jnp.ones((), bool))
        for scale, size in enumerate(self.pyramid.sizes):
            shape = (self.images, *size, self.channels)
            real = jax.eval_shape(functools.partial(jnp.zeros, shape, jnp.float32))
            before = found[-1].state if inherits(self.config, scale) else None
            networks = (before.generator, before.discriminator) if before else ()
            inherited = tuple(network.variables for network in networks)
            start: Start[jax.Array] = Start(key, hyper, real, real, healthy, inherited)
            begin = functools.partial(train_scale.begin, self.config, scale)
            task, state = jax.eval_shape(begin, start)
            finish = functools.partial(train_scale.finish, self.config, self.pyramid, scale)
            found.append(ScaleShapes(start, task, state, *jax.eval_shape(finish, task, state)))
        return found

    @property
    def build_pyramid(self) -> Any:
        """The program from images (members, images, H, W, C) on the devices to their scales."""
        return _build_pyramid(self)


@backend.cached(64)
def _build_pyramid(bucket: Bucket) -> Any:
    build = functools.partial(
        build_pyramid, pyramid=bucket.pyramid, uint8=bucket.config.uint8_resize
    )
    return sharding.over_members(build)


@functools.lru_cache(maxsize=64)
def shared_bucket(config: Config, shape: tuple[int, int, int], images: int = 1) -> Bucket:
    """The `Bucket` of these arguments: the same one each time, so that its programs are too."""
    return Bucket(config, shape, images)
