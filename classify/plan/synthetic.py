"""Generators and synthetic patches of a study.

A generator is trained once on each patch that any cell needs as a source, whatever the number of
folds, regimes and draws that use it. Samples are read from files with their manifest, which names
the patient of the source patch; samples without a patient are refused.
"""

import collections
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import tqdm

import singan_jax
from classify.cells import StudyError
from classify.plan.regimes import Synthetic
from data_pipeline.errors import UnusableError
from data_pipeline.patch_records import PatchRecord
from singan_jax.images.read import Image, check_content

MANIFEST = "manifest.jsonl"

Samples = Mapping[tuple[str, int], np.ndarray]  # (source patch id, number) -> (H, W, 1) uint8


def to_image(
    record: PatchRecord, pixels: np.ndarray, source: str, data_dir: str | None = None
) -> Image:
    """A patch as an image to train on, which carries its patient into the samples' manifest.

    Args:
      record: of the patch; its id becomes the member's name.
      pixels: (H, W, 1) uint8.
      source: where it is from, as `<dataset>/<config>:<split>/<patch id>`; for messages.
      data_dir: absolute, where its dataset was prepared, for who needs the patch again.
    """
    provenance = {
        "patient": record.patient_id,
        "classification": record.classification,
        "zoom_group": str(record.zoom_group),
        "mammogram": record.source,
        "synthetic": str(record.synthetic).lower(),
        **({} if data_dir is None else {"data_dir": data_dir}),
    }
    return Image(record.patch_id, source, pixels, provenance)


def needs(synthetic: Iterable[Synthetic]) -> dict[str, int]:
    """Samples needed of each source: one more than the largest number, by patch id, sorted."""
    most: dict[str, int] = collections.defaultdict(int)
    for patch in synthetic:
        most[patch.source] = max(most[patch.source], patch.number + 1)
    return dict(sorted(most.items()))


def check_trainable(images: Sequence[Image], config: singan_jax.Config) -> None:
    """Raises `StudyError` for the first image that no SinGAN can be trained on."""
    for image in images:
        try:
            check_content(image.pixels, config)
        except UnusableError as error:
            raise StudyError(f"{image.source}: {error.problem}; {error.remedy}") from error


def train(images: Sequence[Image], config: singan_jax.Config, folder: pathlib.Path) -> None:
    """Trains one generator an image, or resumes; members that go wrong get a second attempt.

    Args:
      images: the sources.
      config: of the SinGANs.
      folder: of the fleet.

    Raises:
      StudyError: a member went wrong twice.
      InputError: the folder holds another fleet.
    """
    for retry in (False, True):
        monitor = singan_jax.Monitor(folder)
        fleet = singan_jax.train_fleet(images, config, folder, retry=retry, monitor=monitor)
        if not fleet.failed:
            return
    names = ", ".join(member.name for member in fleet.failed)
    raise StudyError(
        f"{folder}: the generators of {names} went wrong twice; run the same command again for "
        "another attempt, or lower `config.lr_g` and `config.lr_d` in another `workdir`"
    )


def draw(
    fleet: singan_jax.TrainedFleet, wanted: Mapping[str, int], out: pathlib.Path, seed: int
) -> None:
    """Draws the samples that `needs` counts; members that need about equally many share a folder.

    Args:
      fleet: trained.
      wanted: number of samples by member name.
      out: folder; gets `<count>/<member>/<k>.png` and a manifest for each count.
      seed: of the samples.
    """
    groups: dict[int, list[str]] = collections.defaultdict(list)
    for name, count in wanted.items():
        groups[1 << (count - 1).bit_length()].append(name)  # rounded up to a power of two
    for count, names in sorted(groups.items()):
        singan_jax.write_samples(fleet, out / str(count), count, names=names, seed=seed)


def read(
    folder: pathlib.Path, wanted: Mapping[str, int], records: Sequence[PatchRecord], size: int
) -> Samples:
    """Reads samples, and checks that each is what its manifest says.

    Args:
      folder: searched for manifests, at any depth.
      wanted: number of samples by source patch id.
      records: of all patches of the dataset.
      size: of the patches, pixels; samples of another size are resized (bicubic).

    Returns:
      The pixels of the wanted samples.

    Raises:
      StudyError: a manifest is damaged or lacks patients, a source is unknown or another
        patient's, or samples are missing.
    """
    patients = {record.patch_id: record.patient_id for record in records}
    files: dict[tuple[str, int], pathlib.Path] = {}
    for manifest, row in rows(folder):
        name, index = str(row["member"]), int(row["index"])
        if name in wanted and row["patient"] != patients.get(name):
            raise StudyError(
                f"{manifest}: says that {name!r} is of patient {row['patient']!r}, the dataset "
                f"says {patients.get(name)!r}; draw samples of a fleet trained on this dataset"
            )
        if index < wanted.get(name, 0):
            files[name, index] = manifest.parent / row["file"]
    keys = [(name, index) for name, count in wanted.items() for index in range(count)]
    if missing := [key for key in keys if key not in files]:
        name, index = missing[0]
        raise StudyError(
            f"{folder}: {len(missing)} of {len(keys)} samples are missing, such as number {index} "
            f"of {name!r}; draw more of them with `sample_fleet` `num_samples`="
            f"{max(wanted.values())}"
        )
    bar = tqdm.tqdm(keys, "reading samples", unit="", leave=False, delay=2)
    return {key: _pixels(files[key], size) for key in bar}


def rows(folder: pathlib.Path) -> list[tuple[pathlib.Path, dict[str, Any]]]:
    """Lines of all manifests below a folder, each with the manifest's path.

    Raises:
      StudyError: there is no manifest, or one is damaged or lacks patients.
    """
    manifests = sorted(folder.rglob(MANIFEST))
    if not manifests:
        raise StudyError(f"{folder}: no {MANIFEST} in it; name a folder of `sample_fleet`")
    return [
        (manifest, _row(line, f"{manifest}:{number}"))
        for manifest in manifests
        for number, line in enumerate(manifest.read_text().splitlines(), start=1)
    ]


def _row(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError("no JSON object")
        if missing := {"member", "index", "file"} - row.keys():
            raise ValueError(f"lacks {', '.join(sorted(missing))}")
    except ValueError as error:
        raise StudyError(f"{place}: damaged ({error}); draw the samples again") from error
    if not row.get("patient"):
        raise StudyError(
            f"{place}: {row['member']!r} has no patient, so nobody can tell whether it may be "
            "trained on; train the fleet on a dataset query "
            "(`images`=<dataset>/<config>:train[...] `data_dir`=) and draw again"
        )
    return row


def _pixels(path: pathlib.Path, size: int) -> np.ndarray:
    try:
        with PIL.Image.open(path, formats=["PNG"]) as png:
            if png.mode != "L":
                raise OSError(f"mode {png.mode}, not 8-bit gray")
            resized = png.resize((size, size), PIL.Image.Resampling.BICUBIC)
            return np.array(resized)[..., None]  # (H, W, 1)
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error}); draw the samples again") from error
