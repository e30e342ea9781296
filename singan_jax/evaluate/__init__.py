"""Measures of synthetic images: how like the real one they are, how varied, how new."""
