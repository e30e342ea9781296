"""Convolutions left to XLA, in the forms in which its CPU backend is fast.

Written for kernels of any size; used with 3x3 and, along the rows of a tile, 1x3.
"""

import functools

import jax
import jax.numpy as jnp
from jax import custom_batching, lax

from singan_jax.backend import backend

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(x: jax.Array, w: jax.Array, pad: int) -> jax.Array:
    """The map `conv.convolve`."""
    # On CPU an unpadded convolution slows down once its output leaves the cache; a padded one does
    # not, so pad by 1 and drop the border.
    spare = pad == 0 and backend() == "cpu"
    extra = [1 if spare and size > 1 else 0 for size in w.shape[:2]]
    padding = [(pad + more, pad + more) for more in extra]
    y = lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=_LAYOUT)
    return y[:, extra[0] : y.shape[1] - extra[0], extra[1] : y.shape[2] - extra[1]]


def weight_gradient(x: jax.Array, g: jax.Array, pad: int) -> jax.Array:
    """The map `conv.weight_gradient`."""
    x = padded(x, pad, pad)
    if backend() == "tpu":
        return _native_weight_gradient(x, g)
    if backend() == "gpu":
        return _batched_weight_gradient(x, g)
    if x.shape[3] > g.shape[3]:  # exchange them: what has fewer channels is cheaper to transpose
        sizes = (a - b for a, b in zip(x.shape[1:3], g.shape[1:3], strict=True))
        return weight_gradient(padded(g, *sizes), x, 0)[::-1, ::-1].transpose(0, 1, 3, 2)
    # The gradient is the kernel and input channels are the batch. Transposed by hand, image by
    # image: on CPU, dimension numbers that say the same lead to a loop 50 times slower, and images
    # as channels to one a quarter slower.
    inputs = x.transpose(0, 3, 1, 2)[..., None]  # (N, C_in, H, W, 1)
    kernels = g[:, :, :, None]  # (N, H - 2, W - 2, 1, C_out)
    images = [
        lax.conv_general_dilated(one, kernel, (1, 1), "VALID", dimension_numbers=_LAYOUT)
        for one, kernel in zip(inputs, kernels, strict=True)
    ]
    return functools.reduce(jnp.add, images).transpose(1, 2, 0, 3)


def _native_weight_gradient(x: jax.Array, g: jax.Array, members: int = 1) -> jax.Array:
    """The convolution with channels as the batch and images as the channels.

    Args:
      x: (N, H, W, members * C_in).
      g: (N, H - 2, W - 2, members * C_out).
      members: how many lie side by side, each with weights of its own.

    Returns:
      (3, 3, C_in, members * C_out).
    """
    layout = lax.ConvDimensionNumbers((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1))
    return lax.conv_general_dilated(
        x, g, (1, 1), "VALID", dimension_numbers=layout, batch_group_count=members
    )


@custom_batching.custom_vmap
def _batched_weight_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
    """As `_native_weight_gradient`, and for a batch of members a form that cuDNN has.

    JAX would make groups of features of the members, which XLA knows as no gradient and moves all
    channels for; groups of the batch it does, and leaves the arrays as the other maps have them.
    """
    return _native_weight_gradient(x, g)


@_batched_weight_gradient.def_vmap
def _of_members(
    members: int, is_batched: list[bool], x: jax.Array, g: jax.Array
) -> tuple[jax.Array, bool]:
    def side_by_side(array: jax.Array, batched: bool) -> jax.Array:
        each = array if batched else jnp.broadcast_to(array, (members, *array.shape))
        return jnp.moveaxis(each, 0, 3).reshape(*each.shape[1:4], -1)

    x, g = (side_by_side(*one) for one in zip((x, g), is_batched, strict=True))
    w = _native_weight_gradient(x, g, members)
    return jnp.moveaxis(w.reshape(*w.shape[:3], members, -1), 3, 0), True


def padded(x: jax.Array, rows: int, columns: int) -> jax.Array:
    """Adds zeros: `rows` of them above and below, `columns` of them left and right."""
    return jnp.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
