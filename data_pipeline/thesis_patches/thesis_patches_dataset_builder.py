"""The dataset `thesis_patches`: of patches that the thesis' own scripts made."""

import pathlib
from typing import ClassVar, Unpack

import tensorflow_datasets as tfds

from data_pipeline import builders, thesis_folder
from data_pipeline.patches import PatchSettings
from data_pipeline.units import ExtractionResult, How


class Builder(builders.PatchesBuilder):
    """Patches of lesions and of healthy tissue, as the thesis' own scripts made them."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
    HOMEPAGE = "https://arxiv.org/abs/2405.19754"  # of the paper that followed the thesis
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    manual_dir holds what the scripts of M. Buetas' thesis write: metadata.jsonl and beside it the
    images that its lines name. They are cut from BCDR, which may not be passed on.
    """

    @classmethod
    def extract(
        cls,
        root: pathlib.Path,
        data_dir: pathlib.Path,
        settings: PatchSettings,
        **how: Unpack[How],
    ) -> ExtractionResult:
        """Takes the patches as they are, or resized."""
        out = builders.extracted_folder(data_dir, cls.name, settings.size)
        return thesis_folder.extract(root, out, settings, **how)
