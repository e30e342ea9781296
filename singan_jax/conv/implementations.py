"""Ways to compute the 3x3 convolution and its weight gradient, all equal up to rounding.

"direct"     `lax.conv_general_dilated`; the weight gradient is a convolution as well, with
             input channels as the batch: see `direct`
"winograd"   half the products: see `winograd`
"im2col"     nine shifted copies side by side, one matrix product
"shift_add"  one matrix product to (or from) nine times the narrower channels, nine shifts
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from singan_jax.conv import direct, winograd
from singan_jax.conv.direct import padded

Implementation = Literal["direct", "winograd", "im2col", "shift_add"]


def _shifts(x: jax.Array, height: int, width: int) -> list[jax.Array]:
    """The nine (N, height, width, C) windows of x, row by row."""
    return [x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]


def _convolve_im2col(x: jax.Array, w: jax.Array, pad: int) -> jax.Array:
    x = padded(x, pad, pad)
    patches = jnp.concatenate(_shifts(x, x.shape[1] - 2, x.shape[2] - 2), axis=-1)
    return jnp.einsum("nhwk,ko->nhwo", patches, w.reshape(-1, w.shape[-1]))


def _convolve_shift_add(x: jax.Array, w: jax.Array, pad: int) -> jax.Array:
    x = padded(x, pad, pad)
    height, width = x.shape[1] - 2, x.shape[2] - 2
    c_in, c_out = w.shape[2:]
    taps = w.transpose(2, 0, 1, 3).reshape(c_in, 9 * c_out)
    y = jnp.einsum("nhwi,ik->nhwk", x, taps)  # (N, H, W, 9 * C_out)
    pieces = [
        y[:, i : i + height, j : j + width, (3 * i + j) * c_out : (3 * i + j + 1) * c_out]
        for i in range(3)
        for j in range(3)
    ]
    return functools.reduce(jnp.add, pieces)


def _weight_gradient_im2col(x: jax.Array, g: jax.Array, pad: int) -> jax.Array:
    x = padded(x, pad, pad)
    patches = jnp.concatenate(_shifts(x, *g.shape[1:3]), axis=-1)
    w = jnp.einsum("nhwk,nhwo->ko", patches, g)
    return w.reshape(3, 3, x.shape[-1], g.shape[-1])


def _weight_gradient_shift_add(x: jax.Array, g: jax.Array, pad: int) -> jax.Array:
    x = padded(x, pad, pad)
    # Nine shifted copies of g instead of x: the cheaper side where g has the fewer channels.
    windows = _shifts(padded(g, 2, 2), *x.shape[1:3])[::-1]
    w = jnp.einsum("nhwi,nhwk->ik", x, jnp.concatenate(windows, axis=-1))
    return w.reshape(x.shape[-1], 3, 3, g.shape[-1]).transpose(1, 2, 0, 3)


CONVOLVE: dict[Implementation, Callable[[jax.Array, jax.Array, int], jax.Array]] = {
    "direct": direct.convolve,
    "winograd": winograd.convolve,
    "im2col": _convolve_im2col,
    "shift_add": _convolve_shift_add,
}
WEIGHT_GRADIENT: dict[Implementation, Callable[[jax.Array, jax.Array, int], jax.Array]] = {
    "direct": direct.weight_gradient,
    "winograd": winograd.weight_gradient,
    "im2col": _weight_gradient_im2col,
    "shift_add": _weight_gradient_shift_add,
}
