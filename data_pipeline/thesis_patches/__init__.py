"""The dataset `thesis_patches`; importing this makes it known to TFDS."""

from data_pipeline.thesis_patches.thesis_patches_dataset_builder import Builder

__all__ = ["Builder"]
