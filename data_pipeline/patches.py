"""Cuts patches out of one mammogram: lesions at several zooms, and healthy windows.

Pure functions of (image, boxes of its lesions, settings). They yield one patch at a time, so what
they hold is the image and one patch. There are two sets of rules; the zooms, the sizes and steps of
windows and the breast they must hold are those of the thesis (Buetas 2023) in both:

    what                        clean                        thesis
    a box beyond the left, top  is cut there                 is shifted into the image
    patches that shrink         mean over areas              sampled, so that fine detail aliases
    windows near lesions        may touch a lesion's box     keep 10 % of their side away from it

Windows avoid all lesions of the mammogram in both. The thesis' code looks at one lesion at a time:
a film with two gives each window twice, and a window may hold the other lesion. That defect is not
among its rules here.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from skimage import filters

from data_pipeline.errors import DataError
from data_pipeline.mammograms import Box, Format
from data_pipeline.resizing import resize, resize_as_opencv

Rules = Literal["clean", "thesis"]
RULES: tuple[Rules, ...] = ("clean", "thesis")


@dataclasses.dataclass(frozen=True)
class PatchSettings:
    """Which patches are cut.

    Attributes:
      rules: "clean" or "thesis", see the module's docstring. Clean is the default: its boxes stay
        centred on their lesions, and its patches show no detail that is not there.
      size: height and width of every patch in pixels, or None to leave each at its native size.
      zooms: of lesions, whole numbers from 1; a lesion's patch of zoom k is in zoom group k.
      film_window: side of a healthy window of a film, in pixels of the image.
      film_step: from one window to the next, as a fraction of the window's side.
      film_breast: least fraction of a window that must be breast.
      digital_window: side of a healthy window of a digital image, as a fraction of its width.
      digital_step: as `film_step`.
      digital_breast: as `film_breast`.
    """

    rules: Rules = "clean"
    size: int | None = 224
    zooms: tuple[int, ...] = (1, 2, 3)
    film_window: int = 224
    film_step: float = 0.8
    film_breast: float = 0.5
    digital_window: float = 0.2
    digital_step: float = 1.0
    digital_breast: float = 0.6

    def __post_init__(self) -> None:
        limits = [
            ("rules", self.rules in RULES, " or ".join(RULES)),
            ("size", self.size is None or self.size >= 1, "1 or more pixels, or none for native"),
            ("zooms", all(int(zoom) == zoom >= 1 for zoom in self.zooms), "whole numbers from 1"),
            ("zooms", len(set(self.zooms)) == len(self.zooms), "different from each other"),
            ("film_window", self.film_window >= 1, "1 or more pixels"),
            ("digital_window", 0 < self.digital_window <= 1, "a fraction above 0, up to 1"),
            ("film_step", 0 < self.film_step < math.inf, "a number above 0"),
            ("digital_step", 0 < self.digital_step < math.inf, "a number above 0"),
            ("film_breast", 0 <= self.film_breast <= 1, "a fraction from 0 to 1"),
            ("digital_breast", 0 <= self.digital_breast <= 1, "a fraction from 0 to 1"),
        ]
        for name, holds, rule in limits:
            if not holds:
                raise DataError(f"patch setting {name} is {getattr(self, name)}; it must be {rule}")


@dataclasses.dataclass(frozen=True, eq=False)
class Patch:
    """One patch.

    Attributes:
      pixels: (H, W) uint8.
      box: where it was cut, in pixels of the mammogram; its shape is that of `pixels` only where
        the size is native.
      zoom_group: the zoom of a lesion, 0 for a healthy window.
      lesion: index of the lesion in the boxes given, or None for a healthy window.
    """

    pixels: np.ndarray
    box: Box
    zoom_group: int
    lesion: int | None


def lesion_patches(
    image: np.ndarray, lesion_boxes: Sequence[Box], settings: PatchSettings
) -> Iterator[Patch]:
    """Yields every lesion at every zoom: zoom groups 1, 2, 3 by default.

    Args:
      image: (H, W) uint8.
      lesion_boxes: bounding boxes, within the image.
      settings: `rules`, `size` and `zooms` matter.

    Yields:
      The patches by lesion, then by zoom in the order of the settings.
    """
    enlarged = {"clean": zoomed, "thesis": zoomed_and_shifted}[settings.rules]
    for index, lesion_box in enumerate(lesion_boxes):
        for zoom in settings.zooms:
            box = enlarged(lesion_box, zoom, image.shape)
            yield Patch(_cut(image, box, settings), box, zoom, index)


def healthy_patches(
    image: np.ndarray, lesion_boxes: Sequence[Box], image_format: Format, settings: PatchSettings
) -> Iterator[Patch]:
    """Yields the windows that miss every lesion and hold enough breast: zoom group 0.

    Args:
      image: (H, W) uint8.
      lesion_boxes: bounding boxes of all its lesions, not enlarged.
      image_format: "Film" or "Digital"; decides which settings of windows hold.
      settings: all but `zooms` matter.

    Yields:
      The patches from top to bottom, then from left to right; none where the image is smaller than
      a window.
    """
    if image_format == "Film":
        side = settings.film_window
        step, min_breast = settings.film_step, settings.film_breast
    else:
        side = max(1, int(settings.digital_window * image.shape[1]))
        step, min_breast = settings.digital_step, settings.digital_breast
    avoided = lesion_boxes
    if settings.rules == "thesis":
        # A gap of side / 10 pixels still touches the widened box; edges being whole numbers, this
        # is to share a pixel with a box that is wider by one more than the whole part of it.
        margin = side // 10 + 1
        avoided = [
            Box(box.left - margin, box.top - margin, box.right + margin, box.bottom + margin)
            for box in lesion_boxes
        ]
    for box in healthy_boxes(image, avoided, side, max(1, int(step * side)), min_breast):
        yield Patch(_cut(image, box, settings), box, 0, None)


def zoomed(box: Box, zoom: int, shape: tuple[int, ...]) -> Box:
    """Enlarges a box about its centre and clips it to the image.

    Args:
      box: in pixels, within the image.
      zoom: factor by which its width and height grow, 1 or more.
      shape: (H, W) of the image.

    Returns:
      The box. Where an odd side is doubled the centre cannot stay; it then moves by half a pixel
      to the left or the top.
    """
    height, width = shape
    left, top = _corner(box, zoom)
    right, bottom = left + zoom * box.width, top + zoom * box.height
    return Box(max(left, 0), max(top, 0), min(right, width), min(bottom, height))


def zoomed_and_shifted(box: Box, zoom: int, shape: tuple[int, ...]) -> Box:
    """Enlarges a box as the thesis' code does: shifted at the left and top, cut right and bottom.

    The top left corner is moved into the image before the full width and height are added to it;
    what then is beyond the right or the bottom is cut. So a box that leaves at the left reaches
    further to the right, and its lesion is no longer in the middle.

    Args:
      box: as for `zoomed`.
      zoom: likewise.
      shape: likewise.

    Returns:
      The box; it holds that of `zoomed`.
    """
    height, width = shape
    left, top = (max(edge, 0) for edge in _corner(box, zoom))
    right, bottom = left + zoom * box.width, top + zoom * box.height
    return Box(left, top, min(right, width), min(bottom, height))


def _corner(box: Box, zoom: int) -> tuple[int, int]:
    """(left, top) of a box enlarged about its centre."""
    return (
        (2 * box.left - (zoom - 1) * box.width) // 2,
        (2 * box.top - (zoom - 1) * box.height) // 2,
    )


def healthy_boxes(
    image: np.ndarray, lesion_boxes: Sequence[Box], side: int, step: int, min_breast: float
) -> list[Box]:
    """The square windows of a grid that miss every lesion and hold enough breast.

    Breast is what is brighter than Otsu's threshold (IEEE Trans. SMC 9, 1979) of the whole image.
    It is counted for all windows at once, from running sums along each axis.

    Args:
      image: (H, W) uint8.
      lesion_boxes: boxes that no window may share a pixel with.
      side: of the windows, in pixels.
      step: between windows in both directions, in pixels; the first is in the top left corner.
      min_breast: least fraction of breast pixels, 0 to 1.

    Returns:
      The boxes from top to bottom, then from left to right.
    """
    height, width = image.shape
    tops = np.arange(0, height - side + 1, step)
    lefts = np.arange(0, width - side + 1, step)
    breast = image > filters.threshold_otsu(image)
    in_rows = _window_sums(breast, tops, side)  # (tops, W)
    counts = _window_sums(in_rows.T, lefts, side).T  # (tops, lefts)
    keep = counts >= min_breast * side**2
    for box in lesion_boxes:
        meets_y = (tops < box.bottom) & (tops + side > box.top)
        meets_x = (lefts < box.right) & (lefts + side > box.left)
        keep &= ~np.outer(meets_y, meets_x)
    corners = [(int(lefts[column]), int(tops[row])) for row, column in np.argwhere(keep)]
    return [Box(left, top, left + side, top + side) for left, top in corners]


def _window_sums(values: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Sums `values[start : start + length]` for each start; (N, M) to (starts, M) int32."""
    sums = np.zeros((len(values) + 1, values.shape[1]), np.int32)  # a mammogram has < 2**31 pixels
    np.cumsum(values, axis=0, out=sums[1:])
    return sums[starts + length] - sums[starts]


def mask_patch(outline: np.ndarray, lesion_box: Box, patch: Patch) -> np.ndarray:
    """The mask that goes with a lesion's patch.

    Args:
      outline: bool, the lesion's mask within its box.
      lesion_box: bounding box of the lesion, within the patch's.
      patch: of that lesion.

    Returns:
      uint8 of the shape of the patch's pixels, 255 where half a pixel or more is lesion, else 0.
    """
    box = patch.box
    mask = np.zeros((box.height, box.width), np.uint8)
    top, left = lesion_box.top - box.top, lesion_box.left - box.left
    mask[top : top + lesion_box.height, left : left + lesion_box.width][outline] = 255
    share = resize(mask, *patch.pixels.shape)
    return np.where(share >= 128, 255, 0).astype(np.uint8)


def fitted(pixels: np.ndarray, settings: PatchSettings) -> np.ndarray:
    """Brings pixels to the size of patches, in the way of the rules.

    Args:
      pixels: (H, W) uint8.
      settings: `rules` and `size` matter.

    Returns:
      (size, size) uint8, or a copy where the size is native.
    """
    if settings.size is None:
        return pixels.copy()  # a view would keep the whole mammogram alive
    fit = {"clean": resize, "thesis": resize_as_opencv}[settings.rules]
    return fit(pixels, settings.size, settings.size)


def _cut(image: np.ndarray, box: Box, settings: PatchSettings) -> np.ndarray:
    return fitted(image[box.top : box.bottom, box.left : box.right], settings)
