"""Trains a fleet, or goes on with one."""

import contextlib
import pathlib
import warnings
from collections.abc import Callable, Sequence

import jax

from data_pipeline.errors import InputWarning
from singan_jax import backend
from singan_jax.config import Config, validate
from singan_jax.devices import sharding
from singan_jax.devices.bucket import shared_bucket
from singan_jax.devices.preemption import Watch
from singan_jax.fleet import division, schedule, teams
from singan_jax.fleet.group import GroupTrainer, Pace
from singan_jax.fleet.monitor import Monitor
from singan_jax.fleet.schedule import Stage
from singan_jax.fleet.teams import StopSign
from singan_jax.images.read import Image
from singan_jax.samples.trained import TrainedFleet
from singan_jax.workdir import finished
from singan_jax.workdir.adopt import as_trained
from singan_jax.workdir.checkpoint import Store
from singan_jax.workdir.enroll import enroll
from singan_jax.workdir.record import Member, WorkdirError, locked, log_run, require_space

Images = Sequence[Image] | Callable[[Sequence[Member]], Sequence[Image]]


def train_fleet(
    images: Images,
    config: Config,
    workdir: str | pathlib.Path,
    *,
    retry: bool = False,
    pace: Pace | None = None,
    monitor: Monitor | None = None,
    watch: Watch | None = None,
) -> TrainedFleet:
    """Trains one SinGAN per image, or goes on where an earlier call was interrupted.

    Args:
      images: one per member, names unique; see `images.read_images`. Where several processes train
        together, all but the first may give a function that reads the images of given members.
      config: settings common to all members.
      workdir: the work folder; created if missing. All processes must see the same one.
      retry: restart members that went wrong, from a new seed.
      pace: how often to return to the host; the defaults of `Pace` where None.
      monitor: is told of the progress; a silent one where None.
      watch: says when to stop, and is already entered; where None, one is made for this call.

    Returns:
      The fleet. Its `failed` are the members that went wrong, which are frozen at the iteration
      before.

    Raises:
      ConfigError: a setting is out of its range.
      WorkdirError: the folder cannot be used for this fleet.
      OSError: a checkpoint could not be written.
      Stopped: SIGTERM came, to this process or another; everything is saved.
      InputError: another process refused its input.
      ConnectionError: another process failed or is gone.
    """
    folder = pathlib.Path(workdir)
    validate(config)
    pace = pace or Pace()
    monitor = monitor or Monitor(folder, quiet=True)
    with contextlib.ExitStack() as stack:
        watch = watch or stack.enter_context(Watch())
        if sharding.process() == 0:
            stack.enter_context(locked(folder))
            _prepare(folder, images, config, retry)
        groups = division.agree(folder, config, watch)
        if groups and sharding.process() == 0:
            _tell(folder, groups)
        own = division.members_of_process(groups, config, sharding.process(), sharding.processes())
        _train(folder, config, own, _read(images, own), pace, monitor, StopSign(watch))
        watch.finish()
        return TrainedFleet(folder)


def _train(
    folder: pathlib.Path,
    config: Config,
    groups: Sequence[Sequence[Member]],
    images: dict[str, Image],
    pace: Pace,
    monitor: Monitor,
    stop: StopSign,
) -> None:
    """Trains this process' members on its devices."""
    buckets = [shared_bucket(config, *group[0].kind) for group in groups]
    monitor.start(config, [(b.pyramid, group) for b, group in zip(buckets, groups, strict=True)])
    trainers: list[GroupTrainer] = []
    try:
        for bucket, group in zip(buckets, groups, strict=True):
            own = [images[member.name] for member in group]
            trainers.append(GroupTrainer(bucket, group, own, folder, pace, monitor, stop))
        teams.train(_stages(config, groups), trainers, stop)
    finally:
        for trainer in trainers:
            trainer.close()
        monitor.close()


def _stages(config: Config, groups: Sequence[Sequence[Member]]) -> list[Stage]:
    """In which order groups train, and on which of this process' devices."""
    loads = [schedule.Load(len(group), division.cost(config, group[0])) for group in groups]
    return schedule.plan(loads, len(backend.devices()))


def _prepare(folder: pathlib.Path, images: Images, config: Config, retry: bool) -> None:
    """Enrolls the images, and clears up after an interrupted run."""
    require_space(folder, 0)
    broken = [member.name for member in finished.failures(folder)] if retry else []
    if callable(images):
        raise TypeError("the first process needs the images, not a function that reads some")
    record = enroll(folder, images, config, retry=broken)
    for group in record.groups():
        Store(finished.group_folder(folder, group), read_only=True).clean()


def _tell(folder: pathlib.Path, groups: Sequence[Sequence[Member]]) -> None:
    """Records that a run begins, and warns of images that slow it down."""
    log_run(folder)
    if backend.backend() == "cpu":
        return  # members train one by one anyway
    if told := division.about_sizes(groups, jax.device_count()):
        warnings.warn(told, InputWarning, stacklevel=3)


def _read(images: Images, groups: Sequence[Sequence[Member]]) -> dict[str, Image]:
    """The images of the members of some groups, by name.

    What a work folder knows are members: a process that resumes, or that has only a part of the
    fleet, has no other way to its images than their names, and the digest proves that they match.
    """
    members = {member.name: member for group in groups for member in group}
    own = list(members.values())
    given = images(own) if callable(images) else as_trained(images, own)
    found = {image.name: image for image in given if image.name in members}
    for name, member in members.items():
        # A retired attempt of a member is of the same image.
        if name not in found or found[name].digest != member.digest:
            raise WorkdirError(
                f"{member.source}: differs here from the image that the first process read; all "
                "hosts must see the same files"
            )
    return found
