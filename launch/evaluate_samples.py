r"""Measures the samples of a fleet beside the images that it was trained on.

    python -m launch.evaluate_samples --samples=samples --out=measures
    python -m launch.evaluate_samples --samples=samples --out=measures \
        --inception=inception_v3_google-0cc3c7bd.pth

Writes <out>/measures.csv (a row per member, then the fleet's mean and standard deviation),
measures.json (the same, and which samples are near copies) and measures.png, and prints the table:

    sifid_64, sifid_192   with --inception: single-image FID with the 64 features of the official
                          script and the 192 of the paper; 0 is equal statistics, the paper's
                          samples are at 0.09 from start scale 0, 0.05 from 1
    filter_bank_distance  the same formula on fixed filters, for machines without that file; its
                          values are comparable only with each other, not with SIFID
    diversity             deviation of pixels over samples, divided by the image's; the paper finds
                          0.5 from start scale 0 and 0.35 from start scale 1
    ms_ssim               similarity between samples: 1 is equal, lower is more varied
    patch_distance        from 7x7 patches to the nearest of the training image, gray levels of 8
                          bits; _real: the same between the image's two halves, as for new patches
                          of the same picture. Far below it, samples repeat; far above, they stray
    copy_distance         of the sample nearest to the training image as a whole, shifted by up to 3
                          pixels, in the image's standard deviation; near_copies: samples below 0.25
    spectrum_slope, contrast, homogeneity, energy, correlation
                          texture, of the intensity, of samples and (_real) the training image

How long: about 50 samples of 64 pixels a second on 2 CPU cores, 3 of 250 pixels, half as many with
--inception, after a start of 10 seconds.
"""

import pathlib

from absl import flags

import singan_jax
from launch import cli, image_source
from singan_jax import runtime
from singan_jax.evaluate import inception, measures, sample_folder, summary

SAMPLES = flags.DEFINE_string(
    "samples", None, "folder that sample_fleet or manipulate wrote", required=True
)
OUT = flags.DEFINE_string("out", None, "folder to write to", required=True)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the fleet; the one that the samples' run.json names if unset"
)
IMAGES = flags.DEFINE_list(
    "images", None, "training images, as for train_fleet; if unset, the files used in training"
)
DATA_DIR = flags.DEFINE_string("data_dir", None, "folder of datasets, if --images is a query")
MASKS = flags.DEFINE_string("masks", None, "training masks, as for train_fleet")
INCEPTION = flags.DEFINE_string(
    "inception", None, "torchvision's inception_v3 weights (.pth), for SIFID; needs PyTorch"
)


def main() -> None:
    """Measures, writes and prints."""
    singan_jax.configure_jax()
    folder = pathlib.Path(SAMPLES.value)
    files = sample_folder.find_samples(folder)
    workdir = pathlib.Path(WORKDIR.value or sample_folder.find_workdir(folder))
    fleet = singan_jax.load_fleet(workdir)
    members = fleet.select(list(files))
    weights = inception.load(pathlib.Path(INCEPTION.value)) if INCEPTION.value else ()
    images = _training_images(fleet, members)
    measured = measures.measure_fleet(fleet, images, files, weights)
    about = {
        "samples": str(folder),
        "workdir": str(workdir),
        "inception": INCEPTION.value,
        **runtime.provenance(),
    }
    rows = summary.write_summary(pathlib.Path(OUT.value), measured, about)
    print(summary.table(rows))
    print(f"{OUT.value}: measures.csv, measures.json and measures.png")


def _training_images(
    fleet: singan_jax.TrainedFleet, members: list[singan_jax.Member]
) -> dict[str, singan_jax.Image]:
    """By member, the exact image that it was trained on."""
    patterns = IMAGES.value or list(dict.fromkeys(member.source for member in members))
    source = image_source.Source(patterns, fleet.config, DATA_DIR.value, masks=MASKS.value)
    known = {image.digest: image for image in source.read()[0]}
    for member in members:
        if member.images == 1 and member.digest not in known:
            raise singan_jax.InputError(
                f"{member.source}: the image of {member.name!r} is not there, or has changed since "
                "training; name it by `images`, and its mask by `masks`"
            )
    return {m.name: known[m.digest] for m in members if m.digest in known}


if __name__ == "__main__":
    cli.run(main)
