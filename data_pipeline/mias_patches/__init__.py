"""The dataset `mias_patches`; importing this makes it known to TFDS."""

from data_pipeline.mias_patches.mias_patches_dataset_builder import Builder

__all__ = ["Builder"]
