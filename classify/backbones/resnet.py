"""Residual networks, equal to torchvision's.

He et al., "Deep Residual Learning for Image Recognition", 2016; the bottleneck in its version 1.5,
which has the stride in the 3x3 convolution. Parameters are named as torchvision names them, with
`_` for the dot of `layer1.0`; a convolution and the batch norm behind it are one module here.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from classify.backbones.convolution import convolve

_EPSILON = 1e-5  # torch.nn.BatchNorm2d
_MOMENTUM = 0.1  # likewise: weight of the batch's statistics in the running ones


class ConvNorm(nn.Module):
    """A convolution and batch normalisation, which is part of its weights where it is frozen.

    Attributes:
      features: channels of the output.
      size: of the kernel, odd.
      stride: in pixels.
    """

    features: int
    size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Convolves and normalises.

        Args:
          x: (N, H, W, C).
          train: normalise by the batch's statistics, which then move the running ones; else by
            the running ones.

        Returns:
          (N, ceil(H / stride), ceil(W / stride), features).
        """
        width = (self.features,)
        he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", he, (self.size, self.size, x.shape[-1], *width))
        scale = self.param("scale", nn.initializers.ones, width)
        bias = self.param("bias", nn.initializers.zeros, width)
        mean = self.variable("batch_stats", "mean", jnp.zeros, width)
        var = self.variable("batch_stats", "var", jnp.ones, width)
        padding = self.size // 2
        if not train:
            factor = scale * jax.lax.rsqrt(var.value + _EPSILON)
            y = convolve(x, kernel * factor, self.stride, padding)
            return y + (bias - mean.value * factor)
        y = convolve(x, kernel, self.stride, padding)
        batch_mean, batch_var = y.mean((0, 1, 2)), y.var((0, 1, 2))
        if not self.is_initializing():
            count = y.size // self.features
            unbiased = batch_var * count / max(count - 1, 1)
            mean.value += _MOMENTUM * (batch_mean - mean.value)
            var.value += _MOMENTUM * (unbiased - var.value)
        return (y - batch_mean) * (scale * jax.lax.rsqrt(batch_var + _EPSILON)) + bias


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3 and 1x1.

    Attributes:
      width: channels inside.
      stride: of the whole block.
      bottleneck: whether it has three convolutions; its output then has 4 x `width` channels.
    """

    width: int
    stride: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(N, H, W, C) to (N, ceil(H / stride), ceil(W / stride), channels); see `ConvNorm`."""
        if self.bottleneck:
            layers = [(self.width, 1, 1), (self.width, 3, self.stride), (4 * self.width, 1, 1)]
        else:
            layers = [(self.width, 3, self.stride), (self.width, 3, 1)]
        y = x
        for number, layer in enumerate(layers, start=1):
            y = nn.relu(y) if number > 1 else y
            y = ConvNorm(*layer, name=f"conv{number}")(y, train)
        if x.shape != y.shape:
            x = ConvNorm(y.shape[-1], 1, self.stride, name="downsample")(x, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A residual network up to its pooled features.

    Attributes:
      depths: blocks of each stage; every stage but the first halves the sides.
      bottleneck: see `Block`.
      width: channels of the stem and inside the first stage; each stage doubles them.
      small_stem: a 3x3 convolution of stride 2, for small images, instead of a 7x7 one of stride
        2 and a max-pool.
    """

    depths: tuple[int, ...]
    bottleneck: bool = False
    width: int = 64
    small_stem: bool = False

    @property
    def num_features(self) -> int:
        """Length of a feature vector."""
        return self.width * 2 ** (len(self.depths) - 1) * (4 if self.bottleneck else 1)

    @property
    def last_stage(self) -> tuple[str, ...]:
        """Names of the last stage's blocks among the parameters."""
        return tuple(f"layer{len(self.depths)}_{n}" for n in range(self.depths[-1]))

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """The average of the last stage's output.

        Args:
          x: (N, H, W, 3), normalised.
          train: see `ConvNorm`.

        Returns:
          (N, num_features).
        """
        x = nn.relu(ConvNorm(self.width, 3 if self.small_stem else 7, 2, name="conv1")(x, train))
        if not self.small_stem:
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, depth in enumerate(self.depths):
            for number in range(depth):
                stride = 2 if stage > 0 and number == 0 else 1
                block = Block(
                    self.width * 2**stage,
                    stride,
                    self.bottleneck,
                    name=f"layer{stage + 1}_{number}",
                )
                x = block(x, train)
        return x.mean((1, 2))


RESNETS = {
    "resnet18": ResNet((2, 2, 2, 2)),
    "resnet34": ResNet((3, 4, 6, 3)),
    "resnet50": ResNet((3, 4, 6, 3), bottleneck=True),
    "resnet_small": ResNet((1, 1, 1, 1), width=16, small_stem=True),
}
