"""Suites of `launch.benchmark`: what is measured, and PyTorch doing the same."""
