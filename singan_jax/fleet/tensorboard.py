"""Training curves for TensorBoard, without TensorFlow and without PyTorch."""

import contextlib
import pathlib
import sys
from collections.abc import Iterator
from typing import Any


def open_board(folder: pathlib.Path) -> Any:
    """A `tensorboardX.SummaryWriter` for a folder.

    tensorboardX imports PyTorch where it is installed, for tensors that are never passed to it
    here: this would cost seconds for nothing, and a PyTorch that cannot be imported would end
    training. So tensorboardX is loaded only here, with PyTorch hidden from it.
    """
    with _hidden("torch"):
        from tensorboardX import SummaryWriter
    return SummaryWriter(str(folder))


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Makes a module look as if it were not installed, unless it is loaded already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
