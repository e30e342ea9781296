"""Reads models of the official PyTorch SinGAN and makes them members of fleets.

settings      settings and image, from what is left of them in a run's files
run           a run's networks
importing     members of a fleet made of runs

The entry points are named in `__init__.pyi`, and loaded when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
