"""The dataset `bcdr_patches`; importing this makes it known to TFDS."""

from data_pipeline.bcdr_patches.bcdr_patches_dataset_builder import Builder

__all__ = ["Builder"]
