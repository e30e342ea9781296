"""Classifiers trained with and without synthetic patches, and the study of whether they help.

May import `singan_jax` and `data_pipeline`, never `launch`.
"""
