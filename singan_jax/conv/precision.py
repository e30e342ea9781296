"""How exactly an accelerator multiplies float32 numbers.

A TPU multiplies bfloat16 (8 significant bits), an H100's fast units TF32 (11 bits); what they do
with float32 unless told otherwise is to round it to that. A CPU multiplies float32, whatever is
asked for here.

The layers' values do not bear the rounding: where one is near zero it lands on the other slope of
LeakyReLU, and all gradients behind it change, most those of the gradient penalty, which is
differentiated twice. Products of the backward pass do: their errors stay what they are. Against the
original code's recorded numbers (relative L2 error of all gradients of a network; products rounded
as the devices do):

    rounded                                penalty's gradient   critic's   generator's
    nothing                                        1e-6           2e-6        5e-7
    all products to bfloat16                       15 %           11 %        4.4 %
    all products to TF32                            10 %           5 %        0.8 %
    those of the forward pass to bfloat16          15 %           11 %        4.4 %
    those of the backward pass to bfloat16          0.4 %          0.4 %      0.3 %
    those of the backward pass to TF32              0.06 %         0.06 %     0.04 %
    all in three passes of bfloat16                2e-5           1e-5        1e-5
"""

import contextlib
from typing import Literal

import jax

from singan_jax.backend import backend

Precision = Literal["fast", "balanced", "exact"]
"""How the products of float32 arrays are made.

`fast`: rounded to bfloat16 on a TPU, TF32 on a GPU, in one pass.
`balanced`: so in the backward pass; in the forward pass in three passes of bfloat16 on a TPU, which
  are right to 16 bits, and in float32 on a GPU.
`exact`: in six passes on a TPU, which is float32's precision, and in float32 on a GPU.
"""


def products_of(*, backward: bool, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """A context in which JAX traces the products of a map for the devices at hand.

    Args:
      backward: whether the map is one of a backward pass.
      precision: see `Precision`.
    """
    device = backend()
    if device == "cpu":  # knows but one way
        return contextlib.nullcontext()
    if precision == "fast" or (precision == "balanced" and backward):
        return jax.default_matmul_precision("default")
    three_passes = device == "tpu" and precision == "balanced"
    return jax.default_matmul_precision("high" if three_passes else "highest")
