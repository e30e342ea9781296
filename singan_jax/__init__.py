"""Trains fleets of SinGANs: one generative model for each single image, many at a time.

For example, once per process:

    import jax
    import singan_jax

    singan_jax.configure_jax()  # one device per CPU core, compilation cache
    config = singan_jax.preset("quick")
    images, errors = singan_jax.read_images(["photos/"], config)
    fleet = singan_jax.train_fleet(images, config, "fleet")  # `fleet.failed` went wrong
    for samples in fleet.sample(8, jax.random.key(0)):
        ...  # samples.member, and samples.pixels: (count, H, W, C) uint8 or uint16

What a user needs is named in `__init__.pyi` and loaded when first used; docs/api.md shows each in
a few lines. The rest is in these rooms, each of which imports only from those above it:

    errors        what is raised on unusable input
    backend       the devices that programs are made for
    conv/         the one convolution of the networks
    config        settings and presets
    runtime       how JAX is set up
    torch_files   what PyTorch saved, as arrays
    scale/        one member at one scale, as pure functions
    images/       files to arrays and back
    devices/      what runs where
    workdir/      what is on disk
    samples/      what a trained member gives
    fleet/        the loop that trains all of them
    official/     members made from models of the PyTorch original
    evaluate/     measures of samples
    manipulate/   the applications of a trained SinGAN
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
