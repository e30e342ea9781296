"""Settings of a SinGAN and the presets of the papers.

Names follow the SinGAN paper (Shaham et al., ICCV 2019) and its official code; "thesis" is
M. Buetas, "Synthetic training data generation from a single image for enhanced breast cancer
diagnosis" (2023). The paper that followed it is M. Buetas Arcas et al., "Mitigating annotation
shift in cancer classification using single image generative models" (SPIE IWBI 2024, arXiv
2405.19754).
"""

import dataclasses
import re
from typing import Any

from singan_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that, together with the image, determines a trained SinGAN.

    Attributes:
      min_size: shorter side of the coarsest scale, pixels.
      max_size: longer side of the finest scale, pixels; larger images are shrunk to it.
      scale_factor: wanted ratio between neighbouring scales, in (0, 1); the true ratio is fitted
        so that the coarsest scale comes out at `min_size` (see `Pyramid.of`).
      pyramid_rule: how scales are counted: "training", or "super_resolution" as the official code
        does there: one fewer as a rule, where a wide image is not shrunk (see `Pyramid.of`).
      stretch: size, such as 572x380 (width x height, pixels), to which each image is stretched
        before anything else, as in the thesis; samples come back at the image's own size. Empty:
        images are taken as they are.
      stretch_levels: scale the levels of an image that needs fewer bits than its file has, such as
        12 of 16, to the whole range; samples come in the stretched levels.
      base_channels: width of the networks at scale 0; it doubles every 4 scales.
      max_channels: limit of that doubling.
      num_layers: 3x3 convolutions in each network.
      steps_per_scale: iterations per scale; each is `d_steps` critic and `g_steps` generator steps.
      d_steps: critic steps per iteration.
      g_steps: generator steps per iteration.
      lr_g: Adam learning rate of the generator.
      lr_d: Adam learning rate of the discriminator.
      beta1: Adam's first decay; the second is 0.999.
      lr_decay: factor on both learning rates from iteration `lr_decay_step` on.
      lr_decay_step: iteration of a scale (of a round, where there are rounds) at which it decays.
      round_steps: iterations after which both optimisers start afresh; 0 for never.
      lambda_gp: weight of the gradient penalty.
      alpha_rec: weight of the reconstruction loss.
      noise_amp: noise amplitude as a fraction of the reconstruction error of the coarser scales.
      uint8_resize: round images to 8 bits before each resize, as the official code does.
      redraw_z_rec: draw the reconstruction noise anew at each iteration, as the official code
        does; the paper (section 2.3) keeps one map.
      compute_dtype: float32, or bfloat16 for the convolutions; weights, norms, losses, penalty and
        optimisers stay float32.
      precision: how an accelerator multiplies float32 numbers in the convolutions: "fast", rounded
        to bfloat16 (TPU) or TF32 (GPU); "balanced", so in backward passes only; "exact". A CPU
        is always exact. (See `singan_jax.conv.precision` for what each costs.)
      divergence_limit: a member whose critic or reconstruction loss exceeds this in absolute
        value is frozen; healthy values stay below about 100.
      noise_padding: noise fills the padding around the image too, which is zero otherwise: the
        official way to train for animation.
      seed: seed of everything random.
    """

    min_size: int = 25
    max_size: int = 250
    scale_factor: float = 0.75
    pyramid_rule: str = "training"
    stretch: str = ""
    stretch_levels: bool = False
    base_channels: int = 32
    max_channels: int = 128
    num_layers: int = 5
    steps_per_scale: int = 2000
    d_steps: int = 3
    g_steps: int = 3
    lr_g: float = 5e-4
    lr_d: float = 5e-4
    beta1: float = 0.5
    lr_decay: float = 0.1
    lr_decay_step: int = 1600
    round_steps: int = 0
    lambda_gp: float = 0.1
    alpha_rec: float = 10.0
    noise_amp: float = 0.1
    uint8_resize: bool = False
    redraw_z_rec: bool = False
    compute_dtype: str = "float32"
    precision: str = "balanced"
    divergence_limit: float = 1e5
    noise_padding: bool = False
    seed: int = 0

    def width(self, scale: int) -> int:
        """Channels of both networks at `scale` (0 = coarsest)."""
        return min(self.base_channels * 2 ** (scale // 4), self.max_channels)

    @property
    def padding(self) -> int:
        """Zero pixels on each side that the unpadded convolutions of a network consume."""
        return self.num_layers

    @property
    def stretch_size(self) -> tuple[int, int] | None:
        """(height, width) of `stretch`; None where images are taken as they are."""
        if not self.stretch:
            return None
        width, height = map(int, self.stretch.split("x"))
        return height, width

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


PYRAMID_RULES = ("training", "super_resolution")

# What may differ from member to member of one fleet.
HYPERPARAMETERS = ("lr_g", "lr_d", "lambda_gp", "alpha_rec", "noise_amp")


class ConfigError(InputError):
    """A setting that cannot work; the message names it and says what to do."""


def validate(config: Config) -> Config:
    """Returns `config`, or raises `ConfigError` for the first setting out of its range."""
    rules = {
        "min_size": config.min_size > 2 * config.num_layers,
        "max_size": config.max_size >= config.min_size,
        "scale_factor": 0.0 < config.scale_factor < 1.0,
        "pyramid_rule": config.pyramid_rule in PYRAMID_RULES,
        "stretch": re.fullmatch(r"([1-9]\d{0,5}x[1-9]\d{0,5})?", config.stretch) is not None,
        "base_channels": config.base_channels >= 1,
        "max_channels": config.max_channels >= config.base_channels,
        "num_layers": config.num_layers >= 2,
        "steps_per_scale": config.steps_per_scale >= 1,
        "d_steps": config.d_steps >= 1,
        "g_steps": config.g_steps >= 1,
        "lr_g": config.lr_g > 0,
        "lr_d": config.lr_d > 0,
        "beta1": 0 <= config.beta1 < 1,
        "lr_decay": config.lr_decay > 0,
        "lr_decay_step": config.lr_decay_step >= 1,
        "round_steps": config.round_steps >= 0,
        "lambda_gp": config.lambda_gp >= 0,
        "alpha_rec": config.alpha_rec >= 0,
        "noise_amp": config.noise_amp >= 0,
        "compute_dtype": config.compute_dtype in ("float32", "bfloat16"),
        "precision": config.precision in ("fast", "balanced", "exact"),
        "divergence_limit": config.divergence_limit > 0,
        "seed": 0 <= config.seed < 2**32,
    }
    for name, good in rules.items():
        if not good:
            raise ConfigError(
                f"`config.{name}`={getattr(config, name)} is out of range; see the attributes of "
                "singan_jax.Config for what it may be"
            )
    return config


def singan() -> Config:
    """The official defaults: 10 scales of 2000 iterations for a 250-pixel image."""
    return Config()


def thesis() -> Config:
    """The thesis: 572x380, shrunk to 250x167, ratio 0.8, 200 rounds of 30 iterations a scale.

    Each patch is stretched to 572x380 (width x height) first; the finest scale has 250x167
    pixels, and samples are brought back to the size of the patch. Optimisers start afresh in each
    round. No round reaches the iteration at which the learning rate would drop, so it never does.
    """
    return Config(
        max_size=250, scale_factor=0.8, stretch="572x380", steps_per_scale=6000, round_steps=30
    )


def quick() -> Config:
    """A first look: 64 px, 300 iterations a scale; minutes on a laptop; the images are rough."""
    return Config(max_size=64, steps_per_scale=300, lr_decay_step=240)


def super_resolution() -> Config:
    """For enlarging an image 2, 4 or 8 times, in steps of 1 over the ratio, as the official code.

    The scales are those of its script for super-resolution. Larger images are shrunk to `max_size`
    first, there as here; raise it to the longer side of the image to enlarge all of it.
    """
    # Written as in the official script: another rounding of the last bit gives images of 36, 72
    # or 144 pixels another number of scales.
    ratio = 1 / 4 ** (1 / 6)
    return Config(min_size=18, scale_factor=ratio, pyramid_rule="super_resolution", alpha_rec=100.0)


def animation() -> Config:
    """For animation, as the official script: from 20 px on, and noise fills the padding too."""
    return Config(min_size=20, noise_padding=True)


PRESETS = {
    preset.__name__: preset for preset in (singan, thesis, quick, super_resolution, animation)
}


def preset(name: str) -> Config:
    """The preset called `name`: one of `PRESETS`."""
    if name not in PRESETS:
        raise ConfigError(f"`config`={name} is no preset; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()
