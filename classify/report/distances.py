"""How far the samples of each generator are from its source patch, and how far noise would be."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from classify.report import style
from data_pipeline.patch_records import PatchRecord
from singan_jax.evaluate.frechet import single_image_distance

_MEASURED = 16  # samples of a generator, at most
_NOISE = 4  # images of white noise for each generator
_SHOWN = 10  # generators in a table that is not folded away, at most


class GeneratorDistances(NamedTuple):
    """Distances of one generator's samples from the patch that it was trained on.

    Attributes:
      record: of the patch.
      samples: (n,) distances of its first samples, at most `_MEASURED`.
      noise: (m,) distances of images of uniform white noise of the patch's size.
    """

    record: PatchRecord
    samples: np.ndarray
    noise: np.ndarray


def measure(
    sources: Sequence[tuple[PatchRecord, np.ndarray]],
    samples: Mapping[str, Sequence[np.ndarray]],
    features: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
) -> tuple[GeneratorDistances, ...]:
    """Measures every generator.

    Args:
      sources: patches that generators were trained on, with their (H, W, 1) uint8 pixels.
      samples: by patch id, (H, W, 1) uint8; sources without any are passed over.
      features: maps (n, H, W, 1) uint8 to the (n, h, w, c) features that distances are between.
      seed: of the noise, each grey value of 0 .. 255 equally likely, all pixels independent.
    """
    found = []
    for place, (record, real) in enumerate(sources):
        if drawn := samples.get(record.patch_id, ())[:_MEASURED]:
            rng = np.random.default_rng([seed, place])
            noise = rng.integers(0, 256, (_NOISE, *real.shape), dtype=np.uint8)
            of_real, *others = np.asarray(features(np.stack([real, *drawn, *noise])))
            every = np.array([single_image_distance(of_real, one) for one in others])
            found.append(GeneratorDistances(record, every[: len(drawn)], every[len(drawn) :]))
    return tuple(found)


def html(measured: Sequence[GeneratorDistances], distance_name: str) -> str:
    """The table, and what it means; an empty text where nothing was measured.

    Args:
      measured: see `measure`.
      distance_name: what the distances are.
    """
    if not measured:
        return ""
    head = ["Source patch", "Samples", "Mean", "SD (n − 1)", "White noise", "Share of noise"]
    rows = [_row(one.record.patch_id, one) for one in measured]
    caption = f"Distance of samples from their source patch: {distance_name}"
    text = style.note(
        "Mean and standard deviation over the first samples of each generator. White noise is the "
        f"mean over {_NOISE} images of independent, uniformly distributed grey values, of the "
        "patch's size: what a generator would have that has learned nothing, so a mark for the "
        "upper end of the scale. The share is the mean by that. Distances depend on the layer that "
        "they are measured on; these are not SIFIDs, which are measured on Inception's."
    )
    overall = style.table(head, [_overall(measured)], f"{caption}; all generators")
    table = style.table(head, rows, caption)
    if len(rows) > _SHOWN:
        table = style.details(f"Each of the {len(rows)} generators", table)
    return "<h3>How far samples are from their source</h3>" + text + overall + table


def _row(name: str, one: GeneratorDistances) -> list[str]:
    mean, bound = one.samples.mean(), one.noise.mean()
    sd = one.samples.std(ddof=1) if len(one.samples) > 1 else np.nan
    return [style.escape(name), str(len(one.samples)), *_numbers(mean, sd, bound)]


def _overall(measured: Sequence[GeneratorDistances]) -> list[str]:
    """Mean and standard deviation of the generators' means."""
    means = np.array([one.samples.mean() for one in measured])
    bound = np.mean([one.noise.mean() for one in measured])
    sd = means.std(ddof=1) if len(means) > 1 else np.nan
    name = f"mean and SD over {len(measured)} generators"
    number = sum(len(one.samples) for one in measured)
    return [name, str(number), *_numbers(means.mean(), sd, bound)]


def _numbers(mean: float, sd: float, bound: float) -> list[str]:
    share = mean / bound if bound > 0 else np.nan
    return [style.number(float(x)) for x in (mean, sd, bound, share)]
