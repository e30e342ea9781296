"""The dataset `mias_patches`: of mini-MIAS."""

from typing import ClassVar

import tensorflow_datasets as tfds

from data_pipeline import builders, mias


class Builder(builders.MammogramsBuilder):
    """Patches of lesions and of healthy tissue from mini-MIAS."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
    HOMEPAGE = "http://peipa.essex.ac.uk/info/mias.html"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    mini-MIAS is free for research: read its licence at http://peipa.essex.ac.uk/info/mias.html and
    download all-mias.tar.gz there. Unpack it in manual_dir, which then holds Info.txt and the films
    mdb001.pgm to mdb322.pgm, or those of them that you want.
    """
    read = staticmethod(mias.read)
