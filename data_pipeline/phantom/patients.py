"""The patients of the phantom: who they are, which images they have and what these show."""

import dataclasses
from typing import Literal, cast

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.mammograms import Laterality
from data_pipeline.phantom import lesions, sets
from data_pipeline.phantom.mammogram import Exposure

ViewName = Literal["RCC", "LCC", "RO", "LO"]

VIEW_NAMES: tuple[ViewName, ...] = ("RCC", "LCC", "RO", "LO")  # image_view counts them from 1
FILM_SHAPE = (1167, 720)  # (H, W) in pixels
DIGITAL_SHAPES = ((4084, 3328), (3328, 2560), (3072, 2816))
DENSITY_SHARES = (0.2, 0.35, 0.3, 0.15)  # of the classes 1 to 4
LEAST_SCALE = 0.1  # below it a lesion is a few pixels


@dataclasses.dataclass(frozen=True)
class PhantomSettings:
    """What the phantom is to be; the defaults are enough for a small study.

    Attributes:
      seed: 0 or more; the same seed gives the same bytes.
      film_patients: of each of the sets F01, F02 and F03, all with lesions.
      digital_patients: of each of the sets D01 and D02, all with lesions.
      normal_patients: of the set DN01, without lesions.
      malignant: fraction of the patients with lesions whose lesion is malignant.
      difficulty: from 0 (benign and malignant lesions and healthy tissue are trivially told
        apart) to 1 (they are the same); see `lesions.draw_traits`.
      film_scale: size of films, where 1 is BCDR's 720x1167 pixels (width x height).
      digital_scale: size of digital images, where 1 is BCDR's 3328x4084, 2560x3328 or 2816x3072.
    """

    seed: int = 0
    film_patients: int = 12
    digital_patients: int = 12
    normal_patients: int = 20
    malignant: float = 0.4
    difficulty: float = 0.45
    film_scale: float = 0.5
    digital_scale: float = 0.2

    def __post_init__(self) -> None:
        counts = ("film_patients", "digital_patients", "normal_patients")
        rules = [
            ("seed", self.seed >= 0, "0 or more"),
            *((name, getattr(self, name) >= 1, "1 or more") for name in counts),
            ("malignant", 0 <= self.malignant <= 1, "a fraction from 0 to 1"),
            ("difficulty", 0 <= self.difficulty <= 1, "a number from 0 to 1"),
            ("film_scale", LEAST_SCALE <= self.film_scale <= 2, f"from {LEAST_SCALE} to 2"),
            ("digital_scale", LEAST_SCALE <= self.digital_scale <= 2, f"from {LEAST_SCALE} to 2"),
        ]
        for name, holds, rule in rules:
            if not holds:
                value = getattr(self, name)
                raise DataError(f"phantom setting {name} is {value}; it must be {rule}")

    def patients(self, set_name: str) -> int:
        """How many patients a set has."""
        if set_name == "DN01":
            return self.normal_patients
        return self.film_patients if set_name.startswith("F") else self.digital_patients


@dataclasses.dataclass(frozen=True)
class Image:
    """One image of a patient.

    Attributes:
      name: of its file without the folder, such as "img_3_5_1_LCC.tif".
      series: 1 or 2.
      view_name: as BCDR writes it.
      exposure: how it is taken.
      shows: numbers of the patient's lesions that are in it.
      twice: numbers of those that were outlined a second time.
    """

    name: str
    series: int
    view_name: ViewName
    exposure: Exposure
    shows: tuple[int, ...]
    twice: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Patient:
    """One patient.

    Attributes:
      set_name: such as "F01".
      number: counts the patients of the set from 0.
      patient_id: unique within the set.
      study_id: of the only study.
      age: in years, or None where it is not noted.
      density: BI-RADS class, 1 to 4.
      density_noted: whether the tables have it.
      lesions: the first one has the patient's class, a second one is benign.
      images: of one side, or of both; lesions are on the first image's side.
    """

    set_name: str
    number: int
    patient_id: int
    study_id: int
    age: int | None
    density: int
    density_noted: bool
    lesions: tuple[lesions.Traits, ...]
    images: tuple[Image, ...]

    @property
    def folder(self) -> str:
        """The folder of the images, below that of the tables."""
        return f"patient_{self.patient_id}/study_{self.study_id}"

    def lesion_id(self, lesion: int) -> int:
        """The id of one of the patient's lesions, unique within the set."""
        return 2 * self.number + lesion + 1


def generator(settings: PhantomSettings, *key: int) -> np.random.Generator:
    """A separate generator for every key, whatever else is drawn, in whichever order."""
    return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=key))


def draw_patient(settings: PhantomSettings, set_name: str, number: int) -> Patient:
    """Draws a patient; depends only on the seed, the set and the number, except for the class.

    Args:
      settings: of the phantom.
      set_name: such as "F01".
      number: counts the patients of the set from 0.

    Returns:
      The patient.
    """
    set_index = list(sets.SETS).index(set_name)
    rng = generator(settings, 0, set_index, number)
    patient_id = 3 * number + int(rng.integers(1, 4))  # ids have gaps, and repeat across the sets
    study_id = patient_id + 2
    found: list[lesions.Traits] = []
    if set_name != "DN01":
        count = settings.patients(set_name)
        ranks = generator(settings, 1, set_index).permutation(count)
        malignant = ranks[number] < round(settings.malignant * count)
        found.append(lesions.draw_traits(rng, bool(malignant), settings.difficulty))
        if rng.random() < 0.1:
            found.append(lesions.draw_traits(rng, False, settings.difficulty))
    age = int(np.clip(rng.normal(54, 11), 28, 88))
    return Patient(
        set_name=set_name,
        number=number,
        patient_id=patient_id,
        study_id=study_id,
        age=age if rng.random() < 0.9 else None,
        density=1 + int(rng.choice(4, p=DENSITY_SHARES)),
        density_noted=bool(rng.random() < 0.85),
        lesions=tuple(found),
        images=_draw_images(rng, settings, set_name, f"{patient_id}_{study_id}", len(found)),
    )


def _draw_images(
    rng: np.random.Generator, settings: PhantomSettings, set_name: str, prefix: str, count: int
) -> tuple[Image, ...]:
    """Two views of one side, sometimes two of the other as well, which then shows no lesion."""
    style = sets.SETS[set_name]
    if style.format == "Film":
        shape, scale = FILM_SHAPE, settings.film_scale
    else:
        shape = DIGITAL_SHAPES[rng.integers(len(DIGITAL_SHAPES))]
        scale = settings.digital_scale
    side, both = int(rng.integers(2)), rng.random() < 0.15
    images = []
    for index in (side, side + 2, 1 - side, 3 - side)[: 4 if both else 2]:
        name = VIEW_NAMES[index]
        series = 1 + int(rng.random() < 0.1)
        on_side = index % 2 == side
        shows = tuple(k for k in range(count) if on_side and (index < 2 or rng.random() < 0.9))
        exposure = Exposure(
            view="CC" if name.endswith("CC") else "MLO",
            laterality=cast(Laterality, name[0]),
            format=style.format,
            shape=(round(scale * shape[0]), round(scale * shape[1])),
        )
        images.append(
            Image(
                name=f"img_{prefix}_{f'{series}_' if style.series else ''}{name}.tif",
                series=series,
                view_name=name,
                exposure=exposure,
                shows=shows,
                twice=tuple(k for k in shows if rng.random() < 0.1),
            )
        )
    return tuple(images)
