"""Masks: which pixels an image marks."""

import numpy as np

from singan_jax.errors import ImageError

MASK_ENDINGS = ("_mask", "")  # of masks' names, behind their image's; the likelier first


def marked(pixels: np.ndarray, source: str) -> np.ndarray:
    """Which pixels a mask marks.

    Where it has an alpha channel, those more than half opaque; of two levels, as 0 and 1, those of
    the higher; else those above half of the type's range. The brightest channel counts.

    Args:
      pixels: (H, W, C) uint8 or uint16, C 1 or 3, or with alpha 2 or 4.
      source: where they are from, for messages.

    Returns:
      (H, W) bool, neither all True nor all False.

    Raises:
      ImageError: no pixel is marked, or all are.
    """
    has_alpha = pixels.shape[2] in (2, 4)
    levels = pixels[..., -1] if has_alpha else pixels.max(axis=-1)
    known = np.unique(levels)
    if len(known) == 1:
        everything = bool(known[0] > np.iinfo(levels.dtype).max // 2)
        problem = "marks every pixel" if everything else "marks no pixel"
        raise ImageError(source, problem, "draw what it should mark in white on black")
    is_marked = levels > (known[0] if len(known) == 2 else np.iinfo(levels.dtype).max // 2)
    if is_marked.all() or not is_marked.any():
        problem = (
            f"has {len(known)} levels from {known[0]} to {known[-1]}, so it cannot be told which "
            "it marks"
        )
        raise ImageError(source, problem, "draw what it should mark in white on black")
    return is_marked
