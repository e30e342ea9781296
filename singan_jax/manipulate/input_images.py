"""The images and masks that manipulations start from: found, checked, brought to size."""

from collections.abc import Sequence

import numpy as np
import skimage.filters
import skimage.morphology

from data_pipeline.files import places
from singan_jax.config import Config
from singan_jax.errors import ImageError
from singan_jax.images.compose import image_name
from singan_jax.images.masks import MASK_ENDINGS, marked
from singan_jax.images.match import NamedFiles
from singan_jax.images.read import Image, find_images, read_image, read_pixels
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
    files = _files(path, members)
    images = {file: read_image(file, config) for file in sorted(set(files.values()))}
    return {name: images[file] for name, file in files.items()}


def _files(path: str, members: Sequence[Member], endings: Sequence[str] = ("",)) -> dict[str, str]:
    """The file of each member: the one that `path` is, or the one in it that is named like it.

    A member trained with settings of its own may have a file of its own, or share its image's.
    """
    found, errors = find_images([path])
    if errors:
        raise errors[0]
    if len(found) == 1 and not places.local(path).is_dir():
        return {member.name: found[0] for member in members}
    named = NamedFiles(found, endings)
    files = {}
    for member in members:
        file = named.find((member.name, image_name(member.name, member.settings)))
        if file is None:
            remedy = "add it, or name the `members` that the folder serves"
            raise ImageError(path, f"holds no image named {member.name!r}", remedy)
        files[member.name] = file
    return files


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
    files = _files(path, members, MASK_ENDINGS)
    masks = {file: marked(read_pixels(file, keep_alpha=True), file) for file in {*files.values()}}
    for name, file in files.items():
        (height, width), (rows, columns) = masks[file].shape, inputs[name].shape[:2]
        if (height, width) != (rows, columns):
            its_image = f"its image {inputs[name].source} {columns}x{rows}"
            problem = f"is {width}x{height} pixels, {its_image}"
            raise ImageError(file, problem, "a mask must be of its image's size")
    return {name: masks[file] for name, file in files.items()}


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
