"""Samples a second from untrained members of 64x64 pixels and 6 scales."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from launch.benchmarks.timing import measure
from singan_jax import sample, sharding, train_scale
from singan_jax.config import preset
from singan_jax.generate import FrozenScale
from singan_jax.programs import Bucket

COUNT = 64  # samples of each member and call


def run(repeats: int) -> Iterator[dict[str, Any]]:
    """Yields one row."""
    config = preset("quick")
    bucket = Bucket(config, (64, 64, 3))
    members = sharding.padded_size(1)
    keys = jax.random.split(jax.random.key(0), members)
    scales = []
    for n, size in enumerate(bucket.pyramid.sizes):
        begin = functools.partial(train_scale.begin, config, n, inherited=None)
        image = jnp.zeros((members, *size, 3))
        task, state = jax.vmap(begin)(keys, image, image, jnp.ones(members, bool))
        scales.append(FrozenScale(state.generator.variables, task.noise_amp, state.z_rec))
    plan = sample.Plan(config, bucket.pyramid, 3, len(scales))
    timing = measure(lambda: sample.draw(plan, scales, keys, COUNT), repeats)
    yield {
        "members": members,
        "samples_per_s": members * COUNT / timing.median,
        "fastest": members * COUNT / timing.fastest,
        "slowest": members * COUNT / timing.slowest,
    }
