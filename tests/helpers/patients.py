"""A made-up dataset of patches for tests of studies: who has which lesions, and blank pixels."""

import hashlib

import numpy as np
from make_record import record


def dataset(benign=6, malign=6, normal=4, zooms=(1, 2)):
    """Records of patients with two lesions of one class, and of patients with none."""
    records = []
    for name, count in (("Benign", benign), ("Malign", malign), ("Normal", normal)):
        for number in range(count):
            patient = f"{name.lower()}{number}_F01"
            records.append(patch(patient, 0, "Normal", 0))
            if name != "Normal":
                records += [patch(patient, k, name, zoom) for k in (1, 2) for zoom in zooms]
    return tuple(sorted(records, key=lambda r: r.patch_id))


def patch(patient, number, classification, zoom):
    return record(
        patient,
        number,
        classification=classification,
        zoom_group=zoom,
        patch_id=f"{patient}_{number}_g{zoom}",
        pixels_sha256=hashlib.sha256(f"{patient} {number} {zoom}".encode()).hexdigest(),
    )


def pixels(records, size=24, seed=0):
    """Noise, (size, size, 1) uint8 each."""
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 256, (size, size, 1), dtype=np.uint8) for _ in records)
