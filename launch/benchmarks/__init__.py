"""Suites of `launch.benchmark`: what is measured, and PyTorch doing the same.

conv              the implementations of the convolution
step              an iteration of one member
fleet             whole SinGANs
sample            samples a second
features          features a second
heads             the heads of a study
patches           patches a second
pipeline          images to samples, as users start it
memory            programs and processes
tpu               what a TPU's compiler estimates
gpu_estimate      what the compiler makes for an H100
estimates         the programs of these two
chips             the devices that they are made for
hlo               counting in optimised programs
arithmetic        products that are needed
timing            repetitions, spread, processes of their own
plot              bars of all rows
torch_peer        the official training loop in PyTorch
torch_backbones   the backbones in PyTorch
"""
