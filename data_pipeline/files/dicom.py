"""DICOM, through pydicom (extra [dicom]): one mammogram or other gray or colour image a file.

What a viewer would show: the modality's rescaling, then the first window or table of values of
interest (DICOM PS3.3 C.11.1 and C.11.2), where there is one, and MONOCHROME1 inverted, so that
more is brighter.
"""

import io
import re
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from data_pipeline.errors import UnusableError
from data_pipeline.files import jpeg
from data_pipeline.files.levels import CONVERT, ONE_IMAGE, check_size, looked_up, scaled

if TYPE_CHECKING:
    import pydicom

INSTALL = "install it with pip install 'singan-jax[dicom]'"
# The first element of a file without the preamble of 128 bytes, as those before 1993 are: of group
# 2 or 8, its kind of value in two letters or, where that is implicit, a length below 64 KiB.
_BARE = re.compile(rb"[\x02\x08]\0[\0-\x20]\0(?:[A-Z]{2}|..\0\0)", re.DOTALL)
# JPEG, JPEG without loss, JPEG-LS, JPEG 2000: how pixels are stored, by the identifier's end.
_JPEG = "1.2.840.10008.1.2.4."
_JPEG_KINDS = ("50", "51", "57", "70", "80", "81", "90", "91", "201", "202", "203")
_DEFLATED = "1.2.840.10008.1.2.1.99"


def is_dicom(head: bytes) -> bool:
    """Whether a file that starts so is one."""
    return head[128:132] == b"DICM" or _BARE.match(head) is not None


def decode(data: bytes, upright: bool) -> np.ndarray:
    """See `decode.decode`."""
    try:
        import pydicom
    except ImportError as error:
        raise UnusableError("is a DICOM file, which needs pydicom", INSTALL) from error
    # What is needed is checked here; that other values keep to the standard is not asked.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    if _DEFLATED.encode() in data[:2000]:  # it would be inflated whatever size that gives
        raise UnusableError("is a DICOM file that is compressed as a whole", "store it unpacked")
    try:
        return _decode(pydicom.dcmread(io.BytesIO(data), force=True))
    except (pydicom.errors.InvalidDicomError, pydicom.errors.BytesLengthException) as error:
        raise ValueError(str(error)) from error  # neither is a ValueError


def _decode(dataset: "pydicom.Dataset") -> np.ndarray:
    _check(dataset)
    levels = _levels(dataset)
    if levels.ndim == 3:
        if levels.shape[2] != 3:
            raise UnusableError(f"has {levels.shape[2]} channels", CONVERT)
        return scaled(levels, 2**dataset.BitsStored - 1)
    if levels.dtype.itemsize > 2:
        raise UnusableError(f"has {dataset.BitsAllocated}-bit samples", CONVERT)
    levels = _without_other_bits(dataset, levels)
    kind = np.iinfo(levels.dtype)
    table = _shown(dataset, np.arange(kind.min, kind.max + 1))
    return looked_up(np.roll(table, kind.min), levels)[..., None]  # the first is of level 0


def _check(dataset: "pydicom.Dataset") -> None:
    if "PixelData" not in dataset:
        kind = dataset.get("SOPClassUID")
        named = f" ({kind.name})" if kind else ""
        raise UnusableError(f"is a DICOM file without an image{named}", "leave it out")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise UnusableError(f"holds {frames} images", ONE_IMAGE)
    check_size(dataset.Columns, dataset.Rows)
    if dataset.BitsAllocated not in (1, 8, 16):
        raise UnusableError(f"has {dataset.BitsAllocated}-bit samples", CONVERT)
    if not 1 <= dataset.BitsStored <= dataset.BitsAllocated:
        raise ValueError(f"it stores {dataset.BitsStored} of {dataset.BitsAllocated} bits")
    colours = dataset.PhotometricInterpretation
    if not colours.startswith(("MONOCHROME", "RGB", "YBR_")):
        raise UnusableError(f"has colour space {colours}", CONVERT)


def _levels(dataset: "pydicom.Dataset") -> np.ndarray:
    """The levels as they are stored: (H, W), or (H, W, C) in RGB; of 8 or 16 bits, or 1 in 8."""
    from pydicom import pixels as decoding
    from pydicom.encaps import get_frame
    from pydicom.uid import UID

    meta = dataset.file_meta
    if "TransferSyntaxUID" not in meta:  # only files of levels that are not compressed may lack it
        is_implicit, _ = dataset.original_encoding
        meta.TransferSyntaxUID = UID("1.2.840.10008.1.2" + ("" if is_implicit else ".1"))
    syntax = meta.TransferSyntaxUID
    if syntax.startswith(_JPEG) and syntax[len(_JPEG) :] in _JPEG_KINDS:
        return _from_jpeg(dataset, get_frame(dataset.PixelData, 0, number_of_frames=1))
    try:
        decoder = decoding.get_decoder(syntax)
    except NotImplementedError:
        decoder = None
    if decoder is None or not decoder.is_available:
        raise UnusableError(f"holds {syntax.name} pixels, which are not read", CONVERT)
    allocated = dataset.BitsAllocated
    own = {"BitsStored": allocated, "HighBit": allocated - 1, "PixelRepresentation": 0}
    kept = {name: dataset.get(name, value) for name, value in own.items()}
    try:  # pydicom would drop bits that are not the lowest ones; see `_without_other_bits`
        for name, value in own.items():
            setattr(dataset, name, value)
        return np.asarray(decoding.pixel_array(dataset))
    finally:
        for name, value in kept.items():
            setattr(dataset, name, value)


def _from_jpeg(dataset: "pydicom.Dataset", data: bytes) -> np.ndarray:
    """Levels that are stored as a JPEG, a JPEG-LS or a JPEG 2000.

    Decoded by imagecodecs, which other formats need anyway; gdcm, a plug-in of pydicom's, ends the
    process where the data are damaged.
    """
    is_2000 = data.startswith(b"\xff\x4f\xff\x51")
    if is_2000:  # its first segment has the size
        right, bottom, left, top = struct.unpack(">IIII", data[8:24])
        size = right - left, bottom - top
    else:
        frame = jpeg.read_frame(data)
        size = frame.width, frame.height
    if size != (dataset.Columns, dataset.Rows):
        raise ValueError(f"its pixels are {size[0]}x{size[1]}")
    levels = np.asarray(imagecodecs.jpeg2k_decode(data)) if is_2000 else jpeg.decode(data, frame)
    if levels.shape[:2] != (dataset.Rows, dataset.Columns):
        raise ValueError(f"its pixels are {levels.shape[1]}x{levels.shape[0]}")
    return levels


def _without_other_bits(dataset: "pydicom.Dataset", levels: np.ndarray) -> np.ndarray:
    """The levels alone where other bits beside them are stored, such as an overlay's or none."""
    bits = dataset.BitsStored
    shift = int(dataset.get("HighBit", bits - 1)) + 1 - bits
    if not 0 <= shift <= 8 * levels.dtype.itemsize - bits:
        raise ValueError(f"its highest of {bits} bits is {dataset.HighBit}")
    own = levels.astype(f"u{levels.dtype.itemsize}") >> shift & (2**bits - 1)
    if not dataset.PixelRepresentation:
        return own
    sign = 1 << (bits - 1)  # two's complement
    return ((own.astype(np.int32) ^ sign) - sign).astype(f"i{levels.dtype.itemsize}")


def _shown(dataset: "pydicom.Dataset", levels: np.ndarray) -> np.ndarray:
    """Stored levels as a viewer shows them: uint8 where at most 8 bits are stored, else uint16."""
    bits = dataset.BitsStored
    lowest = -(2.0 ** (bits - 1)) if dataset.PixelRepresentation else 0.0
    ends = np.array([lowest, lowest + 2.0**bits - 1])
    values = levels.astype(np.float64)
    if dataset.get("ModalityLUTSequence"):
        values, ends = _mapped(dataset, dataset.ModalityLUTSequence[0], values)
    elif dataset.get("RescaleSlope") is not None:
        slope, intercept = float(dataset.RescaleSlope), float(dataset.get("RescaleIntercept") or 0)
        values, ends = values * slope + intercept, np.sort(ends * slope + intercept)
    center, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if dataset.get("VOILUTSequence"):
        values, ends = _mapped(dataset, dataset.VOILUTSequence[0], values)
    if not dataset.get("VOILUTSequence") and center is not None and width is not None:
        share = _windowed(values, center, width, str(dataset.get("VOILUTFunction") or "LINEAR"))
    elif ends[1] > ends[0]:
        share = np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1)
    else:
        raise ValueError("its levels all mean the same")
    share = 1 - share if dataset.PhotometricInterpretation == "MONOCHROME1" else share
    dtype = np.uint8 if bits <= 8 else np.uint16
    return np.floor(share * np.iinfo(dtype).max + 0.5).astype(dtype)


def _mapped(
    dataset: "pydicom.Dataset", item: "pydicom.Dataset", values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values by a table, and the ends of what it may hold: DICOM PS3.3 C.11.1.1.1.

    pydicom's own function wraps around where a table of more than 256 entries has 8 bits.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries & 0xFFFF or 0x10000
    table = item.LUTData
    if isinstance(table, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        table = np.frombuffer(table, f"{order}u2" if len(table) >= 2 * entries else "u1")
    table = np.asarray(table, np.float64)[:entries]
    if not (1 <= bits <= 16 and len(table) == entries):
        raise ValueError(f"its table of {entries} levels has {len(table)}")
    places = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.intp)
    return table[places], np.array([0.0, 2.0**bits - 1])


def _windowed(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """How bright values are shown, 0 to 1: DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if width <= 0 or not np.isfinite([center, width]).all():
        raise ValueError(f"its window has center {center:g} and width {width:g}")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width <= 0:  # a threshold
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)


def _first(value: Any) -> float | None:
    """The first of the values that an element has, None where it has none."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    values = list(value) if is_list else [value]
    return float(values[0]) if values and values[0] not in (None, "") else None
