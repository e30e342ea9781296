"""Timing: warmed up, repeated, the median and its spread; and processes of their own."""

import concurrent.futures
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax

from data_pipeline.files import limits

FASTEST, SLOWEST = "_fastest", "_slowest"


class Timing(NamedTuple):
    """Seconds of one call over several runs, or another measure of its speed."""

    median: float
    fastest: float
    slowest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Timing":
        """The timing of runs that took these seconds."""
        ordered = sorted(seconds)
        return cls(statistics.median(ordered), ordered[0], ordered[-1])

    @classmethod
    def total(cls, parts: Iterable["Timing"]) -> "Timing":
        """The timing of a sum of parts: all at their median, their fastest, their slowest."""
        return cls(*map(sum, zip(*parts, strict=True)))

    def times(self, factor: float) -> "Timing":
        """In another unit, or of a part."""
        return Timing(*(factor * seconds for seconds in self))

    def rate(self, count: float) -> "Timing":
        """How many a second, of a call that does `count`."""
        return Timing(*(count / seconds for seconds in self))

    def row(self, name: str) -> dict[str, float]:
        """The entries of a result's row: `name` has the median, the others what it is within."""
        return {
            name: self.median,
            f"{name}{FASTEST}": self.fastest,
            f"{name}{SLOWEST}": self.slowest,
        }


def measure(call: Callable[[], Any], repeats: int) -> Timing:
    """Times `call`, whose arrays are waited for; one more call comes first as warm-up."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return Timing.of(seconds)


def in_processes(call: Callable[..., Any], processes: int, *arguments: Any) -> list[Any]:
    """Runs the same in fresh processes side by side; what each returns.

    Args:
      call: of a module; its last argument is the number of threads for it: one in each of several
        processes, as many as there are cores in a single one.
      processes: how many.
      *arguments: those before the last.
    """
    threads = 1 if processes > 1 else limits.cpus()
    return fresh_processes(call, [(*arguments, threads)] * processes)


def fresh_processes(call: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Runs a function of a module in as many new processes as there are `arguments` for it."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(len(arguments), mp_context=context) as pool:
        jobs = [pool.submit(call, *own) for own in arguments]
        return [job.result() for job in jobs]
