"""The applications of a trained SinGAN: injection, super-resolution, animation, retargeting."""
