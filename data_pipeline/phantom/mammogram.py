"""One synthetic mammogram: an anatomy, lesions somewhere in it, tissue around them, exposed."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.mammograms import Format, Laterality, View
from data_pipeline.phantom import lesions, tissue


@dataclasses.dataclass(frozen=True)
class Exposure:
    """How an image is taken.

    Attributes:
      view: "CC" or "MLO".
      laterality: "L" (chest wall on the left of the image) or "R" (on its right).
      format: "Film" or "Digital".
      shape: (H, W) in pixels.
    """

    view: View
    laterality: Laterality
    format: Format
    shape: tuple[int, int]


class PlacedLesion(NamedTuple):
    """A lesion in an image.

    Attributes:
      added: (n, n) float32 attenuation, n odd.
      column: of its middle, in pixels; chest wall on the left.
      row: of its middle.
      outline: (k, 2) int (x, y) vertices in pixels of the image as it is stored.
    """

    added: np.ndarray
    column: int
    row: int
    outline: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """What is in an image and where, before a single pixel of it is drawn."""

    exposure: Exposure
    anatomy: tissue.Anatomy
    lesions: tuple[PlacedLesion, ...]


def lay_out(
    rng: np.random.Generator, exposure: Exposure, traits: Sequence[lesions.Traits]
) -> Layout:
    """Draws an anatomy and a place for each lesion: in the breast, off the muscle, apart.

    Args:
      rng: source of everything random.
      exposure: how the image is taken.
      traits: of the lesions it shows.

    Returns:
      The layout; its outlines lie within the image.
    """
    height, width = exposure.shape
    anatomy = tissue.draw_anatomy(rng, exposure.view, width / height)
    y, x = tissue.grid(anatomy.skin.shape)
    room = np.minimum(anatomy.skin, -anatomy.muscle)
    room = np.minimum(room, np.minimum(x, np.minimum(y, 1 - y)))
    placed = []
    for trait in traits:
        # The least distance from a middle to anything else; where no place has it, the best one.
        fits = np.flatnonzero(room >= min(0.8 * trait.diameter, room.max()))
        row, column = np.unravel_index(rng.choice(fits), room.shape)
        at_x, at_y = x[row, column], y[row, column]
        room = np.minimum(room, np.hypot(x - at_x, y - at_y) - trait.diameter)
        added, outline = lesions.draw_lesion(rng, trait, trait.diameter * height)
        middle = int(at_x * height), int(at_y * height)
        outline = np.clip(outline + middle, 0, (width - 1, height - 1))
        if exposure.laterality == "R":
            outline[:, 0] = width - 1 - outline[:, 0]
        placed.append(PlacedLesion(added, *middle, outline))
    return Layout(exposure, anatomy, tuple(placed))


def render(rng: np.random.Generator, layout: Layout, density: int) -> np.ndarray:
    """Draws the pixels of a layout.

    Args:
      rng: source of everything random.
      layout: from `lay_out`.
      density: BI-RADS class, 1 to 4.

    Returns:
      (H, W) uint8.
    """
    exposure = layout.exposure
    attenuation = tissue.draw_tissue(rng, layout.anatomy, exposure.shape, density)
    height, width = exposure.shape
    for lesion in layout.lesions:
        half = lesion.added.shape[0] // 2
        top, left = lesion.row - half, lesion.column - half
        rows = slice(max(top, 0), min(top + 2 * half + 1, height))
        columns = slice(max(left, 0), min(left + 2 * half + 1, width))
        attenuation[rows, columns] += lesion.added[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
    pixels = tissue.expose(rng, attenuation, exposure.format)
    return pixels[:, ::-1] if exposure.laterality == "R" else pixels
