r"""Makes models trained by the official PyTorch SinGAN members of a fleet.

    python -m launch.import_official --workdir=fleet \
        --run='TrainedModels/balloons/scale_factor=0.750000,alpha=10'

Each --run is a folder with reals.pth, Zs.pth, NoiseAmp.pth and, in a folder per scale, netG.pth and
netD.pth, of a training that finished all scales. No code in these files is run; Gs.pth beside
them is not read. Reading them takes PyTorch: pip install 'singan-jax[torch]'.

The work folder then holds a trained fleet with one member per run, named after its image, and in
images/ the images as the runs saw them at their finest scale. Draw from it with
`python -m launch.sample_fleet`. Models with other settings (scale_factor, alpha, coarsest size,
channels, layers) go into other work folders.

How long: a few seconds per run. Samples equal those of PyTorch with the same noise to 1e-6.
"""

import pathlib

import singan_jax
from launch import cli, path_flags
from singan_jax.official.importing import import_runs
from singan_jax.workdir.merge import refuse_unmerged

RUN = path_flags.DEFINE_multi_path(
    "run", None, "folder of an official model; may be repeated", required=True
)
WORKDIR = path_flags.DEFINE_path("workdir", None, "folder of the fleet", required=True)


def main() -> None:
    """Reads the runs and writes the fleet."""
    singan_jax.configure_jax()
    refuse_unmerged(pathlib.Path(WORKDIR.value))
    members = import_runs(RUN.value, WORKDIR.value)
    for member in members:
        height, width, _ = member.shape
        print(f"{WORKDIR.value}: {member.name}, {width}x{height} pixels")


if __name__ == "__main__":
    cli.run(main)
