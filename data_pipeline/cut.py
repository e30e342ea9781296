"""Cuts the patches of one mammogram and writes them, whole or not at all.

    patches/<image_id>/         put in place once it is complete
      <patch_id>.png            8-bit grayscale
      <patch_id>_mask.png       255 where the lesion is, else 0; for patches of lesions
      mammogram.json            records and skips, the hash of the files they come from, and what
                                is kept of the mammogram to find it again, see `duplicates`

A patch's id is `<image_id>_lesion_<lesion_id>_z<zoom>` or `<image_id>_healthy_<number>`.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import PIL.Image

from data_pipeline import duplicates, mammogram_files, outlines, patch_records, units
from data_pipeline.errors import DataError
from data_pipeline.mammograms import Box, Lesion, Mammogram, Skip
from data_pipeline.patch_records import PatchRecord
from data_pipeline.patches import Patch, PatchSettings, healthy_patches, lesion_patches, mask_patch
from data_pipeline.units import PATCHES, Unit

_Located = Sequence[tuple[Lesion, Box, np.ndarray]]  # with the mask within the box, bool


class Job(NamedTuple):
    """What to cut.

    Attributes:
      mammogram: to cut from.
      folder: for its patches, named by the image id; its parent holds those of all mammograms.
      settings: which patches.
    """

    mammogram: Mammogram
    folder: pathlib.Path
    settings: PatchSettings


def cut(job: Job) -> Unit:
    """Cuts and writes the patches of one mammogram, unless that was done before.

    A mammogram that cannot be read leaves no folder and is tried again by the next run. Where a
    lesion's place is unknown no healthy patches are cut, as they could show it.

    Args:
      job: what to cut; its settings must be those of any earlier run in this folder.

    Returns:
      What came of it.

    Raises:
      OSError: the folder cannot be written.
      DataError: the folder was damaged after it was written.
    """
    mammogram, folder, settings = job
    masks = [lesion.mask_file for lesion in mammogram.lesions if lesion.mask_file]
    digest = units.files_digest([mammogram.file, *masks])
    if unit := units.finished(folder, digest):
        return unit if unit.picture else _with_picture(unit, mammogram, folder)
    try:
        image = mammogram_files.load(mammogram.file)
    except DataError as error:
        return Unit((), (_skip(mammogram, "image", error),), reused=False)
    located, skips = _locate(mammogram, image.shape)
    temporary = units.started(folder)
    records = tuple(_write_all(mammogram, image, located, settings, temporary))
    if mammogram.may_give_healthy and not any(record.zoom_group == 0 for record in records):
        skips.append(_no_healthy(mammogram, located))
    return units.finish(folder, digest, records, skips, duplicates.picture(image))


def _with_picture(unit: Unit, mammogram: Mammogram, folder: pathlib.Path) -> Unit:
    """A unit of an earlier version, which kept no picture, with it."""
    try:
        image = mammogram_files.load(mammogram.file)
    except DataError as error:  # that version could read it
        skip = _skip(mammogram, "search for duplicates", error)
        return unit._replace(skips=(*unit.skips, skip))
    return units.add_picture(folder, unit, duplicates.picture(image))


def _locate(mammogram: Mammogram, shape: tuple[int, int]) -> tuple[_Located, list[Skip]]:
    """Lesions with their bounding boxes and masks, and skips for those that have none."""
    located, skips = [], []
    for lesion in mammogram.lesions:
        try:
            mask = outlines.lesion_mask(lesion, shape)
            box = outlines.bounding_box(mask)
        except DataError as error:
            skips.append(_skip(mammogram, f"lesion {lesion.lesion_id}", error))
        else:
            within = mask[box.top : box.bottom, box.left : box.right].copy()
            located.append((lesion, box, within))
    return located, skips


def _skip(mammogram: Mammogram, where: str, error: DataError) -> Skip:
    """A skip that names files relative to the source's root, wherever that is."""
    root = str(mammogram.file).removesuffix(mammogram.source)
    return Skip(mammogram.source, where, str(error).replace(root, ""))


def _no_healthy(mammogram: Mammogram, located: _Located) -> Skip:
    if len(located) < len(mammogram.lesions):
        reason = "the place of a lesion is unknown, so any window might show it"
    else:
        reason = "no window misses every lesion and holds enough breast"
    return Skip(mammogram.source, "healthy patches", reason)


def _write_all(
    mammogram: Mammogram,
    image: np.ndarray,
    located: _Located,
    settings: PatchSettings,
    folder: pathlib.Path,
) -> Iterator[PatchRecord]:
    """Writes the patches one by one, and yields their records."""
    boxes = [box for _, box, _ in located]
    for patch in lesion_patches(image, boxes, settings):
        assert patch.lesion is not None
        lesion, box, outline = located[patch.lesion]
        name = f"lesion_{lesion.lesion_id}_z{patch.zoom_group}"
        mask = PIL.Image.fromarray(mask_patch(outline, box, patch))
        mask.save(folder / f"{mammogram.image_id}_{name}_mask.png")
        yield _write(mammogram, lesion, patch, name, folder)
    if mammogram.may_give_healthy and len(located) == len(mammogram.lesions):
        windows = healthy_patches(image, boxes, mammogram.format, settings)
        for number, patch in enumerate(windows):
            yield _write(mammogram, None, patch, f"healthy_{number:03d}", folder)


def _write(
    mammogram: Mammogram, lesion: Lesion | None, patch: Patch, name: str, folder: pathlib.Path
) -> PatchRecord:
    patch_id = f"{mammogram.image_id}_{name}"
    # Grain hardly compresses: the usual level 6 takes 3 times as long for files a seventh smaller.
    PIL.Image.fromarray(patch.pixels).save(folder / f"{patch_id}.png", compress_level=1)
    return PatchRecord(
        patch_id=patch_id,
        file_name=f"{PATCHES}/{mammogram.image_id}/{patch_id}.png",
        patient_id=mammogram.patient_id,
        image_id=mammogram.image_id,
        dataset=mammogram.dataset,
        source=mammogram.source,
        view=mammogram.view,
        laterality=mammogram.laterality,
        format=mammogram.format,
        classification=lesion.classification if lesion else "Normal",
        lesion_id=lesion.lesion_id if lesion else None,
        findings=tuple(sorted(lesion.findings)) if lesion else (),
        zoom_group=patch.zoom_group,
        box=patch.box,
        age=mammogram.age,
        density=mammogram.density,
        synthetic=mammogram.synthetic,
        pixels_sha256=patch_records.pixels_digest(patch.pixels),
    )
