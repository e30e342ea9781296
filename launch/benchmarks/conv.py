"""Throughput of each implementation of the convolution, beside the machine's matrix product.

One device. On a CPU, which trains one member at a time, one member; elsewhere many side by side,
each with its own weights. FLOPs count the products that the result needs, 2 * 9 * C_in * C_out a
pixel, not what an implementation spends on borders.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax

from launch.benchmarks.timing import Timing, measure
from singan_jax import conv
from singan_jax.backend import backend
from singan_jax.conv import choice
from singan_jax.conv.implementations import Implementation
from singan_jax.devices import sharding

# (images in the batch, side of the output, input channels, output channels)
LAYERS = (
    *((1, side, 32, 32) for side in (32, 64)),
    *((1, side, 64, 64) for side in (64, 128)),
    (2, 64, 64, 64),
    *((1, 64, *channels) for channels in ((3, 32), (32, 3), (32, 1), (3, 64), (64, 3), (64, 1))),
)

_MEMBERS = 32  # side by side on a GPU or TPU


def run(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    """Yields a row per layer, map and implementation; `share` is of the matrix product's rate.

    The last rows are both gradients of one layer of eight members, each with its own weights.
    """
    members = () if backend() == "cpu" else (_MEMBERS,)
    product = _gemm(repeats)
    peak = product.median
    yield {"map": "matrix product 1024", **product.row("gflops"), "share": 1.0}
    for batch, side, c_in, c_out in LAYERS:
        x = jax.random.normal(jax.random.key(0), (*members, batch, side + 2, side + 2, c_in))
        w = jax.random.normal(jax.random.key(1), (*members, 3, 3, c_in, c_out))
        g = jax.random.normal(jax.random.key(2), (*members, batch, side, side, c_out))
        flops = 2 * 9 * c_in * c_out * batch * side**2 * math.prod(members)
        for name, op, arguments in (
            ("convolve", conv.convolve, (x, w)),
            ("weight_gradient", conv.weight_gradient, (x, g)),
        ):
            for implementation in conv.IMPLEMENTATIONS:
                call = functools.partial(op, implementation=implementation)
                call = jax.vmap(call) if members else call
                timing = _looped(call, arguments, max(2, int(2e9 / flops)), repeats)
                rate = timing.rate(flops / 1e9)
                yield {
                    "map": name,
                    "layer": f"{batch}x{side}x{side} {c_in}->{c_out}",
                    "row": choice.row_of(name, c_in, c_out),
                    "members": math.prod(members),
                    "implementation": implementation,
                    "chosen": implementation == conv.choose(name, c_in, c_out),
                    **rate.row("gflops"),
                    "share": rate.median / peak,
                }
    yield from _fleet_gradient(repeats, peak, peer)


def fastest(rows: Iterable[Mapping[str, Any]]) -> dict[str, Implementation]:
    """A table of what had the highest rate in `run`'s rows: over layers, their geometric mean."""
    found = pd.DataFrame([row for row in rows if "row" in row])
    found["log"] = np.log(found["gflops"])
    means = found.groupby(["row", "implementation"])["log"].mean().unstack()
    return means.idxmax(axis=1).to_dict()


def _fleet_gradient(repeats: int, peak: float, peer: bool) -> Iterator[dict[str, Any]]:
    members, side, channels = 8, 64, 32
    x = jax.random.normal(jax.random.key(0), (members, 1, side + 2, side + 2, channels))
    w = jax.random.normal(jax.random.key(1), (members, 3, 3, channels, channels))
    flops = 3 * 2 * 9 * channels**2 * members * side**2

    def gradients(op: Callable[..., jax.Array]) -> Callable[..., Any]:
        return jax.grad(lambda x, w: jnp.square(op(x, w)).sum(), (0, 1))

    plain = functools.partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    ways = {  # the first on one device: split over several, it is wrong
        "vmap of lax.conv": functools.partial(jax.jit(jax.vmap(gradients(plain))), x, w),
        "ours": functools.partial(
            sharding.over_members(gradients(conv.convolve)), *sharding.to_devices((x, w))
        ),
    }
    timings = {name: measure(way, repeats) for name, way in ways.items()}
    if peer:
        timings["PyTorch, all threads"] = _torch_gradient(members, side, channels, repeats)
    for name, timing in timings.items():
        rate = timing.rate(flops / 1e9)
        yield {
            "map": "gradients",
            "layer": f"{members} members {side}x{side} {channels}->{channels}",
            "implementation": name,
            **rate.row("gflops"),
            "share": rate.median / peak,
        }


def _torch_gradient(members: int, side: int, channels: int, repeats: int) -> Timing:
    import torch

    layers = [torch.nn.Conv2d(channels, channels, 3, bias=False) for _ in range(members)]
    images = [torch.randn(1, channels, side + 2, side + 2, requires_grad=True) for _ in layers]

    def call() -> None:
        for layer, image in zip(layers, images, strict=True):
            layer(image).square().sum().backward()

    return measure(call, repeats)


def _gemm(repeats: int) -> Timing:
    a = jax.random.normal(jax.random.key(0), (1024, 1024))
    return _looped(jnp.dot, (a, a / 1024), 4, repeats).rate(2 * 1024**3 / 1e9)


def _looped(
    op: Callable[..., jax.Array], arguments: tuple[jax.Array, ...], count: int, repeats: int
) -> Timing:
    """Times one call inside a compiled loop of `count`, each of which waits for the one before."""

    @jax.jit
    def loop(first: jax.Array, *rest: jax.Array) -> jax.Array:
        def step(_: int, total: jax.Array) -> jax.Array:
            return total + op(first + 0.0 * total.ravel()[0], *rest)

        zero = jnp.zeros(jax.eval_shape(op, first, *rest).shape)
        return jax.lax.fori_loop(0, count, step, zero)

    return measure(lambda: loop(*arguments), repeats).times(1 / count)
