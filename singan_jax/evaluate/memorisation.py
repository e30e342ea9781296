"""Whether samples repeat the training image: patch by patch, and as a whole."""

import jax
import jax.numpy as jnp
import numpy as np

PATCH = 7  # pixels; what one scale's networks see at once is 11
MAX_TILES = 256  # of a sample: all of them up to 112 x 112 pixels
SHIFT = 3  # pixels, along both axes, within which a copy of the whole image is looked for
NEAR_COPY = 0.25  # of the image's standard deviation: closer samples share 15/16 of its variance
LEVELS = 255.0  # distances are in gray levels of 8 bits, whatever the image's depth


def patch_distances(sample: jax.Array, image: jax.Array) -> jax.Array:
    """How far a sample's patches are from the nearest ones of an image.

    Args:
      sample: (H, W, C) in [0, 1]; it is cut into tiles of `PATCH` pixels, remainders left out. If
        there are more than `MAX_TILES`, that many are taken, evenly spread.
      image: (H', W', C); its patches at all places are compared.

    Returns:
      (tiles,) root mean square differences to the nearest patch, gray levels.
    """
    tiles = _tiles(sample - 0.5)  # (tiles, PATCH^2 C); the shift keeps float32's digits
    image = image - 0.5
    across = image.shape[1] - PATCH + 1
    highest = jax.lax.Precision.HIGHEST

    def of_row(row: jax.Array) -> jax.Array:
        """(places, PATCH^2 C): the patches that begin in one row, from left to right."""
        band = jax.lax.dynamic_slice_in_dim(image, row, PATCH)  # (PATCH, W, C)
        columns = jnp.stack([band[:, n : n + across] for n in range(PATCH)])  # (x, y, places, C)
        return columns.transpose(2, 1, 0, 3).reshape(across, -1)

    def nearest(row: jax.Array) -> tuple[jax.Array, jax.Array]:
        patches = of_row(row)
        squares = (patches**2).sum(axis=1) - 2 * jnp.matmul(tiles, patches.T, precision=highest)
        return squares.min(axis=1), squares.argmin(axis=1)  # both less the tile's own square

    squares, places = jax.lax.map(nearest, jnp.arange(image.shape[0] - PATCH + 1))
    rows = squares.argmin(axis=0)  # (tiles,)
    columns = places[rows, jnp.arange(len(tiles))]

    # The squares above are differences of large numbers: 0 would not come out as 0.
    def difference(tile: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
        patch = jax.lax.dynamic_slice(image, (row, column, 0), (PATCH, PATCH, image.shape[2]))
        return jnp.sqrt(((tile - patch.reshape(-1)) ** 2).mean())

    return LEVELS * jax.vmap(difference)(tiles, rows, columns)


def _tiles(image: jax.Array) -> jax.Array:
    height, width, channels = image.shape
    down, across = height // PATCH, width // PATCH
    image = image[: down * PATCH, : across * PATCH]
    image = image.reshape(down, PATCH, across, PATCH, channels).transpose(0, 2, 1, 3, 4)
    chosen = np.linspace(0, down * across - 1, min(down * across, MAX_TILES)).round().astype(int)
    return image.reshape(down * across, -1)[chosen]


def own_patch_distance(image: jax.Array) -> jax.Array:
    """The same distance within the image: from each half's patches to those of the other half.

    It tells what to expect of patches that are new, but from the same picture: samples far
    below it repeat patches of the image, samples far above it depart from its textures.

    Args:
      image: (H, W, C) in [0, 1], its longer side at least 2 `PATCH`; it is halved across.

    Returns:
      The root mean square over both halves' patches, gray levels.
    """
    axis = 0 if image.shape[0] > image.shape[1] else 1
    middle = image.shape[axis] // 2
    halves = (
        jax.lax.slice_in_dim(image, 0, middle, axis=axis),
        jax.lax.slice_in_dim(image, middle, image.shape[axis], axis=axis),
    )
    there, back = patch_distances(*halves), patch_distances(*halves[::-1])
    return jnp.sqrt((jnp.concatenate([there, back]) ** 2).mean())


def copy_distance(sample: jax.Array, image: jax.Array) -> jax.Array:
    """The root mean square difference of a sample from the training image, as a whole.

    Args:
      sample: (H, W, C) in [0, 1], both sides more than 2 `SHIFT`; a margin of `SHIFT` is left out.
      image: (H, W, C); it is shifted by up to `SHIFT` pixels along both axes.

    Returns:
      The least over all shifts, in standard deviations of the image; two unrelated pictures of the
      same statistics would be at about 1.4.
    """
    height, width = (side - 2 * SHIFT for side in image.shape[:2])
    centre = sample[SHIFT : SHIFT + height, SHIFT : SHIFT + width]

    def at(shift: jax.Array) -> jax.Array:
        start = (shift // (2 * SHIFT + 1), shift % (2 * SHIFT + 1), 0)
        moved = jax.lax.dynamic_slice(image, start, (height, width, image.shape[2]))
        return ((centre - moved) ** 2).mean()

    squares = jax.lax.map(at, jnp.arange((2 * SHIFT + 1) ** 2))
    return jnp.sqrt(squares.min()) / image.std()
