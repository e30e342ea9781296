"""Launchers as users run them, in processes of their own."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(launcher, *arguments, timeout=300):
    """Runs a launcher; (exit status, stdout, lines of stderr without the progress bar)."""
    done = subprocess.run(
        [sys.executable, "-m", f"launch.{launcher}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    lines = done.stderr.replace("\r", "\n").splitlines()
    errors = [line for line in lines if line.strip() and "%|" not in line]
    return done.returncode, done.stdout, errors


def refused(launcher, *arguments):
    """Runs a launcher on bad input; its one line."""
    status, _, errors = run(launcher, *arguments)
    assert status == 2, errors
    (line,) = errors
    return line
