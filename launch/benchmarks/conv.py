"""Throughput of each implementation of the convolution, beside the machine's matrix product.

One device, one member. FLOPs count the products that the result needs, 2 * 9 * C_in * C_out a
pixel, not what an implementation spends on borders.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from launch.benchmarks.timing import Timing, measure
from singan_jax import conv

# (images in the batch, side of the output, input channels, output channels)
LAYERS = (
    *((1, side, 32, 32) for side in (32, 64)),
    *((1, side, 64, 64) for side in (64, 128)),
    (2, 64, 64, 64),
    *((1, 64, *channels) for channels in ((3, 32), (32, 3), (32, 1), (3, 64), (64, 3), (64, 1))),
)


def run(repeats: int) -> Iterator[dict[str, Any]]:
    """Yields a row per layer, map and implementation; `share` is of the matrix product's rate."""
    peak = _gemm(repeats)
    yield {"map": "matrix product 1024", "gflops": peak, "share": 1.0}
    for batch, side, c_in, c_out in LAYERS:
        x = jax.random.normal(jax.random.key(0), (batch, side + 2, side + 2, c_in))
        w = jax.random.normal(jax.random.key(1), (3, 3, c_in, c_out))
        g = jax.random.normal(jax.random.key(2), (batch, side, side, c_out))
        flops = 2 * 9 * c_in * c_out * batch * side**2
        for name, op, arguments in (
            ("convolve", conv.convolve, (x, w)),
            ("weight_gradient", conv.weight_gradient, (x, g)),
        ):
            for implementation in (*conv.IMPLEMENTATIONS, None):
                call = functools.partial(op, implementation=implementation)
                timing = _looped(call, arguments, max(2, int(2e9 / flops)), repeats)
                rate = flops / timing.median / 1e9
                yield {
                    "map": name,
                    "layer": f"{batch}x{side}x{side} {c_in}->{c_out}",
                    "implementation": implementation or "chosen",
                    "gflops": rate,
                    "best_gflops": flops / timing.fastest / 1e9,
                    "share": rate / peak,
                }


def _gemm(repeats: int) -> float:
    a = jax.random.normal(jax.random.key(0), (1024, 1024))
    return 2 * 1024**3 / _looped(jnp.dot, (a, a / 1024), 4, repeats).median / 1e9


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

    timing = measure(lambda: loop(*arguments), repeats)
    return Timing(*(seconds / count for seconds in timing))
