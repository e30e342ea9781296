"""Watching a fleet train: progress bar, metrics to JSON lines and TensorBoard, pictures.

Written into the work folder:

    metrics.jsonl              one line per member and chunk
    tensorboard/               the same as quantiles over the fleet
    pictures/<group>_scale_<n>.png  real, reconstruction and samples after each scale

Where several processes train together, each writes about its own members: all but the first into
metrics_0001.jsonl, tensorboard/_0001 and so on, and the bar shows the first one's share.
"""

import pathlib
import threading
from collections.abc import Sequence
from typing import Any, TextIO

import jax
import numpy as np
import tqdm

from data_pipeline.files.writing import to_json
from singan_jax.config import Config
from singan_jax.devices import sharding
from singan_jax.devices.bucket import Bucket
from singan_jax.fleet.cost import relative_cost
from singan_jax.fleet.tensorboard import open_board
from singan_jax.images import pictures
from singan_jax.samples import sample
from singan_jax.scale.pyramid import Pyramid
from singan_jax.scale.train_step import METRICS
from singan_jax.workdir.record import Member

_SHOWN = 8  # members per picture
_SAMPLES = 4  # samples per member in a picture
_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed} passed, {remaining} left{postfix}"


class _Group:
    """What the monitor knows of a group: what it costs and, while it trains, where it is."""

    def __init__(self, members: Sequence[Member], costs: Sequence[float]):
        """`costs` are those of an iteration of one member, by scale."""
        self.members, self.costs = len(members), costs
        self.running = False
        self.scale, self.step, self.rate = 0, 0, 0.0
        self.together = self.members  # of a slice
        self.metrics: dict[str, np.ndarray] = {}


class Monitor:
    """Is told what happens while a fleet trains, and writes it into the work folder.

    Groups that train beside each other tell it from threads of their own.
    """

    def __init__(self, folder: str | pathlib.Path, *, quiet: bool = False):
        """`quiet` leaves out the progress bar and the pictures."""
        self._folder, self._quiet = pathlib.Path(folder), quiet
        self._bar: tqdm.tqdm | None = None
        self._groups: dict[int, _Group] = {}
        self._iterations = 0
        self._lock = threading.Lock()  # of all of the above, and of what is written

    def start(self, config: Config, groups: Sequence[tuple[Pyramid, Sequence[Member]]]) -> None:
        """Before the first group; `groups` are those with something left to train."""
        self._config, self._groups = config, {}
        for plan, members in groups:
            costs = [relative_cost(config, plan, n) for n in range(plan.num_scales)]
            self._groups[members[0].group] = _Group(members, costs)
        if not groups:
            return
        work = [group.members * sum(group.costs) for group in self._groups.values()]
        total = config.steps_per_scale * sum(work)
        process = sharding.process()
        self._bar = tqdm.tqdm(total=total, bar_format=_BAR, disable=self._quiet or process > 0)
        own = f"_{process:04d}" if process else ""
        self._lines = _open_lines(self._folder / f"metrics{own}.jsonl")
        self._board = open_board(self._folder / "tensorboard" / own)

    def start_group(self, members: Sequence[Member], scales: int) -> None:
        """A group starts, whose first `scales` scales were finished before."""
        with self._lock:
            group = self._groups[members[0].group]
            group.running = True
            self._advance(self._config.steps_per_scale * group.members * sum(group.costs[:scales]))

    def end_group(self, members: Sequence[Member]) -> None:
        """A group has finished all scales."""
        with self._lock:
            self._groups[members[0].group].running = False

    def compiled(self, members: Sequence[Member], scale: int, seconds: float) -> None:
        """The programs of a scale are ready, after `seconds` of waiting for them."""
        line = {"group": members[0].group, "scale": scale, "compile_wait_s": round(seconds, 3)}
        with self._lock:
            self._lines.write(to_json(line) + "\n")

    def resumed(self, scale: int, members: Sequence[Member], step: int) -> None:
        """Training of these members at a scale starts at iteration `step`."""
        with self._lock:
            group = self._groups[members[0].group]
            group.scale, group.step, group.together = scale, step, len(members)
            self._advance(step * self._cost(scale, members))

    def chunk(
        self,
        scale: int,
        members: Sequence[Member],
        start: int,
        stop: int,
        metrics: dict[str, np.ndarray],
        seconds: float,
    ) -> None:
        """Iterations `start` to `stop` are done; `metrics` holds a mean per member."""
        rate = (stop - start) / seconds
        lines = []
        for n, member in enumerate(members):
            row = {name: metrics[name][n] for name in METRICS}
            line = {"member": member.name, "scale": scale, "step": stop, "steps_per_s": rate}
            lines.append(to_json({**line, **row}) + "\n")
        with self._lock:
            self._lines.writelines(lines)
            self._lines.flush()
            self._iterations += stop - start
            group = self._groups[members[0].group]
            group.scale, group.step, group.rate = scale, stop, rate
            group.together, group.metrics = len(members), metrics
            self._plot(scale, rate)
            self._describe()
            self._advance((stop - start) * self._cost(scale, members))

    def scale_done(
        self, bucket: Bucket, members: Sequence[Member], scale: int, scales: Sequence[Any]
    ) -> None:
        """A group has finished a scale; `scales` are all its finished ones, stacked."""
        newest = scales[-1]
        with self._lock:
            for n, member in enumerate(members):
                line = {"member": member.name, "scale": scale, "finished": True}
                amp = float(newest.frozen.noise_amp[n])
                failed_at = int(newest.failed_at[n])
                line |= {"noise_amp": amp} | ({"failed_at": failed_at} if failed_at >= 0 else {})
                self._lines.write(to_json(line) + "\n")
                if failed_at >= 0 and self._bar is not None:
                    self._bar.write(
                        f"{member.source}: training went wrong at scale {scale}, iteration "
                        f"{failed_at}; frozen there"
                    )
            self._lines.flush()
            amps = newest.frozen.noise_amp
            self._board.add_scalar("noise_amp/median", float(np.median(amps)), scale)
        if not self._quiet and members[0].index == 0:
            self._picture(bucket, members, scale, scales)

    def close(self) -> None:
        """After the last group, or after an error."""
        if self._bar is not None:
            self._bar.close()
            self._lines.close()
            self._board.close()

    def _picture(
        self, bucket: Bucket, members: Sequence[Member], scale: int, scales: Sequence[Any]
    ) -> None:
        shown = min(len(members), _SHOWN)
        frozen = jax.tree.map(lambda x: x[:shown], [s.frozen for s in scales])
        keys = jax.random.split(jax.random.key(self._config.seed), shown)
        plan = sample.SamplePlan(
            bucket.config, bucket.pyramid, bucket.channels, num_scales=scale + 1
        )
        samples = sample.sample_all(plan, frozen, keys, _SAMPLES)
        rows = [[scales[-1].rec[n, 0], *samples[n]] for n in range(shown)]
        labels = [member.name for member in members[:shown]]
        folder = self._folder / "pictures"
        folder.mkdir(exist_ok=True)
        path = folder / f"group_{members[0].group:04d}_scale_{scale:02d}.png"
        pictures.grid(path, rows, labels, ["reconstruction", *["sample"] * _SAMPLES])

    def _plot(self, scale: int, rate: float) -> None:
        """Quantiles over the groups that are at a scale, of what they told last."""
        running = [group for group in self._groups.values() if group.running and group.metrics]
        for name in METRICS:
            told = [group.metrics[name] for group in running if group.scale == scale]
            values = np.concatenate(told)
            values = values[np.isfinite(values)]
            for q, label in ((0.1, "p10"), (0.5, "median"), (0.9, "p90")):
                if len(values):
                    tag = f"scale_{scale}/{name}/{label}"
                    self._board.add_scalar(tag, np.quantile(values, q), self._iterations)
        self._board.add_scalar("steps_per_s", rate, self._iterations)

    def _describe(self) -> None:
        """Says in the bar where the groups in training are."""
        if self._bar is None:
            return
        running = [group for group in self._groups.values() if group.running]
        if len(running) == 1:
            (group,) = running
            where = (
                f"scale {group.scale + 1}/{len(group.costs)}, "
                f"step {group.step}/{self._config.steps_per_scale}"
            )
        else:
            scales = [group.scale + 1 for group in running]
            most = max(len(group.costs) for group in running)
            where = f"{len(running)} groups, scales {min(scales)} to {max(scales)} of {most}"
        members = sum(group.together for group in running)
        self._bar.set_description(f"{where}, {members} members", refresh=False)
        rate = sum(group.rate for group in running)
        self._bar.set_postfix_str(f"{rate:.1f} steps/s", refresh=False)

    def _cost(self, scale: int, members: Sequence[Member]) -> float:
        return self._groups[members[0].group].costs[scale] * len(members)

    def _advance(self, cost: float) -> None:
        if self._bar is not None and cost:
            self._bar.update(cost)


def _open_lines(path: pathlib.Path) -> TextIO:
    """Opens a file of lines to append to, without the partial line that a kill may have left."""
    if path.exists():
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
    return path.open("a")
