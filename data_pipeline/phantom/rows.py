"""What the tables say of an image and of each outline in it."""

from typing import Any

import numpy as np

from data_pipeline import outlines
from data_pipeline.phantom import features
from data_pipeline.phantom.patients import VIEW_NAMES, Image, Patient
from data_pipeline.phantom.sets import FINDINGS

Row = dict[str, Any]  # by column; see `sets.COLUMNS`


def image_row(patient: Patient, image: Image) -> Row:
    """Makes the row of an image in the img table."""
    view = VIEW_NAMES.index(image.view_name)
    named = {"image_type_name": image.view_name, "image_type_id": view}
    return _keys(patient, image) | named


def lesion_rows(
    patient: Patient, image: Image, lesion: int, outline: np.ndarray, pixels: np.ndarray
) -> list[Row]:
    """Makes the rows of a lesion, for the outlines table and the features table alike.

    Args:
      patient: who has it.
      image: that shows it.
      lesion: its number among the patient's.
      outline: (k, 2) int (x, y) vertices.
      pixels: (H, W) uint8 of the image.

    Returns:
      One row; a second, which differs in `segmentation_id` and in what follows from a slightly
      larger outline, where the lesion was outlined twice.
    """
    height, width = pixels.shape
    middle = outline.mean(axis=0)
    larger = np.rint(middle + 1.06 * (outline - middle)).astype(int)
    drawn = [outline, np.clip(larger, 0, (width - 1, height - 1))]
    traits = patient.lesions[lesion]
    specks = traits.kind != "mass"
    noted = {
        "nodule": traits.kind != "calcifications",
        "calcification": specks and traits.suspicion < 0.5,
        "microcalcification": specks and traits.suspicion >= 0.5,
        "architectural_distortion": traits.suspicion > 0.95,
        "stroma_distortion": traits.suspicion > 0.8,
    }
    rows = []
    for again, points in enumerate(drawn[: 1 + (lesion in image.twice)]):
        lesion_keys = {
            "lesion_id": patient.lesion_id(lesion),
            "segmentation_id": _segmentation_id(patient, image, lesion, again),
            "image_view": 1 + VIEW_NAMES.index(image.view_name),
            "lw_x_points": points[:, 0].tolist(),
            "lw_y_points": points[:, 1].tolist(),
            "mammography_type": 1,
            "classification": "Malign" if traits.malignant else "Benign",
        }
        findings = {f"mammography_{name}": int(noted.get(name, False)) for name in FINDINGS}
        described = features.describe(pixels, outlines.rasterise(points.tolist(), (height, width)))
        rows.append(_keys(patient, image) | lesion_keys | findings | described)
    return rows


def _keys(patient: Patient, image: Image) -> Row:
    return {
        "patient_id": patient.patient_id,
        "study_id": patient.study_id,
        "series": image.series,
        "image_filename": f"{patient.folder}/{image.name}",
        "age": patient.age,
        "density": patient.density if patient.density_noted else None,
    }


def _segmentation_id(patient: Patient, image: Image, lesion: int, again: int) -> int:
    """Unique within the set: there are at most 2 lesions, 4 images and 2 outlines."""
    place = patient.images.index(image)
    return 16 * patient.number + 8 * lesion + 2 * place + again + 1
