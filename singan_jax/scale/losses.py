"""Losses of one scale (SinGAN paper, section 2.3): WGAN-GP and reconstruction."""

import jax
import jax.numpy as jnp

from singan_jax.scale.layout import PLAIN, Layout
from singan_jax.scale.networks import Discriminator, Variables, train_pass


def gradient_penalty(
    discriminator: Discriminator,
    variables: Variables,
    real: jax.Array,
    fake: jax.Array,
    alpha: jax.Array,
) -> tuple[jax.Array, Variables]:
    """WGAN-GP penalty at one random mix of a real and a fake image (Gulrajani et al. 2017).

    The norm is taken per pixel, over channels: in SinGAN the patches of the image are the
    dataset, so each pixel's gradient is a sample of its own.

    Args:
      discriminator: the critic.
      variables: its variables.
      real: (1, H, W, C).
      fake: (1, H, W, C).
      alpha: scalar in [0, 1], the share of `real` in the mix.

    Returns:
      `mean((|grad|_2 - 1)^2)` over pixels, without its weight, and the variables after the pass.
    """

    def score(mix: jax.Array) -> tuple[jax.Array, Variables]:
        scores, after = train_pass(discriminator, variables, mix)
        return scores.sum(), after

    layout = discriminator.layout
    alpha = layout.spread(alpha, real.shape[-1])
    gradient, after = jax.grad(score, has_aux=True)(alpha * real + (1 - alpha) * fake)
    square = layout.channel_sum(jnp.square(gradient))  # (1, H, W, 1)
    # The norm's derivative at zero is taken as zero, not as NaN.
    positive = square > 0
    norm = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
    return layout.mean(jnp.square(norm - 1)), after


def critic_loss(
    discriminator: Discriminator,
    variables: Variables,
    real: jax.Array,
    fake: jax.Array,
    alpha: jax.Array,
    lambda_gp: jax.typing.ArrayLike,
) -> tuple[jax.Array, tuple[dict[str, jax.Array], Variables]]:
    """`-mean D(real) + mean D(fake) + lambda_gp * penalty`, for (1, H, W, C) images.

    Returns:
      The loss, and a pair of its parts and the variables after the passes on real, fake and mix.
    """
    scores, variables = train_pass(discriminator, variables, jnp.concatenate([real, fake]))
    layout = discriminator.layout
    real_score, fake_score = layout.mean(scores[0]), layout.mean(scores[1])
    penalty, variables = gradient_penalty(discriminator, variables, real, fake, alpha)
    loss = -real_score + fake_score + lambda_gp * penalty
    parts: dict[str, jax.Array] = {
        "critic_loss": loss,
        "real_score": real_score,
        "fake_score": fake_score,
        "gradient_penalty": jnp.asarray(lambda_gp * penalty),
    }
    return loss.sum(), (parts, variables)


def reconstruction_loss(
    reconstruction: jax.Array, real: jax.Array, layout: Layout = PLAIN
) -> jax.Array:
    """Mean squared error over all pixels and channels."""
    return layout.mean(jnp.square(reconstruction - real))
