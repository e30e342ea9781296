"""Timing of compiled work: warmed up, repeated, the median and its spread."""

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
