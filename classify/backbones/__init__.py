"""Networks that turn patches into features.

convolution   the convolution of all of them
resnet        residual networks, equal to torchvision's
alexnet       with the weights that come with pip
weights       weights from files
backbone      a network with its weights, by name
choice        which of them `auto` is
"""
