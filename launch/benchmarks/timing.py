"""Timing of compiled work: warmed up, repeated, the median and its spread."""

import concurrent.futures
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Timing(NamedTuple):
    """Seconds of one call over several runs."""

    median: float
    fastest: float
    slowest: float


def measure(call: Callable[[], Any], repeats: int) -> Timing:
    """Times `call`, whose arrays are waited for; one more call comes first as warm-up."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return Timing(statistics.median(seconds), min(seconds), max(seconds))


def in_processes(call: Callable[..., Any], processes: int, *arguments: Any) -> list[Any]:
    """Runs the same in fresh processes side by side; what each returns.

    Args:
      call: of a module; its last argument is the number of threads for it: one in each of several
        processes, as many as there are cores in a single one.
      processes: how many.
      *arguments: those before the last.
    """
    threads = 1 if processes > 1 else os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
        jobs = [pool.submit(call, *arguments, threads) for _ in range(processes)]
        return [job.result() for job in jobs]
