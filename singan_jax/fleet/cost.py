"""What an iteration costs: for progress bars, for dividing a fleet, for the plan of a study."""

from singan_jax.config import Config
from singan_jax.scale.pyramid import Pyramid


def relative_cost(config: Config, pyramid: Pyramid, scale: int) -> float:
    """Time of one iteration at a scale, in arbitrary units; fitted on CPU at widths 32 and 64."""
    height, width = pyramid.sizes[scale]
    return height * width * config.width(scale) * (config.width(scale) + 128)


def member_cost(config: Config, pyramid: Pyramid) -> float:
    """The same of a whole member: an iteration at each of its scales."""
    return sum(relative_cost(config, pyramid, scale) for scale in range(pyramid.num_scales))
