"""Patches made by the thesis' own scripts: reads their folder, and writes their metadata.

A folder holds `metadata.jsonl`, see `thesis_format`, and the images that it names. Where there is
a `thesis_metadata.jsonl`, as `write` writes beside metadata of ours, that one is read.

What the format does not tell is taken thus: a patch is a mammogram of its own, with one lesion and
a box that is all of it; the set is what stands behind the last "_" of the patient's id.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Unpack

import numpy as np
import PIL.Image

from data_pipeline import mammogram_files, patch_records, thesis_format, units
from data_pipeline.bcdr import SYNTHETIC_MARK
from data_pipeline.duplicates import Duplicate, Shown
from data_pipeline.errors import DataError
from data_pipeline.files import tables
from data_pipeline.files.writing import write_atomically
from data_pipeline.mammograms import Box, Skip
from data_pipeline.patch_records import PatchRecord
from data_pipeline.patches import PatchSettings, fitted
from data_pipeline.thesis_format import Line
from data_pipeline.units import PATCHES, ExtractionResult, How, Unit, Work

METADATA = "thesis_metadata.jsonl"


@dataclasses.dataclass(frozen=True)
class ThesisPatch:
    """A line that can be used, and its image.

    Attributes:
      line: what it says.
      where: the metadata's file and the line's number in it.
      file: the image.
      counts_from_0: see `thesis_format.Line.view`.
      synthetic: whether a phantom made it.
    """

    line: Line
    where: tuple[str, str]
    file: pathlib.Path
    counts_from_0: bool
    synthetic: bool

    @property
    def patch_id(self) -> str:
        """The image's name without its suffix."""
        return pathlib.PurePosixPath(self.line.file_name).stem

    @property
    def shown(self) -> Shown:
        """What reports of duplicates say of it."""
        return Shown(self.line.patient_id, self.line.file_name, self.patch_id)


class Job(NamedTuple):
    """The patches of a patient.

    Attributes:
      patches: at least one.
      folder: of the unit.
      settings: `rules` and `size` matter.
    """

    patches: tuple[ThesisPatch, ...]
    folder: pathlib.Path
    settings: PatchSettings


def read(root: pathlib.Path) -> tuple[tuple[ThesisPatch, ...], tuple[Skip, ...]]:
    """Reads which patches there are; decodes no pixels.

    Left out are a line that cannot be used, one whose image is not there, a file named again, and
    an image whose bytes an earlier line has in the same zoom group: the scripts cut the healthy
    windows of a film with two lesions twice, and one image of two patients would be a leak.

    Args:
      root: the folder.

    Returns:
      The patches in the order of their lines, and each line left out.

    Raises:
      DataError: root has no metadata, or nothing in it can be used.
    """
    return _read(root)[:2]


def _read(
    root: pathlib.Path,
) -> tuple[tuple[ThesisPatch, ...], tuple[Skip, ...], list[Duplicate]]:
    root = pathlib.Path(root)
    name = next((n for n in (METADATA, patch_records.METADATA) if (root / n).is_file()), None)
    if name is None:
        raise DataError(
            f"{root}: has no {patch_records.METADATA}; give the folder that the thesis' scripts"
            " wrote, with the images beside it"
        )
    skips: list[Skip] = []
    lines = list(_lines(root / name, skips))
    counts_from_0 = any(line.is_healthy_digital and line.view_number == 0 for _, line in lines)
    synthetic = (root / SYNTHETIC_MARK).exists()
    patches: list[ThesisPatch] = []
    known = _Known()
    for where, line in lines:
        try:
            file = mammogram_files.find(root, line.file_name)
            line.view(counts_from_0)
            patch = ThesisPatch(line, where, file, counts_from_0, synthetic)
            known.add(patch)
        except (DataError, OSError) as error:
            skips.append(Skip(*where, str(error)))
        else:
            patches.append(patch)
    skips.sort(key=lambda skip: int(skip.where.removeprefix("line ")))
    if not patches:
        first = skips[0] if skips else Skip(name, "", "is empty")
        reason = " ".join(filter(None, dataclasses.astuple(first)))
        raise DataError(f"{root}: nothing in it can be used; first fault: {reason}")
    return tuple(patches), tuple(skips), known.duplicates


def _lines(path: pathlib.Path, skips: list[Skip]) -> Iterator[tuple[tuple[str, str], Line]]:
    """The lines that say what they must, each with where it stands."""
    try:
        text = tables.read_text(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore it") from error
    for number, line in enumerate(text.split("\n"), start=1):
        where = path.name, f"line {number}"
        if not line.strip():
            continue
        if "\ufffd" in line:
            skips.append(Skip(*where, "is no UTF-8"))
            continue
        try:
            yield where, thesis_format.parse(line)
        except DataError as error:
            skips.append(Skip(*where, str(error)))


class _Known:
    """The patches read so far, to find what is there again."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}  # by patch id
        self._contents: dict[tuple[str, int], ThesisPatch] = {}
        self.duplicates: list[Duplicate] = []  # images that are left out as they are there already

    def add(self, patch: ThesisPatch) -> None:
        """Raises DataError for a patch that cannot be named, or that is there already."""
        name, (_, where) = patch.patch_id, patch.where
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
            raise DataError(f"file_name is {patch.line.file_name!r}; rename it to letters, digits")
        if name in self._lines:
            raise DataError(f"an image named {name} again; {self._lines[name]} is used")
        content = hashlib.sha256(patch.file.read_bytes()).hexdigest(), patch.line.zoom_group
        if first := self._contents.get(content):
            self.duplicates.append(Duplicate("equal patches", first.shown, patch.shown))
            whose = f"{first.patch_id} of patient {first.line.patient_id}"
            raise DataError(
                f"{name} is the same image as {whose} ({first.where[1]}), which is used"
            )
        self._lines[name] = where
        self._contents[content] = patch


def extract(
    root: pathlib.Path, out: pathlib.Path, settings: PatchSettings, **how: Unpack[How]
) -> ExtractionResult:
    """Brings the patches of a folder into ours: one unit of `units` for each patient.

    Args:
      root: the folder.
      out: folder to write to; see `units.run`.
      settings: `size`, None to leave each patch as it is; and `rules`, which decide how one of
        another size is resized.
      how: see `units.run`.

    Returns:
      The records, skips and duplicates, as written.

    Raises:
      DataError: see `read` and `units.run`.
    """
    patches, skips, found = _read(root)
    of_patient: dict[str, list[ThesisPatch]] = {}
    for patch in patches:
        of_patient.setdefault(patch.line.patient_id, []).append(patch)
    jobs = [Job(tuple(p), out / PATCHES / name, settings) for name, p in of_patient.items()]
    stated = {"rules": settings.rules, "size": settings.size}
    work = Work(take, jobs, "patient", stated, _fingerprint(patches), (), skips, found)
    return units.run(work, out, **how)


def take(job: Job) -> Unit:
    """Writes the patches of a patient, unless that was done before; see `cut.cut`."""
    patches, folder, settings = job
    digest = units.files_digest(patch.file for patch in patches)
    if unit := units.finished(folder, digest):
        return unit
    temporary = units.started(folder)
    records, skips = [], []
    for patch in patches:
        try:
            pixels = fitted(_pixels(patch), settings)
        except DataError as error:
            skips.append(Skip(*patch.where, str(error)))
            continue
        PIL.Image.fromarray(pixels).save(temporary / f"{patch.patch_id}.png", compress_level=1)
        records.append(_record(patch, pixels))
    return units.finish(folder, digest, records, skips)


def _pixels(patch: ThesisPatch) -> np.ndarray:
    """The image, (H, W) uint8."""
    name = patch.line.file_name
    try:
        with PIL.Image.open(patch.file, formats=["PNG"]) as image:
            if image.mode != "L":
                problem = f"{name} has mode {image.mode}"
                raise DataError(f"{problem}; convert it to 8-bit grayscale PNG")
            return np.array(image)
    except DataError:
        raise
    except Exception as error:  # decoders document no common base of what damage makes them raise
        reason = str(error).replace(f"{patch.file}", name)
        problem = f"{name} cannot be read as PNG, or is damaged ({reason})"
        raise DataError(f"{problem}; replace it by an intact copy") from error


def _record(patch: ThesisPatch, pixels: np.ndarray) -> PatchRecord:
    line, name = patch.line, patch.patch_id
    laterality, view = line.view(patch.counts_from_0)
    noted = {"calcification": line.calcification, "nodule": line.nodule}
    return PatchRecord(
        patch_id=name,
        file_name=f"{PATCHES}/{line.patient_id}/{name}.png",
        patient_id=line.patient_id,
        image_id=name,
        dataset=line.patient_id.rpartition("_")[2],
        source=line.file_name,
        view=view,
        laterality=laterality,
        format=line.format,
        classification=line.classification,
        lesion_id="1" if line.zoom_group else None,
        findings=tuple(sorted(finding for finding, is_noted in noted.items() if is_noted)),
        zoom_group=line.zoom_group,
        box=Box(0, 0, pixels.shape[1], pixels.shape[0]),
        age=line.age,
        density=line.density,
        synthetic=patch.synthetic,
        pixels_sha256=patch_records.pixels_digest(pixels),
    )


def _fingerprint(patches: Sequence[ThesisPatch]) -> str:
    """Hex SHA-256 over everything read but the images and where the folder is."""
    digest = hashlib.sha256()
    for patch in patches:
        stated = dataclasses.asdict(patch.line), patch.counts_from_0, patch.synthetic
        digest.update(json.dumps(stated, sort_keys=True).encode())
    return digest.hexdigest()


def write(folder: pathlib.Path, records: Sequence[PatchRecord]) -> pathlib.Path:
    """Writes `thesis_metadata.jsonl` beside `metadata.jsonl`; see `thesis_format.rows`.

    Args:
      folder: of the patches; where they are synthetic, a file beside the metadata says so too.
      records: of all its patches.

    Returns:
      The file.

    Raises:
      DataError: it cannot be written.
    """
    path = folder / METADATA
    lines = [json.dumps(row, allow_nan=False) + "\n" for row in thesis_format.rows(records)]
    try:
        write_atomically(path, "".join(lines))
        if any(record.synthetic for record in records):
            write_atomically(folder / SYNTHETIC_MARK, "Drawn by a phantom, not of patients.\n")
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise DataError(f"{path}: cannot be written ({reason}); mend that and repeat") from error
    return path
