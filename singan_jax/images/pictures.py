"""Pictures of a fleet: grids of images as PNG."""

import pathlib
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw

from singan_jax.images.read import from_float, write_png

_LABEL = 14  # pixels of height for a line of text
_GAP = 4
_OUTLINE = (255, 80, 60)


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """(H, W, C) float in [-1, 1] to (H, W, 3) uint8; a mask (C of 2 or 4) becomes an outline."""
    channels = image.shape[-1]
    pixels = from_float(image[..., : 3 if channels > 2 else 1], 8)
    pixels = np.repeat(pixels, 3 // pixels.shape[-1], axis=-1)
    if channels in (2, 4):
        import scipy.ndimage  # would take a fifth of this package's import time

        mask = image[..., -1] > 0
        pixels[mask & ~scipy.ndimage.binary_erosion(mask)] = _OUTLINE
    return pixels


def grid(
    path: pathlib.Path,
    rows: Sequence[Sequence[np.ndarray]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
) -> None:
    """Writes a labelled grid of images.

    Args:
      path: the PNG to write.
      rows: per row its images, (h, w, C) float in [-1, 1]; of one size throughout.
      row_labels: one per row, written above it.
      column_labels: one per column, written above the first row.
    """
    height, width = rows[0][0].shape[:2]
    factor = max(1, -(-96 // max(height, width)))  # small images are enlarged to be seen
    height, width = height * factor, width * factor
    canvas = PIL.Image.new(
        "RGB",
        (
            _GAP + len(rows[0]) * (width + _GAP),
            _LABEL + len(rows) * (height + _LABEL + _GAP),
        ),
        "white",
    )
    pen = PIL.ImageDraw.Draw(canvas)
    for column, label in enumerate(column_labels):
        pen.text((_GAP + column * (width + _GAP), 0), label, fill="gray")
    for n, (images, label) in enumerate(zip(rows, row_labels, strict=True)):
        top = _LABEL + n * (height + _LABEL + _GAP)
        pen.text((_GAP, top), label, fill="black")
        for column, image in enumerate(images):
            tile = PIL.Image.fromarray(to_rgb8(image)).resize((width, height), 0)
            canvas.paste(tile, (_GAP + column * (width + _GAP), top + _LABEL))
    write_png(path, np.asarray(canvas))
