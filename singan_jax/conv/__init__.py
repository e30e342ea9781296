"""The one convolution of the networks: 3x3, stride 1, no padding, differentiable twice.

Training a fleet means a convolution whose *weights* differ from member to member. Batching
`lax.conv` over weights makes grouped convolutions, whose weight gradient XLA runs 30-50 times
below the machine's speed on CPU. So the op has its own derivative, made of three bilinear maps
that are each other's transposes:

    convolve(x, w)            y[p] = sum_k x[p + k] w[k]
    input gradient (g, w)     a convolution of g, padded by 2, with w flipped and transposed
    weight_gradient(x, g)     w'[k] = sum_p x[p + k] g[p]

Each of them is computed by one of several implementations, all equal up to rounding; `choose` picks
one for a layer from a table (see `choice`).

    implementations   all by name; im2col and shift_add
    direct            left to XLA, in the forms in which it is fast
    winograd          with half the products
    choice            which of them is used where
    precision         how exactly accelerators multiply
    strips            images cut into strips, for TPUs
    table.json        the choices for each kind of device
"""

import functools
from typing import NamedTuple

import jax

from singan_jax.conv.choice import choose
from singan_jax.conv.implementations import CONVOLVE, WEIGHT_GRADIENT, Implementation
from singan_jax.conv.precision import Precision, products_of
from singan_jax.conv.strips import Strips

IMPLEMENTATIONS: tuple[Implementation, ...] = tuple(CONVOLVE)

_Pair = tuple[jax.Array, jax.Array]

# --- the maps, each with its derivative -------------------------------------------------------


class _How(NamedTuple):
    """What a map is told beside its arrays: see `convolve`, and whether it derives another."""

    pad: int
    implementation: Implementation | None
    strips: Strips | None
    precision: Precision
    backward: bool = False

    def of_transposed(self) -> "_How":
        """For the input gradient, whose input is the output's gradient."""
        strips = self.strips and self.strips.taller(2 * self.pad - 2)
        return self._replace(pad=2 - self.pad, strips=strips, backward=True)

    def masked(self, x: jax.Array) -> jax.Array:
        """An input without what belongs to no image."""
        return self.strips.masked(x) if self.strips else x


def convolve(
    x: jax.Array,
    w: jax.Array,
    pad: int = 0,
    implementation: Implementation | None = None,
    strips: Strips | None = None,
    precision: Precision = "balanced",
) -> jax.Array:
    """Convolves a batch of images.

    Args:
      x: (N, H, W, C_in), H and W at least 3 with the padding.
      w: (3, 3, C_in, C_out).
      pad: zeros added on each side.
      implementation: for this map and those of its derivatives; the measured choice for each
        where None.
      strips: how the images of x are cut into strips, if they are; `pad` is 0 then.
      precision: how products are made of float32 arrays.

    Returns:
      (N, H + 2 pad - 2, W + 2 pad - 2, C_out); of strips, as many rows as x has.
    """
    return _convolve(x, w, _How(pad, implementation, strips, precision))


def weight_gradient(
    x: jax.Array,
    g: jax.Array,
    pad: int = 0,
    implementation: Implementation | None = None,
    precision: Precision = "balanced",
) -> jax.Array:
    """Sums the products of x's 3x3 neighbourhoods and g over images and pixels.

    Args:
      x: (N, H, W, C_in), the input of a convolution.
      g: (N, H + 2 pad - 2, W + 2 pad - 2, C_out), the gradient of its output.
      pad: its padding.
      implementation: as in `convolve`.
      precision: as in `convolve`.

    Returns:
      (3, 3, C_in, C_out), the gradient of its weights.
    """
    return _weight_gradient(x, g, _How(pad, implementation, None, precision))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: jax.Array, w: jax.Array, how: _How) -> jax.Array:
    chosen = how.implementation or choose("convolve", w.shape[2], w.shape[3], x.dtype)
    with products_of(backward=how.backward, precision=how.precision):
        if not how.strips:
            return CONVOLVE[chosen](x, w, how.pad)
        y = CONVOLVE[chosen](how.strips.extended(x, how.pad), w, 0)
    return how.of_transposed().masked(y)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _weight_gradient(x: jax.Array, g: jax.Array, how: _How) -> jax.Array:
    chosen = how.implementation or choose("weight_gradient", x.shape[3], g.shape[3], x.dtype)
    with products_of(backward=True, precision=how.precision):
        if not how.strips:
            return WEIGHT_GRADIENT[chosen](x, g, how.pad)
        return WEIGHT_GRADIENT[chosen](how.strips.extended(x, how.pad), g, 0)


def _transposed(w: jax.Array) -> jax.Array:
    """The weights of the input gradient: flipped, with the channels' roles exchanged."""
    return w[::-1, ::-1].transpose(0, 1, 3, 2)


def _convolve_fwd(x: jax.Array, w: jax.Array, how: _How) -> tuple[jax.Array, _Pair]:
    return _convolve(x, w, how), (x, w)


def _convolve_bwd(how: _How, residuals: _Pair, g: jax.Array) -> _Pair:
    x, w = residuals
    back = how.of_transposed()
    g = back.masked(g)
    return _convolve(g, _transposed(w), back), _weight_gradient(x, g, how)


def _weight_gradient_fwd(x: jax.Array, g: jax.Array, how: _How) -> tuple[jax.Array, _Pair]:
    return _weight_gradient(x, g, how), (x, g)


def _weight_gradient_bwd(how: _How, residuals: _Pair, w: jax.Array) -> _Pair:
    x, g = residuals
    again = how._replace(backward=True)
    return _convolve(g, _transposed(w), how.of_transposed()), _convolve(x, w, again)


_convolve.defvjp(_convolve_fwd, _convolve_bwd)
_weight_gradient.defvjp(_weight_gradient_fwd, _weight_gradient_bwd)
