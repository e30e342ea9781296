"""One function over many jobs, in several processes."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from data_pipeline.errors import DataError

Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Any], Result], jobs: Sequence[Any], workers: int
) -> Iterator[Result]:
    """`map` in order, over processes that start afresh (a forked one may hang on others' locks).

    Args:
      function: of a module, so that other processes find it.
      jobs: its arguments.
      workers: how many processes; 1 stays in this one.

    Raises:
      DataError: a process was killed.
    """
    if workers == 1 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    executor = futures.ProcessPoolExecutor(
        min(workers, len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        # An interrupt is this process' to handle: it lets the workers finish what they hold.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    with executor:
        try:
            yield from executor.map(function, jobs)
        except BrokenProcessPool as error:
            problem = "a worker process was killed, most likely for want of memory"
            remedy = "repeat the command with fewer workers to go on"
            raise DataError(f"{problem}; {remedy}") from error
