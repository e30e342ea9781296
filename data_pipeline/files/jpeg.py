"""JPEG beyond pillow's: of 12 bits, without loss, JPEG-LS; as files and inside DICOM.

ITU-T T.81 and T.87.
"""

import struct
from typing import NamedTuple

import imagecodecs
import numpy as np

from data_pipeline.files.levels import check_size

LOSSLESS, JPEG_LS = 0xC3, 0xF7  # markers of frames
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a segment
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # markers among those of frames that are none


class Frame(NamedTuple):
    """The header of a JPEG's pixels.

    Attributes:
      marker: which of JPEG's kinds it is.
      bits: of a level.
      width: in pixels.
      height: in pixels.
      exif: the segment that has it; empty where there is none.
      place: of the header in the data.
    """

    marker: int
    bits: int
    width: int
    height: int
    exif: bytes
    place: int


def read_frame(data: bytes) -> Frame:
    """Walks through the segments of a JPEG to its frame.

    Raises:
      ValueError: it has none.
      struct.error, IndexError: it ends before.
    """
    place, exif = 2, b""
    while place + 4 <= len(data):
        marker = data[place + 1]
        if data[place] != 0xFF or marker in (0x00, 0xFF):  # padding
            place += 1
            continue
        if marker in _ALONE:
            place += 2
            continue
        (length,) = struct.unpack(">H", data[place + 2 : place + 4])
        is_frame = 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES
        if is_frame or marker == JPEG_LS:
            bits, height, width = struct.unpack(">BHH", data[place + 4 : place + 9])
            return Frame(marker, bits, width, height, exif, place)
        segment = data[place + 4 : place + 2 + length]
        if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
            exif = segment
        place += 2 + length
    raise ValueError("it has no frame")


def decode(data: bytes, frame: Frame) -> np.ndarray:
    """Decodes a JPEG of any kind and depth.

    Returns:
      (H, W) or (H, W, C), unsigned levels of `frame.bits` bits as they are stored; colours as RGB.

    Raises:
      UnusableError: there are too many pixels.
      ValueError, RuntimeError: it is damaged.
    """
    check_size(frame.width, frame.height)
    if b"\xff\xd9" not in data[frame.place :]:  # the end mark; else decoded as gray
        raise ValueError("the file ends before its pixels do")
    if frame.marker == JPEG_LS:
        return np.asarray(imagecodecs.jpegls_decode(data))
    # libjpeg-turbo, for all kinds; imagecodecs' decoder for those without loss alone,
    # `jpegsof3_decode`, ends the process on some damaged files.
    return np.asarray(imagecodecs.jpeg8_decode(data))
