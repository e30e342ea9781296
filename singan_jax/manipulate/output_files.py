"""Manipulations as files, and contact sheets of all start scales.

Writes `<out>/<member>/scale<start scale>_<k>.png` (or one animation per start scale), sheet.png
where there are several start scales, manifest.jsonl and run.json.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import tqdm

from singan_jax.errors import InputError
from singan_jax.images import pictures
from singan_jax.manipulate import batches
from singan_jax.manipulate.batches import Batch
from singan_jax.manipulate.manipulations import Manipulation
from singan_jax.samples.sample_files import claim, manifest_line, write_manifest
from singan_jax.samples.trained import TrainedFleet

_COLUMNS = 6  # images of a row of a contact sheet, including the input


def write_manipulations(
    fleet: TrainedFleet,
    out: str | pathlib.Path,
    task: Manipulation,
    count: int,
    *,
    settings: dict[str, Any],
    names: Sequence[str] | None = None,
    start_scale: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> int:
    """Manipulates members and writes the results.

    Args:
      fleet: trained.
      out: folder to write to; created if missing.
      task: the manipulation.
      count: samples of each start scale; frames of an animation.
      settings: of the manipulation, for run.json and the manifest.
      names: members to use; all that did not go wrong where None.
      start_scale: the scale to start from; each possible one where None.
      seed: of everything random.
      quiet: show no progress bar.

    Returns:
      The number of files, not counting contact sheets.

    Raises:
      InputError: an unknown or unfinished member, a setting out of range, or `out` holds what
        other settings made.
      OSError: a file cannot be written.
    """
    out, members = pathlib.Path(out), fleet.select(names)
    batches.require_finished(fleet, members)
    for member in members:
        possible = task.start_scales(fleet.num_scales(member))
        if start_scale is not None and start_scale not in possible:
            raise InputError(
                f"start scale {start_scale} is out of range; for {member.name!r} it may be "
                f"{possible[0]} to {possible[-1]}"
            )
    lines: list[dict[str, Any]] = []
    with tqdm.tqdm(total=len(members), unit=" members", disable=quiet) as bar:
        for batch in batches.batches(fleet, members, jax.random.key(seed)):
            scales = task.start_scales(len(batch.finished))
            chosen = scales if start_scale is None else [start_scale]
            made = {scale: task.run(batch, scale, count) for scale in chosen}
            if not lines:
                claim(out, {"workdir": str(fleet.folder), "seed": seed, **settings})
            lines += _write(out, task, batch, made, {"seed": seed, **settings})
            bar.update(len(batch.members))
    order = {member.name: n for n, member in enumerate(members)}
    lines.sort(key=lambda line: order[line["member"]])  # keeps the order within a member
    write_manifest(out, lines)
    return len(lines)


def _write(
    out: pathlib.Path,
    task: Manipulation,
    batch: Batch,
    made: dict[int, np.ndarray],
    settings: dict[str, Any],
) -> list[dict[str, Any]]:
    """Writes (members, count, H, W, C) images of each start scale; returns their manifest lines."""
    lines = []
    inputs: Sequence[np.ndarray] = list(batch.fitted(task.inputs)) if task.inputs else []
    for n, member in enumerate(batch.members):
        folder = out / member.name
        folder.mkdir(exist_ok=True)
        for scale, images in made.items():
            files = task.save(folder / f"scale{scale}", images[n], member.bit_depth)
            for index, file in enumerate(files):
                own = {**settings, "start_scale": scale}
                lines.append(manifest_line(member, f"{member.name}/{file.name}", index, own))
        if len(made) > 1:
            rows = {f"from scale {scale}": images[n] for scale, images in made.items()}
            _write_sheet(folder / "sheet.png", inputs[n : n + 1], rows)
    return lines


def _write_sheet(
    path: pathlib.Path, shown: Sequence[np.ndarray], rows: dict[str, np.ndarray]
) -> None:
    """A row for each start scale: the input, if there is one, then images taken evenly from all."""
    count = len(next(iter(rows.values())))
    picked = np.linspace(0, count - 1, min(count, _COLUMNS - len(shown))).round().astype(int)
    images = [[*shown, *row[picked]] for row in rows.values()]
    pictures.grid(path, images, list(rows), ["input"] * len(shown) + [str(k) for k in picked])
