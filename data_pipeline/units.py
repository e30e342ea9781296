"""Extraction of patches from any source, a unit at a time: in parallel, resumable, all or nothing.

    extraction.json             settings, source, versions and command; written first
    patches/<unit>/             one folder a unit: a mammogram, or a patient of the thesis' format
      mammogram.json            records and skips, and the hash of the files they come from
    metadata.jsonl, *.csv       see `patch_records`; written when all units are done
    skipped.jsonl               what readers and extraction left out, and why
    duplicates.csv              pictures that are there twice, if any; see `duplicates`

A unit's folder is put in place once it is complete. It depends on its files, its annotations
and the settings alone, so neither the number of workers nor an interruption changes the result.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import tqdm

from data_pipeline import duplicates, patch_records, pool
from data_pipeline.duplicates import Duplicate, Picture
from data_pipeline.errors import DataError
from data_pipeline.files import locking
from data_pipeline.files.writing import differences, to_json, write_atomically
from data_pipeline.mammograms import Mammogram, Skip
from data_pipeline.patch_records import PatchRecord

PATCHES = "patches"
SKIPPED = "skipped.jsonl"
FORMAT = 2
_PLAN = "extraction.json"
_CONTENT = "mammogram.json"
# Settings that extraction.json has not always had, as they were before.
_FORMER_SETTINGS = {"rules": "clean"}


class Unit(NamedTuple):
    """What came of one unit, such as a mammogram.

    Attributes:
      records: of its patches.
      skips: what of it could not be used.
      reused: whether an earlier run had done it.
      picture: of the mammogram; None where it could not be read, or the unit is none.
    """

    records: tuple[PatchRecord, ...]
    skips: tuple[Skip, ...]
    reused: bool
    picture: Picture | None = None


class ExtractionResult(NamedTuple):
    """What an extraction wrote.

    Attributes:
      records: of all patches, by unit in the order read.
      skips: the reader's, then those of the extraction.
      reused: number of units that an earlier, interrupted run had finished.
      duplicates: pictures that are there twice.
    """

    records: tuple[PatchRecord, ...]
    skips: tuple[Skip, ...]
    reused: int
    duplicates: tuple[Duplicate, ...] = ()


class Work(NamedTuple):
    """What an extraction does.

    Attributes:
      function: makes a unit of a job, and may run in another process.
      jobs: one for each unit.
      unit: what a unit is called, such as "mammogram".
      settings: of the extraction, as JSON.
      source: hash of all that was read of the source but its files' content.
      mammograms: that were read; none where the source has patches only.
      skips: of the reader.
      duplicates: that the reader found.
    """

    function: Callable[[Any], Unit]
    jobs: Sequence[Any]
    unit: str
    settings: Mapping[str, Any]
    source: str
    mammograms: Sequence[Mammogram]
    skips: Sequence[Skip]
    duplicates: Sequence[Duplicate] = ()


class How(TypedDict):
    """Keyword arguments of `run`, for those who pass them on."""

    workers: int
    progress: bool
    allow_duplicates: NotRequired[bool]


def run(
    work: Work,
    out: pathlib.Path,
    *,
    workers: int,
    progress: bool,
    allow_duplicates: bool = False,
) -> ExtractionResult:
    """Does all units, or what is missing of them, and writes what is known of their patches.

    Args:
      work: what to do.
      out: folder to write to; created if missing.
      workers: processes; each holds one unit at a time. 1 stays in this process. With more, the
        calling script needs the usual `if __name__ == "__main__"`.
      progress: whether to show a progress bar.
      allow_duplicates: go on where the same pixels are of two patients.

    Returns:
      The records, skips and duplicates, as written.

    Raises:
      DataError: `out` cannot be written to, or holds other things or an extraction of another
        source or with other settings; no unit gave a patch; the same pixels are of two
        patients; a worker was killed.
    """
    if workers < 1:
        raise DataError(f"workers is {workers}; it must be 1 or more")
    with _locked(out):
        _begin(out, work)
        done = pool.map_in_order(work.function, work.jobs, workers)
        units = list(_with_progress(done, len(work.jobs), work.unit, progress))
        records = tuple(record for unit in units for record in unit.records)
        skips = (*work.skips, *(skip for unit in units for skip in unit.skips))
        patch_records.write_lines(out / SKIPPED, map(dataclasses.asdict, skips))
        if not records:
            raise DataError(f"{out}: no {work.unit} gave a patch; {out / SKIPPED} says why")
        pictures = [unit.picture for unit in units if work.mammograms]
        found = (*work.duplicates, *duplicates.find(work.mammograms, pictures, records, out))
        duplicates.report(found, out, allow=allow_duplicates)
        patch_records.write_tables(out, work.mammograms, records)
        patch_records.write_lines(
            out / patch_records.METADATA, (record.to_json() for record in records)
        )
    return ExtractionResult(records, skips, sum(unit.reused for unit in units), found)


def files_digest(paths: Iterable[pathlib.Path]) -> str:
    """Hex SHA-256 over the content of files; one that cannot be read counts as such."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:  # loading it tells why; here it only differs from what can be read
            digest.update(b"unreadable")
    return digest.hexdigest()


def finished(folder: pathlib.Path, digest: str) -> Unit | None:
    """What an earlier run made of the same files; None, and no folder, where there is no such.

    Args:
      folder: of the unit.
      digest: of its files.

    Raises:
      OSError: the folder cannot be removed.
      DataError: the folder was damaged after it was written.
    """
    if not folder.exists():
        return None
    content = read_json(folder / _CONTENT)
    if content.get("files_sha256") == digest:
        records = tuple(map(PatchRecord.from_json, content["records"]))
        skips = tuple(Skip(**row) for row in content["skips"])
        picture = Picture(**content["picture"]) if content.get("picture") else None
        return Unit(records, skips, reused=True, picture=picture)
    shutil.rmtree(folder)
    return None


def started(folder: pathlib.Path) -> pathlib.Path:
    """An empty folder that `finish` will put in place of a unit's."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    if temporary.exists():  # of an interrupted run
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    return temporary


def finish(
    folder: pathlib.Path,
    digest: str,
    records: Iterable[PatchRecord],
    skips: Iterable[Skip],
    picture: Picture | None = None,
) -> Unit:
    """Puts the folder that `started` gave in place, with what is known of its patches."""
    unit = Unit(tuple(records), tuple(skips), reused=False, picture=picture)
    temporary = folder.with_name(f".{folder.name}.tmp")
    content: dict[str, Any] = {
        "files_sha256": digest,
        "records": [record.to_json() for record in unit.records],
        "skips": [dataclasses.asdict(skip) for skip in unit.skips],
    }
    if picture:
        content["picture"] = picture._asdict()
    write_atomically(temporary / _CONTENT, json.dumps(content, allow_nan=False))
    temporary.rename(folder)
    return unit


def add_picture(folder: pathlib.Path, unit: Unit, picture: Picture) -> Unit:
    """Adds what earlier versions did not keep of a mammogram to its finished unit."""
    content = read_json(folder / _CONTENT) | {"picture": picture._asdict()}
    write_atomically(folder / _CONTENT, json.dumps(content, allow_nan=False))
    return unit._replace(picture=picture)


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object that an earlier run wrote.

    Raises:
      DataError: the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("not an object")
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: is damaged ({error}); delete its folder and repeat") from error
    return content


@contextlib.contextmanager
def _locked(out: pathlib.Path) -> Iterator[None]:
    """Creates the folder and locks it for one process; names it when it cannot be written to."""
    try:
        with locking.locked(out):
            yield
    except BlockingIOError:
        problem = "another process is extracting into it"
        raise DataError(f"{out}: {problem}; wait for it, or choose another folder") from None
    except OSError as error:  # those of reading became skips, so this is one of writing
        reason = error.strerror or type(error).__name__
        remedy = "choose another folder, or mend this one and repeat the command to go on"
        raise DataError(f"{out}: cannot be written to ({reason}); {remedy}") from error


def _begin(out: pathlib.Path, work: Work) -> None:
    """Writes extraction.json, or makes sure that the one there is of the same extraction."""
    plan = {"format": FORMAT, "settings": dict(work.settings), "source": work.source}
    path = out / _PLAN
    if not path.exists():
        ours = (PATCHES, SKIPPED, patch_records.METADATA)
        if found := [name for name in ours if (out / name).exists()]:
            problem = f"has {found[0]} but no {_PLAN}, so it is of something else"
            raise DataError(f"{out}: {problem}; choose another folder")
        packages = ("singan-jax", "numpy", "scipy", "scikit-image", "pillow", "tifffile")
        versions = {name: importlib.metadata.version(name) for name in packages}
        versions["python"] = platform.python_version()
        content = plan | {"versions": versions, "command": sys.argv}
        write_atomically(path, to_json(content, indent=1) + "\n")
        return
    old = read_json(path)
    remedy = "choose another folder, or delete this one to start afresh"
    if old.get("format") != FORMAT:
        raise DataError(f"{path}: format {old.get('format')}, not {FORMAT}; {remedy}")
    there = _FORMER_SETTINGS | old["settings"]
    if there != plan["settings"]:
        changes = differences(there, work.settings)
        raise DataError(f"{out}: has other settings ({changes}); {remedy}")
    if old["source"] != plan["source"]:
        problem = "holds patches of another source, or images or annotations changed since"
        raise DataError(f"{out}: {problem}; {remedy}")


def _with_progress(units: Iterable[Unit], total: int, unit: str, shown: bool) -> Iterator[Unit]:
    """Passes units through a progress bar that also shows patches and their rate."""
    count = 0
    with tqdm.tqdm(units, total=total, unit=unit, disable=not shown) as bar:
        start = time.monotonic()
        for done in bar:
            count += len(done.records)
            rate = count / max(time.monotonic() - start, 1e-9)
            bar.set_postfix_str(f"{count} patches, {rate:.0f} patches/s", refresh=False)
            yield done
