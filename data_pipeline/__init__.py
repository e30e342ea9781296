"""Mammography datasets: annotation readers, patch extraction, patient splits and the phantom.

NumPy only: imports neither JAX nor another package of this project. Data flows one way:

    bcdr, mias (readers) -> records.Mammogram -> patches, cut -> extract -> metadata, splits
    -> bcdr_patches, mias_patches (TFDS builders) -> query, load
"""
