"""Patch records as TFDS examples: a line of `metadata.jsonl`, one feature a field.

A missing value, null there, becomes an empty `lesion_id`, an `age` of NaN, a `density` of -1.
"""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipeline.mammograms import CLASSIFICATIONS
from data_pipeline.patch_records import PatchRecord

_TEXTS = (
    *("patch_id", "file_name", "patient_id", "image_id", "dataset", "source"),
    *("lesion_id", "pixels_sha256"),
)
_TRUTHS = (
    *("suspicious", "nodule", "calcification", "synthetic", "age_imputed", "density_imputed"),
)
_CHOICES = {
    "classification": CLASSIFICATIONS,
    "Format": ("Film", "Digital"),
    "view": ("CC", "MLO"),
    "laterality": ("L", "R"),
    "image_view": ("RCC", "LCC", "RO", "LO"),
}


def features() -> dict[str, Any]:
    """The features besides the image, by name."""
    return {
        **{name: tfds.features.Text() for name in _TEXTS},
        **dict.fromkeys(_TRUTHS, np.bool_),
        **{name: tfds.features.ClassLabel(names=names) for name, names in _CHOICES.items()},
        "findings": tfds.features.Sequence(tfds.features.Text()),
        "zoom_group": np.int64,
        "box": tfds.features.Tensor(shape=(4,), dtype=np.int32),
        "age": np.float32,
        "density": np.int64,
    }


def from_record(record: PatchRecord) -> dict[str, Any]:
    """The values of the features for a patch, as TFDS takes them."""
    row = record.to_json()
    return row | {
        "lesion_id": row["lesion_id"] or "",
        "age": np.nan if row["age"] is None else row["age"],
        "density": -1 if row["density"] is None else row["density"],
    }


def to_record(example: dict[str, Any]) -> PatchRecord:
    """The inverse of `from_record`, from values as TFDS gives them."""
    # By way of its decimals: 61.3 is stored in single precision and should come back as 61.3.
    age = float(str(np.float32(example["age"])))
    row = {
        **{name: example[name].decode() for name in _TEXTS},
        **{name: bool(example[name]) for name in _TRUTHS},
        **{name: names[example[name]] for name, names in _CHOICES.items()},
        "findings": [finding.decode() for finding in example["findings"]],
        "zoom_group": int(example["zoom_group"]),
        "box": [int(side) for side in example["box"]],
        "age": None if np.isnan(age) else age,
        "density": None if example["density"] < 0 else int(example["density"]),
    }
    return PatchRecord.from_json(row | {"lesion_id": row["lesion_id"] or None})
