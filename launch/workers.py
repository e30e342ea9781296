"""How many processes cut patches, or draw mammograms, side by side."""

from data_pipeline.files import limits

_WORKER_BYTES = 400e6  # the largest digital mammograms take 350 MB


def affordable() -> int:
    """Worker processes that the CPUs and the memory of this process, or its container, allow.

    One more's memory is left to the process that gathers what they cut.
    """
    return max(1, min(limits.cpus(), int(limits.memory_bytes() / _WORKER_BYTES) - 1))
