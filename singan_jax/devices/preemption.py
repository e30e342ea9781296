"""Stopping in good order: when asked by SIGTERM, and together with the other processes of a run.

Schedulers send SIGTERM before they take a machine away: Slurm at the end of its time, Kubernetes
and the clouds' spot machines half a minute or so before. Training looks for it at each return to
the host. Where several processes train a fleet together they exchange a few numbers there, so that
all stop when one is asked to, fails, or dies.
"""

import enum
import signal
import threading
from typing import Any

from singan_jax.devices import sharding
from singan_jax.errors import InputError


class Stopped(Exception):
    """Training was asked to stop and has saved what it had done; call it again to go on."""


class _Status(enum.IntEnum):
    """What a process says of itself in a round; the largest one counts."""

    FINISHED = 0
    RUNNING = 1
    ASKED_TO_STOP = 2
    FAILED = 3
    REFUSED = 4  # its input, which will not be better the next time


class Watch:
    """Within this context SIGTERM does not end the process, but asks training to stop.

    With several processes all must enter it, and `reason_to_stop` is a round in which all take
    part: each calls it when it likes, and waits there for the others. A process that leaves before
    `finish` has failed, and ends the others at their next round.
    """

    def __init__(self) -> None:
        self._asked = False
        self._over = False  # no more rounds, and all processes know it
        self._previous: Any = None

    def __enter__(self) -> "Watch":
        if threading.current_thread() is threading.main_thread():  # Python allows no other
            self._previous = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not self._over:
            self._round(_Status.REFUSED if isinstance(error, InputError) else _Status.FAILED)
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def reason_to_stop(self, message: int = 0) -> Exception | None:
        """What to raise once everything is saved, or None where training may go on.

        Args:
          message: 31 bits from the first process to all others, which read `self.message`.
        """
        return self._round(_Status.ASKED_TO_STOP if self._asked else _Status.RUNNING, message)

    def finish(self) -> None:
        """This process has done its part: waits for the others, none of which may fail any more.

        Raises:
          Exception: one of them stops, and with it the whole run.
        """
        status = _Status.FINISHED
        while not self._over:
            if reason := self._round(status):
                raise reason
            self._over = self._newest is _Status.FINISHED
            # The others still train, and cannot go on without the machine that is taken away.
            status = _Status.ASKED_TO_STOP if self._asked else _Status.FINISHED

    def _ask(self, *_: Any) -> None:
        self._asked = True

    def _round(self, status: _Status, message: int = 0) -> Exception | None:
        try:
            said = sharding.gathered([status, message])  # (processes, 2)
        except ConnectionError as error:
            self._over = True
            return error
        self.message = int(said[0, 1])
        self._newest = _Status(said[:, 0].max())
        self._over = self._newest >= _Status.ASKED_TO_STOP
        which = f"process {said[:, 0].argmax()} of this run"
        if self._newest is _Status.REFUSED:
            return InputError(f"{which} refused its input, see what it said; mend that first")
        if self._newest is _Status.FAILED:
            return ConnectionError(
                f"{which} failed, see what it said; the others have saved and stopped, and the "
                "same command goes on from here"
            )
        if self._newest is _Status.ASKED_TO_STOP:
            return Stopped("stopped on request; the same command goes on from here")
        return None
