"""Threads that train groups beside each other, each on the devices of its team, as planned.

All of them stop together: where a signal or another process asks for it, or where one fails.
"""

import collections
import concurrent.futures
import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import jax

from singan_jax import backend
from singan_jax.devices import sharding
from singan_jax.devices.preemption import Stopped, Watch
from singan_jax.fleet.schedule import Stage

_SIGNALS_SECONDS = 0.2


class Trainer(Protocol):
    """Trains a group, on the devices of the thread that calls it."""

    def prepare(self) -> None:
        """Starts compiling what `run` needs first."""

    def run(self, ends_soon: Callable[[], None]) -> None:
        """Trains whatever is left to do; calls `ends_soon` when the last scale begins."""


class StopSign:
    """What the teams of a process look at between chunks: whether to save and stop."""

    def __init__(self, watch: Watch):
        """`watch` says when the whole process is to stop."""
        self._watch = watch
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._teams: list[jax.Device] = []  # the first device of each one that trains

    def reason_to_stop(self) -> Exception | None:
        """What to raise once everything is saved, or None where training may go on.

        Several processes ask each other, in rounds in which each takes part once. So only one team
        of a process does: that of the first device, as the round runs on it too; when that team
        has ended, the next one. The others hear of it.
        """
        if self.is_up():
            return Stopped("stopped with another group; the same command goes on from here")
        if sharding.processes() > 1 and backend.devices()[0] != self._teams[0]:
            return None
        return self._watch.reason_to_stop()

    def is_up(self) -> bool:
        """Whether a team has failed or stopped, so that no other begins anything."""
        return self._error is not None

    def raise_for(self, error: BaseException) -> None:
        """A team has failed or stopped. What counts is the first error that is not `Stopped`."""
        with self._lock:
            asked = isinstance(self._error, Stopped) and not isinstance(error, Stopped)
            if self._error is None or asked:
                self._error = error

    def join(self, first_devices: Sequence[jax.Device]) -> None:
        """Teams begin, of which these are the first devices, in order."""
        self._teams = list(first_devices)

    def leave(self) -> None:
        """The team of this thread has ended."""
        with self._lock:
            self._teams.remove(backend.devices()[0])

    def check(self) -> None:
        """Raises the error that counts, if there is one; call it when no team trains."""
        if self._error is not None:
            raise self._error


class _Queues:
    """Groups that no team has begun; a team whose own are done takes from the longest queue."""

    def __init__(self, queues: Sequence[Sequence[int]]):
        self._queues = [collections.deque(queue) for queue in queues]
        self._lock = threading.Lock()

    def take(self, team: int) -> int | None:
        """What a team trains next; None where nothing is left."""
        with self._lock:
            if own := self._queues[team]:
                return own.popleft()
            longest = max(self._queues, key=len)
            return longest.pop() if longest else None

    def look_ahead(self, team: int, prepare: Callable[[int], None]) -> bool:
        """Calls `prepare` with the next group of a team's own, if it has any; whether it has.

        No other team takes that group meanwhile.
        """
        with self._lock:
            own = self._queues[team]
            if own:
                prepare(own[0])
            return bool(own)


def train(stages: Sequence[Stage], trainers: Sequence[Trainer], stop: StopSign) -> None:
    """Trains all groups.

    Args:
      stages: as planned for the devices of this thread.
      trainers: by number of the group.
      stop: is looked at by the trainers too.

    Raises:
      BaseException: what the first team to fail raised, or the reason to stop. The others have
        saved what they had done.
    """
    for stage, following in itertools.zip_longest(stages, stages[1:]):
        _Teams(stage, following, trainers, stop).run()


class _Teams:
    """The teams of one stage at work."""

    def __init__(
        self, stage: Stage, following: Stage | None, trainers: Sequence[Trainer], stop: StopSign
    ):
        """`following` is the next stage, if there is one."""
        self._all_devices = backend.devices()
        self._teams = [self._named(team) for team in stage.teams]
        self._queues = _Queues(stage.queues)
        self._following, self._trainers, self._stop = following, trainers, stop

    def run(self) -> None:
        """Returns when all groups are trained, and raises when all teams have stopped."""
        self._stop.join([team[0] for team in self._teams])
        with concurrent.futures.ThreadPoolExecutor(len(self._teams), "team") as threads:
            try:
                working = {threads.submit(self._work, team) for team in self._teams}
                while working:  # between waits signals are handled, whichever thread received them
                    working = concurrent.futures.wait(working, _SIGNALS_SECONDS).not_done
            except BaseException as error:  # KeyboardInterrupt reaches this thread alone
                self._stop.raise_for(error)
        self._stop.check()

    def _named(self, places: range) -> list[jax.Device]:
        return [self._all_devices[n] for n in places]

    def _work(self, team: list[jax.Device]) -> None:
        number = self._teams.index(team)
        with backend.on(team):
            try:
                while not self._stop.is_up() and (group := self._queues.take(number)) is not None:
                    self._trainers[group].run(functools.partial(self._prepare, number))
            except BaseException as error:
                self._stop.raise_for(error)
            finally:
                self._stop.leave()

    def _prepare(self, number: int) -> None:
        """Lets the programs be compiled that a team needs after the group that it trains."""
        own = self._queues.look_ahead(number, lambda group: self._trainers[group].prepare())
        if not own and self._following is not None:
            for places, queue in zip(self._following.teams, self._following.queues, strict=True):
                with backend.on(self._named(places)):
                    self._trainers[queue[0]].prepare()
