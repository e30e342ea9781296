"""Makes models trained by the official PyTorch SinGAN members of a fleet; see `official`."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.files.writing import differences
from singan_jax.config import Config
from singan_jax.errors import InputError
from singan_jax.images.read import write_png
from singan_jax.official.run import OfficialRun, read_run
from singan_jax.scale import generate
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.pyramid import Pyramid
from singan_jax.workdir import finished
from singan_jax.workdir.checkpoint import CheckpointName, Store
from singan_jax.workdir.enroll import enroll
from singan_jax.workdir.finished import FinishedScale
from singan_jax.workdir.record import Member, locked, log_run


def import_runs(
    runs: Sequence[str | pathlib.Path], workdir: str | pathlib.Path
) -> tuple[Member, ...]:
    """Makes runs of the official code the members of a fleet that is already trained.

    Repeating the call continues an interrupted one; with more runs, it adds them.

    Args:
      runs: the folders of the runs, all of one configuration; see `read_run`.
      workdir: the work folder; created if missing. The images go to its images/.

    Returns:
      The members of the fleet.

    Raises:
      InputError: as `read_run`; or the runs differ in settings, or two have the same name.
      WorkdirError: the work folder holds another fleet.
      OSError: a file cannot be written.
    """
    folder = pathlib.Path(workdir)
    found: dict[str, OfficialRun] = {}
    for run in map(read_run, runs):
        name = run.image.name
        if name in found:
            raise InputError(
                f"{run.folder}: has the same name, {name!r}, as {found[name].folder}; rename one "
                "of the folders"
            )
        image = dataclasses.replace(run.image, source=str(folder / "images" / f"{name}.png"))
        found[name] = dataclasses.replace(run, image=image)
    config = _common_config(list(found.values()))
    with locked(folder):
        record = enroll(folder, [run.image for run in found.values()], config)
        (folder / "images").mkdir(exist_ok=True)
        for run in found.values():
            write_png(run.image.source, run.image.pixels)
        for group, members in record.groups().items():
            store = Store(finished.group_folder(folder, group))
            _write_group(store, [found[member.name] for member in members])
        log_run(folder)
    return record.members


def _common_config(runs: Sequence[OfficialRun]) -> Config:
    """The settings of all runs.

    Raises:
      InputError: they differ.
    """
    # A run's image was shrunk to max_size before it was saved, so any larger value does as well.
    max_size = max(run.config.max_size for run in runs)
    first, *others = [dataclasses.replace(run.config, max_size=max_size).to_dict() for run in runs]
    for run, other in zip(runs[1:], others, strict=True):
        if changes := differences(first, other):
            raise InputError(
                f"{run.folder}: has other settings than {runs[0].folder} ({changes}); "
                "import it into another `workdir`"
            )
    return Config(**first)


def _write_group(store: Store, runs: Sequence[OfficialRun]) -> None:
    """Writes those checkpoints of a group that do not exist yet."""
    num_scales = runs[0].pyramid.num_scales
    done = finished.finished_scales(store, range(len(runs)), num_scales)
    members = [_finish(run) for run in runs]
    for n in range(done, num_scales):
        scale = jax.tree.map(lambda *arrays: np.stack(arrays), *(member[n] for member in members))
        store.save(CheckpointName(n, range(len(runs))), scale)
    store.close()


def _finish(run: OfficialRun) -> list[FinishedScale[np.ndarray]]:
    """What training would keep of each scale."""
    reconstructions = _reconstruct(run.config, run.pyramid, run.channels, run.scales)
    healthy, failed_at = np.array(True), np.array(-1, np.int32)
    return [
        jax.tree.map(np.asarray, FinishedScale(frozen, critic, rec, rec_next, healthy, failed_at))
        for frozen, critic, (rec, rec_next) in zip(
            run.scales, run.discriminators, reconstructions, strict=True
        )
    ]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _reconstruct(
    config: Config, pyramid: Pyramid, channels: int, scales: Sequence[FrozenScale]
) -> list[tuple[Any, Any]]:
    """Each scale's reconstruction, and the same enlarged for the next; see `train_scale.finish`."""
    prev = jnp.zeros((1, *pyramid.sizes[0], channels))
    noises = [frozen.z_rec for frozen in scales]
    recs = generate.run_scales(config, pyramid, scales, noises, prev)
    sizes = (*pyramid.sizes[1:], pyramid.sizes[-1])
    return [
        (rec, generate.enlarge(config, pyramid, rec, size))
        for rec, size in zip(recs, sizes, strict=True)
    ]
