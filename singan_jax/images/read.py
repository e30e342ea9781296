"""Reads, checks and writes image files, keeping each file's precision.

Training on hundreds of images must not stop at the hundredth because of a damaged file, and a
mammogram must not lose half its bits on the way in. So every file is read and checked before
training, everything wrong with it becomes an `ImageError` of one clear line, and 16-bit images
stay 16-bit.
"""

import concurrent.futures
import dataclasses
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Mapping, Sequence

import imagecodecs
import numpy as np
import PIL.Image

from data_pipeline.errors import InputWarning, UnusableError
from data_pipeline.files import find, limits, names
from data_pipeline.files.decode import decode
from data_pipeline.files.levels import gray_if_equal, stretched
from data_pipeline.files.writing import replacing
from singan_jax.config import Config
from singan_jax.errors import ImageError, os_reason
from singan_jax.scale.pyramid import Pyramid


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """One image at its file's full precision.

    Attributes:
        name: the member's name; see `data_pipeline.files.names`.
        source: the path it was read from.
        pixels: (H, W, C) uint8 or uint16, over the type's whole range. C is 1 or 3, or 2 or 4
            where the last channel is a mask (see `compose.with_mask`).
        provenance: carried through to the manifest of samples, e.g. the patient.
        more: further images like `pixels` that train the same model (see `compose.together`).
        settings: hyperparameters of this member that differ from the fleet's config.
    """

    name: str
    source: str
    pixels: np.ndarray  # (H, W, C)
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    more: tuple[np.ndarray, ...] = ()
    settings: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_pixels(self.pixels, (1, 2, 3, 4))
        if any((x.shape, x.dtype) != (self.pixels.shape, self.pixels.dtype) for x in self.more):
            raise ValueError(f"{self.name}: images of one model differ in shape or bit depth")

    @property
    def bit_depth(self) -> int:
        """8 or 16."""
        return self.pixels.dtype.itemsize * 8

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        height, width, channels = self.pixels.shape
        return height, width, channels

    @property
    def digest(self) -> str:
        """Hex SHA-256 over dtype, shape and pixels; the same on every machine."""
        digest = hashlib.sha256(f"{self.pixels.dtype.name} {self.shape} ".encode())
        for pixels in (self.pixels, *self.more):
            digest.update(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def in_colour(self) -> "Image":
        """The same with its gray channel three times, before the mask where it has one."""
        gray = (0, 0, 0, *range(1, self.shape[2]))
        return dataclasses.replace(
            self, pixels=self.pixels[..., gray], more=tuple(x[..., gray] for x in self.more)
        )

    def to_float(self) -> np.ndarray:
        """Returns the pixels as float32 in [-1, 1], (images, H, W, C)."""
        pixels = np.stack([self.pixels, *self.more])
        unit = pixels.astype(np.float32) / np.float32(_max_level(self.bit_depth))
        return (unit - np.float32(0.5)) * 2  # the official sequence of roundings


def read_image(path: str | os.PathLike[str], config: Config) -> Image:
    """Reads one image file for training; see `read_pixels`.

    Args:
        path: the file.
        config: decides which sizes can be trained on (see `Pyramid.of`), and whether dark levels
            are stretched (`config.stretch_levels`).

    Returns:
        The image; its pixels are not all equal. Gray that is stored as colour has 1 channel.

    Raises:
        ImageError: the file cannot be read, or holds what SinGAN cannot train on: transparency,
            CMYK, floating-point samples, several images, too few pixels, one colour.
    """
    path = os.fspath(path)
    pixels = gray_if_equal(read_pixels(path))
    pixels = stretched(pixels) if config.stretch_levels else pixels
    try:
        check_content(pixels, config)
    except UnusableError as e:
        raise ImageError(path, e.problem, e.remedy) from e
    return Image(names.of_file(path), path, pixels)


def read_pixels(path: str | os.PathLike[str], *, keep_alpha: bool = False) -> np.ndarray:
    """Reads an image file of any size and content; see `data_pipeline.files.decode`.

    Returns:
        (H, W, C) uint8 or uint16, C 1 or 3, or with alpha 2 or 4; the type's whole range is used.

    Raises:
        ImageError: the file cannot be read or decoded.
    """
    path = os.fspath(path)
    try:
        return decode(_read_bytes(path), keep_alpha=keep_alpha)
    except UnusableError as e:
        raise ImageError(path, e.problem, e.remedy) from e


def find_images(patterns: Sequence[str]) -> tuple[list[str], list[ImageError]]:
    """The files that patterns name, and what is wrong with patterns; see `files.find`.

    What folders hold besides images is told by an `InputWarning`.
    """
    found = find.find(patterns)
    if skipped := found.about_skipped():
        warnings.warn(skipped, InputWarning, stacklevel=2)
    return found.paths, [ImageError(path, e.problem, e.remedy) for path, e in found.faults]


def read_images(patterns: Sequence[str], config: Config) -> tuple[list[Image], list[ImageError]]:
    """Finds and reads images; see `find_images` and `read_image`.

    An `InputWarning` tells of images that use few of the levels that 16 bits have, and of files
    that hold the same picture.

    Returns:
        The images in the order found, with names that differ, and all errors.
    """
    paths, errors = find_images(patterns)
    named = dict(zip(names.of_files(paths), paths, strict=True))
    images, refused = read_named(named, config)
    for doubt in (_dark(images), _repeated(images)):
        if doubt:
            warnings.warn(doubt, InputWarning, stacklevel=2)
    return images, [*errors, *refused]


def read_named(paths: Mapping[str, str], config: Config) -> tuple[list[Image], list[ImageError]]:
    """Reads files, by the names that their images are to have; see `read_image`."""

    def read(path: str) -> Image | ImageError:
        try:
            return read_image(path, config)
        except ImageError as e:
            return e

    images: list[Image] = []
    errors: list[ImageError] = []
    with concurrent.futures.ThreadPoolExecutor(min(8, limits.cpus())) as pool:
        for name, result in zip(paths, pool.map(read, paths.values()), strict=True):
            if isinstance(result, ImageError):
                errors.append(result)
            else:
                images.append(dataclasses.replace(result, name=name))
    return images, errors


def _dark(images: Sequence[Image]) -> str:
    """Names 16-bit images that use less than half of the range of their levels."""
    dark = [x for x in images if x.bit_depth == 16 and int(x.pixels.max()).bit_length() < 16]
    if not dark:
        return ""
    bits = int(dark[0].pixels.max()).bit_length()
    return (
        f"{_first(dark)}: of 16 bits, but no level needs more than {bits}, so it is dark to "
        "training; add `config.stretch_levels` if it should not be"
    )


def _repeated(images: Sequence[Image]) -> str:
    """Names images that equal one before them."""
    first: dict[str, Image] = {}
    again = [x for x in images if first.setdefault(x.digest, x) is not x]
    if not again:
        return ""
    return (
        f"{_first(again)}: the same picture as {first[again[0].digest].source}, which will give "
        "the same samples; leave one of them out"
    )


def _first(images: Sequence[Image]) -> str:
    others = len(images) - 1
    return images[0].source + (f" (and {others} more like it)" if others else "")


def png_bytes(pixels: np.ndarray) -> bytes:
    """Encodes (H, W, C) uint8 or uint16 pixels, C 1 (as grayscale) or 3, as PNG."""
    _check_pixels(pixels, (1, 3))
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    if pixels.dtype == np.uint16:
        return bytes(imagecodecs.png_encode(pixels))
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_png(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Writes a PNG whole or not at all.

    Args:
        path: the file to write or replace; its folder exists.
        pixels: (H, W, C) uint8 or uint16, C 1 (written as grayscale) or 3.

    Raises:
        ValueError: pixels of another shape or type.
        OSError: the file cannot be written.
    """
    data = png_bytes(pixels)
    with replacing(path, sync=False) as file:
        file.write(data)


def from_float(x: np.ndarray, bit_depth: int) -> np.ndarray:
    """Inverse of `Image.to_float`, exact for every level.

    Args:
        x: any shape; values outside [-1, 1] are clipped, others rounded to the nearest level.
        bit_depth: 8 or 16.

    Returns:
        uint8 or uint16 of x's shape.

    Raises:
        ValueError: another bit depth, or NaN in x.
    """
    top = _max_level(bit_depth)
    x = np.asarray(x, np.float64)
    if np.isnan(x).any():
        raise ValueError("x holds NaN, which is no grey level")
    return np.rint((np.clip(x, -1, 1) + 1) / 2 * top).astype(f"uint{bit_depth}")


def _read_bytes(path: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait forever
            raise UnusableError("is not a regular file", "name an image file")
        with open(path, "rb") as f:
            data = f.read()
    except OSError as e:
        raise UnusableError(
            f"cannot be read ({os_reason(e)})", "check the path and permissions"
        ) from e
    return data


def check_content(pixels: np.ndarray, config: Config) -> None:
    """Raises `UnusableError` for (H, W, C) pixels that SinGAN cannot be trained on."""
    height, width, _ = pixels.shape
    try:
        Pyramid.of((height, width), config)
    except ValueError as e:
        remedy = "enlarge or crop it, or lower `config.min_size`"
        raise UnusableError(str(e), remedy) from e
    if (pixels == pixels[0, 0]).all():
        raise UnusableError("all pixels are equal, nothing to learn", "leave it out")


def _check_pixels(pixels: np.ndarray, channels: Sequence[int]) -> None:
    if pixels.dtype.name not in ("uint8", "uint16") or pixels.ndim != 3:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, not uint8 or uint16 (H, W, C)")
    if pixels.shape[2] not in channels:
        allowed = " or ".join(map(str, channels))
        raise ValueError(f"pixels have {pixels.shape[2]} channels, not {allowed}")


def _max_level(bit_depth: int) -> int:
    if bit_depth not in (8, 16):
        raise ValueError(f"bit depth is {bit_depth}, not 8 or 16")
    return 2**bit_depth - 1
