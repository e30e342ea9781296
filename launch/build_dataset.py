r"""Cuts patches out of mammograms and packs them as a TFDS dataset; repeat the command to resume.

    python -m launch.build_dataset --source=phantom --data_dir=data
    python -m launch.build_dataset --source=bcdr --raw_dir=BCDR --data_dir=data
    python -m launch.build_dataset --source=mias --raw_dir=all-mias --data_dir=data --patch_size=64
    python -m launch.build_dataset --source=thesis --raw_dir=patches --data_dir=data

A phantom is drawn first, into --raw_dir; docs/datasets.md says how to get BCDR and mini-MIAS, and
what becomes of them. The source thesis is a folder of patches that the scripts of Buetas' thesis
made, with their metadata.jsonl. Everything is written below --data_dir, patches as PNGs too;
overview.png beside these shows examples, counts and what was left out. `bcdr_patches/g1:train` then
selects patches wherever a command takes images.

How long: the phantom 25 seconds on 2 CPU cores, for 1471 patches (1084 normal, 246 benign, 141
malign). BCDR should take a few minutes. The thesis counts 2952 patches of lesions and 2456 normal
ones in it, none of them in F03; expect other numbers, as F03 is read here, and a film with several
lesions gives each window once. A worker needs up to 350 MB for a digital mammogram.
"""

import pathlib
from typing import Any, cast

from absl import flags

from data_pipeline import builders, duplicates, load, overview, phantom, thesis_folder
from data_pipeline.errors import DataError
from data_pipeline.patches import RULES, Rules
from data_pipeline.units import SKIPPED
from launch import path_flags, workers

_DATASETS = {
    "bcdr": "bcdr_patches",
    "phantom": "bcdr_patches",
    "mias": "mias_patches",
    "thesis": "thesis_patches",
}
_PHANTOM = {
    "seed": "seed of everything random",
    "film_patients": "patients in each of the sets F01, F02 and F03",
    "digital_patients": "patients in each of the sets D01 and D02",
    "normal_patients": "patients in the set DN01",
    "malignant": "fraction of the patients with lesions whose lesion is malignant",
    "difficulty": "from 0 (classes are trivially told apart) to 1 (they are the same)",
    "film_scale": "size of films; 1 is that of BCDR",
    "digital_scale": "size of digital images; 1 is that of BCDR",
}

SOURCE = flags.DEFINE_enum("source", None, list(_DATASETS), "what to build from", required=True)
RAW_DIR = path_flags.DEFINE_path(
    "raw_dir", None, "folder of the source; by default <data_dir>/phantom for a phantom"
)
DATA_DIR = path_flags.DEFINE_path("data_dir", None, "folder to write datasets to", required=True)
PATCH_SIZE = flags.DEFINE_string(
    "patch_size",
    str(builders.DEFAULT_SIZE),
    "sides of the patches in pixels, or native to leave them as they were cut",
)
PATCH_RULES = flags.DEFINE_enum(
    "patch_rules",
    RULES[0],
    RULES,
    "how patches are cut. thesis: as Buetas' code does, which shifts a box that leaves the"
    " image at the left or top, samples pixels where patches shrink, and keeps windows 10 % of"
    " their side away from lesions. clean, the default: boxes stay centred on their lesions, what"
    " shrinks is averaged, and windows may touch a lesion's box; data built before have it. Of the"
    " source thesis, they only resize",
)
THESIS_METADATA = flags.DEFINE_boolean(
    "thesis_metadata",
    False,
    f"also write {thesis_folder.METADATA}, metadata as the scripts of Buetas' thesis write them",
)
ALLOW_DUPLICATES = flags.DEFINE_boolean(
    "allow_duplicates",
    False,
    "build although two patients have mammograms or patches of the same pixels, which would let a"
    " picture be trained on and tested; they are listed",
)
WORKERS = flags.DEFINE_integer(
    "workers",
    workers.affordable(),
    "processes; each holds one mammogram; by default as many as there are CPUs and memory for",
    lower_bound=1,
)
for _name, _words in _PHANTOM.items():
    _default = getattr(phantom.PhantomSettings(), _name)
    _define = flags.DEFINE_integer if isinstance(_default, int) else flags.DEFINE_float
    _define(f"phantom_{_name}", _default, f"for the phantom: {_words}")


def main() -> None:
    """Draws the phantom if asked to, builds, and says what came of it."""
    data_dir, size = pathlib.Path(DATA_DIR.value), _patch_size()
    raw_dir = pathlib.Path(RAW_DIR.value or data_dir / "phantom")
    given = [name for name in _PHANTOM if flags.FLAGS[f"phantom_{name}"].present]
    if SOURCE.value == "phantom":
        chosen: dict[str, Any] = {name: flags.FLAGS[f"phantom_{name}"].value for name in _PHANTOM}
        drawn = phantom.PhantomSettings(**chosen)
        phantom.write(raw_dir, drawn, progress=True, workers=WORKERS.value)
    elif given:
        raise DataError(f"`phantom_{given[0]}` is for `source`=phantom; leave it out")
    elif not RAW_DIR.value:
        what = "patches" if SOURCE.value == "thesis" else "mammograms"
        raise DataError(f"`source`={SOURCE.value} needs `raw_dir`, the folder of the {what}")
    builder = load.BUILDERS[_DATASETS[SOURCE.value]]
    rules = cast(Rules, PATCH_RULES.value)  # one of them, as it is an enum
    result = builders.prepare(
        builder,
        raw_dir,
        data_dir,
        size,
        rules=rules,
        workers=WORKERS.value,
        progress=True,
        allow_duplicates=ALLOW_DUPLICATES.value,
    )
    folder = builders.extracted_folder(data_dir, builder.name, size)
    page = folder / "overview.png"
    title = f"{builder.name}, {size or 'native'} pixels: {len(result.records)} patches"
    overview.write(page, title, folder, result.records, result.skips, result.duplicates)
    print(overview.counts(result.records).to_string())
    print("\n".join(overview.skip_lines(result.skips)))
    if result.duplicates:
        print("\n".join(duplicates.lines(result.duplicates)))
        print(f"All pictures that are there twice are in {folder / duplicates.TABLE}")
    names = ", ".join(builders.config_names(size))
    print(f"{data_dir}: {builder.name} is prepared as {names}")
    print(f"See {page}; all that was skipped is in {folder / SKIPPED}")
    if THESIS_METADATA.value:
        written = thesis_folder.write(folder, result.records)
        print(f"{written} has the metadata in the format of the thesis")


def _patch_size() -> int | None:
    """The size of patches in pixels, None for native."""
    text = PATCH_SIZE.value
    if text != "native" and not (text.isdecimal() and 1 <= int(text) <= builders.MAX_SIZE):
        raise DataError(
            f"`patch_size`={text} is no size; write pixels from 1 to {builders.MAX_SIZE}, or native"
        )
    return None if text == "native" else int(text)


if __name__ == "__main__":
    # Imported here, for it takes seconds and the worker processes, which import the rest, have no
    # use for it.
    from launch import cli

    cli.run(main)
