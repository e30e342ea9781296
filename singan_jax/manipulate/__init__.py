"""The applications of a trained SinGAN: injection, super-resolution, animation, retargeting.

input_images    images and masks to start from
batches         members of one shape with what a manipulation needs
operations      injection and super-resolution
animation       random walks through the noise
painting        paint-to-image in few colours
manipulations   what each makes of a batch of members
output_files    the files, and contact sheets of all start scales

The entry points are named in `__init__.pyi`, and loaded when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
