"""From mammograms to patches on disk: in parallel, resumable, with everything left out listed.

    extraction.json             settings, source, versions and command; written first
    patches/<image_id>/         one folder a mammogram, see `cut`
    metadata.jsonl, *.csv       see `patch_records`; written when all mammograms are done
    skipped.jsonl               what readers and extraction left out, and why

A mammogram's folder depends on its files, its annotations and the settings alone, so neither the
number of workers nor an interruption changes the result.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import multiprocessing
import pathlib
import platform
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import tqdm

from data_pipeline import patch_records
from data_pipeline.cut import PATCHES, Job, Unit, cut, read_json
from data_pipeline.files import differences, write_atomically
from data_pipeline.mammograms import DataError, Mammogram, Reading, Skip
from data_pipeline.patch_records import PatchRecord
from data_pipeline.patches import PatchSettings

SKIPPED = "skipped.jsonl"
FORMAT = 2
_PLAN = "extraction.json"


class ExtractionResult(NamedTuple):
    """What an extraction wrote.

    Attributes:
      records: of all patches, by mammogram in the order read.
      skips: the reader's, then those of the extraction.
      reused: number of mammograms that an earlier, interrupted run had finished.
    """

    records: tuple[PatchRecord, ...]
    skips: tuple[Skip, ...]
    reused: int


def extract(
    reading: Reading, out: pathlib.Path, settings: PatchSettings, *, workers: int, progress: bool
) -> ExtractionResult:
    """Cuts the patches of all mammograms and writes them with their metadata.

    Repeating the call continues what an interrupted one left, and gives the same result as one
    uninterrupted call. A mammogram whose image or mask has changed since is done again. One that
    cannot be read becomes a skip.

    Args:
      reading: of one source.
      out: folder to write to; created if missing.
      settings: which patches.
      workers: processes; each holds one mammogram at a time. 1 stays in this process. With more,
        the calling script needs the usual `if __name__ == "__main__"`.
      progress: whether to show a progress bar.

    Returns:
      The records and skips, as written.

    Raises:
      DataError: `out` cannot be written to, or holds other things or an extraction of another
        source or with other settings; no mammogram gave a patch; a worker was killed.
    """
    if workers < 1:
        raise DataError(f"workers is {workers}; it must be 1 or more")
    _check_names(reading.mammograms)
    with _locked(out):
        _begin(out, reading, settings)
        jobs = [Job(m, out / PATCHES / m.image_id, settings) for m in reading.mammograms]
        units = list(_with_progress(_map(cut, jobs, workers), len(jobs), progress))
        records = tuple(record for unit in units for record in unit.records)
        skips = (*reading.skips, *(skip for unit in units for skip in unit.skips))
        patch_records.write_lines(out / SKIPPED, map(dataclasses.asdict, skips))
        if not records:
            raise DataError(f"{out}: no mammogram gave a patch; {out / SKIPPED} says why")
        patch_records.write_tables(out, reading.mammograms, records)
        patch_records.write_lines(
            out / patch_records.METADATA, (record.to_json() for record in records)
        )
    return ExtractionResult(records, skips, sum(unit.reused for unit in units))


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


@contextlib.contextmanager
def _locked(out: pathlib.Path) -> Iterator[None]:
    """Creates the folder and locks it for one process; names it when it cannot be written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        problem = "another process is extracting into it"
        raise DataError(f"{out}: {problem}; wait for it, or choose another folder") from None
    except OSError as error:  # those of reading became skips, so this is one of writing
        reason = error.strerror or type(error).__name__
        remedy = "choose another folder, or mend this one and repeat the command to go on"
        raise DataError(f"{out}: cannot be written to ({reason}); {remedy}") from error


def _begin(out: pathlib.Path, reading: Reading, settings: PatchSettings) -> None:
    """Writes extraction.json, or makes sure that the one there is of the same extraction."""
    plan: dict[str, Any] = {
        "format": FORMAT,
        "settings": dataclasses.asdict(settings) | {"zooms": list(settings.zooms)},
        "source": _fingerprint(reading.mammograms),
    }
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
        write_atomically(path, json.dumps(content, indent=1) + "\n")
        return
    old = read_json(path)
    remedy = "choose another folder, or delete this one to start afresh"
    if old.get("format") != FORMAT:
        raise DataError(f"{path}: format {old.get('format')}, not {FORMAT}; {remedy}")
    if old["settings"] != plan["settings"]:
        changes = differences(old["settings"], plan["settings"])
        raise DataError(f"{out}: has other settings ({changes}); {remedy}")
    if old["source"] != plan["source"]:
        problem = "holds patches of another source, or images or annotations changed since"
        raise DataError(f"{out}: {problem}; {remedy}")


def _fingerprint(mammograms: Sequence[Mammogram]) -> str:
    """Hex SHA-256 over everything read of the mammograms, except where the source's root is."""
    digest = hashlib.sha256()
    for mammogram in mammograms:
        row = dataclasses.asdict(mammogram)
        del row["file"]
        for lesion in row["lesions"]:
            lesion["mask_file"] = lesion["mask_file"] and lesion["mask_file"].name
            lesion["findings"] = sorted(lesion["findings"])
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def _map(function: Callable[[Job], Unit], jobs: Sequence[Job], workers: int) -> Iterator[Unit]:
    """`map` in order, over processes that start afresh (a forked one may hang on others' locks)."""
    if workers == 1 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    pool = futures.ProcessPoolExecutor(
        min(workers, len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        # An interrupt is this process' to handle: it lets the workers finish what they hold.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    with pool:
        try:
            yield from pool.map(function, jobs)
        except BrokenProcessPool as error:
            problem = "a worker process was killed, most likely for want of memory"
            remedy = "repeat the command with fewer workers to go on"
            raise DataError(f"{problem}; {remedy}") from error


def _with_progress(units: Iterable[Unit], total: int, shown: bool) -> Iterator[Unit]:
    """Passes units through a progress bar that also shows patches and their rate."""
    count = 0
    with tqdm.tqdm(units, total=total, unit="mammogram", disable=not shown) as bar:
        start = time.monotonic()
        for unit in bar:
            count += len(unit.records)
            rate = count / max(time.monotonic() - start, 1e-9)
            bar.set_postfix_str(f"{count} patches, {rate:.0f} patches/s", refresh=False)
            yield unit
