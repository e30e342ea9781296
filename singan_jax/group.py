"""Trains one group of a fleet: a loop over scales, slices and chunks around compiled programs."""

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from singan_jax import finished as finished_lib
from singan_jax import programs as programs_lib
from singan_jax import sharding
from singan_jax.checkpoint import Record, Store
from singan_jax.config import Config
from singan_jax.finished import FinishedScale, take
from singan_jax.generate import FrozenScale
from singan_jax.images import Image
from singan_jax.metrics import Monitor
from singan_jax.preemption import Watch
from singan_jax.programs import Bucket, ScalePrograms
from singan_jax.train_step import Hyper, ScaleState
from singan_jax.workdir import Member


@dataclasses.dataclass(frozen=True)
class Pace:
    """How often training returns to the host; changes nothing in the result.

    Attributes:
      chunk_seconds: aim for the time between two returns.
      checkpoint_seconds: least time between two checkpoints inside a scale.
    """

    chunk_seconds: float = 5.0
    checkpoint_seconds: float = 60.0


def member_keys(seed: int, members: Sequence[Member]) -> jax.Array:
    """Random keys, (members,): of seed, image and attempt, never of a place in the fleet."""
    words = [(int(m.digest[:8], 16), int(m.digest[8:16], 16), m.attempt) for m in members]
    return _fold_in(jax.random.key(seed), np.array(words, np.uint32))


@jax.jit
def _fold_in(key: jax.Array, words: jax.Array) -> jax.Array:
    def fold_in(own: jax.Array) -> jax.Array:
        folded = key
        for word in own:
            folded = jax.random.fold_in(folded, word)
        return folded

    return jax.vmap(fold_in)(words)


def hypers(config: Config, members: Sequence[Member]) -> Hyper:
    """The hyperparameters of members, each (members,)."""
    each = [Hyper.of(config, member.settings) for member in members]
    return jax.tree.map(lambda *values: np.stack(values), *each)


class GroupTrainer:
    """Takes one group of members of one shape through all scales."""

    def __init__(
        self,
        bucket: Bucket,
        members: Sequence[Member],
        images: Sequence[Image],
        folder: pathlib.Path,
        pace: Pace,
        monitor: Monitor,
        watch: Watch,
    ):
        """`members`, consecutive ones of a group, and `images` correspond."""
        self._bucket, self._members, self._pace, self._monitor = bucket, members, pace, monitor
        self._watch = watch
        self._places = range(members[0].index, members[-1].index + 1)
        self._store = Store(finished_lib.group_folder(folder, members[0].group))
        self._images = images
        self._hypers = hypers(bucket.config, members)
        self._last_save = time.monotonic()

    def run(self) -> None:
        """Trains whatever is not finished yet."""
        bucket, size = self._bucket, len(self._members)
        scales_in_all = bucket.pyramid.num_scales
        done = finished_lib.finished_scales(self._store, self._places, scales_in_all)
        bucket.prefetch(done, size)
        keys = member_keys(bucket.config.seed, self._members)
        reals = self._pyramids()
        scales: list[FinishedScale] = [
            finished_lib.restore_scale(self._store, bucket, n, self._places) for n in range(done)
        ]
        self._monitor.skip(done)
        for scale in range(done, scales_in_all):
            started = time.monotonic()
            compiled = bucket.programs(scale, size)
            self._monitor.compiled(scale, time.monotonic() - started)
            bucket.prefetch(scale + 1, size)
            for first, last, step, state in self._slices(scale, compiled.members):
                work = _Slice(scale, first, last, compiled)
                inputs = self._inputs(work, keys, reals, scales)
                self._train(work, inputs, [s.frozen for s in scales], step, state)
            self._store.wait()
            scales.append(finished_lib.restore_scale(self._store, bucket, scale, self._places))
            self._monitor.scale_done(bucket, self._members, scale, scales)
        self._store.close()

    def _pyramids(self) -> list[np.ndarray]:
        """Every scale of the group's images: (members, images, h, w, C) each."""
        images = np.stack([image.to_float() for image in self._images])
        size = len(images)
        return sharding.to_host(
            list(self._bucket.build_pyramid(sharding.to_devices(sharding.padded(images, size)))),
            size,
        )

    def _slices(self, scale: int, width: int) -> list[tuple[int, int, int, Any]]:
        """What is left to do at a scale: (first, last, iterations done, state or None) each."""
        records = [r for r in self._store.records() if r.scale == scale]
        left = set(self._places)
        for record in records:
            if record.step is None:
                left -= set(record.members)
        slices = []
        for record in sorted(records, key=lambda r: -(r.step or 0)):
            span = left & set(record.members)
            if record.step is not None and span:
                shapes = finished_lib.stacked(self._bucket.shapes[scale].state, len(record.members))
                state = self._store.restore(record, shapes)
                for first, last in _runs(span, width):
                    part = take(state, first - record.first, last + 1 - record.first)
                    slices.append((first, last, record.step, part))
                left -= span
        slices += [(first, last, 0, None) for first, last in _runs(left, width)]
        base = self._places.start
        return [(first - base, last - base, step, state) for first, last, step, state in slices]

    def _inputs(
        self, work: "_Slice", keys: jax.Array, reals: list[np.ndarray], scales: list[FinishedScale]
    ) -> tuple[Any, ...]:
        """Arguments of `begin` for a slice, on the devices."""
        real = reals[work.scale]
        before = scales[-1] if scales else None
        rec_prev = before.rec_next if before else np.zeros_like(real)
        healthy = before.healthy if before else np.ones(len(real), bool)
        arguments: list[Any] = [keys, self._hypers, real, rec_prev, healthy]
        if before and programs_lib.inherits(self._bucket.config, work.scale):
            arguments.append((before.frozen.generator, before.discriminator))
        return tuple(work.to_devices(argument) for argument in arguments)

    def _train(
        self,
        work: "_Slice",
        inputs: tuple[Any, ...],
        frozen: list[FrozenScale],
        step: int,
        saved: ScaleState | None,
    ) -> None:
        """Trains a slice to the end of a scale and saves it."""
        steps, saved_step = self._bucket.config.steps_per_scale, step
        members = self._members[work.first : work.last + 1]
        scales = tuple(work.to_devices(scale) for scale in frozen)
        task, state = work.programs.begin(*inputs)
        if saved is not None:
            state = sharding.to_devices(sharding.padded(saved, work.programs.members))
        self._monitor.resumed(work.scale, members, step)
        chunk = 1
        while step < steps:
            if reason := self._watch.reason_to_stop():
                if step > saved_step:
                    self._save(work, sharding.to_host(state, len(members)), step)
                self._store.close()
                raise reason
            stop = min(step + chunk, steps)
            started = time.monotonic()
            state, metrics = work.programs.chunk(
                scales, task, state, np.int32(step), np.int32(stop)
            )
            metrics = sharding.to_host(metrics, len(members))  # waits for the chunk
            seconds = time.monotonic() - started
            self._monitor.chunk(work.scale, members, step, stop, metrics, seconds)
            chunk = max(1, round((stop - step) * min(4.0, self._pace.chunk_seconds / seconds)))
            step = stop
            if step < steps and self._is_due():
                self._save(work, sharding.to_host(state, len(members)), step)
                saved_step = step
        self._save(work, self._freeze(work, task, state, len(members)))

    def _freeze(self, work: "_Slice", task: Any, state: Any, members: int) -> FinishedScale:
        frozen, rec, rec_next = work.programs.finish(task, state)
        finished = FinishedScale(
            frozen, state.discriminator.variables, rec, rec_next, state.healthy, state.failed_at
        )
        return sharding.to_host(finished, members)

    def _is_due(self) -> bool:
        return time.monotonic() - self._last_save >= self._pace.checkpoint_seconds

    def _save(self, work: "_Slice", tree: Any, step: int | None = None) -> None:
        base = self._places.start
        record = Record(work.scale, base + work.first, base + work.last, step)
        self._store.save(record, tree)
        self._last_save = time.monotonic()


@dataclasses.dataclass(frozen=True)
class _Slice:
    """Members `first` to `last` of a trainer's at one scale, and the programs they run in."""

    scale: int
    first: int
    last: int
    programs: ScalePrograms

    def to_devices(self, tree: Any) -> Any:
        """These members' entries, padded to the programs' size."""
        return sharding.to_devices(
            sharding.padded(take(tree, self.first, self.last + 1), self.programs.members)
        )


def _runs(indices: set[int], width: int) -> list[tuple[int, int]]:
    """Consecutive indices as (first, last), cut evenly into pieces of at most `width`."""
    found: list[tuple[int, int]] = []
    if not indices:
        return []
    ordered = sorted(indices)
    breaks = [n for n in range(1, len(ordered)) if ordered[n] != ordered[n - 1] + 1]
    for run in np.split(np.array(ordered, int), breaks):
        pieces = -(-len(run) // width)
        found += [(int(p[0]), int(p[-1])) for p in np.array_split(run, pieces)]
    return found
