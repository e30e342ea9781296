"""Reads, checks and writes image files, keeping each file's precision.

Training on hundreds of images must not stop at the hundredth because of a damaged file, and a
mammogram must not lose half its bits on the way in. So every file is read and checked before
training, everything wrong with it becomes an `ImageError` of one clear line, and 16-bit images
stay 16-bit (pillow reduces 16-bit RGB to 8 bits without a word; those go through imagecodecs).
"""

import concurrent.futures
import dataclasses
import hashlib
import io
import os
import re
import stat
from collections.abc import Mapping, Sequence

import imagecodecs
import numpy as np
import PIL.Image

from singan_jax.config import Config
from singan_jax.errors import ImageError, os_reason
from singan_jax.files import replacing
from singan_jax.images.decode import REPLACE, UnusableError, decode
from singan_jax.images.find import find_images
from singan_jax.scale.pyramid import Pyramid


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """One image at its file's full precision.

    Attributes:
        name: the member's name, from the file's stem; safe as a folder name.
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

    def to_float(self) -> np.ndarray:
        """Returns the pixels as float32 in [-1, 1], (images, H, W, C)."""
        pixels = np.stack([self.pixels, *self.more])
        unit = pixels.astype(np.float32) / np.float32(_max_level(self.bit_depth))
        return (unit - np.float32(0.5)) * 2  # the official sequence of roundings


def read_image(path: str | os.PathLike[str], config: Config) -> Image:
    """Reads one PNG, JPEG, TIFF, PGM, PPM, PBM or BMP file; its content decides, not its suffix.

    Grayscale gives 1 channel, RGB 3, a palette 3, or 1 if only grays are used. 16-bit samples
    stay 16-bit. 1-bit images become 0 and 255, inverted (MINISWHITE) TIFFs get their levels
    inverted back, JPEG and TIFF orientation is applied, an alpha channel that is opaque
    throughout is dropped. Netpbm levels are scaled to the nearest of 255 or, above 255, of 65535.

    Args:
        path: the file.
        config: decides which sizes can be trained on (see `Pyramid.of`).

    Returns:
        The image; its pixels are not all equal.

    Raises:
        ImageError: the file cannot be read, is damaged, or holds what SinGAN cannot train on:
            transparency, CMYK, floating-point samples, several pages, too few pixels, one colour.
    """
    path, pixels = os.fspath(path), read_pixels(path)
    try:
        check_content(pixels, config)
    except UnusableError as e:
        raise ImageError(path, e.problem, e.remedy) from e
    return Image(member_name(path), path, pixels)


def read_pixels(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an image file as `read_image` does, of any size and content.

    Returns:
        (H, W, C) uint8 or uint16, C 1 or 3, the whole range of the type used.

    Raises:
        ImageError: the file cannot be read, is damaged, or holds transparency, CMYK,
            floating-point samples or several pages.
    """
    path = os.fspath(path)
    try:
        return decode(_read_bytes(path))
    except UnusableError as e:
        raise ImageError(path, e.problem, e.remedy) from e


def read_images(patterns: Sequence[str], config: Config) -> tuple[list[Image], list[ImageError]]:
    """Finds and reads images; see `find_images` and `read_image`.

    Returns:
        The images in the order found, with names that differ, and all errors. Of two files with
        the same member name the later one is an error.
    """

    def read(path: str) -> Image | ImageError:
        try:
            return read_image(path, config)
        except ImageError as e:
            return e

    paths, errors = find_images(patterns)
    images: dict[str, Image] = {}
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for path, result in zip(paths, pool.map(read, paths), strict=True):
            if isinstance(result, ImageError):
                errors.append(result)
            elif result.name in images:
                first = images[result.name].source
                problem = f"has the same member name, {result.name!r}, as {first}"
                errors.append(ImageError(path, problem, "rename one of them"))
            else:
                images[result.name] = result
    return list(images.values()), errors


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
    if not data:
        raise UnusableError("is empty", REPLACE)
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


def member_name(path: str) -> str:
    """The name of the member trained on a file: its stem, made safe as the name of a folder."""
    stem = os.path.splitext(os.path.basename(path))[0]
    # A leading dot would hide the folder, or name its parent.
    return re.sub(r"^\.|[^A-Za-z0-9._-]", "_", stem) or "_"


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
