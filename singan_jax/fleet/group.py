"""Trains one group of a fleet: a loop over scales, slices and chunks around compiled programs."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from singan_jax.devices import sharding
from singan_jax.devices.bucket import Bucket
from singan_jax.devices.programs import Compiler, ScalePrograms
from singan_jax.fleet.members import hypers, member_keys
from singan_jax.fleet.monitor import Monitor
from singan_jax.fleet.teams import StopSign
from singan_jax.images.read import Image
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.train_scale import Start, inherits
from singan_jax.scale.train_step import ScaleState, Task
from singan_jax.workdir import finished
from singan_jax.workdir.checkpoint import CheckpointName, Store
from singan_jax.workdir.finished import FinishedScale, take
from singan_jax.workdir.record import Member

T = TypeVar("T")

_NUMBERS = 2**24  # of images at full size, as floats at a time: 64 MiB, or one image a device


@dataclasses.dataclass(frozen=True)
class Pace:
    """How often training returns to the host; changes nothing in the result.

    Attributes:
      chunk_seconds: target for the time between two returns.
      checkpoint_seconds: least time between two checkpoints inside a scale.
    """

    chunk_seconds: float = 5.0
    checkpoint_seconds: float = 60.0


class _Work(NamedTuple):
    """What is left to do at a scale for some members, which go through it together.

    Attributes:
      members: places in the group.
      step: iterations done.
      state: after `step` iterations, on the host; None where the scale has not begun.
    """

    members: range
    step: int
    state: ScaleState | None


class GroupTrainer:
    """Takes consecutive members of one group through all scales, on the calling thread's devices.

    All ranges are of places in the group, as in the names of its checkpoints.
    """

    def __init__(
        self,
        bucket: Bucket,
        members: Sequence[Member],
        images: Sequence[Image],
        folder: pathlib.Path,
        pace: Pace,
        monitor: Monitor,
        stop: StopSign,
    ):
        """`members` are consecutive ones of a group; `images` are theirs, in the same order."""
        self._bucket, self._compiler = bucket, Compiler(bucket)
        self._members, self._images = members, images
        self._pace, self._monitor, self._stop = pace, monitor, stop
        self._places = range(members[0].index, members[-1].index + 1)
        self._store = Store(finished.group_folder(folder, members[0].group))
        self._keys = member_keys(self._bucket.config.seed, members)
        self._hypers = hypers(self._bucket.config, members)
        self._last_save = 0.0

    def prepare(self) -> None:
        """Starts compiling what `run` needs first."""
        self._compiler.prefetch(self._finished(), len(self._members))

    def run(self, ends_soon: Callable[[], None]) -> None:
        """Trains whatever is not finished yet; calls `ends_soon` as the last scale begins."""
        bucket, size = self._bucket, len(self._members)
        scales_in_all = bucket.pyramid.num_scales
        done = self._finished()
        self._last_save = time.monotonic()
        self._compiler.prefetch(done, size)
        reals = pyramids(bucket, self._images)
        scales = [finished.restore_scale(self._store, bucket, n, self._places) for n in range(done)]
        self._monitor.start_group(self._members, done)
        for scale in range(done, scales_in_all):
            started = time.monotonic()
            programs = self._compiler.programs(scale, size)
            self._monitor.compiled(self._members, scale, time.monotonic() - started)
            self._compiler.prefetch(scale + 1, size)
            if scale == scales_in_all - 1:
                ends_soon()
            for work in self._left(scale, programs.members):
                piece = _Slice(scale, work.members, self._places, programs)
                start = self._start(piece, reals[scale], scales)
                self._train(piece, start, [s.frozen for s in scales], work)
            self._compiler.forget(scale)
            self._store.wait()
            # Read back rather than kept: slices of this run and those finished in earlier ones then
            # come together in one way, and a scale that cannot be read is noticed before the next.
            scales.append(finished.restore_scale(self._store, bucket, scale, self._places))
            self._monitor.scale_done(bucket, self._members, scale, scales)
        self._store.close()
        self._monitor.end_group(self._members)
        self.close()

    def close(self) -> None:
        """Gives back what was compiled, and stops compiling."""
        self._compiler.close()

    def _finished(self) -> int:
        scales = self._bucket.pyramid.num_scales
        return finished.finished_scales(self._store, self._places, scales)

    def _left(self, scale: int, width: int) -> list[_Work]:
        """What is left to do at a scale, in pieces of at most `width` members."""
        names = [name for name in self._store.names() if name.scale == scale]
        left = set(self._places)
        for name in names:
            if name.step is None:
                left -= set(name.members)
        work = []
        for name in sorted(names, key=lambda name: -(name.step or 0)):
            span = left & set(name.members)
            if name.step is not None and span:
                shapes = finished.stacked(self._bucket.shapes[scale].state, len(name.members))
                state = self._store.restore(name, shapes)
                for members in _runs(span, width):
                    work.append(_Work(members, name.step, take(state, members, name.members)))
                left -= span
        return work + [_Work(members, 0, None) for members in _runs(left, width)]

    def _start(
        self, piece: "_Slice", real: np.ndarray, scales: list[FinishedScale[np.ndarray]]
    ) -> Start[np.ndarray]:
        """What `begin` takes for a slice, on the devices."""
        before = scales[-1] if scales else None
        inherited = before is not None and inherits(self._bucket.config, piece.scale)
        start: Start[np.ndarray] = Start(
            self._keys,
            self._hypers,
            real,
            before.rec_next if before else np.zeros_like(real),
            before.healthy if before else np.ones(len(real), bool),
            (before.frozen.generator, before.discriminator) if before and inherited else (),
        )
        return piece.to_devices(start)

    def _train(
        self, piece: "_Slice", start: Start[np.ndarray], frozen: list[FrozenScale], work: _Work
    ) -> None:
        """Trains a slice to the end of a scale and saves it."""
        steps, step, saved_step = self._bucket.config.steps_per_scale, work.step, work.step
        members = [member for member in self._members if member.index in piece.members]
        scales = tuple(piece.to_devices(scale) for scale in frozen)
        task, state = piece.programs.begin(start)
        if work.state is not None:
            state = sharding.to_devices(sharding.padded(work.state, piece.programs.members))
        self._monitor.resumed(piece.scale, members, step)
        chunk = 1
        while step < steps:
            if reason := self._stop.reason_to_stop():
                if step > saved_step:
                    self._save(piece, sharding.to_host(state, len(members)), step)
                self._store.close()
                raise reason
            stop = min(step + chunk, steps)
            started = time.monotonic()
            state, metrics = piece.programs.chunk(
                scales, task, state, np.int32(step), np.int32(stop)
            )
            metrics = sharding.to_host(metrics, len(members))  # waits for the chunk
            seconds = time.monotonic() - started
            self._monitor.chunk(piece.scale, members, step, stop, metrics, seconds)
            chunk = max(1, round((stop - step) * min(4.0, self._pace.chunk_seconds / seconds)))
            step = stop
            if step < steps and self._is_due():
                self._save(piece, sharding.to_host(state, len(members)), step)
                saved_step = step
        self._save(piece, self._freeze(piece, task, state, len(members)))

    def _freeze(
        self, piece: "_Slice", task: Task, state: ScaleState, members: int
    ) -> FinishedScale[jax.Array]:
        frozen, rec, rec_next = piece.programs.finish(task, state)
        scale: FinishedScale[jax.Array] = FinishedScale(
            frozen, state.discriminator.variables, rec, rec_next, state.healthy, state.failed_at
        )
        return sharding.to_host(scale, members)

    def _is_due(self) -> bool:
        return time.monotonic() - self._last_save >= self._pace.checkpoint_seconds

    def _save(
        self, piece: "_Slice", tree: ScaleState | FinishedScale[jax.Array], step: int | None = None
    ) -> None:
        self._store.save(CheckpointName(piece.scale, piece.members, step), tree)
        self._last_save = time.monotonic()


@dataclasses.dataclass(frozen=True)
class _Slice:
    """Some of a trainer's members at one scale, and the programs they run in.

    Attributes:
      scale: index of the scale.
      members: places in the group.
      held: places of all the trainer's members.
      programs: of the scale.
    """

    scale: int
    members: range
    held: range
    programs: ScalePrograms

    def to_devices(self, tree: T) -> T:
        """These members' entries of the trainer's arrays, padded to the programs' size."""
        own = take(tree, self.members, self.held)
        return sharding.to_devices(sharding.padded(own, self.programs.members))


def _runs(places: set[int], width: int) -> list[range]:
    """Consecutive places, cut evenly into pieces of at most `width`."""
    found: list[range] = []
    if not places:
        return found
    ordered = sorted(places)
    breaks = [n for n in range(1, len(ordered)) if ordered[n] != ordered[n - 1] + 1]
    for run in np.split(np.array(ordered, int), breaks):
        pieces = np.array_split(run, -(-len(run) // width))
        found += [range(int(piece[0]), int(piece[-1]) + 1) for piece in pieces]
    return found


def pyramids(bucket: Bucket, images: Sequence[Image]) -> list[np.ndarray]:
    """Every scale of members' images: (members, images, h, w, C) each, coarsest first.

    On the host, as a group may be larger than the devices' memory; each slice takes its own. At
    full size they become floats a few members at a time, all by one program.
    """
    shape = (bucket.images, *images[0].shape)
    together = sharding.padded_size(min(len(images), max(1, _NUMBERS // math.prod(shape))))
    parts = []
    for start in range(0, len(images), together):
        piece = images[start : start + together]
        floats = np.empty((together, *shape), np.float32)
        for n in range(together):
            floats[n] = piece[n].to_float() if n < len(piece) else floats[n - 1]
        scales = bucket.build_pyramid(sharding.to_devices(floats))
        parts.append(sharding.to_host(scales, len(piece)))
    return [np.concatenate(scale) for scale in zip(*parts, strict=True)]
