"""Joining the other processes of a run, as flags or the environment say."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator

from singan_jax.devices import sharding
from singan_jax.errors import InputError

MODES = ("auto", "on", "off")
# Of Slurm, where JAX reads numbers. A shell that Slurm did not start may have them empty.
_SLURM_NUMBERS = ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


def join(
    mode: str = "auto",
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the other processes of a run, if there are any; call it after `configure_jax`.

    Args:
      mode: "auto" joins where a coordinator is given or the environment shows that this is one of
        several processes; "on" always joins, as JAX finds the others; "off" never joins.
      coordinator: host:port where process 0 listens.
      num_processes: how many there are.
      process_id: which one this is, from 0.

    Raises:
      InputError: the arguments do not fit together, or the others cannot be found.
    """
    stated = (coordinator, num_processes, process_id)
    if stated != (None,) * 3:
        _check(mode, *stated)
    elif mode == "off" or (mode == "auto" and not started_together()):
        return
    try:
        with _without_empty_numbers():
            sharding.join(*stated)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the other processes of this run cannot be found ({' '.join(str(error).split())}); "
            "give `coordinator`, `num_processes` and `process_id`, or `distributed`=off to train "
            "in this process alone"
        ) from error


def started_together() -> bool:
    """Whether the environment shows that this is one of several processes of one run.

    Asks for more than JAX does, which would wait for others in an interactive Slurm shell: there
    the job has several tasks, but the step that the shell runs in has one. A number of tasks that
    is none is taken as not given.
    """
    environment = os.environ
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "").strip()
    slurm = tasks.isdecimal() and int(tasks) > 1
    kubernetes = (
        "KUBERNETES_SERVICE_HOST" in environment
        and "JOB_COMPLETION_INDEX" in environment
        and importlib.util.find_spec("kubernetes") is not None  # JAX asks it for the index
    )
    tpu_hosts = environment.get("TPU_PROCESS_ADDRESSES", environment.get("TPU_WORKER_HOSTNAMES"))
    return slurm or kubernetes or "," in (tpu_hosts or "")


@contextlib.contextmanager
def _without_empty_numbers() -> Iterator[None]:
    """Hides variables of Slurm that should be numbers and are none, which end JAX's detection."""
    found = {name: os.environ.get(name, "0") for name in _SLURM_NUMBERS}
    hidden = {name: text for name, text in found.items() if not text.strip().isdecimal()}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _check(
    mode: str, coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    if coordinator is None or num_processes is None or process_id is None or mode == "off":
        raise InputError(
            "`coordinator`, `num_processes` and `process_id` must be given together, and not with "
            "`distributed`=off"
        )
    if not coordinator.rpartition(":")[2].isdigit() or ":" not in coordinator:
        raise InputError(f"`coordinator`={coordinator}: must be host:port, as in node1:1234")
    if not 0 <= process_id < num_processes:
        raise InputError(
            f"`process_id`={process_id}: must be from 0 to {num_processes - 1}, one below "
            f"`num_processes`={num_processes}"
        )
