"""Trains fleets of SinGANs: one generative model for each single image, many at a time.

For example, once per process:

    import singan_jax

    singan_jax.configure_jax()  # one device per CPU core, compilation cache
    config = singan_jax.preset("quick")
    images, errors = singan_jax.read_images(["photos/"], config)
    singan_jax.train_fleet(images, config, "fleet")
    fleet = singan_jax.load_fleet("fleet")
    for samples in fleet.sample(8, jax.random.key(0)):
        ...  # samples.member, and samples.pixels: (count, H, W, C) uint8 or uint16
"""

from singan_jax.config import Config, ConfigError, preset
from singan_jax.errors import ImageError, InputError
from singan_jax.fleet import train_fleet
from singan_jax.group import Pace
from singan_jax.images import Image, read_images, write_png
from singan_jax.metrics import Monitor
from singan_jax.page import write_page
from singan_jax.preemption import Stopped, Watch
from singan_jax.runtime import configure_jax
from singan_jax.sample_files import write_samples
from singan_jax.trained import Fleet, Samples, load_fleet
from singan_jax.workdir import Member, WorkdirError

__all__ = [
    "Config",
    "ConfigError",
    "Fleet",
    "Image",
    "ImageError",
    "InputError",
    "Member",
    "Monitor",
    "Pace",
    "Samples",
    "Stopped",
    "Watch",
    "WorkdirError",
    "configure_jax",
    "load_fleet",
    "preset",
    "read_images",
    "train_fleet",
    "write_page",
    "write_png",
    "write_samples",
]
