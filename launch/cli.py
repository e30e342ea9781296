"""What all command lines share: parsing, exit statuses, one clear line when something is wrong.

Exit statuses:

    0  done
    1  the work failed though the input was good: a full disk, a device without enough memory,
       members that went wrong
    2  bad input: flags, settings, files, devices that are not there; whatever was good has still
       been worked on
    143  stopped by SIGTERM with everything saved; repeat the command to go on (130: by Ctrl-C)

Errors name settings and functions in backquotes, as Python calls them; here alone they become flags
and commands.
"""

import contextlib
import pathlib
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from data_pipeline.errors import DataError, InputWarning
from singan_jax import runtime
from singan_jax.devices.preemption import Stopped
from singan_jax.errors import InputError

_HERE = pathlib.Path(__file__).parent
FAILED, BAD_INPUT, STOPPED = 1, 2, 143


def spelled(text: str) -> str:
    """What the libraries name in backquotes, as command lines write it.

    A setting such as `workdir` becomes --workdir, and a function that a command serves, such as
    `train_fleet`, becomes python -m launch.train_fleet.
    """

    def spell(match: re.Match[str]) -> str:
        name = match[1]
        is_command = name.isidentifier() and (_HERE / f"{name}.py").exists()
        return f"python -m launch.{name}" if is_command else f"--{name}"

    return re.sub(r"`([a-z][\w.]*)`", spell, text)


def complain(problem: object) -> None:
    """Prints one line to standard error; see `spelled`."""
    print(" ".join(spelled(str(problem)).split()), file=sys.stderr)


def _parse(arguments: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        complain(f"{error}; --help lists the flags")
        sys.exit(BAD_INPUT)


@contextlib.contextmanager
def _warnings_in_lines() -> Iterator[None]:
    """Has each `InputWarning` shown as a complaint, once; others look as they always do."""
    shown: set[str] = set()
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **where: Any) -> None:
        if not issubclass(category, InputWarning):
            usual(message, category, *place, **where)
        elif str(message) not in shown:
            shown.add(str(message))
            complain(message)

    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = show
        yield


def _status(error: Exception) -> int | None:
    """Complains of an error in one line; None where it is a bug of ours."""
    explained = runtime.explained(error) or error
    if isinstance(explained, Stopped):
        status = STOPPED
    elif isinstance(explained, InputError | DataError):
        status = BAD_INPUT
    elif isinstance(explained, OSError | MemoryError):
        status = FAILED
    else:
        return None
    complain(explained)
    return status


def run(main: Callable[[], int | None]) -> NoReturn:
    """Parses the flags, runs `main` and exits with its status (None is 0).

    `InputError` and `DataError` exit with status 2, `OSError` and `MemoryError` with 1, each after
    one line, and so do those that JAX raises where it has no devices, or too little memory on one;
    anything else is a bug of ours and shows its traceback. Each `InputWarning` is one line too.
    """

    def guarded(arguments: Sequence[str]) -> int:
        if len(arguments) > 1:
            complain(f"{arguments[1]!r} is no flag; write --name=value, and quote patterns")
            return BAD_INPUT
        logging.set_verbosity(logging.WARNING)  # orbax tells of every save
        try:
            with _warnings_in_lines():
                return main() or 0
        except Exception as error:
            status = _status(error)
            if status is None:
                raise
            return status
        except KeyboardInterrupt:
            complain("interrupted; the same command goes on from here")
            return 130

    app.run(guarded, flags_parser=_parse)
    raise AssertionError("app.run does not return")
