"""Samples a second from untrained members of 64x64 pixels and 6 scales.

The peer draws one sample after another with all threads, as the official code does; neither writes
files.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from launch.benchmarks.timing import Timing, measure
from singan_jax import sample, sharding, train_scale
from singan_jax.config import Config, preset
from singan_jax.generate import FrozenScale
from singan_jax.programs import Bucket
from singan_jax.pyramid import Pyramid
from singan_jax.train_step import Hyper

COUNT = 64  # samples of each member and call


def run(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    """Yields one row; the ratio is our rate over the peer's."""
    config = preset("quick")
    bucket = Bucket(config, (64, 64, 3))
    members = sharding.padded_size(1)
    keys = jax.random.split(jax.random.key(0), members)
    scales = []
    for n, size in enumerate(bucket.pyramid.sizes):
        begin = functools.partial(train_scale.begin, config, n, inherited=None)
        image = jnp.zeros((members, 1, *size, 3))
        arguments = (keys, Hyper.of(config, {}), image, image, jnp.ones(members, bool))
        task, state = jax.vmap(begin, in_axes=(0, None, 0, 0, 0))(*arguments)
        scales.append(FrozenScale(state.generator.variables, task.noise_amp, state.z_rec))
    plan = sample.Plan(config, bucket.pyramid, 3, len(scales))
    timing = measure(lambda: sample.draw(plan, scales, keys, COUNT), repeats)
    rate = timing.rate(members * COUNT)
    row: dict[str, Any] = {"members": members, **rate.row("samples_per_s")}
    if peer:
        row |= _torch_rate(config, bucket.pyramid, repeats).row("torch_per_s")
        row["ratio"] = row["samples_per_s"] / row["torch_per_s"]
    yield row


def _torch_rate(config: Config, pyramid: Pyramid, repeats: int) -> Timing:
    import torch

    from launch.benchmarks import torch_peer

    torch.manual_seed(0)
    generators = [
        torch_peer.Generator(config.width(n), config.num_layers, 3)
        for n in range(pyramid.num_scales)
    ]
    chain = torch_peer.Chain(generators, [0.1] * pyramid.num_scales, pyramid)

    def draw() -> None:
        for _ in range(COUNT):
            noises = [torch.randn(1, 3 if n else 1, *size) for n, size in enumerate(pyramid.sizes)]
            chain.draw(config, noises)

    return measure(draw, repeats).rate(COUNT)
