"""The official training loop in PyTorch, written from its description: the fleet's peer.

Layers are named as in the official code, so that state dictionaries carry over. Images are
(1, C, H, W).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from singan_jax.config import Config
from singan_jax.scale.pyramid import Pyramid, resize_matrix


class Block(nn.Sequential):
    """3x3 convolution, batch normalisation, LeakyReLU(0.2)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv2d(c_in, c_out, 3))
        self.add_module("norm", nn.BatchNorm2d(c_out))
        self.add_module("activation", nn.LeakyReLU(0.2))


def _body(width: int, num_layers: int) -> nn.Sequential:
    body = nn.Sequential()
    for n in range(1, num_layers - 1):
        body.add_module(f"block{n}", Block(width, width))
    return body


class Discriminator(nn.Module):
    """Scores every patch of an image."""

    def __init__(self, width: int, num_layers: int, channels: int) -> None:
        super().__init__()
        self.head = Block(channels, width)
        self.body = _body(width, num_layers)
        self.tail = nn.Conv2d(width, 1, 3)

    def forward(self, images: Tensor) -> Tensor:
        """A map of scores."""
        return self.tail(self.body(self.head(images)))


class Generator(nn.Module):
    """Adds detail to the centre of the image of the coarser scales."""

    def __init__(self, width: int, num_layers: int, channels: int) -> None:
        super().__init__()
        self.crop, self.channels = num_layers, channels
        self.head = Block(channels, width)
        self.body = _body(width, num_layers)
        self.tail = nn.Sequential(nn.Conv2d(width, channels, 3), nn.Tanh())

    def forward(self, noisy: Tensor, prev: Tensor) -> Tensor:
        """An image of the size of `prev` less its padding."""
        residual = self.tail(self.body(self.head(noisy)))
        return residual + functional.pad(prev, (-self.crop,) * 4)


class Inputs(NamedTuple):
    """One iteration's inputs: what `train_step.Task` and `train_step.Draws` hold.

    Attributes:
      real: (1, C, H, W).
      rec_prev: (1, C, H, W).
      z_rec: (1, 1 or C, H, W).
      noise: (1, 1 or C, H, W).
      prev: one (1, C, H, W) image a critic step.
      alpha: one mixing weight a critic step.
      noise_amp: amplitude of the noise.
    """

    real: Tensor
    rec_prev: Tensor
    z_rec: Tensor
    noise: Tensor
    prev: list[Tensor]
    alpha: list[float]
    noise_amp: float


def pad(images: Tensor, width: int) -> Tensor:
    """Zeros around the images."""
    return functional.pad(images, (width,) * 4)


def gradient_penalty(critic: Discriminator, real: Tensor, fake: Tensor, alpha: float) -> Tensor:
    """The penalty of WGAN-GP, without its weight; the norm is taken per pixel."""
    mix = (alpha * real + (1 - alpha) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(mix).sum(), mix, create_graph=True)
    return ((gradient.norm(2, dim=1) - 1) ** 2).mean()


def critic_backward(
    critic: Discriminator, real: Tensor, fake: Tensor, alpha: float, lambda_gp: float
) -> float:
    """Adds the critic loss's gradients, part by part as the official code does; the loss."""
    critic.zero_grad()
    parts = []
    for part in (
        lambda: -critic(real).mean(),
        lambda: critic(fake).mean(),
        lambda: lambda_gp * gradient_penalty(critic, real, fake, alpha),
    ):
        loss = part()
        loss.backward()
        parts.append(loss.item())
    return sum(parts)


def generator_backward(
    generator: Generator,
    critic: Discriminator,
    inputs: Inputs,
    config: Config,
) -> float:
    """Adds the gradients of the generator's losses; their sum."""
    generator.zero_grad()
    total = 0.0
    last, rec = pad(inputs.prev[-1], config.padding), pad(inputs.rec_prev, config.padding)
    noise, z_rec = (inputs.noise_amp * pad(z, config.padding) for z in (inputs.noise, inputs.z_rec))
    adversarial = -critic(generator(noise + last, last)).mean()
    adversarial.backward()
    total += adversarial.item()
    reconstruction = functional.mse_loss(generator(z_rec + rec, rec), inputs.real)
    reconstruction = config.alpha_rec * reconstruction
    reconstruction.backward()
    return total + reconstruction.item()


class Member:
    """Both networks of a scale, and their optimisers."""

    def __init__(self, config: Config, width: int, channels: int) -> None:
        self.config = config
        self.generator = Generator(width, config.num_layers, channels)
        self.critic = Discriminator(width, config.num_layers, channels)
        betas = (config.beta1, 0.999)
        self.g_optimiser = torch.optim.Adam(self.generator.parameters(), config.lr_g, betas)
        self.d_optimiser = torch.optim.Adam(self.critic.parameters(), config.lr_d, betas)

    def iterate(self, inputs: Inputs) -> None:
        """One iteration: `d_steps` critic and `g_steps` generator steps."""
        config = self.config
        for n in range(config.d_steps):
            prev = pad(inputs.prev[n], config.padding)
            noisy = inputs.noise_amp * pad(inputs.noise, config.padding) + prev
            with torch.no_grad():
                fake = self.generator(noisy, prev)
            critic_backward(self.critic, inputs.real, fake, inputs.alpha[n], config.lambda_gp)
            self.d_optimiser.step()
        for _ in range(config.g_steps):
            # The critic's own gradients are of no use here; the official code computes them too.
            generator_backward(self.generator, self.critic, inputs, config)
            self.g_optimiser.step()


class Chain:
    """The frozen scales below the one in training, and the resizes between them."""

    def __init__(self, generators: list[Generator], noise_amps: list[float], pyramid: Pyramid):
        self.generators = [generator.eval() for generator in generators]
        self.noise_amps, self.pyramid = noise_amps, pyramid

    @torch.no_grad()
    def draw(self, config: Config, noises: list[Tensor]) -> Tensor:
        """A random image at the size of the scale in training, or of the last where all are frozen.

        Args:
          config: of the member.
          noises: (1, 1 or C, H, W) of each frozen scale.

        Returns:
          (1, C, H, W).
        """
        prev = torch.zeros(1, self.generators[0].channels, *self.pyramid.sizes[0])
        for n, generator in enumerate(self.generators):
            padded = pad(prev, config.padding)
            noisy = self.noise_amps[n] * pad(noises[n], config.padding) + padded
            prev = generator(noisy, padded)
            if n + 1 < len(self.pyramid.sizes):
                prev = enlarge(prev, self.pyramid, n + 1)
        return prev


def enlarge(image: Tensor, pyramid: Pyramid, scale: int) -> Tensor:
    """Resizes an image to the next scale as the official code does: on the host, in 8 bits."""
    levels = ((image[0].clamp(-1, 1) + 1) / 2 * 255).numpy().astype(np.uint8)  # (C, h, w)
    vertical, horizontal = (
        resize_matrix(before, after, 1 / pyramid.ratio)
        for before, after in zip(levels.shape[1:], pyramid.sizes[scale], strict=True)
    )
    resized = vertical @ levels.astype(np.float64) @ horizontal.T  # (C, H, W)
    unit = torch.from_numpy(resized / 255).to(torch.float32)[None]
    return ((unit - 0.5) * 2).clamp(-1, 1)
