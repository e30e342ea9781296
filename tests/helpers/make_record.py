"""Made-up patch records for tests that need no pixels."""

from data_pipeline.mammograms import Box
from data_pipeline.patch_records import PatchRecord


def record(patient="1_F01", number=1, **changes):
    """The record of a benign lesion of a patient, in zoom group 1, with `changes`."""
    image_id = changes.get("image_id", f"{patient}_{number}")
    classification = changes.get("classification", "Benign")
    is_lesion = classification != "Normal"
    values = {
        "patch_id": f"{image_id}_{number}",
        "file_name": f"patches/{image_id}/{image_id}_{number}.png",
        "patient_id": patient,
        "image_id": image_id,
        "dataset": "F01",
        "source": f"raw/{image_id}.tif",
        "view": "MLO",
        "laterality": "R",
        "format": "Film",
        "classification": classification,
        "lesion_id": "1" if is_lesion else None,
        "findings": ("microcalcification",) if is_lesion else (),
        "zoom_group": int(is_lesion),
        "box": Box(3, 4, 50, 60),
        "age": 61.5,
        "density": 2,
        "synthetic": True,
        "pixels_sha256": "ab" * 32,
    }
    return PatchRecord(**values | changes)
