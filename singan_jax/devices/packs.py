"""How many members an accelerator trains side by side, and how many of those packs at a time."""

from typing import NamedTuple

from singan_jax.backend import backend
from singan_jax.scale.layout import Layout

_LANES = 128  # channels that fill a TPU's registers and the columns of its matrix units
_PACKS = 8  # packs at a time, for the ten cycles in a thousand that each operation costs by itself,
_PIXELS = 2**14  # but not more pixels than this, which would leave the memory on the chip


class Packs(NamedTuple):
    """Members of one device: `groups` one after another, of `at_once` packs each.

    Attributes:
      layout: of a pack.
      at_once: packs that are trained as one batch.
      groups: how often.
    """

    layout: Layout
    at_once: int
    groups: int

    @property
    def members(self) -> int:
        """How many members that are; those that are too many repeat the last one."""
        return self.groups * self.at_once * self.layout.count

    @classmethod
    def of(cls, members: int, width: int, size: tuple[int, int]) -> "Packs | None":
        """For members of one device; None where it trains one member after another, on CPU.

        Args:
          members: of one device.
          width: channels of the networks.
          size: (height, width) of the images.
        """
        if backend() == "cpu":
            return None
        if backend() == "gpu":
            return cls(Layout(1), members, 1)
        packs = -(-members // max(1, _LANES // width))
        at_once = min(_PACKS, max(1, _PIXELS // (size[0] * size[1])))
        groups = -(-packs // at_once)
        at_once = -(-packs // groups)
        side_by_side = -(-members // (groups * at_once))
        return cls(Layout(side_by_side, strips=True), at_once, groups)
