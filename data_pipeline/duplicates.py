"""The same picture twice: of two patients it is a leak, for they may stand on two sides of a split.

    duplicates.csv    a row for each pair, where there are any: what is alike, and of whom

Equal are mammograms, or patches, whose pixels are. Each is paired with the first that is equal, and
patches of equal mammograms are not told apart from these. What is of one level only shows nothing,
and neither does a patch that nearly is: such are no duplicates. Near copies are mammograms of
different patients that look alike, see `near_copies`; they are listed and never refused.
"""

import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import PIL.Image

from data_pipeline import near_copies
from data_pipeline.errors import DataError
from data_pipeline.files.writing import write_atomically
from data_pipeline.mammograms import Mammogram
from data_pipeline.patch_records import PatchRecord, pixels_digest

TABLE = "duplicates.csv"
Kind = Literal["equal mammograms", "equal patches", "near copies"]
_MOST = 0.95  # share of a patch's pixels: where one level has more, its outline is all it shows


class Picture(NamedTuple):
    """What is kept of a mammogram to find it again.

    Attributes:
      pixels_sha256: see `patch_records.pixels_digest`.
      thumbnail: see `near_copies.thumbnail`.
    """

    pixels_sha256: str
    thumbnail: str


class Shown(NamedTuple):
    """One of a pair.

    Attributes:
      patient: whose it is said to be.
      source: file of the mammogram, or of a patch made elsewhere, relative to the source's root.
      name: id of the mammogram or patch.
    """

    patient: str
    source: str
    name: str

    def __str__(self) -> str:
        own = "" if self.name == pathlib.PurePosixPath(self.source).stem else f" ({self.name})"
        return f"{self.source}{own} of patient {self.patient}"


class Duplicate(NamedTuple):
    """A pair.

    Attributes:
      kind: in what they are alike.
      first: the one that comes first.
      second: the other.
      similarity: 1 where pixels are equal, else see `near_copies`.
    """

    kind: Kind
    first: Shown
    second: Shown
    similarity: float = 1.0

    @property
    def is_leak(self) -> bool:
        """Whether the same pixels are of two patients."""
        return self.kind != "near copies" and self.first.patient != self.second.patient


def picture(pixels: np.ndarray) -> Picture:
    """What is kept of a mammogram, (H, W) uint8."""
    return Picture(pixels_digest(pixels), near_copies.thumbnail(pixels))


def is_degenerate(pixels: np.ndarray) -> bool:
    """Whether one level has nearly all of the pixels, uint8 of any shape."""
    return bool(np.bincount(pixels.ravel()).max() > _MOST * pixels.size)


def find(
    mammograms: Sequence[Mammogram],
    pictures: Sequence[Picture | None],
    records: Sequence[PatchRecord],
    folder: pathlib.Path,
) -> tuple[Duplicate, ...]:
    """Finds equal mammograms, equal patches of others, and near copies, in this order.

    Args:
      mammograms: all of the source; none where it has patches only.
      pictures: one of each of these, None where it could not be read.
      records: of all patches.
      folder: of the patches' files.

    Raises:
      DataError: a patch that has an equal cannot be read.
    """
    shown = [
        (mammogram, its_own)
        for mammogram, its_own in zip(mammograms, pictures, strict=True)
        if its_own and not near_copies.is_blank(its_own.thumbnail)
    ]
    names = [Shown(m.patient_id, m.source, m.image_id) for m, _ in shown]
    digests = [its_own.pixels_sha256 for _, its_own in shown]
    equal = [
        Duplicate("equal mammograms", names[first], names[second])
        for first, second in equal_pairs(digests)
    ]
    of_image = {m.image_id: its_own.pixels_sha256 for m, its_own in shown}
    patches = _equal_patches(records, of_image, folder)
    near = near_copies.find([its_own.thumbnail for _, its_own in shown], [n.patient for n in names])
    alike = (
        Duplicate("near copies", names[first], names[second], similarity)
        for first, second, similarity in near
        if digests[first] != digests[second]
    )
    return (*equal, *patches, *alike)


def equal_pairs(digests: Iterable[str]) -> Iterator[tuple[int, int]]:
    """(place of the first of its kind, place) of each digest that was there before."""
    firsts: dict[str, int] = {}
    for place, digest in enumerate(digests):
        if (first := firsts.setdefault(digest, place)) != place:
            yield first, place


def _equal_patches(
    records: Sequence[PatchRecord], of_image: dict[str, str], folder: pathlib.Path
) -> Iterator[Duplicate]:
    degenerate: dict[str, bool] = {}
    for first, second in equal_pairs(record.pixels_sha256 for record in records):
        one, other = records[first], records[second]
        images = [of_image.get(record.image_id, record.image_id) for record in (one, other)]
        if images[0] == images[1] and one.image_id != other.image_id:
            continue
        if one.pixels_sha256 not in degenerate:
            degenerate[one.pixels_sha256] = is_degenerate(_pixels(folder / one.file_name))
        if not degenerate[one.pixels_sha256]:
            yield Duplicate("equal patches", _shown(one), _shown(other))


def _shown(record: PatchRecord) -> Shown:
    return Shown(record.patient_id, record.source, record.patch_id)


def _pixels(path: pathlib.Path) -> np.ndarray:
    try:
        with PIL.Image.open(path, formats=["PNG"]) as png:
            return np.array(png)
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise DataError(f"{path}: {problem}; delete its folder and repeat") from error


def report(duplicates: Sequence[Duplicate], folder: pathlib.Path, *, allow: bool) -> None:
    """Writes `TABLE`, or removes one that is out of date.

    Args:
      duplicates: all that were found.
      folder: to write to.
      allow: whether the same pixels may be of two patients.

    Raises:
      DataError: they are, and may not be.
      OSError: the file cannot be written.
    """
    path = folder / TABLE
    if duplicates:
        rows = [(d.kind, d.similarity, *d.first, *d.second) for d in duplicates]
        columns = [f"{which}_{field}" for which in ("first", "second") for field in Shown._fields]
        table = pd.DataFrame(rows, columns=["kind", "similarity", *columns])
        write_atomically(path, table.to_csv(index=False, lineterminator="\n"))
    else:
        path.unlink(missing_ok=True)
    leaks = [duplicate for duplicate in duplicates if duplicate.is_leak]
    if leaks and not allow:
        raise DataError(
            f"{leaks[0].first} and {leaks[0].second} {_have(leaks[0].kind)}{_further(leaks, path)}:"
            " a leak where one is trained on and the other tested; put the right picture in place"
            f" of one, or remove it and {folder}, or set `allow_duplicates`"
        )


def _have(kind: Kind) -> str:
    return "have the same pixels" if kind == "equal mammograms" else "are the same patch"


def _further(leaks: Sequence[Duplicate], path: pathlib.Path) -> str:
    if len(leaks) == 1:
        return ""
    return f", and so {'has' if len(leaks) == 2 else 'have'} {len(leaks) - 1} more in {path}"


def lines(duplicates: Sequence[Duplicate]) -> list[str]:
    """How many pairs of each kind there are, each with an example; empty for none."""
    groups: dict[tuple[Kind, bool], list[Duplicate]] = {}
    for pair in duplicates:
        groups.setdefault((pair.kind, pair.first.patient == pair.second.patient), []).append(pair)
    found = []
    for (kind, is_one_patient), pairs in groups.items():
        whose = "of one patient" if is_one_patient else "of two patients"
        first = pairs[0]
        alike = f" ({first.similarity:.3f})" if kind == "near copies" else ""
        count = f"{len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'} of {kind} {whose}"
        such = " such as" if pairs[1:] else ""
        found.append(f"{count}{such}: {first.first}, {first.second}{alike}")
    return found
