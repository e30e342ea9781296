"""Trains a fleet, or goes on with one."""

import pathlib
from collections.abc import Sequence

from singan_jax import finished, workdir
from singan_jax.checkpoint import Store
from singan_jax.config import Config, validate
from singan_jax.group import GroupTrainer, Pace
from singan_jax.images import Image
from singan_jax.metrics import Monitor
from singan_jax.programs import Bucket
from singan_jax.workdir import Member


def train_fleet(
    images: Sequence[Image],
    config: Config,
    folder: str | pathlib.Path,
    *,
    retry: bool = False,
    pace: Pace | None = None,
    monitor: Monitor | None = None,
) -> list[Member]:
    """Trains one SinGAN per image, or goes on where an earlier call was interrupted.

    Args:
      images: one per member, names unique; see `images.read_images`.
      config: settings common to all members.
      folder: the work folder; made if need be.
      retry: start members that went wrong afresh, from a new seed.
      pace: of returns to the host; the defaults of `Pace` where None.
      monitor: is told of the progress; a silent one where None.

    Returns:
      The members that went wrong, which are frozen at the iteration before.

    Raises:
      ConfigError: a setting is out of its range.
      WorkdirError: the folder cannot be used for this fleet.
      OSError: a checkpoint could not be written.
    """
    folder = pathlib.Path(folder)
    validate(config)
    pace = pace or Pace()
    monitor = monitor or Monitor(folder, quiet=True)
    with workdir.locked(folder):
        workdir.require_space(folder, 0)
        broken = [m.name for m in finished.failures(folder)] if retry else []
        record = workdir.enroll(folder, images, config, retry=broken)
        groups = record.groups()
        pending = [n for n in groups if not _is_finished(folder, config, groups[n])]
        shapes = {groups[n][0].shape for n in pending}
        buckets = {shape: Bucket(config, shape) for shape in shapes}
        if pending:
            workdir.log_run(folder)
        monitor.start(config, [(buckets[groups[n][0].shape].pyramid, groups[n]) for n in pending])
        by_name = {image.name: image for image in images}
        try:
            for n in pending:
                bucket = buckets[groups[n][0].shape]
                pixels = [by_name[member.name] for member in groups[n]]
                GroupTrainer(bucket, groups[n], pixels, folder, pace, monitor).run()
        finally:
            for bucket in buckets.values():
                bucket.close()
            monitor.close()
    return finished.failures(folder)


def _is_finished(folder: pathlib.Path, config: Config, members: Sequence[Member]) -> bool:
    bucket = Bucket(config, members[0].shape)
    store = Store(finished.group_folder(folder, members[0].group), read_only=True)
    scales = bucket.pyramid.num_scales
    return finished.finished_scales(store, len(members), scales) == scales
