"""Random resized crops of test patches, as the thesis' second test set has them."""

import numpy as np
import PIL.Image

SCALE = (0.8, 1.0)  # thesis: share of the area
RATIO = (3 / 4, 4 / 3)  # torchvision's default: width over height
_ATTEMPTS = 10  # torchvision's


def random_resized_crop(pixels: np.ndarray, digest: str) -> np.ndarray:
    """Crops a random part and resizes it to the size of the whole, bilinearly.

    Area and (the logarithm of) aspect ratio are uniform, as in torchvision's RandomResizedCrop.

    Args:
      pixels: (H, W, 1) uint8.
      digest: hexadecimal, of the pixels; the crop depends on it alone.

    Returns:
      (H, W, 1) uint8.
    """
    rng = np.random.default_rng(int(digest[:16], 16))
    height, width, _ = pixels.shape
    left, top, right, bottom = _box(height, width, rng)
    image = PIL.Image.fromarray(pixels[top:bottom, left:right, 0])
    return np.asarray(image.resize((width, height), PIL.Image.Resampling.BILINEAR))[..., None]


def _box(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    for _ in range(_ATTEMPTS):
        area = height * width * rng.uniform(*SCALE)
        ratio = np.exp(rng.uniform(*np.log(RATIO)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    return 0, 0, width, height  # torchvision's fallback, for patches of a usual aspect ratio
