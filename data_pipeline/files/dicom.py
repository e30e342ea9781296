"""DICOM, through pydicom (extra [dicom]): one mammogram or other gray or colour image a file.

What a viewer would show: the modality's rescaling, then the first window or table of values of
interest (DICOM PS3.3 C.11.1 and C.11.2), where there is one, and MONOCHROME1 inverted, so that
more is brighter.
"""

import io
from typing import TYPE_CHECKING

import numpy as np

from data_pipeline.errors import UnusableError
from data_pipeline.files.levels import CONVERT, ONE_IMAGE, check_size, scaled

if TYPE_CHECKING:
    import pydicom

INSTALL = "install pydicom and its decoders with pip install 'singan-jax[dicom]'"


def is_dicom(head: bytes) -> bool:
    """Whether a file that starts so is one; those without a preamble are not told from others."""
    return head[128:132] == b"DICM"


def decode(data: bytes, upright: bool) -> np.ndarray:
    """See `decode.decode`."""
    try:
        import pydicom
        from pydicom import pixels as decoding
    except ImportError as error:
        raise UnusableError("is a DICOM file, which needs pydicom", INSTALL) from error
    dataset = pydicom.dcmread(io.BytesIO(data))
    _check(dataset)
    try:
        levels = decoding.pixel_array(dataset)
    except (RuntimeError, NotImplementedError, ImportError) as error:
        syntax = dataset.file_meta.TransferSyntaxUID.name
        raise UnusableError(f"holds {syntax} pixels that cannot be decoded", INSTALL) from error
    if levels.ndim == 3:
        return scaled(levels, 2**dataset.BitsStored - 1)
    shown = _shown(dataset, levels)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = np.iinfo(shown.dtype).max - shown
    return shown[..., None]


def _check(dataset: "pydicom.Dataset") -> None:
    if "PixelData" not in dataset:
        kind = dataset.get("SOPClassUID")
        named = f" ({kind.name})" if kind else ""
        raise UnusableError(f"is a DICOM file without an image{named}", "leave it out")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise UnusableError(f"holds {frames} images", ONE_IMAGE)
    check_size(dataset.Columns, dataset.Rows)
    colours = dataset.PhotometricInterpretation
    if not colours.startswith(("MONOCHROME", "RGB", "YBR_")):
        raise UnusableError(f"has colour space {colours}", CONVERT)


def _shown(dataset: "pydicom.Dataset", levels: np.ndarray) -> np.ndarray:
    """Stored levels (H, W) as a viewer shows them: uint8 where 8 bits are stored, else uint16."""
    from pydicom import pixels as decoding

    low, high = _stored_range(dataset)
    values = decoding.apply_modality_lut(levels, dataset)
    if "ModalityLUTSequence" in dataset:
        low, high = 0.0, 2.0 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    elif "RescaleSlope" in dataset:
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    if "VOILUTSequence" in dataset:
        low, high = 0.0, 2.0 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
        values = decoding.apply_voi(values, dataset)
    elif "WindowWidth" in dataset:
        values = decoding.apply_windowing(values, dataset)
    top = 255 if dataset.BitsStored <= 8 else 65535
    share = (np.asarray(values, np.float64) - low) / (high - low)
    return np.rint(np.clip(share, 0, 1) * top).astype(np.uint8 if top == 255 else np.uint16)


def _stored_range(dataset: "pydicom.Dataset") -> tuple[float, float]:
    """The lowest and the highest level that can be stored."""
    bits = dataset.BitsStored
    if dataset.PixelRepresentation == 0:
        return 0.0, 2.0**bits - 1
    return -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
