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

import singan_jax
from launch import cli, image_source, path_flags
from singan_jax import runtime
from singan_jax.evaluate import inception, measures, sample_folder, summary

SAMPLES = path_flags.DEFINE_path(
    "samples", None, "folder that sample_fleet or manipulate wrote", required=True
)
OUT = path_flags.DEFINE_path("out", None, "folder to write to", required=True)
WORKDIR = path_flags.DEFINE_path(
    "workdir", None, "folder of the fleet; the one that the samples' run.json names if unset"
)
IMAGES, DATA_DIR = path_flags.DEFINE_training_images()
MASKS = path_flags.DEFINE_path("masks", None, "training masks, as for train_fleet")
INCEPTION = path_flags.DEFINE_path(
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
    images = image_source.training_images(
        fleet, members, IMAGES.value, data_dir=DATA_DIR.value, masks=MASKS.value
    )
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


if __name__ == "__main__":
    cli.run(main)
