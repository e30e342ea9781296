"""The images and masks that manipulations start from: found, checked, brought to size."""

import os
from collections.abc import Sequence

import numpy as np
import skimage.filters
import skimage.morphology

from singan_jax.config import Config
from singan_jax.errors import ImageError, InputError
from singan_jax.images.find import find_images
from singan_jax.images.read import Image, member_name, read_image
from singan_jax.scale.pyramid import resize_matrix
from singan_jax.workdir.record import Member

_BLUR = 5.0  # sigma of the masks' edges, pixels; as in the official code


def read(path: str, members: Sequence[Member], config: Config) -> dict[str, Image]:
    """Reads an image for each member.

    Args:
      path: a file, for all members, or a folder of files named like the members.
      members: those to read images for.
      config: of the members.

    Returns:
      The images by member name.

    Raises:
      ImageError: a member's image is missing or cannot be used.
    """
    found, errors = find_images([path])
    if errors:
        raise errors[0]
    files = {member_name(file): file for file in found}
    if not os.path.isdir(path):
        files = {member.name: found[0] for member in members}
    for member in members:
        if member.name not in files:
            remedy = "add it, or name the `members` that the folder serves"
            raise ImageError(path, f"holds no image named {member.name!r}", remedy)
    wanted = {files[member.name] for member in members}
    read_files = {file: read_image(file, config) for file in sorted(wanted)}
    return {member.name: read_files[files[member.name]] for member in members}


def read_matching(path: str, members: Sequence[Member], config: Config) -> dict[str, Image]:
    """`read`, of images with the channels of their members."""
    found = read(path, members, config)
    for member in members:
        image, wanted = found[member.name], member.shape[2]
        if image.shape[2] != wanted:
            kinds = {1: "grayscale", 3: "RGB"}
            raise ImageError(
                image.source,
                f"has {image.shape[2]} channels, and {member.name!r} was trained on {wanted}",
                f"convert it to {kinds.get(wanted, f'{wanted} channels')}",
            )
    return found


def read_masks(
    path: str, members: Sequence[Member], inputs: dict[str, Image], config: Config
) -> dict[str, np.ndarray]:
    """`read`, of masks: (H, W) bool, True where a pixel is more than half bright.

    Raises:
      ImageError: a mask is missing or cannot be used.
      InputError: a mask is of another size than its image.
    """
    masks = read(path, members, config)
    for name, mask in masks.items():
        (height, width, _), size = mask.shape, inputs[name].shape[:2]
        if (height, width) != size:
            raise InputError(
                f"{mask.source}: is {width}x{height} pixels, its image {inputs[name].source} "
                f"{size[1]}x{size[0]}; a mask must be of its image's size"
            )
    return {name: np.any(mask.to_float()[0] > 0, axis=-1) for name, mask in masks.items()}


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
    grown = skimage.morphology.isotropic_dilation(fitted, radius)
    soft = skimage.filters.gaussian(grown.astype(np.float64), _BLUR)
    low, high = soft.min(), soft.max()
    if low == high:  # nothing, or everything, is inside
        return soft.astype(np.float32)
    return ((soft - low) / (high - low)).astype(np.float32)
