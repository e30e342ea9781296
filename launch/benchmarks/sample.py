"""Samples a second from untrained members of 64x64 pixels and 6 scales.

The peer draws one sample after another with all threads, as the official code does; neither writes
files.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from launch.benchmarks.timing import Timing, measure
from singan_jax.config import Config, preset
from singan_jax.devices import sharding
from singan_jax.devices.bucket import Bucket
from singan_jax.samples import sample
from singan_jax.scale import train_scale
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.pyramid import Pyramid
from singan_jax.scale.train_scale import Start
from singan_jax.scale.train_step import Hyper, ScaleState, Task

COUNT = 64  # samples of each member and call


def run(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    """Yields one row; the ratio is our rate over the peer's."""
    config = preset("quick")
    bucket = Bucket(config, (64, 64, 3))
    members = sharding.padded_size(1)
    keys = jax.random.split(jax.random.key(0), members)
    scales = []
    for n, size in enumerate(bucket.pyramid.sizes):
        image = jnp.zeros((1, *size, 3))
        hyper = Hyper.of(config, {})

        def begin(
            key: jax.Array, n: int = n, image: jax.Array = image, hyper: Hyper = hyper
        ) -> tuple[Task, ScaleState]:
            return train_scale.begin(config, n, Start(key, hyper, image, image, jnp.array(True)))

        task, state = jax.vmap(begin)(keys)
        scales.append(FrozenScale(state.generator.variables, task.noise_amp, state.z_rec))
    plan = sample.SamplePlan(config, bucket.pyramid, 3, len(scales))
    timing = measure(lambda: sample.sample_all(plan, scales, keys, COUNT), repeats)
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
