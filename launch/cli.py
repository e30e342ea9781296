"""What all command lines share: parsing, exit statuses, one clear line when something is wrong.

Exit statuses:

    0  done
    1  the work failed though the input was good: a full disk, members that went wrong
    2  bad input: flags, settings, files; whatever was good has still been worked on
    143  stopped by SIGTERM with everything saved; repeat the command to go on (130: by Ctrl-C)

Errors name settings and functions in backquotes, as Python calls them; here alone they become flags
and commands.
"""

import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

from data_pipeline.errors import DataError
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


def run(main: Callable[[], int | None]) -> NoReturn:
    """Parses the flags, runs `main` and exits with its status (None is 0).

    `InputError` and `DataError` exit with status 2, `OSError` and `MemoryError` with 1, each after
    one line; anything else is a bug of ours and shows its traceback.
    """

    def guarded(arguments: Sequence[str]) -> int:
        if len(arguments) > 1:
            complain(f"{arguments[1]!r} is no flag; write --name=value, and quote patterns")
            return BAD_INPUT
        logging.set_verbosity(logging.WARNING)  # orbax tells of every save
        try:
            return main() or 0
        except (InputError, DataError) as error:
            complain(error)
            return BAD_INPUT
        except (OSError, MemoryError) as error:
            complain(error)
            return FAILED
        except Stopped as reason:
            complain(reason)
            return STOPPED
        except KeyboardInterrupt:
            complain("interrupted; the same command goes on from here")
            return 130

    app.run(guarded, flags_parser=_parse)
    raise AssertionError("app.run does not return")
