"""Patches per second, beside the thesis' way of finding healthy windows: a loop over their pixels.

One process, from TIFFs of BCDR's sizes on disk to PNGs on disk; only that step differs, and both
must give the same patches.
"""

import pathlib
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
from skimage import filters

from data_pipeline import bcdr, extract, patches, phantom
from data_pipeline.mammograms import Box, Mammogram, Reading
from launch.benchmarks.timing import Timing

SETTINGS = phantom.PhantomSettings(  # more than 200 films and 20 digital images
    film_patients=31, digital_patients=3, normal_patients=5, film_scale=1.0, digital_scale=1.0
)


def run(repeats: int, peer: bool) -> Iterator[dict[str, Any]]:
    """Yields a row for films and one for digital images; the other way is timed once.

    Each has the numbers of images and patches, patches per second of both ways, their ratio, and
    the peak memory of this process so far in MiB, without what it needs for the other way.
    """
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name, "phantom")
        phantom.write(root, SETTINGS, progress=True, workers=2)  # their memory is not ours
        mammograms = bcdr.read(root).mammograms
        for image_format in ("Film", "Digital"):
            chosen = [m for m in mammograms if m.format == image_format]
            runs = [
                _time(chosen, pathlib.Path(name, f"{image_format} {n}")) for n in range(repeats + 1)
            ]
            count, timing = runs[0][0], Timing.of(seconds for _, seconds in runs[1:])
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            with mock.patch.object(patches, "healthy_boxes", healthy_boxes_by_pixel):
                same, slow = _time(chosen, pathlib.Path(name, f"{image_format} by pixel"))
            assert same == count
            yield {
                "images": f"{len(chosen)} {image_format}",
                "patches": len(count),
                **timing.rate(len(count)).row("patches_per_second"),
                "by_pixel_per_second": len(count) / slow,
                "ratio": slow / timing.median,
                "peak_mib": memory,
            }


def _time(mammograms: Sequence[Mammogram], out: pathlib.Path) -> tuple[list[str], float]:
    """Digests of all patches, and the seconds that their extraction took."""
    start = time.perf_counter()
    reading = Reading(tuple(mammograms), ())
    settings = patches.PatchSettings()
    result = extract.extract(reading, out, settings, workers=1, progress=True)
    seconds = time.perf_counter() - start
    return [record.pixels_sha256 for record in result.records], seconds


def healthy_boxes_by_pixel(
    image: np.ndarray, lesion_boxes: Sequence[Box], side: int, step: int, min_breast: float
) -> list[Box]:
    """The same as `patches.healthy_boxes`, written plainly."""
    threshold = filters.threshold_otsu(image)
    found = []
    for top in range(0, image.shape[0] - side + 1, step):
        for left in range(0, image.shape[1] - side + 1, step):
            box = Box(left, top, left + side, top + side)
            if any(_meet(box, lesion) for lesion in lesion_boxes):
                continue
            breast = 0
            for y in range(box.top, box.bottom):
                for x in range(box.left, box.right):
                    if image[y, x] > threshold:
                        breast += 1
            if breast >= min_breast * side**2:
                found.append(box)
    return found


def _meet(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom
