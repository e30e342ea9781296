"""Generator and discriminator of one scale (SinGAN paper, section 2.2), in Flax Linen.

A training image is a batch of one, so batch normalisation in training normalises each image by
its own statistics. Here N images in a batch are N such passes made at once: each is normalised by
itself, and the running statistics are updated once per image, in order.

Weights are of JAX's default float type, which is float32 but in tests: under `jax_enable_x64`, and
with "float64" for the convolutions, all is float64.
"""

from typing import Any, NamedTuple, TypeVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers

from singan_jax.backend import backend
from singan_jax.config import Config
from singan_jax.conv import convolve
from singan_jax.conv.precision import Precision
from singan_jax.conv.strips import Strips
from singan_jax.scale.layout import PLAIN, Layout

Variables = dict[str, Any]  # {"params": ..., "batch_stats": ...}
Array = TypeVar("Array", jax.Array, np.ndarray)  # on a device or on the host

_EPSILON = 1e-5  # PyTorch's BatchNorm2d
_MOMENTUM = 0.1
_SLOPE = 0.2  # of LeakyReLU below zero


class Arithmetic(NamedTuple):
    """How the convolutions of a network compute: `compute_dtype` and `precision` of `Config`."""

    dtype: str = "float32"
    precision: Precision = "balanced"

    @classmethod
    def of(cls, config: Config) -> "Arithmetic":
        """That of a config."""
        return cls(config.compute_dtype, cast(Precision, config.precision))  # as `validate` has it


def _normal_around_one(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


def _pytorch_bias(fan_in: int) -> Any:
    """PyTorch's default convolution bias: uniform within 1 / sqrt(fan_in)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) / jnp.sqrt(fan_in)

    return init


class ImageNorm(nn.Module):
    """Normalises each image of a batch by its own mean and biased variance over pixels.

    Running statistics (momentum 0.1, unbiased variance) are used where `train` is False.
    """

    @nn.compact
    def __call__(self, x: jax.Array, strips: Strips | None = None, *, train: bool) -> jax.Array:
        """(N, H, W, C) to the same shape."""
        shape = (x.shape[-1],)
        scale = self.param("scale", _normal_around_one, shape, float)
        bias = self.param("bias", initializers.zeros, shape, float)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        if not train:
            return (x - mean.value) * (scale * jax.lax.rsqrt(var.value + _EPSILON)) + bias
        mean_of = strips.mean if strips else _image_mean
        pixels = (strips.height if strips else x.shape[1]) * x.shape[2]
        batch_mean = mean_of(x)  # (N, 1, 1, C)
        # Accelerators take the mean of squares, which reads x once; on a TPU, as it is made.
        reads_once = strips or backend() != "cpu"
        if reads_once:
            batch_var = jnp.maximum(mean_of(jnp.square(x)) - jnp.square(batch_mean), 0)
        else:
            centred = x - batch_mean
            batch_var = mean_of(jnp.square(centred))
        if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
            unbiased = batch_var * (pixels / (pixels - 1))
            for n in range(len(batch_mean)):
                mean.value += _MOMENTUM * (batch_mean[n, 0, 0] - mean.value)
                var.value += _MOMENTUM * (unbiased[n, 0, 0] - var.value)
        factor = scale * jax.lax.rsqrt(batch_var + _EPSILON)
        if not reads_once:
            return centred * factor + bias
        offset = bias - batch_mean * factor
        if strips:
            factor, offset = map(strips.repeated, (factor, offset))
        return x * factor + offset


def _image_mean(x: jax.Array) -> jax.Array:
    """Each image's mean over its pixels, (N, 1, 1, C)."""
    return x.mean((1, 2), keepdims=True)


def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    arithmetic: Arithmetic,
    layout: Layout = PLAIN,
    strips: Strips | None = None,
) -> jax.Array:
    """Convolves in another type; input and output are of the type of `x`."""
    dtype, precision = arithmetic
    kernel = layout.block_diagonal(kernel.astype(dtype))
    return convolve(x.astype(dtype), kernel, 0, None, strips, precision).astype(x.dtype)


def _leaky_relu(x: jax.Array) -> jax.Array:
    return jnp.where(x > 0, x, _SLOPE * x)


class ConvBlock(nn.Module):
    """3x3 convolution, norm, LeakyReLU(0.2).

    The convolution has no bias: the norm would remove it again.
    """

    width: int
    arithmetic: Arithmetic
    layout: Layout = PLAIN

    @nn.compact
    def __call__(self, x: jax.Array, strips: Strips | None = None, *, train: bool) -> jax.Array:
        """(N, H, W, C) to (N, H - 2, W - 2, width)."""
        members = self.layout.count
        shape = (3, 3, x.shape[-1] // members, members * self.width)
        kernel = self.param("kernel", initializers.normal(0.02), shape, float)
        x = _convolve(x, kernel, self.arithmetic, self.layout, strips)
        x = ImageNorm(name="norm")(x, strips and strips.taller(-2), train=train)
        return _leaky_relu(x)


class Stack(nn.Module):
    """`num_layers - 1` blocks, then a convolution with bias to `features` channels."""

    width: int
    features: int
    num_layers: int
    arithmetic: Arithmetic
    train_bias: bool = True
    layout: Layout = PLAIN

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """(N, H, W, C) to (N, H - 2 num_layers, W - 2 num_layers, features)."""
        strips = Strips.of(x) if self.layout.strips else None
        x = strips.split(x) if strips else x
        for n in range(self.num_layers - 1):
            block = ConvBlock(self.width, self.arithmetic, self.layout, name=f"block{n}")
            x = block(x, strips, train=train)
            strips = strips and strips.taller(-2)
        features = self.layout.count * self.features
        shape = (3, 3, self.width, features)
        kernel = self.param("kernel", initializers.normal(0.02), shape, float)
        bias = self.param("bias", _pytorch_bias(9 * self.width), (features,), float)
        if not self.train_bias:
            bias = jax.lax.stop_gradient(bias)
        x = _convolve(x, kernel, self.arithmetic, self.layout, strips) + bias
        return strips.taller(-2).join(x) if strips else x


class Generator(nn.Module):
    """Adds detail to the image of the coarser scales."""

    width: int
    num_layers: int
    arithmetic: Arithmetic = Arithmetic()
    layout: Layout = PLAIN

    @nn.compact
    def __call__(self, noisy: jax.Array, prev: jax.Array, *, train: bool) -> jax.Array:
        """Residual of `noisy`, added to the centre of `prev`.

        Args:
          noisy: (N, H + 2p, W + 2p, C), noise plus the previous image, padded by p = num_layers.
          prev: the previous image, padded alike.
          train: normalise by each image's own statistics, and update the running ones.

        Returns:
          (N, H, W, C); within [-2, 2], for `prev` in [-1, 1].
        """
        features = prev.shape[-1] // self.layout.count
        stack = Stack(
            self.width, features, self.num_layers, self.arithmetic, layout=self.layout, name="stack"
        )
        crop = self.num_layers
        centre = prev[:, crop : prev.shape[1] - crop, crop : prev.shape[2] - crop]
        return jnp.tanh(stack(noisy, train=train)) + centre


class Discriminator(nn.Module):
    """Scores every patch of an image: a Wasserstein critic without padding or activation."""

    width: int
    num_layers: int
    arithmetic: Arithmetic = Arithmetic()
    layout: Layout = PLAIN

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = True) -> jax.Array:
        """(N, H, W, C) to a map of scores, (N, H - 2 num_layers, W - 2 num_layers, 1)."""
        # The critic's loss is a difference of scores, so the last bias has no gradient. Left to
        # rounding errors, Adam would walk it by the learning rate at each step.
        stack = Stack(
            self.width, 1, self.num_layers, self.arithmetic, False, self.layout, name="stack"
        )
        return stack(images, train=train)


def train_pass(
    module: nn.Module, variables: Variables, *inputs: jax.Array
) -> tuple[jax.Array, Variables]:
    """A forward pass in training mode.

    Returns:
      The output, and the variables with updated running statistics.
    """
    output, updates = module.apply(variables, *inputs, train=True, mutable=["batch_stats"])
    return output, {**variables, **updates}
