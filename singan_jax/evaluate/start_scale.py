"""Start scales chosen by how much the samples should differ."""

import collections
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from singan_jax.errors import InputError
from singan_jax.evaluate.diversity import diversity
from singan_jax.samples.trained import TrainedFleet

TRIAL_SAMPLES = 16


def diversities(
    fleet: TrainedFleet, names: Sequence[str], seed: int = 0, count: int = TRIAL_SAMPLES
) -> dict[str, list[float]]:
    """The diversity (see `diversity.diversity`) of each member's samples from each start scale.

    The training images need not be there: their reconstructions stand in for them, whose standard
    deviation is nearly the same.

    Args:
      fleet: with at least one trained scale.
      names: the members to measure.
      seed: of the samples, which are thrown away.
      count: samples per member and start scale.

    Returns:
      By name, one value for each start scale, from 0 on.

    Raises:
      WorkdirError: an unknown name, or a member with no finished scale.
    """
    members = fleet.select(names)
    for member in members:
        fleet.require_started(member)
    scales = {member.name: fleet.num_scales(member) for member in members}
    reals: dict[str, np.ndarray] = {}
    for group in {member.group for member in members}:
        finest = fleet.scales(group)[-1].rec
        reals |= {m.name: finest[m.index, 0] for m in members if m.group == group}  # in [-1, 1]
    found: dict[str, list[float]] = collections.defaultdict(list)
    key = jax.random.key(seed)
    for start in range(max(scales.values())):
        those = [name for name in names if scales[name] > start]
        pixels = collections.defaultdict(list)
        for samples in fleet.sample(count, key, names=those, start_scale=start):
            pixels[samples.member.name].append(samples.pixels)
        for name, parts in pixels.items():
            stack = np.concatenate(parts)  # (count, H, W, C) uint8 or uint16
            levels = jnp.float32(stack) / np.iinfo(stack.dtype).max
            real = (jnp.asarray(reals[name][..., : stack.shape[-1]]) + 1) / 2  # without a mask
            found[name].append(float(diversity(real, levels)))
    return dict(found)


def nearest_start_scale(
    wanted: float, values: Mapping[str, Sequence[float]]
) -> dict[str, tuple[int, float]]:
    """For each member, the start scale whose diversity is nearest to `wanted`, and that diversity.

    Raises:
      InputError: `wanted` is not above 0.
    """
    if not wanted > 0:
        raise InputError(f"`like`={wanted}: must be above 0; samples that are all new reach 0.5")
    found = {}
    for name, of_member in values.items():
        scale = int(np.abs(np.array(of_member) - wanted).argmin())
        found[name] = scale, of_member[scale]
    return found
