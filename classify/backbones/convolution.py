"""The convolution of backbones."""

import jax


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """Convolves images, with the same number of zeros on each side, as in PyTorch.

    On CPU its derivative is fast outside loops, where whole networks are trained, and 40 times
    slower inside them (such as that over the members of a device, `sharding.over_members`).

    Args:
      x: (N, H, W, C).
      kernel: (size, size, C, features).
      stride: in pixels.
      padding: zeros on each side, in pixels.

    Returns:
      (N, (H + 2 padding - size) // stride + 1, likewise, features).
    """
    if kernel.shape[0] == 1 and padding == 0:  # up to twice as fast on CPU as a matrix product
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
