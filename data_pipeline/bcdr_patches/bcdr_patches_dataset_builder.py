"""The dataset `bcdr_patches`: of BCDR, or of a phantom that was written in its place."""

from typing import ClassVar

import tensorflow_datasets as tfds

from data_pipeline import bcdr, builders


class Builder(builders.MammogramsBuilder):
    """Patches of lesions and of healthy tissue from BCDR."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
    HOMEPAGE = "https://bcdr.eu"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    BCDR may not be passed on: register at https://bcdr.eu, ask its owners for access, and download
    the sets that you need. Unpack them side by side in manual_dir, which then holds some or all of

        BCDR-F01_dataset/  BCDR-F02_dataset/  BCDR-F03_dataset/
        BCDR-D01_dataset/  BCDR-D02_dataset/  BCDR-DN01_dataset/

    each with its tables bcdr_<set>_img.csv and bcdr_<set>_outlines.csv (DN01 has no outlines) and
    its folders patient_*/. Without BCDR, a phantom can take its place; this writes and builds one:

        python -m launch.build_dataset --source=phantom --data_dir=...
    """
    read = staticmethod(bcdr.read)
