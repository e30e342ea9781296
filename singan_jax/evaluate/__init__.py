"""Measures of synthetic images: how like the real one they are, how varied, how new.

sample_folder   samples as files
frechet         the Fréchet distance
filters         a texture distance that needs no weights
inception       the features that SIFID compares
diversity       how much samples differ from each other
memorisation    whether samples repeat the training image
texture         texture measures that radiology uses
measures        all of them, for a fleet
summary         the table, its files and its plot
start_scale     start scales chosen by the diversity wanted

The entry points are named in `__init__.pyi`, and loaded when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
