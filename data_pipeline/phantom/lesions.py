"""Lesions of a synthetic mammogram: masses, smooth to spiculated, and clusters of calcifications.

Every lesion has one number, its suspicion, that says how malignant it looks: margin, shape,
spicules, homogeneity and calcifications all follow from it. Malignant lesions draw it high and
benign ones low, and `difficulty` is how far the two distributions overlap.
"""

import dataclasses
from typing import Literal

import numpy as np
from scipy import ndimage, special

from data_pipeline.phantom.tissue import power_law

Kind = Literal["mass", "calcified mass", "calcifications"]

KINDS: tuple[Kind, ...] = ("mass", "calcified mass", "calcifications")
KIND_SHARES = (0.65, 0.2, 0.15)
DIAMETERS = (40 / 1167, 120 / 1167)  # of a lesion, in image heights: 40 to 120 pixels of a film
CONTRAST = (0.13, 0.2)  # of a mass, in attenuation; see `tissue.draw_tissue`
ANGLES = 180  # at which a margin is known
VERTICES = 36  # of an outline, fewer where several fall on one pixel


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a lesion is like in every view of it.

    Attributes:
      malignant: its class.
      kind: mass, calcifications or both.
      suspicion: how malignant it looks, 0 to 1.
      diameter: in image heights.
      contrast: attenuation it adds at most.
    """

    malignant: bool
    kind: Kind
    suspicion: float
    diameter: float
    contrast: float


def draw_traits(rng: np.random.Generator, malignant: bool, difficulty: float) -> Traits:
    """Draws a lesion of a class.

    The suspicion is a normal variate of mean +-(1 - difficulty) / difficulty, 4 at most, mapped to
    0 to 1. Whoever could read it off the image perfectly would reach an AUC of
    Phi(sqrt(2) * (1 - difficulty) / difficulty): 1 at 0, 0.92 at 0.5, 0.5 at 1. The contrast falls
    with 1 - difficulty ** 2 to nothing at 1, where a lesion is healthy tissue. A random forest on
    gradients and coarseness of the patches reaches 0.99, 0.87, 0.80 and 0.5 at 0, 0.45, 0.5 and 1.

    Args:
      rng: source of everything random.
      malignant: the class.
      difficulty: 0 (classes are trivially told apart) to 1 (they are the same).

    Returns:
      The traits.
    """
    separation = min((1 - difficulty) / max(difficulty, 1e-9), 4)
    score = rng.standard_normal() + (separation if malignant else -separation)
    return Traits(
        malignant=malignant,
        kind=KINDS[rng.choice(len(KINDS), p=KIND_SHARES)],
        suspicion=float(special.ndtr(score)),
        diameter=float(np.exp(rng.uniform(*np.log(DIAMETERS)))),
        contrast=(1 - difficulty**2) * rng.uniform(*CONTRAST),
    )


def draw_lesion(
    rng: np.random.Generator, traits: Traits, diameter: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one view of a lesion.

    Args:
      rng: source of everything random; another state gives another projection.
      traits: of the lesion.
      diameter: its mean diameter in pixels.

    Returns:
      (n, n) float32 attenuation to add, n odd, the lesion in the middle; and the (k, 2) int
      vertices (x, y) of its outline in pixels from the middle, not closed, no two neighbours equal.
    """
    radius = diameter / 2
    margin = _draw_margin(rng, traits.suspicion, radius)
    half = int(np.ceil(2.4 * margin.max())) + 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    edge = np.interp(angle, _angles(), margin, period=2 * np.pi).astype(np.float32)
    added = np.zeros_like(x)
    if traits.kind != "calcifications":
        added += _mass(rng, traits.suspicion, distance, edge, radius)
        added += _spicules(rng, traits.suspicion, distance, angle, edge, radius)
    if traits.kind != "mass":
        added += _calcifications(rng, traits.suspicion, x, y, radius)
    return (traits.contrast * added).astype(np.float32), _outline(margin)


def _angles() -> np.ndarray:
    return np.linspace(-np.pi, np.pi, ANGLES, endpoint=False)


def _draw_margin(rng: np.random.Generator, suspicion: float, radius: float) -> np.ndarray:
    """Distance of the margin from the middle at each of `_angles`: oval to irregular."""
    waves = np.arange(2, 13)
    oval = np.where(waves == 2, rng.uniform(0.03, 0.14), 0)
    lobes = (0.015 + 0.2 * suspicion) * (2 / waves) ** 1.1 * rng.uniform(0.3, 1, len(waves))
    phases = rng.uniform(0, 2 * np.pi, len(waves))
    waviness = np.cos(_angles()[:, None] * waves + phases) @ (oval + lobes)
    return radius * np.exp(waviness)


def _mass(
    rng: np.random.Generator,
    suspicion: float,
    distance: np.ndarray,
    edge: np.ndarray,
    radius: float,
) -> np.ndarray:
    """The body: a smooth, even, sharply bounded ball, to an uneven, ill-defined one."""
    power = 0.35 + 0.5 * suspicion
    body = np.clip(1 - (distance / edge) ** 2, 0, None) ** power
    uneven = (0.05 + 0.3 * suspicion) * power_law(rng, body.shape, 3.0, 0.4)
    halo = 0.15 * (1 - suspicion) * np.exp(-(((distance - 1.08 * edge) / (0.07 * radius)) ** 2))
    blur = (0.02 + 0.12 * suspicion * rng.uniform(0.6, 1.4)) * radius
    return ndimage.gaussian_filter(body * (1 + uneven) - halo, blur)


def _spicules(
    rng: np.random.Generator,
    suspicion: float,
    distance: np.ndarray,
    angle: np.ndarray,
    edge: np.ndarray,
    radius: float,
) -> np.ndarray:
    """Thin, tapering, slightly bent lines that radiate from the body."""
    lines = np.zeros_like(distance)
    for _ in range(rng.poisson(18 * suspicion**1.5)):
        length = rng.uniform(0.4, 1.4) * radius
        past = (distance - 0.6 * edge) / length  # 0 within the margin, 1 at the tip
        bent = angle - rng.uniform(-np.pi, np.pi) - rng.normal(0, 0.25) * past
        aside = distance * np.abs((bent + np.pi) % (2 * np.pi) - np.pi)
        width = rng.uniform(0.03, 0.06) * radius + 0.4
        taper = np.clip(1 - past, 0, 1) * np.clip(4 * past, 0, 1)
        lines = np.maximum(lines, rng.uniform(0.4, 0.9) * taper * np.exp(-((aside / width) ** 2)))
    return lines


def _calcifications(
    rng: np.random.Generator, suspicion: float, x: np.ndarray, y: np.ndarray, radius: float
) -> np.ndarray:
    """Bright specks: few, large and round, to many, tiny and of all shapes."""
    specks = np.zeros_like(x)
    for _ in range(3 + rng.poisson(1 + 18 * suspicion)):
        where, away = rng.uniform(0, 2 * np.pi), 0.8 * radius * np.sqrt(rng.uniform())
        size = (0.085 - 0.05 * suspicion) * radius * rng.uniform(0.7, 1.3) + 0.4
        stretch, turn = 1 + rng.exponential(0.8 * suspicion), rng.uniform(0, np.pi)
        dx, dy = x - away * np.cos(where), y - away * np.sin(where)
        along = (dx * np.cos(turn) + dy * np.sin(turn)) / stretch
        across = dy * np.cos(turn) - dx * np.sin(turn)
        brightness = rng.uniform(0.8, 1.6)
        specks += brightness * np.exp(-(((along**2 + across**2) / size**2) ** 2))
    return specks


def _outline(margin: np.ndarray) -> np.ndarray:
    """A reader's polygon: a little outside the margin, at whole pixels."""
    step = ANGLES // VERTICES
    angles, radii = _angles()[::step], 1.05 * margin[::step] + 0.5
    points = np.rint(np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)).astype(int)
    return points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
