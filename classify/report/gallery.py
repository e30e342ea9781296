"""Patches in a report: real ones beside samples of their SinGANs, and the worst mistakes."""

import collections
import dataclasses
import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image

from classify.cells import Results, Zooms
from classify.report import style
from classify.statistics.places import mean_probabilities, place_of
from data_pipeline.patch_records import PatchRecord
from singan_jax.evaluate import memorisation
from singan_jax.evaluate.diversity import diversity
from singan_jax.evaluate.frechet import single_image_distance

_MEASURED = 32  # samples of a patch, at most, whose variety is measured
_LONGEST = 192  # pixels of the longer side of a picture: twice what it is shown at


@dataclasses.dataclass(frozen=True)
class GalleryRow:
    """A source patch and what its generator makes.

    Attributes:
      record: of the source patch.
      real: (H, W, 1) uint8, the source patch.
      samples: (H, W, 1) uint8, each.
      distances: of each sample from the source patch.
      measured: how many samples the next two describe, at most `_MEASURED`.
      diversity: see `singan_jax.evaluate.diversity`; NaN for a single sample.
      near_copies: samples that repeat the patch; see `singan_jax.evaluate.memorisation`.
    """

    record: PatchRecord
    real: np.ndarray
    samples: tuple[np.ndarray, ...]
    distances: tuple[float, ...]
    measured: int
    diversity: float
    near_copies: int


class Mistake(NamedTuple):
    """A test patch that is called the wrong class.

    Attributes:
      record: of the patch.
      truth: its class.
      said: the most probable class, averaged over replicates.
      probability: of `said`, likewise.
    """

    record: PatchRecord
    truth: str
    said: str
    probability: float


def make_gallery(
    sources: Sequence[tuple[PatchRecord, np.ndarray]],
    samples: Mapping[str, Sequence[np.ndarray]],
    features: Callable[[np.ndarray], np.ndarray],
    rows: int = 8,
    per_row: int = 5,
) -> tuple[GalleryRow, ...]:
    """Chooses samples to show, from many patients; always the first, so that looks play no part.

    Args:
      sources: patches that generators were trained on, with their (H, W, 1) uint8 pixels.
      samples: by patch id, (H, W, 1) uint8; sources without any are passed over.
      features: maps (n, H, W, 1) uint8 to the (n, h, w, c) features that distances are between.
      rows: most sources to show; a patient's second comes after the first of every other.
      per_row: most samples to show of each.
    """
    before: collections.Counter[str] = collections.Counter()
    turns = []
    for record, real in sources:
        if record.patch_id in samples:
            turns.append((before[record.patient_id], record, real))
            before[record.patient_id] += 1
    made = []
    for _, record, real in sorted(turns, key=lambda turn: turn[0])[:rows]:
        shown = tuple(samples[record.patch_id][:per_row])
        of_real, *of_samples = np.asarray(features(np.stack([real, *shown])))
        distances = tuple(single_image_distance(of_real, one) for one in of_samples)
        variety = _variety(real, samples[record.patch_id][:_MEASURED])
        made.append(GalleryRow(record, real, shown, distances, *variety))
    return tuple(made)


def _variety(real: np.ndarray, samples: Sequence[np.ndarray]) -> tuple[int, float, int]:
    """How many (H, W, 1) uint8 samples, their diversity, and how many are near copies of `real`."""
    unit, units = jnp.float32(real) / 255, jnp.float32(np.stack(samples)) / 255
    spread = float(diversity(unit, units)) if len(samples) > 1 else math.nan
    distances = jax.lax.map(functools.partial(memorisation.copy_distance, image=unit), units)
    return len(samples), spread, int((distances < memorisation.NEAR_COPY).sum())


def worst_mistakes(
    results: Results,
    regime: str,
    train_zoom: str,
    test_zoom: str,
    fill_zoom: str | None = None,
    count: int = 6,
) -> tuple[Mistake, ...]:
    """The wrong answers that a regime's classifiers are surest of.

    Args:
      results: of the study.
      regime: whose probabilities are averaged over its replicates.
      train_zoom: of the classifiers.
      test_zoom: of the test patches.
      fill_zoom: of what training sets were filled up with; the train zoom where None.
      count: how many at most.
    """
    place = place_of(regime, train_zoom, test_zoom, fill_zoom)
    rows, probabilities = mean_probabilities(results, place, "plain")  # (n,), (n, classes)
    said, surest = probabilities.argmax(axis=1), probabilities.max(axis=1)
    truth = results.labels[rows]
    wrong = np.flatnonzero(said != truth)
    worst = wrong[np.argsort(-surest[wrong], kind="stable")][:count]
    names = results.classes
    return tuple(
        Mistake(results.records[rows[n]], names[truth[n]], names[said[n]], float(surest[n]))
        for n in worst
    )


def gallery_html(gallery: Sequence[GalleryRow], distance_name: str) -> str:
    """The pictures of a gallery; an empty text where there are none.

    Args:
      gallery: see `make_gallery`.
      distance_name: what the distances are.
    """
    if not gallery:
        return ""
    parts = []
    for row in gallery:
        who = f"{row.record.patch_id}, patient {row.record.patient_id}"
        pictures = [picture(row.real, f"Real patch {who}", "<b>real</b>", "real")]
        for place, (pixels, distance) in enumerate(zip(row.samples, row.distances, strict=True)):
            alternative = f"Synthetic patch {place + 1} made from {who}"
            pictures.append(picture(pixels, alternative, style.number(distance)))
        copies = f"near copies among {row.measured} samples: {row.near_copies}"
        if row.measured > 1:
            copies = f"diversity {style.number(row.diversity, 2)}, {copies}"
        parts.append(
            f"<h3>{style.escape(who)}</h3><p>{copies}</p>"
            f'<div class="patches">{"".join(pictures)}</div>'
        )
    explanation = style.note(
        "Each row is one real patch, framed, and the first samples of the SinGAN that was trained "
        f"on it. The number below a sample is the {distance_name} from the real patch: 0 would be "
        "equal statistics, and larger is less alike. Look for lesions that keep their texture "
        "while their shape changes; a sample that repeats the real patch adds nothing. Diversity "
        "is how much pixels differ between samples, by how much they differ within the patch; near "
        "copies differ from the patch, shifted by up to 3 pixels, by less than a quarter of that."
    )
    return explanation + "\n".join(parts)


def mistakes_html(
    results: Results,
    regimes: Sequence[str],
    zooms: Zooms,
    pixels: Mapping[str, np.ndarray],
) -> str:
    """The pictures of the worst mistakes; an empty text where there are none.

    Args:
      results: of the study.
      regimes: those whose mistakes are shown.
      zooms: trained on, tested on and filled up with.
      pixels: by patch id, (H, W, 1) uint8.
    """
    parts = []
    for regime in regimes:
        if found := worst_mistakes(results, regime, *zooms):
            pictures = "".join(_mistake(one, pixels[one.record.patch_id]) for one in found)
            heading = f"<h3>{style.escape(regime)}</h3>"
            parts.append(f'{heading}<div class="patches wide">{pictures}</div>\n')
    explanation = style.note(
        "The test patches that are called the wrong class with the highest probability, averaged "
        "over replicates. Look for what they have in common."
    )
    return explanation + "".join(parts) if parts else ""


def _mistake(mistake: Mistake, pixels: np.ndarray) -> str:
    record, truth, said, probability = mistake
    caption = (
        f"<b>{truth}</b>, called <b>{said}</b> with probability {style.number(probability, 2)}"
        f"<br/>patient {style.escape(record.patient_id)}"
    )
    return picture(pixels, f"Test patch {record.patch_id}: {truth}, called {said}", caption)


def picture(
    pixels: np.ndarray, alternative: str, caption: str, look: str = "", longest: int = _LONGEST
) -> str:
    """A patch with its caption.

    Args:
      pixels: (H, W, 1) uint8.
      alternative: text for those who do not see it.
      caption: HTML.
      look: class of the figure; "real" is framed.
      longest: pixels of the longer side at most; larger patches are shrunk.
    """
    made = PIL.Image.fromarray(pixels[..., 0])
    made.thumbnail((longest, longest), PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    made.save(buffer, "PNG", optimize=True)
    content = style.image(buffer.getvalue(), "png", alternative)
    return f'<figure class="{look}">{content}<figcaption>{caption}</figcaption></figure>'
