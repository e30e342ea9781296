"""How exactly an accelerator multiplies float32 numbers.

A TPU multiplies bfloat16 (8 significant bits), an H100's fast units TF32 (11 bits); what they do
with float32 unless told otherwise is to round it to that. A CPU multiplies float32, whatever is
asked for here.

The gradient penalty does not bear the rounding: it is differentiated through the slopes of
LeakyReLU at each pixel, and a rounded activation lands on the other slope. Against the original
code's recorded numbers (relative L2 error of all gradients of a network; products rounded as the
devices do):

    rounded                      penalty's gradient   critic's   generator's
    nothing                              1e-6           2e-6        5e-7
    all products to bfloat16             15 %           11 %        4.4 %
    all products to TF32                  10 %           6 %        0.8 %
    weight gradients to bfloat16          0.16 %         0.28 %     0.17 %
    all in three passes of bfloat16      2e-5           1e-5        1e-5

So convolutions need more than one pass, and weight gradients, of which nothing else is computed
but a step of Adam, do not.
"""

import contextlib
from typing import Literal

import jax

from singan_jax.backend import backend

Precision = Literal["fast", "balanced", "exact"]
"""How the products of float32 arrays are made.

`fast`: rounded to bfloat16 on a TPU, TF32 on a GPU, in one pass.
`balanced`: so for weight gradients; convolutions and their input gradients in three passes of
  bfloat16 on a TPU, which are right to 16 bits or more, and in float32 on a GPU.
`exact`: in six passes on a TPU, which is float32's precision, and in float32 on a GPU.
"""

_Map = Literal["convolve", "weight_gradient"]


def products_of(name: _Map, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """A context in which JAX traces the products of a map for the devices at hand.

    Args:
      name: `convolve` or `weight_gradient`.
      precision: see `Precision`.
    """
    device = backend()
    if device == "cpu":  # knows but one way
        return contextlib.nullcontext()
    if precision == "fast" or (precision == "balanced" and name == "weight_gradient"):
        return jax.default_matmul_precision("default")
    three_passes = device == "tpu" and precision == "balanced"
    return jax.default_matmul_precision("high" if three_passes else "highest")
