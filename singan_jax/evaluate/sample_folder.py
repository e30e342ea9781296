"""Folders of samples, as `launch.sample_fleet` and `launch.manipulate` write them."""

import collections
import concurrent.futures
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from data_pipeline.errors import UnusableError
from data_pipeline.files import limits
from data_pipeline.files.decode import decode
from singan_jax.errors import InputError


def find_samples(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The files that manifest.jsonl lists, by member, in its order.

    Raises:
      InputError: there is no manifest, or it is damaged or empty.
    """
    path = folder / "manifest.jsonl"
    found: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
    try:
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            found[entry["member"]].append(folder / entry["file"])
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder}: holds no samples (no manifest.jsonl); draw some with `sample_fleet`"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error!r}); draw the samples again") from error
    if not found:
        raise InputError(f"{path}: lists no samples; draw some with `sample_fleet`")
    return dict(found)


def find_workdir(folder: pathlib.Path) -> pathlib.Path:
    """The work folder of the fleet that drew the samples, as their run.json says.

    Raises:
      InputError: there is no run.json, or it names no work folder.
    """
    path = folder / "run.json"
    try:
        content = json.loads(path.read_text())
        moved = folder / content.get("workdir_from_here", "")
        if "workdir_from_here" in content and (moved / "fleet.json").exists():
            return moved
        return pathlib.Path(content["settings"]["workdir"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: does not name the fleet ({error!r}); give its folder as `workdir`"
        ) from error


def read_samples(
    files: Sequence[pathlib.Path], shapes: Sequence[tuple[int, int, int]]
) -> np.ndarray:
    """Reads the samples of a member.

    Args:
      files: one or more, all of one shape.
      shapes: (H, W, C) that they may have, coarsest first.

    Returns:
      (n, H, W, C) float32 in [0, 1].

    Raises:
      InputError: a file is missing or damaged, or of another shape.
    """
    with concurrent.futures.ThreadPoolExecutor(min(8, limits.cpus())) as pool:
        images = list(pool.map(_read, files))
    for path, image in zip(files, images, strict=True):
        if image.shape not in shapes or image.shape != images[0].shape:
            wanted = images[0].shape if images[0].shape in shapes else shapes[-1]
            raise InputError(
                f"{path}: is {_described(image.shape)}, expected {_described(wanted)}; samples of "
                "other sizes than their member's cannot be compared with its image"
            )
    return np.stack(images)


def _read(path: pathlib.Path) -> np.ndarray:
    try:
        pixels = decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); draw it again") from error
    except UnusableError as error:
        raise InputError(f"{path}: {error.problem}; draw it again") from error
    return pixels.astype(np.float32) / np.iinfo(pixels.dtype).max


def _described(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{width}x{height} pixels {'in gray' if channels == 1 else 'in colour'}"
