"""Samples as files: `<out>/<member>/<k>.png`; manifest.jsonl lists them, run.json says how.

A sample depends on seed, member and index alone, so drawing again, after an interruption or with
a larger number, writes the same files.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import tqdm

from data_pipeline.files.writing import differences, to_json, write_atomically
from singan_jax import runtime
from singan_jax.errors import InputError
from singan_jax.images.read import write_png
from singan_jax.samples.trained import Samples, TrainedFleet
from singan_jax.workdir.record import Member


def write_samples(
    fleet: TrainedFleet,
    out: str | pathlib.Path,
    num_samples: int,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
    start_scale: int | Mapping[str, int] = 0,
    scale_v: float = 1.0,
    scale_h: float = 1.0,
    quiet: bool = False,
) -> int:
    """Draws samples and writes them as PNGs with their member's channels and bit depth.

    For a member trained with a mask, it writes `<k>_mask.png`, 0 or 255, beside `<k>.png`.

    Args:
      fleet: with at least one trained scale.
      out: folder to write to; created if missing.
      num_samples: samples per member, at least 1.
      names: members to use; all that did not go wrong where None.
      seed: of the samples.
      start_scale: coarsest scale with fresh noise; one for all members, or one by member name.
      scale_v: output height over trained height.
      scale_h: output width over trained width.
      quiet: show no progress bar.

    Returns:
      The number of samples.

    Raises:
      InputError: an unknown member, a setting out of range, or `out` holds samples drawn with
        other settings.
      OSError: a file cannot be written.
    """
    if num_samples < 1:
        raise InputError(f"`num_samples`={num_samples}: must be at least 1")
    out = pathlib.Path(out)
    sizes = {"scale_v": scale_v, "scale_h": scale_h}
    settings = {"workdir": str(fleet.folder), "seed": seed, "start_scale": start_scale, **sizes}
    members = fleet.select(names)
    fleet.warn_of_unfinished(members)
    key = jax.random.key(seed)
    drawn = [
        (start, fleet.sample(num_samples, key, names=chosen, start_scale=start, **sizes))
        for start, chosen in _by_start_scale(members, start_scale).items()
    ]
    claim(out, settings)  # only once all is known to be in order
    lines: list[dict[str, Any]] = []
    with tqdm.tqdm(total=num_samples * len(members), unit=" samples", disable=quiet) as bar:
        for start, members_samples in drawn:
            for samples in members_samples:
                lines += _write(out, samples, {**settings, "start_scale": start})
                bar.update(len(samples.pixels))
    order = {member.name: n for n, member in enumerate(members)}
    lines.sort(key=lambda line: (order[line["member"]], line["index"]))
    write_manifest(out, lines)
    return len(lines)


def _by_start_scale(
    members: Sequence[Member], start_scale: int | Mapping[str, int]
) -> dict[int, list[str]]:
    """The names of the members that start at each scale."""
    found: dict[int, list[str]] = {}
    for member in members:
        own = start_scale if isinstance(start_scale, int) else start_scale[member.name]
        found.setdefault(own, []).append(member.name)
    return found


def write_manifest(out: pathlib.Path, lines: Sequence[dict[str, Any]]) -> None:
    """Writes manifest.jsonl."""
    write_atomically(out / "manifest.jsonl", "".join(to_json(line) + "\n" for line in lines))


def claim(out: pathlib.Path, settings: dict[str, Any]) -> None:
    """Claims the folder for this run.

    Args:
      out: the folder; created if missing.
      settings: what decides the samples, `workdir` among it.

    Raises:
      InputError: the folder holds samples of other settings.
      OSError: it cannot be written.
    """
    record = out / "run.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        content = json.loads(record.read_text()) if record.exists() else {"settings": settings}
        old = content["settings"]
    except (json.JSONDecodeError, KeyError) as error:
        raise InputError(f"{record}: damaged ({error!r}); choose another `out`") from error
    # A study's folder, say, may be moved with the fleet and the samples in it.
    from_here = os.path.relpath(settings["workdir"], out)
    if content.get("workdir_from_here") == from_here:
        old = {**old, "workdir": settings["workdir"]}
    if old != settings:
        changes = differences(old, settings)
        raise InputError(f"{out}: holds other samples ({changes}); choose another `out`")
    about = {"settings": settings, "workdir_from_here": from_here, **runtime.provenance()}
    text = to_json(about, indent=1)
    write_atomically(record, text + "\n")


def _write(out: pathlib.Path, samples: Samples, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Writes consecutive samples of one member; returns their lines of the manifest."""
    member = samples.member
    (out / member.name).mkdir(exist_ok=True)
    lines = []
    for n, pixels in enumerate(samples.pixels, samples.first):
        file = f"{member.name}/{n}.png"
        write_png(out / file, pixels)
        line = manifest_line(member, file, n, settings)
        if samples.masks is not None:
            line["mask"] = f"{member.name}/{n}_mask.png"
            write_png(out / line["mask"], samples.masks[n - samples.first])
        lines.append(line)
    return lines


def manifest_line(
    member: Member, file: str, index: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """The line of the manifest for one file.

    Args:
      member: whose model made it.
      file: its path in the folder.
      index: of the sample.
      settings: what decided it.
    """
    return {
        "file": file,
        "member": member.name,
        "index": index,
        "source": member.source,
        "source_digest": member.digest,
        **{k: v for k, v in settings.items() if k != "workdir"},
        **member.settings,
        **member.provenance,
    }
