"""The one convolution of the networks: 3x3, stride 1, no padding, differentiable twice.

Training a fleet means a convolution whose *weights* differ from member to member. Batching
`lax.conv` over weights makes grouped convolutions, whose weight gradient XLA runs 30-50 times
below the machine's speed on CPU. So the op has its own derivative, made of three bilinear maps
that are each other's transposes:

    convolve(x, w)            y[p] = sum_k x[p + k] w[k]
    input gradient (g, w)     a convolution of g, padded by 2, with w flipped and transposed
    weight_gradient(x, g)     w'[k] = sum_p x[p + k] g[p]

Each of them is computed by one of several implementations, all equal up to rounding:

    "direct"     `lax.conv_general_dilated`; the weight gradient is a convolution as well, of each
                 image with channels moved to the batch axis, in row strips that stay in cache
    "im2col"     nine shifted copies side by side, one matrix product
    "shift_add"  one matrix product to (or from) nine times the narrower channels, nine shifts

`choose` picks one for a layer from a table measured per backend (see `table`).
"""

import functools
import json
import pathlib
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

Implementation = Literal["direct", "im2col", "shift_add"]
IMPLEMENTATIONS: tuple[Implementation, ...] = ("direct", "im2col", "shift_add")

_Pair = tuple[jax.Array, jax.Array]
_LAYOUT = ("NHWC", "HWIO", "NHWC")
_STRIP_BYTES = 2**20  # of the output gradient per strip of a direct weight gradient, on CPU
_NARROW = 4  # layers with this many channels or fewer on a side are "narrow" there


@functools.cache
def table() -> dict[str, dict[str, Implementation]]:
    """The measured choices, `{backend: {"<map>:<in>-><out>": implementation}}`.

    `<map>` is `convolve` or `weight_gradient`; a side is `narrow` (images, score maps) or `wide`.
    `python -m launch.benchmark --suites=conv` prints the measurements behind it.
    """
    text = (pathlib.Path(__file__).parent / "conv_table.json").read_text()
    return json.loads(text)


def choose(name: str, c_in: int, c_out: int, backend: str | None = None) -> Implementation:
    """The implementation measured fastest for one map of one layer.

    Args:
      name: `convolve` or `weight_gradient`.
      c_in: input channels.
      c_out: output channels.
      backend: `cpu`, `gpu` or `tpu`; the default backend where None.
    """
    backend = backend or jax.default_backend()
    rows = table()[backend]
    sides = ["narrow" if c <= _NARROW else "wide" for c in (c_in, c_out)]
    return rows[f"{name}:{sides[0]}->{sides[1]}"]


def conv3x3(x: jax.Array, w: jax.Array, implementation: Implementation | None = None) -> jax.Array:
    """Convolves a batch of images, without padding.

    Args:
      x: (N, H, W, C_in), H and W at least 3.
      w: (3, 3, C_in, C_out).
      implementation: one of `IMPLEMENTATIONS` for all three maps; the measured choice for each
        where None.

    Returns:
      (N, H - 2, W - 2, C_out).
    """
    return _convolve(x, w, 0, implementation)


# --- the three maps, each with its derivative -------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(
    x: jax.Array, w: jax.Array, pad: int, implementation: Implementation | None
) -> jax.Array:
    """`conv3x3` of `x` padded by `pad` zeros: (N, H, W, I) to (N, H+2pad-2, W+2pad-2, O)."""
    chosen = implementation or choose("convolve", w.shape[2], w.shape[3])
    return _CONVOLVE[chosen](x, w, pad)


def _convolve_fwd(
    x: jax.Array, w: jax.Array, pad: int, implementation: Implementation | None
) -> tuple[jax.Array, _Pair]:
    return _convolve(x, w, pad, implementation), (x, w)


def _convolve_bwd(
    pad: int, implementation: Implementation | None, residuals: _Pair, g: jax.Array
) -> _Pair:
    x, w = residuals
    flipped = w[::-1, ::-1].transpose(0, 1, 3, 2)
    return (
        _convolve(g, flipped, 2 - pad, implementation),
        _weight_gradient(x, g, pad, implementation),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _weight_gradient(
    x: jax.Array, g: jax.Array, pad: int, implementation: Implementation | None
) -> jax.Array:
    """Sum over images and pixels of x's 3x3 neighbourhoods times g: (3, 3, I, O)."""
    chosen = implementation or choose("weight_gradient", x.shape[3], g.shape[3])
    return _WEIGHT_GRADIENT[chosen](_pad(x, pad), g)


def _weight_gradient_fwd(
    x: jax.Array, g: jax.Array, pad: int, implementation: Implementation | None
) -> tuple[jax.Array, _Pair]:
    return _weight_gradient(x, g, pad, implementation), (x, g)


def _weight_gradient_bwd(
    pad: int, implementation: Implementation | None, residuals: _Pair, w: jax.Array
) -> _Pair:
    x, g = residuals
    flipped = w[::-1, ::-1].transpose(0, 1, 3, 2)
    return (
        _convolve(g, flipped, 2 - pad, implementation),
        _convolve(x, w, pad, implementation),
    )


_convolve.defvjp(_convolve_fwd, _convolve_bwd)
_weight_gradient.defvjp(_weight_gradient_fwd, _weight_gradient_bwd)


# --- implementations --------------------------------------------------------------------------


def _pad(x: jax.Array, pad: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0))) if pad else x


def _shifts(x: jax.Array, height: int, width: int) -> list[jax.Array]:
    """The nine (N, height, width, C) windows of x, row by row."""
    return [x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]


def _convolve_direct(x: jax.Array, w: jax.Array, pad: int) -> jax.Array:
    # On CPU an unpadded convolution of many channels falls off a cliff once its output leaves
    # the cache; the padded one does not, so pad by 1 and drop the border.
    extra = 1 if pad == 0 and jax.default_backend() == "cpu" else 0
    padding = ((pad + extra,) * 2,) * 2
    y = lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=_LAYOUT)
    return y[:, extra : y.shape[1] - extra, extra : y.shape[2] - extra]


def _convolve_im2col(x: jax.Array, w: jax.Array, pad: int) -> jax.Array:
    x = _pad(x, pad)
    patches = jnp.concatenate(_shifts(x, x.shape[1] - 2, x.shape[2] - 2), axis=-1)
    return jnp.einsum("nhwk,ko->nhwo", patches, w.reshape(-1, w.shape[-1]))


def _convolve_shift_add(x: jax.Array, w: jax.Array, pad: int) -> jax.Array:
    x = _pad(x, pad)
    height, width = x.shape[1] - 2, x.shape[2] - 2
    c_in, c_out = w.shape[2:]
    taps = w.transpose(2, 0, 1, 3).reshape(c_in, 9 * c_out)
    y = jnp.einsum("nhwi,ik->nhwk", x, taps)  # (N, H, W, 9 * O)
    pieces = [
        y[:, i : i + height, j : j + width, (3 * i + j) * c_out : (3 * i + j + 1) * c_out]
        for i in range(3)
        for j in range(3)
    ]
    return functools.reduce(jnp.add, pieces)


def _weight_gradient_direct(x: jax.Array, g: jax.Array) -> jax.Array:
    height, width, c_out = g.shape[1:]
    rows = max(1, _STRIP_BYTES // (4 * width * c_out))
    total = jnp.zeros((x.shape[3], 3, 3, c_out), x.dtype)
    for n in range(x.shape[0]):
        images = x[n].transpose(2, 0, 1)[..., None]  # (I, H, W, 1): channels as a batch
        kernel = g[n][:, :, None, :]  # (H - 2, W - 2, 1, O): the gradient as a kernel
        for top in range(0, height, rows):
            bottom = min(height, top + rows)
            total += lax.conv_general_dilated(
                images[:, top : bottom + 2],
                kernel[top:bottom],
                (1, 1),
                "VALID",
                dimension_numbers=_LAYOUT,
            )
    return total.transpose(1, 2, 0, 3)


def _weight_gradient_im2col(x: jax.Array, g: jax.Array) -> jax.Array:
    patches = jnp.concatenate(_shifts(x, *g.shape[1:3]), axis=-1)
    w = jnp.einsum("nhwk,nhwo->ko", patches, g)
    return w.reshape(3, 3, x.shape[-1], g.shape[-1])


def _weight_gradient_shift_add(x: jax.Array, g: jax.Array) -> jax.Array:
    # Nine shifted copies of g instead of x: the cheaper side where g has the fewer channels.
    windows = _shifts(_pad(g, 2), *x.shape[1:3])[::-1]
    w = jnp.einsum("nhwi,nhwk->ik", x, jnp.concatenate(windows, axis=-1))
    return w.reshape(x.shape[-1], 3, 3, g.shape[-1]).transpose(1, 2, 0, 3)


_CONVOLVE = {
    "direct": _convolve_direct,
    "im2col": _convolve_im2col,
    "shift_add": _convolve_shift_add,
}
_WEIGHT_GRADIENT = {
    "direct": _weight_gradient_direct,
    "im2col": _weight_gradient_im2col,
    "shift_add": _weight_gradient_shift_add,
}
