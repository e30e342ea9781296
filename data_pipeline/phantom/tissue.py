"""The breast of a synthetic mammogram: outline, tissue, pectoral muscle, and how it is exposed.

Lengths are fractions of the image's height, and textures have their frequencies in cycles per
height, so that one breast looks alike at every image size. The chest wall is on the left here.
"""

import dataclasses

import numpy as np
import PIL.Image
import scipy.fft
from scipy import ndimage, special

from data_pipeline.mammograms import Format, View

ANATOMY_ROWS = 256  # of the coarse grid on which what is smooth is drawn
STRAND_ROWS = 400  # at most, of the grid on which strands are drawn
GLAND_FRACTION = {1: (0.06, 0.22), 2: (0.25, 0.45), 3: (0.5, 0.7), 4: (0.75, 0.92)}  # BI-RADS


@dataclasses.dataclass(frozen=True, eq=False)
class Anatomy:
    """Where the breast is, on a coarse grid over the whole image.

    Attributes:
      skin: (h, w) float32 distance to the skin line in image heights, negative outside.
      muscle: (h, w) float32 distance to the edge of the pectoral muscle, positive inside it;
        negative throughout in CC views.
      nipple: its (x, y).
      aspect: width of the image over its height.
    """

    skin: np.ndarray
    muscle: np.ndarray
    nipple: tuple[float, float]
    aspect: float


def draw_anatomy(rng: np.random.Generator, view: View, aspect: float) -> Anatomy:
    """Draws an outline and, in MLO views, a pectoral muscle.

    Args:
      rng: source of everything random.
      view: "CC" (about half an ellipse) or "MLO" (with the axilla above it).
      aspect: width of the image over its height.

    Returns:
      The anatomy.
    """
    columns = round(ANATOMY_ROWS * aspect)
    y, x = grid((ANATOMY_ROWS, columns))
    depth = rng.uniform(0.66, 0.9) * aspect
    if view == "CC":
        centre, half = rng.uniform(0.46, 0.54), rng.uniform(0.34, 0.43)
    else:
        centre, half = rng.uniform(0.55, 0.6), rng.uniform(0.33, 0.38)
    fullness = rng.uniform(2, 2.5)  # exponent of the super-ellipse
    breast = (x / depth) ** fullness + np.abs((y - centre) / half) ** fullness < 1
    if view == "MLO":
        axilla = rng.uniform(0.55, 0.75) * depth
        breast |= (y < centre) & (x < axilla - rng.uniform(-0.1, 0.1) * y)
    breast = ndimage.gaussian_filter(breast.astype(np.float32), 0.045 * ANATOMY_ROWS) > 0.5
    nipple_y = centre + rng.uniform(-0.03, 0.05)
    row = breast[int(nipple_y * ANATOMY_ROWS)]
    nipple = (np.count_nonzero(row) / ANATOMY_ROWS, nipple_y)
    breast |= np.hypot(x - nipple[0], y - nipple[1]) < rng.uniform(0.008, 0.014)
    # From the line between two pixels, half a pixel nearer than the next pixel beyond it.
    distance = ndimage.distance_transform_edt
    skin = np.where(breast, distance(breast) - 0.5, 0.5 - distance(~breast))
    skin = ndimage.gaussian_filter(skin, 1.5)
    muscle = np.full_like(x, -1)
    if view == "MLO":
        top, bottom = rng.uniform(0.55, 0.9) * axilla, rng.uniform(0.4, 0.62)
        bulge = rng.uniform(-0.02, 0.03) * np.sin(np.pi * np.clip(y / bottom, 0, 1))
        muscle = (1 - x / top - y / bottom) / np.hypot(1 / top, 1 / bottom) + bulge
    return Anatomy((skin / ANATOMY_ROWS).astype(np.float32), muscle, nipple, aspect)


def power_law(
    rng: np.random.Generator, shape: tuple[int, int], beta: float, longest: float = 1.0
) -> np.ndarray:
    """Draws a Gaussian texture whose power spectrum falls as 1 / frequency ** beta.

    Mammograms have beta about 3: Burgess, Jacobson and Judy, Human observer detection experiments
    with mammograms and power-law noise, Medical Physics 28 (2001) 419-437.

    Args:
      rng: source of everything random.
      shape: (H, W).
      beta: exponent of the power.
      longest: wavelength in image heights above which the spectrum is flat.

    Returns:
      (H, W) float32, mean 0, standard deviation 1; periodic.
    """
    height, width = shape
    fy = scipy.fft.fftfreq(height, 1 / height).astype(np.float32)[:, None]  # cycles per height
    fx = scipy.fft.rfftfreq(width, 1 / height).astype(np.float32)  # likewise
    amplitude = (fx**2 + fy**2 + np.float32(longest**-2)) ** np.float32(-beta / 4)
    amplitude[0, 0] = 0
    noise = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32)
    texture = scipy.fft.irfft2(amplitude * noise.view(np.complex64)[..., 0], s=shape)
    return texture / texture.std()


def draw_tissue(
    rng: np.random.Generator, anatomy: Anatomy, shape: tuple[int, int], density: int
) -> np.ndarray:
    """Draws what the X-rays pass through.

    Args:
      rng: source of everything random.
      anatomy: of the breast.
      shape: (H, W) of the image.
      density: BI-RADS class, 1 (fatty) to 4 (dense).

    Returns:
      (H, W) float32 attenuation: 0 in air, about 0.35 in fat, 0.5 in glandular tissue, 0.6 in
      the muscle.
    """
    y, x = grid(shape)
    skin, muscle = resized(anatomy.skin, shape), resized(anatomy.muscle, shape)
    fine = power_law(rng, shape, 3.0, 0.25)
    cloud = power_law(rng, anatomy.skin.shape, 4.6, 0.25)
    strands = _strands(rng, anatomy, cloud, shape)
    cloud = resized(cloud, shape)
    # Glandular tissue fans out behind the nipple and leaves a rim of fat under the skin.
    reach = np.hypot(x - 0.62 * anatomy.nipple[0], 0.8 * (y - anatomy.nipple[1]))
    score = cloud + 0.3 * fine + 0.4 * strands - 4 * reach / anatomy.nipple[0]
    score -= 2 * np.exp(-skin / 0.03)
    inside = (skin > 0) & (muscle < 0)
    wanted = rng.uniform(*GLAND_FRACTION[density])
    gland = special.expit((score - np.quantile(score[inside], 1 - wanted)) / 0.45)
    stroma = 0.34 + gland * (0.16 + 0.02 * cloud + 0.02 * fine)
    stroma += 0.02 * fine + strands * (0.03 + 0.025 * gland)
    bulk = special.expit(muscle / 0.006)
    stroma += bulk * (0.6 + 0.01 * fine + 0.01 * cloud - 0.15 * y - stroma)
    rim = np.clip(skin / rng.uniform(0.09, 0.15), 0, 1)
    thickness = np.sqrt(1 - (1 - rim) ** 2)  # a compressed breast bulges at its edge
    line = 0.1 * np.exp(-(((skin - 0.004) / 0.0035) ** 2))
    return (stroma * thickness + line).astype(np.float32)


def expose(rng: np.random.Generator, attenuation: np.ndarray, image_format: Format) -> np.ndarray:
    """Turns attenuation into grey levels with the tone and the noise of film or of a detector.

    Args:
      rng: source of everything random.
      attenuation: (H, W), see `draw_tissue`.
      image_format: "Film" (S-shaped tone, fog, coarse grain) or "Digital" (straight tone, a black
        background, fine noise that grows with the attenuation).

    Returns:
      (H, W) uint8.
    """
    grain = rng.standard_normal(attenuation.shape, dtype=np.float32)
    if image_format == "Film":
        fog = rng.uniform(4, 14)
        tone = special.expit((attenuation - rng.uniform(0.38, 0.44)) / 0.12)
        tone = (tone - 0.03) / 0.97
        grain = 5 * ndimage.gaussian_filter(grain, 0.7)
        levels = fog + (250 - fog) * tone + grain
    else:
        gain = rng.uniform(300, 340)
        levels = gain * attenuation + 3 * np.sqrt(np.clip(attenuation, 0, None)) * grain
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _strands(
    rng: np.random.Generator, anatomy: Anatomy, warp: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Ligaments and ducts: thin lines that run towards the nipple, bent by `warp`; 0 to 1."""
    side = 384  # of a texture in polar coordinates about a point just outside the nipple
    texture = power_law(rng, (side, side), 4.2, 0.07)
    rows = min(shape[0], STRAND_ROWS)
    y, x = grid((rows, round(rows * anatomy.aspect)))
    dx, dy = anatomy.nipple[0] + 0.06 - x, y - anatomy.nipple[1]
    warp = resized(warp, dx.shape)
    radius = np.hypot(dx, dy) + 0.012 * warp
    angle = np.arctan2(dy, dx) + 0.05 * warp
    places = np.stack([radius * (0.22 * side) % side, angle * (side / np.pi) % side])
    lines = ndimage.map_coordinates(texture, places, order=1, mode="grid-wrap")
    return resized(np.exp(-((lines / 0.14) ** 2)), shape)


def grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Makes the coordinates of pixel centres.

    Args:
      shape: (H, W).

    Returns:
      y and x in image heights, each (H, W) float32, read-only.
    """
    height, width = shape
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    x = (np.arange(width, dtype=np.float32) + 0.5) / height
    return np.broadcast_to(y[:, None], shape), np.broadcast_to(x, shape)


def resized(field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Interpolates a smooth field, (h, w) float32, bicubically to the shape (H, W)."""
    height, width = shape
    image = PIL.Image.fromarray(field).resize((width, height), PIL.Image.Resampling.BICUBIC)
    return np.asarray(image)
