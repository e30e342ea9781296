"""Writes the phantom as a complete BCDR tree, in parallel processes; resumes what is half written.

Every file appears whole, under its final name, and is the same whatever wrote it: all that is
random is keyed by seed, set, patient and image, never by order. So a run that was cut short leaves
a prefix of the tree, and the same command again writes the rest. On one machine and with the same
versions of the libraries the same settings give the same bytes.
"""

import concurrent.futures
import dataclasses
import importlib.metadata
import io
import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
import tqdm

from data_pipeline import mammogram_files, outlines
from data_pipeline.bcdr import SYNTHETIC_MARK
from data_pipeline.errors import DataError
from data_pipeline.files import limits
from data_pipeline.files.writing import write_atomically
from data_pipeline.phantom import mammogram, sets
from data_pipeline.phantom.patients import Image, Patient, PhantomSettings, draw_patient, generator
from data_pipeline.phantom.rows import Row, image_row, lesion_rows

LABEL = "SYNTHETIC: drawn by the phantom of singan-jax, not a patient"
VERSION = 1  # of what the phantom draws; raise it where the same settings give other bytes
LIBRARIES = ("numpy", "scipy", "scikit-image", "pillow", "tifffile", "imagecodecs")

# What a run leaves that is killed while writing a file, now and before names had a mark.
_UNFINISHED = re.compile(r"\.(.+\.[0-9a-f]{32}|bcdr_\w+\.csv|.+\.tif)\.tmp")

Job = tuple[Path, PhantomSettings, Patient]
Rows = dict[str, list[Row]]  # by table


def write(
    root: Path, settings: PhantomSettings, progress: bool, workers: int | None = None
) -> None:
    """Writes the tree, or those files of it that are missing.

    Args:
      root: folder to write to; created if missing, else empty or holding a tree of the same
        settings.
      settings: what to write.
      progress: whether to show a progress bar.
      workers: processes that draw; by default one for each CPU. Does not change the result.

    Raises:
      DataError: the root holds something else, or cannot be written.
    """
    try:
        _claim(root, settings)
        for left in root.rglob(".*.tmp"):
            if _UNFINISHED.fullmatch(left.name):
                left.unlink()
        patients = {
            name: [draw_patient(settings, name, n) for n in range(settings.patients(name))]
            for name in sets.SETS
        }
        unfinished = [name for name in patients if not _finished(root, name, patients[name])]
        jobs = [(root, settings, p) for name in unfinished for p in patients[name]]
        rows = {}
        images = sum(len(patient.images) for _, _, patient in jobs)
        with tqdm.tqdm(total=images, disable=not progress, desc="phantom", unit="image") as bar:
            for patient, found in _run(jobs, workers or limits.cpus()):
                rows[patient.set_name, patient.number] = found
                bar.update(len(patient.images))
        for name in unfinished:
            _write_tables(root, name, [rows[name, p.number] for p in patients[name]])
    except OSError as error:
        where = error.filename or root
        raise DataError(
            f"{where}: the phantom cannot be written ({error.strerror}); name a folder that can be"
            " written to, with enough space, and run the same command again to go on"
        ) from error


def set_folder(root: Path, set_name: str) -> Path:
    """The folder with a set's tables and patients."""
    return root / f"BCDR-{set_name}_dataset" / sets.SETS[set_name].folder


def film_scale(root: Path) -> float:
    """Reads how large the films of a tree are, where 1 is BCDR's size; so 1 where it is no phantom.

    Args:
      root: folder with the sets.

    Raises:
      DataError: the tree says that it is synthetic, but not of which size.
    """
    marker = root / SYNTHETIC_MARK
    if not marker.exists():
        return 1.0
    found = re.search(r"^  film_scale = ([0-9.]+)$", marker.read_text(), re.MULTILINE)
    if not found:
        raise DataError(f"{marker}: has no film_scale; write the phantom again, in an empty folder")
    return float(found[1])


def _claim(root: Path, settings: PhantomSettings) -> None:
    """Marks the root as synthetic, or checks that it is a tree of these settings."""
    marker = root / SYNTHETIC_MARK
    text = _description(settings)
    root.mkdir(parents=True, exist_ok=True)
    if marker.exists():
        there = marker.read_text()
        if there != text:
            ours, theirs = text.splitlines(), there.splitlines()
            pairs = zip(theirs, ours, strict=False)
            differing = [f"{a.strip()} there, {b.strip()} asked for" for a, b in pairs if a != b]
            difference = differing[0] if differing else "more or fewer lines"
            raise DataError(
                f"{marker}: the phantom there has other settings or versions ({difference});"
                " name another folder or remove this one"
            )
    elif any(not _is_bare(path.name) for path in root.iterdir()):
        raise DataError(
            f"{root}: is not empty and holds no phantom ({SYNTHETIC_MARK} is missing); name an"
            " empty folder, so that synthetic and real images are never mixed"
        )
    else:
        write_atomically(marker, text)


def _is_bare(name: str) -> bool:
    """Whether a folder that has nothing but files of such names counts as empty."""
    of_systems = {"thumbs.db", "desktop.ini", "lost+found", "system volume information"}
    return name.startswith(".") or name.lower() in of_systems


def _description(settings: PhantomSettings) -> str:
    values = {
        field.name: value if field.type is int else float(value)  # 1 and 1.0 are the same setting
        for field in dataclasses.fields(settings)
        for value in [getattr(settings, field.name)]
    }
    lines = [
        LABEL + ".",
        "",
        "Every image, outline, age and number in this folder was drawn by a random number",
        "generator. There is no patient behind any of it, and nothing about patients can be",
        "learned from it. The folders and tables are laid out as those of BCDR.",
        "",
        "Settings:",
        *(f"  {name} = {value}" for name, value in values.items()),
        "Versions:",
        f"  phantom = {VERSION}",
        *(f"  {name} = {importlib.metadata.version(name)}" for name in LIBRARIES),
    ]
    return "\n".join(lines) + "\n"


def _finished(root: Path, set_name: str, patients: list[Patient]) -> bool:
    style, folder = sets.SETS[set_name], set_folder(root, set_name)
    needed = [sets.file_name(set_name, table) for table in style.tables]
    for patient in patients:
        for image in patient.images:
            needed.append(f"{patient.folder}/{image.name}")
            if style.masks:
                needed += [f"{patient.folder}/{_mask_name(patient, image, k)}" for k in image.shows]
    return all((folder / name).exists() for name in needed)


def _mask_name(patient: Patient, image: Image, lesion: int) -> str:
    return f"{image.name.removesuffix('.tif')}_mask_id_{patient.lesion_id(lesion)}.tif"


def _run(jobs: list[Job], workers: int) -> Iterator[tuple[Patient, Rows]]:
    """Draws patients and yields each as it is done; in this process where one is enough."""
    if min(workers, len(jobs)) <= 1:
        yield from map(_draw, jobs)
        return
    # Spawned, for a fork of a process with threads, such as JAX's, may hang.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(min(workers, len(jobs)), context) as pool:
        try:
            pending = [pool.submit(_draw, job) for job in jobs]
            for future in concurrent.futures.as_completed(pending):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _draw(job: Job) -> tuple[Patient, Rows]:
    """Draws and writes the images of a patient; returns their rows in the tables."""
    root, settings, patient = job
    rows: Rows = {"img": [], "outlines": [], "features": []}
    folder = set_folder(root, patient.set_name) / patient.folder
    folder.mkdir(parents=True, exist_ok=True)
    set_index = list(sets.SETS).index(patient.set_name)
    for image_index, image in enumerate(patient.images):
        layout_rng, pixel_rng = (
            generator(settings, stream, set_index, patient.number, image_index) for stream in (2, 3)
        )
        traits = [patient.lesions[k] for k in image.shows]
        layout = mammogram.lay_out(layout_rng, image.exposure, traits)
        file = folder / image.name
        if file.exists():
            pixels = mammogram_files.load(file)
        else:
            pixels = mammogram.render(pixel_rng, layout, patient.density)
            _write_tiff(file, pixels)
        rows["img"].append(image_row(patient, image))
        for lesion, placed in zip(image.shows, layout.lesions, strict=True):
            mask = outlines.rasterise(placed.outline.tolist(), image.exposure.shape)
            if sets.SETS[patient.set_name].masks:
                _write_tiff(folder / _mask_name(patient, image, lesion), mask * np.uint8(255))
            found = lesion_rows(patient, image, lesion, placed.outline, pixels)
            rows["outlines"] += found
            rows["features"] += found
    return patient, rows


def _write_tables(root: Path, set_name: str, found: list[Rows]) -> None:
    """Writes a set's tables; its patients must all be there."""
    style = sets.SETS[set_name]
    for table in style.tables:
        text = sets.write_csv(table, [row for rows in found for row in rows[table]], style)
        write_atomically(set_folder(root, set_name) / sets.file_name(set_name, table), text)


def _write_tiff(path: Path, pixels: np.ndarray) -> None:
    data = io.BytesIO()
    # No metadata, as it would hold the time; the description marks each file where it stands alone.
    tifffile.imwrite(
        data,
        pixels,
        photometric="minisblack",
        compression="zlib",
        description=LABEL,
        metadata=None,
        software=False,
    )
    write_atomically(path, data.getvalue())
