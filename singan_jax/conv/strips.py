"""Images cut into strips of rows, for devices that compute on 8 images at a time.

A TPU's registers are 8 rows deep, and what XLA puts there is the batch: one image fills an eighth.
Cut into 8 strips it fills them, and a shift by a pixel is a matter of addresses. What a convolution
reads beyond a strip's end are rows of its neighbour.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

_DEPTH = 8  # strips and images to be had together


class Strips(NamedTuple):
    """How (N, height, W, C) images lie in (N * pieces, rows, W, C), one image after another.

    Rows of the last strips that are beyond `height` belong to no image. They are zero in what
    `split` and `convolve` return.

    Attributes:
      pieces: strips an image.
      height: rows of an image.
    """

    pieces: int
    height: int

    @classmethod
    def of(cls, images: jax.Array) -> "Strips":
        """The strips into which a batch of images is best cut, of at least two rows each."""
        best = _DEPTH // math.gcd(len(images), _DEPTH)
        return cls(min(best, max(1, images.shape[1] // 2)), images.shape[1])

    def taller(self, rows: int) -> "Strips":
        """Of images with so many rows more, cut alike."""
        return self._replace(height=self.height + rows)

    def split(self, images: jax.Array) -> jax.Array:
        """(N, height, W, C) to strips."""
        n, height, *rest = images.shape
        images = jnp.pad(images, ((0, 0), (0, -height % self.pieces), (0, 0), (0, 0)))
        return images.reshape(n * self.pieces, -1, *rest)

    def join(self, x: jax.Array) -> jax.Array:
        """Strips to (N, height, W, C)."""
        images = x.reshape(x.shape[0] // self.pieces, -1, *x.shape[2:])
        return images[:, : self.height]

    def masked(self, x: jax.Array) -> jax.Array:
        """Zero where rows belong to no image."""
        strip = jnp.arange(x.shape[0]) % self.pieces
        row = strip[:, None] * x.shape[1] + jnp.arange(x.shape[1])
        return jnp.where((row < self.height)[:, :, None, None], x, 0)

    def extended(self, x: jax.Array, pad: int) -> jax.Array:
        """All that a convolution of x reads, for a `pad` of 0 or 2.

        Without padding: the two rows below each strip as well. Below the last rows of an image may
        be rows of the next, which only rows beyond `height` of the result depend on.
        With padding: the two rows above each strip, and two zero columns at each side. x is to be
        masked, and its images to have two rows beyond `height`, which are above the next image.
        """
        if pad == 0:
            return jnp.concatenate([x, _moved(x[:, :2], -1)], axis=1)
        x = jnp.concatenate([_moved(x[:, -2:], 1), x], axis=1)
        return jnp.pad(x, ((0, 0), (0, 0), (2, 2), (0, 0)))

    def mean(self, x: jax.Array) -> jax.Array:
        """Each image's mean over its pixels, (N, 1, 1, C), of masked x."""
        sums = x.sum((1, 2)).reshape(-1, self.pieces, x.shape[3]).sum(1)
        return (sums / (self.height * x.shape[2]))[:, None, None]

    def repeated(self, x: jax.Array) -> jax.Array:
        """What belongs to an image, (N, ...), for each of its strips, (N * pieces, ...)."""
        return jnp.repeat(x, self.pieces, axis=0)


def _moved(x: jax.Array, by: int) -> jax.Array:
    """Moves strips along the batch; what comes in at the end is zero."""
    return jax.lax.pad(x, jnp.zeros((), x.dtype), ((by, -by, 0), *[(0, 0, 0)] * 3))
