"""How many members a TPU trains side by side, and how many of those packs at a time."""

from typing import NamedTuple

from singan_jax.backend import backend
from singan_jax.scale.layout import Layout

_LANES = 128  # channels that fill a TPU's registers and the columns of its matrix units
# An operation costs about 2,000 cycles by itself, as much as its work on a pack of small images;
# so several packs share it, as far as they stay within the memory on the chip.
_PACKS = 8
_PIXELS = 2**14


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
    def of(cls, members: int, width: int, size: tuple[int, int], images: int = 1) -> "Packs | None":
        """For members of one device of a TPU; None elsewhere.

        A CPU trains one member after another, and on a GPU the members of a batch need no packing:
        its libraries take grouped convolutions as they are.

        Args:
          members: of one device.
          width: channels of the networks.
          size: (height, width) of the images.
          images: how many of each member lie in a batch.
        """
        if backend() != "tpu":
            return None
        packs = -(-members // max(1, _LANES // width))
        at_once = min(_PACKS, max(1, _PIXELS // (images * size[0] * size[1])))
        groups = -(-packs // at_once)
        at_once = -(-packs // groups)
        side_by_side = -(-members // (groups * at_once))
        return cls(Layout(side_by_side, strips=True), at_once, groups)
