"""A fleet small enough to train in a test; as a script, trains one in a process of its own."""

import json
import pathlib
import sys

import numpy as np

import singan_jax
from singan_jax.images.read import Image

CHANGES = {
    "min_size": 12,
    "max_size": 18,
    "base_channels": 4,
    "steps_per_scale": 5,
    "lr_decay_step": 3,
}
CONFIG = singan_jax.Config(**CHANGES)


def image(seed, size=(17, 19), channels=3):
    """A smooth random image; the same for the same seed."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: size[0], : size[1]] / 8.0
    waves = rng.normal(size=(4, 2, 1, 1, channels)) * 2
    pixels = sum(np.sin(rows[..., None] * w[0] + cols[..., None] * w[1] + w[0]) for w in waves)
    pixels = np.clip(pixels * 32 + 128 + rng.normal(size=(*size, channels)) * 5, 0, 255)
    return Image(f"image{seed}", f"image{seed}.png", pixels.astype(np.uint8))


def named(text):
    """The image of a seed, as 3, or of a seed and a size, as 3:17x18."""
    seed, _, size = text.partition(":")
    return image(int(seed), tuple(map(int, size.split("x")))) if size else image(int(seed))


def weights(folder):
    """Every finished array of every member: {name: {path: array}}."""
    import jax

    fleet = singan_jax.load_fleet(folder)
    found = {}
    for member in fleet.members:
        scales = fleet.scales(member.group)
        assert len(scales) == fleet.num_scales(member)
        leaves = jax.tree_util.tree_leaves_with_path(scales)
        found[member.name] = {jax.tree_util.keystr(p): x[member.index] for p, x in leaves}
    return found


def main():
    """Arguments: work folder, JSON of config changes, number of devices, images as `named`."""
    folder, changes, devices, *names = sys.argv[1:]
    singan_jax.configure_jax(cpu_devices=int(devices))
    config = singan_jax.Config(**{**CONFIG.to_dict(), **json.loads(changes)})
    pace = singan_jax.Pace(chunk_seconds=0.1, checkpoint_seconds=0.0)
    images = [named(name) for name in names]
    singan_jax.train_fleet(images, config, pathlib.Path(folder), pace=pace)


if __name__ == "__main__":
    main()
