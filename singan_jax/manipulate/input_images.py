"""The images and masks that manipulations start from: found, checked, brought to size."""

import collections
import os
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.ndimage
import skimage.filters
import skimage.morphology

from data_pipeline.errors import UnusableError
from data_pipeline.files import names, places
from data_pipeline.files.levels import gray_if_equal, stretched
from singan_jax.config import Config
from singan_jax.errors import ImageError
from singan_jax.images.compose import image_name
from singan_jax.images.masks import MASK_ENDINGS, marked
from singan_jax.images.match import NamedFiles
from singan_jax.images.read import (
    Image,
    check_content,
    find_images,
    read_image,
    read_pixels,
)
from singan_jax.scale.pyramid import resize_matrix
from singan_jax.workdir.record import Member

_BLUR = 5.0  # sigma of the masks' edges, pixels; as in the official code


def read_matching(path: str, members: Sequence[Member], config: Config) -> dict[str, Image]:
    """Reads an image for each member.

    Args:
      path: a file, for all members, or a folder of files named like the members.
      members: those to read images for.
      config: of the members.

    Returns:
      The images by member name, with the channels of the members: gray is repeated for those
      trained on colour.

    Raises:
      ImageError: a member's image is missing or cannot be used.
    """
    files = _files(path, members)
    images = {file: read_image(file, config) for file in sorted({*files.values()})}
    return {m.name: _with_channels(images[files[m.name]], m) for m in members}


def read_with_alpha(
    path: str, members: Sequence[Member], config: Config
) -> tuple[dict[str, Image], dict[str, np.ndarray]]:
    """Images whose alpha channels are their masks.

    Args:
      path: see `read_matching`.
      members: those to read images for.
      config: of the members.

    Returns:
      The images by member name, as `read_matching` gives them, with the colours that the files
      store under whatever transparency; and their masks, (H, W) bool, see `masks.marked`.

    Raises:
      ImageError: as of `read_matching`; or an image has no alpha channel, or one that is opaque
        throughout.
    """
    files = _files(path, members)
    found = {file: _split(file, config) for file in sorted({*files.values()})}
    images = {m.name: _with_channels(found[files[m.name]][0], m) for m in members}
    return images, {name: found[file][1] for name, file in files.items()}


def _split(file: str, config: Config) -> tuple[Image, np.ndarray]:
    """The image of a file, and which of its pixels its alpha channel marks."""
    pixels = read_pixels(file, keep_alpha=True)
    if pixels.shape[2] not in (2, 4):
        raise ImageError(
            file,
            "has no alpha channel that could be its mask",
            "name one by `mask`, or make transparent what is to stay",
        )
    colours = gray_if_equal(pixels[..., :-1])
    colours = stretched(colours) if config.stretch_levels else colours
    try:
        check_content(colours, config)
    except UnusableError as error:
        raise ImageError(file, error.problem, error.remedy) from error
    return Image(names.of_file(file), file, colours), marked(pixels, file)


def _files(
    path: str, members: Sequence[Member], kind: str = "image", endings: Sequence[str] = ("",)
) -> dict[str, str]:
    """The file of each member: the one that `path` is, or the one in it that is named like it.

    A member trained with settings of its own may have a file of its own, or share its image's.
    Where a fleet of an earlier version named a member otherwise than its file is named today, a
    file that is named like the member's training image serves too.
    """
    found, errors = find_images([path])
    if errors:
        raise errors[0]
    if len(found) == 1 and not places.local(path).is_dir():
        return {member.name: found[0] for member in members}
    named = NamedFiles(found, endings)
    sources = collections.Counter(names.of_file(source) for source in {m.source for m in members})
    files = {}
    for member in members:
        wanted = [member.name, image_name(member.name, member.settings)]
        if sources[source := names.of_file(member.source)] == 1:
            wanted.append(source)
        file = named.find(wanted)
        if file is None:
            remedy = "add it, or name the `members` that the folder serves"
            raise ImageError(path, f"holds no {kind} named {member.name!r}", remedy)
        files[member.name] = file
    return files


def _with_channels(image: Image, member: Member) -> Image:
    """An image with the channels of its member, whose mask, if it has one, is refused elsewhere."""
    given, wanted = image.shape[2], member.shape[2]
    if (given, wanted) == (1, 3):
        return image.in_colour()
    if given != wanted and not member.has_mask:
        raise ImageError(
            image.source,
            f"is in colour, and {member.name!r} was trained on gray",
            "convert it to grayscale",
        )
    return image


def read_masks(
    path: str, members: Sequence[Member], inputs: dict[str, Image]
) -> dict[str, np.ndarray]:
    """The mask of each member: (H, W) bool, see `masks.marked`.

    Args:
      path: a file, for all members, or a folder of files named like the members, with or without
        `_mask` behind the name.
      members: those to read masks for.
      inputs: their images.

    Raises:
      ImageError: a mask is missing or cannot be used, or is of another size than its image.
    """
    files = _files(path, members, "mask", MASK_ENDINGS)
    masks = {file: _mask(file, inputs) for file in sorted({*files.values()})}
    for name, file in files.items():
        (height, width), (rows, columns) = masks[file].shape, inputs[name].shape[:2]
        if (height, width) != (rows, columns):
            its_image = f"its image {inputs[name].source} {columns}x{rows}"
            problem = f"is {width}x{height} pixels, {its_image}"
            raise ImageError(file, problem, "a mask must be of its image's size")
    return {name: masks[file] for name, file in files.items()}


def _mask(file: str, inputs: Mapping[str, Image]) -> np.ndarray:
    pixels = read_pixels(file, keep_alpha=True)
    sources = {os.path.realpath(image.source) for image in inputs.values()}
    if pixels.shape[2] not in (2, 4) and os.path.realpath(file) in sources:
        problem = "is an input itself, so that it cannot be the mask of one"
        raise ImageError(file, problem, "add a mask with _mask behind the name of its image")
    return marked(pixels, file)


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretches an image to a size, each axis by itself; bicubic, antialiased when shrinking.

    Args:
      image: (H, W, C) in [-1, 1].
      size: (height, width) wanted.

    Returns:
      (*size, C) float32 in [-1, 1].
    """
    rows, columns = (
        resize_matrix(old, new, new / old) for old, new in zip(image.shape[:2], size, strict=True)
    )
    fitted = np.einsum("oh,pw,hwc->opc", rows, columns, image, optimize=True)
    return np.clip(fitted, -1, 1).astype(np.float32)


def soft_mask(mask: np.ndarray, size: tuple[int, int], radius: int) -> np.ndarray:
    """A mask grown and with soft edges, as the official code makes it.

    Args:
      mask: (H, W) bool.
      size: (height, width) wanted.
      radius: of the disk by which it grows, pixels of the wanted size.

    Returns:
      (*size,) float32 from 0 to 1.
    """
    fitted = fit(np.where(mask, 1.0, -1.0)[..., None], size)[..., 0] > 0
    fitted |= _lost(mask, fitted)
    if not fitted.any():  # dilation has no nearest pixel then, and marks a corner
        return np.zeros(size, np.float32)
    grown = skimage.morphology.isotropic_dilation(fitted, radius)
    soft = skimage.filters.gaussian(grown.astype(np.float64), _BLUR)
    low, high = soft.min(), soft.max()
    if low == high:  # everything is inside
        return soft.astype(np.float32)
    return ((soft - low) / (high - low)).astype(np.float32)


def _lost(mask: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """What would vanish when a mask shrinks: dots and lines that fill less than half of any pixel.

    Args:
      mask: (H, W) bool.
      fitted: (h, w) bool, the mask resized.

    Returns:
      (h, w) bool: the pixels in which marked ones of the mask lie, more than one away from all
      that `fitted` has. So the edges of what is left stay where the resize put them.
    """
    marked_cells = np.zeros_like(fitted)
    cells = (
        (2 * place + 1) * new // (2 * old)
        for place, old, new in zip(np.nonzero(mask), mask.shape, fitted.shape, strict=True)
    )
    marked_cells[tuple(cells)] = True
    return marked_cells & ~scipy.ndimage.binary_dilation(fitted, np.ones((3, 3), bool))
