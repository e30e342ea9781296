"""Four SinGANs trained on crops of photographs, and a page of pictures.

    python -m launch.photographs

Crops scikit-learn's two sample photographs, trains a SinGAN on each crop, four at once, draws
samples and writes a page that shows how every scale came to look as it does. Run it again to go on
after an interruption; --out names another folder.

How long: about 5 minutes on 2 CPU cores. The reconstruction errors at the finest scale should come
out below 15 of 255; samples keep textures and rearrange the layout.
"""

import dataclasses
import pathlib

import numpy as np
import PIL.Image
from absl import flags
from sklearn.datasets import load_sample_image

import singan_jax
from launch import cli, path_flags
from singan_jax.images.read import write_png

OUT = path_flags.DEFINE_path("out", "photographs", "folder to write to")
STEPS = flags.DEFINE_integer("steps_per_scale", 200, "iterations a scale", lower_bound=1)

_SIZE = 64  # pixels of a side
# Photograph and (left, top, right, bottom) of each crop.
_CROPS = {
    "petals": ("flower.jpg", (200, 60, 456, 316)),
    "leaves": ("flower.jpg", (0, 170, 160, 330)),
    "temple": ("china.jpg", (40, 140, 296, 396)),
    "roofs": ("china.jpg", (320, 190, 512, 382)),
}


def write_crops(folder: pathlib.Path) -> list[str]:
    """Writes the four crops as PNGs of 64x64 pixels; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (photograph, box) in _CROPS.items():
        crop = PIL.Image.fromarray(load_sample_image(photograph)).crop(box)
        path = folder / f"{name}.png"
        write_png(path, np.asarray(crop.resize((_SIZE, _SIZE))))
        paths.append(str(path))
    return paths


def main() -> int:
    """Crops, trains, samples, and writes the page."""
    out = pathlib.Path(OUT.value)
    singan_jax.configure_jax()
    steps = STEPS.value
    config = dataclasses.replace(
        singan_jax.preset("quick"),
        scale_factor=0.55,  # four scales instead of six: more iterations each in the same time
        steps_per_scale=steps,
        lr_decay_step=max(1, steps * 4 // 5),
    )
    images, errors = singan_jax.read_images(write_crops(out / "images"), config)
    if errors:
        raise errors[0]
    fleet = singan_jax.train_fleet(
        images, config, out / "fleet", monitor=singan_jax.Monitor(out / "fleet")
    )
    singan_jax.write_samples(fleet, out / "samples", 20)
    page = out / "index.html"
    singan_jax.write_page(page, fleet, images, title="Four SinGANs, each trained on one image")
    print(f"See {page.resolve()}")
    return cli.FAILED if fleet.failed else 0


if __name__ == "__main__":
    cli.run(main)
