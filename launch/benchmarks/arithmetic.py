"""FLOP of convolutions and matrix products: what an iteration needs, however it is computed.

A pass through a layer of 3x3 kernels takes 2 * 9 * C_in * C_out FLOP for each pixel that it makes:
forward, for the gradient of its input and for that of its weights alike. Zeros that surround an
image, or that stand between members side by side, are not counted, nor is what is not a product.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from singan_jax.config import Config

_CHANNELS = 3  # of images


def layers(size: Sequence[int], channels: Sequence[int]) -> list[int]:
    """FLOP of a pass through each layer of a network.

    Args:
      size: (height, width) of what enters the first layer; each takes two rows and columns.
      channels: of what enters each layer, and of what leaves the last.
    """
    return [
        2 * 9 * c_in * c_out * (size[0] - 2 * n) * (size[1] - 2 * n)
        for n, (c_in, c_out) in enumerate(itertools.pairwise(channels), 1)
    ]


def generator(config: Config, scale: int, size: Sequence[int]) -> list[int]:
    """A pass through each layer of the generator that makes an image of (height, width)."""
    padded = [side + 2 * config.padding for side in size]
    widths = [config.width(scale)] * (config.num_layers - 1)
    return layers(padded, [_CHANNELS, *widths, _CHANNELS])


def critic(config: Config, scale: int, size: Sequence[int]) -> list[int]:
    """A pass through each layer of the critic of images of (height, width)."""
    return layers(size, [_CHANNELS, *[config.width(scale)] * (config.num_layers - 1), 1])


def sample(config: Config, sizes: Sequence[Sequence[int]]) -> int:
    """One image of the scales of these sizes, coarsest first."""
    return sum(sum(generator(config, n, size)) for n, size in enumerate(sizes))


def iteration(config: Config, scale: int, sizes: Sequence[Sequence[int]]) -> int:
    """One iteration of a member: about 63 forward passes of a generator at 3 and 3 steps.

    Args:
      config: of the member.
      scale: that is trained.
      sizes: (height, width) of the scales.
    """
    g, d = (network(config, scale, sizes[scale]) for network in (generator, critic))
    first, last = d[0], d[-1]
    # Real and fake: forward, gradients of the weights, and of the inputs but for the images.
    scores = 2 * (3 * sum(d) - first)
    # Where the penalty is differentiated: the passes forward, whose last layer's values nobody
    # needs, and the gradient of the image. Then, for the gradient of the weights, back through
    # that gradient (the one that enters the last layer is a constant), and back through the passes
    # forward, from the last norm on.
    penalty = (sum(d) - last) + sum(d)
    penalty += 2 * sum(d) - last
    penalty += 2 * (sum(d) - last) - first
    fake = sample(config, sizes[:scale]) + sum(g)
    critic_step = fake + scores + penalty
    # Random image and reconstruction through the generator as above, the critic for its gradient.
    generator_step = 2 * (3 * sum(g) - g[0]) + 2 * sum(d)
    return config.d_steps * critic_step + config.g_steps * generator_step


def of_function(function: Callable[..., Any], *arguments: Any) -> int:
    """What a function of arrays, or of their shapes, computes; zeros around images are counted."""
    return counted(jax.make_jaxpr(function)(*arguments).jaxpr)


def counted(jaxpr: Any) -> int:
    """All products of a program of JAX's; a loop of unknown length counts once."""
    total = 0
    for equation in jaxpr.eqns:
        kind, shapes = equation.primitive.name, [x.aval for x in equation.invars[:2]]
        if kind == "conv_general_dilated":
            kernel = shapes[1].shape
            features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            total += 2 * equation.outvars[0].aval.size * math.prod(kernel) // features
        elif kind == "dot_general":
            (summed, _), _ = equation.params["dimension_numbers"]
            length = math.prod(shapes[0].shape[axis] for axis in summed)
            total += 2 * equation.outvars[0].aval.size * length
        else:
            inner = sum(counted(part) for part in _programs(equation.params.values()))
            total += inner * equation.params.get("length", 1) if kind == "scan" else inner
    return total


def _programs(values: Iterable[Any]) -> Iterable[Any]:
    """The programs among the parameters of an operation, such as the body of a loop."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _programs(value)
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif hasattr(value, "eqns"):
            yield value
