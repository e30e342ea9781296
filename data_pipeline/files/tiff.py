"""TIFF, through tifffile: of 1 to 16 bits, gray, palette or RGB."""

import io
import logging

import numpy as np
import tifffile

from data_pipeline.errors import UnusableError
from data_pipeline.files.levels import (
    CONVERT,
    ONE_IMAGE,
    ORIENTATION_TAG,
    check_size,
    gray_if_equal,
    oriented,
    scaled,
)

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_KINDS = tifffile.PHOTOMETRIC
# It logs what it makes of damaged files, in many lines; here the one line of an error says it.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def is_tiff(head: bytes) -> bool:
    """Whether a file that starts so is one."""
    return head.startswith(_MAGIC)


def decode(data: bytes, upright: bool) -> np.ndarray:
    """See `decode.decode`; with an alpha channel where the file has one."""
    with tifffile.TiffFile(io.BytesIO(data), _multifile=False) as file:
        page = _only_page(file)
        check_size(page.imagewidth, page.imagelength)
        if page.is_tiled:
            check_size(page.tilewidth, page.tilelength)
        _check(page)
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if not all(page.databytecounts) or max(ends) > len(data):  # else decoded as blank
            raise ValueError("the file ends before its pixels do")
        pixels = page.asarray(maxworkers=1)
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, -1)
        if page.photometric == _KINDS.PALETTE:
            colours = (np.asarray(page.colormap) >> 8).astype(np.uint8)  # (3, levels)
            pixels = gray_if_equal(np.moveaxis(colours[:, pixels[..., 0]], 0, -1))
        else:
            pixels = scaled(pixels, 2**page.bitspersample - 1)
        if page.photometric == _KINDS.MINISWHITE:
            pixels[..., 0] = np.iinfo(pixels.dtype).max - pixels[..., 0]
        orientation = page.tags.get(ORIENTATION_TAG) if upright else None
        return oriented(pixels, orientation.value if orientation else 1)


def _only_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    """The page that is the image; previews of it beside it do not count."""
    pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
    pages = [page for page in pages if not page.is_reduced] or pages
    if not pages:
        raise ValueError("it has no readable page")
    if len(pages) > 1:
        raise UnusableError(f"has {len(pages)} pages", ONE_IMAGE)
    (page,) = pages
    # A program may keep a stack behind one page, and say so in words (ImageJ, tifffile).
    images = max(int(np.prod(series.shape)) for series in file.series) // int(np.prod(page.shape))
    if images > 1:
        raise UnusableError(f"holds a stack of {images} images", ONE_IMAGE)
    return page


def _check(page: tifffile.TiffPage) -> None:
    bits, photometric = page.bitspersample, page.photometric
    if page.sampleformat != tifffile.SAMPLEFORMAT.UINT or not 1 <= bits <= 16:
        names = {1: "unsigned", 2: "signed", 3: "floating-point"}
        kind = names.get(page.sampleformat, "unknown")
        raise UnusableError(f"has {bits}-bit {kind} samples", CONVERT)
    # A JPEG inside a TIFF is stored as YCbCr and comes out as RGB.
    is_jpeg = photometric == _KINDS.YCBCR and page.compression == tifffile.COMPRESSION.JPEG
    colours: dict[int, int] = {
        _KINDS.MINISWHITE: 1,
        _KINDS.MINISBLACK: 1,
        _KINDS.PALETTE: 1,
        _KINDS.RGB: 3,
    }
    base = 3 if is_jpeg else colours.get(photometric)
    is_palette = photometric == _KINDS.PALETTE
    if base is None or (is_palette and (bits != 8 or page.samplesperpixel != 1)):
        raise UnusableError(f"has colour space {getattr(photometric, 'name', '?')}", CONVERT)
    if page.samplesperpixel not in (base, base + 1) or page.imagedepth != 1:
        raise UnusableError(f"has {page.samplesperpixel} channels", CONVERT)
