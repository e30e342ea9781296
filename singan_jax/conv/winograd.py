"""The 3x3 convolution with half the products: Winograd's filtering along rows.

F(4, 3) makes four values of a correlation with three taps from six inputs d with six products,
where the plain sum takes twelve (Lavin and Gray, "Fast algorithms for convolutional neural
networks", 2016, section 4):

    y = A^T ((G w) * (B^T d)),  and for the gradient of the taps  w' = G^T ((B^T d) * (A g))

Here d and y are rows of pixels and each product is a convolution along the columns. Along rows
alone the transforms read whole rows and make 1.5 times the data; along columns as well there would
be 4 times fewer products, but on CPU the transforms then take longer than all the products.
The sums on the way are larger than the result: in float32 its rounding errors are 1.5 to 1.8 times
those of the plain sum (root mean square, 64 channels), and bfloat16 is too coarse for it.
"""

import functools
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from singan_jax.conv import direct

TILE = 4  # output rows of a tile; it reads TILE + 2 input rows

# Of the points tried, those with the smallest rounding errors; one more is at infinity.
_POINTS = np.array([0, 3 / 4, -3 / 4, 3 / 2, -3 / 2])


def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B^T (6, 6), G (6, 3) and A^T (4, 6): the product of two polynomials from their values."""
    others = [np.delete(_POINTS, i) for i in range(len(_POINTS))]
    inputs = [np.append(np.poly(roots)[::-1], 0) for roots in others]
    scales = [np.prod(point - roots) for point, roots in zip(_POINTS, others, strict=True)]
    taps, outputs = (np.vander(_POINTS, n, increasing=True) for n in (3, TILE))
    return (
        np.array([*inputs, np.poly(_POINTS)[::-1]]),
        np.vstack([taps / np.reshape(scales, (-1, 1)), np.eye(3)[-1]]),
        np.vstack([outputs, np.eye(TILE)[-1]]).T,
    )


_INPUT, _TAPS, _OUTPUT = _matrices()


def convolve(x: jax.Array, w: jax.Array, pad: int) -> jax.Array:
    """The map `conv.convolve`."""
    n, height, width, _ = x.shape
    height, width = height + 2 * pad - 2, width + 2 * pad - 2
    rows = _combined(_INPUT, _tiled(x, pad, height))
    taps = _combined(_TAPS, [w[i : i + 1] for i in range(3)])
    products = [direct.convolve(*pair, 0) for pair in zip(rows, taps, strict=True)]
    y = jnp.stack(_combined(_OUTPUT, products), axis=2)  # (N, tiles, TILE, W, C_out)
    return y.reshape(n, -1, width, w.shape[3])[:, :height]


def weight_gradient(x: jax.Array, g: jax.Array, pad: int) -> jax.Array:
    """The map `conv.weight_gradient`."""
    height = g.shape[1]
    g = jnp.pad(g, ((0, 0), (0, -height % TILE), (0, 0), (0, 0)))
    rows = _combined(_INPUT, _tiled(x, pad, height))
    gradients = _combined(_OUTPUT.T, [g[:, i::TILE] for i in range(TILE)])
    products = [direct.weight_gradient(*pair, 0) for pair in zip(rows, gradients, strict=True)]
    return jnp.concatenate(_combined(_TAPS.T, products))


def _tiled(x: jax.Array, pad: int, height: int) -> list[jax.Array]:
    """The input rows of all tiles: the first row of every tile, then the second, and so on."""
    tiles = -(-height // TILE)
    below = TILE * tiles - height
    x = jnp.pad(x, ((0, 0), (pad, pad + below), (pad, pad), (0, 0)))
    return [x[:, i : i + TILE * (tiles - 1) + 1 : TILE] for i in range(TILE + 2)]


def _combined(matrix: np.ndarray, rows: Sequence[jax.Array]) -> list[jax.Array]:
    """The product of a matrix, skipping its zeros, and a vector of arrays."""

    def total(factors: Iterable[float]) -> jax.Array:
        terms = [row if f == 1 else f * row for f, row in zip(factors, rows, strict=True) if f]
        return functools.reduce(jnp.add, terms)

    return [total(factors.tolist()) for factors in matrix]
