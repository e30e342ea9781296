"""From mammograms to patches on disk: a unit of `units` for each mammogram, see `cut`."""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Unpack

from data_pipeline import units
from data_pipeline.cut import Job, cut
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Mammogram, Reading
from data_pipeline.patches import PatchSettings
from data_pipeline.units import PATCHES, ExtractionResult, How, Work


def extract(
    reading: Reading, out: pathlib.Path, settings: PatchSettings, **how: Unpack[How]
) -> ExtractionResult:
    """Cuts the patches of all mammograms and writes them with their metadata.

    Repeating the call continues what an interrupted one left, and gives the same result as one
    uninterrupted call. A mammogram whose image or mask has changed since is done again. One that
    cannot be read becomes a skip.

    Args:
      reading: of one source.
      out: folder to write to; see `units.run`.
      settings: which patches.
      how: see there.

    Returns:
      The records, skips and duplicates, as written.

    Raises:
      DataError: see `units.run`; or a name cannot be part of a file name, or is there twice.
    """
    _check_names(reading.mammograms)
    jobs = [Job(m, out / PATCHES / m.image_id, settings) for m in reading.mammograms]
    stated = dataclasses.asdict(settings) | {"zooms": list(settings.zooms)}
    source = _fingerprint(reading.mammograms)
    work = Work(cut, jobs, "mammogram", stated, source, reading.mammograms, reading.skips)
    return units.run(work, out, **how)


def _check_names(mammograms: Sequence[Mammogram]) -> None:
    """Refuses names that could lead out of the folder, or two mammograms into the same one."""
    images = [mammogram.image_id for mammogram in mammograms]
    lesions = [lesion.lesion_id for mammogram in mammograms for lesion in mammogram.lesions]
    for name in (*images, *lesions):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
            raise DataError(f"{name!r} cannot be part of a file name; rename the image or lesion")
    if len(set(images)) < len(images):
        twice = next(name for name in images if images.count(name) > 1)
        raise DataError(f"two mammograms are named {twice!r}; rename one of them")


def _fingerprint(mammograms: Sequence[Mammogram]) -> str:
    """Hex SHA-256 over everything read of the mammograms, except where the source's root is."""
    digest = hashlib.sha256()
    for mammogram in mammograms:
        row = dataclasses.asdict(mammogram)
        del row["file"]
        for lesion in row["lesions"]:
            lesion["mask_file"] = lesion["mask_file"] and lesion["mask_file"].name
            lesion["findings"] = sorted(lesion["findings"])
            del lesion["radiomics"]  # no patch depends on them
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()
