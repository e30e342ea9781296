"""How the arrays of members that train together lie in memory.

An accelerator's registers and matrix units are 128 channels wide, and SinGAN's layers have 32 or
64. So several members lie side by side in the last axis, a *pack* of P:

    a number of each member       (P,)
    weights (3, 3, C_in, C_out)   (3, 3, C_in, P * C_out)
    any other (..., C)            (..., P * C), all channels of the first member first

A layer is then one dense convolution whose weights are zero between members (see
`block_diagonal`), and whatever works channel by channel (norms, activations, resizing, Adam) is
as it was. `PLAIN` is one member by itself, whose numbers are scalars: nothing changes for it.

Zero times a member's NaN is NaN, so a member that goes wrong would spoil its pack: see
`isolation.isolated`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

T = TypeVar("T")  # any pytree


@dataclasses.dataclass(frozen=True)
class Layout:
    """How many members lie side by side, and whether images are cut into strips.

    Attributes:
      members: P; None for one member by itself.
      strips: whether networks cut their images into strips, see `conv.strips`.
    """

    members: int | None = None
    strips: bool = False

    @property
    def count(self) -> int:
        """Number of members."""
        return self.members or 1

    def pack(self, tree: T) -> T:
        """Arrays of P members, (P, ..., C), side by side: (..., P * C); (P,) stay."""

        def pack(x: jax.Array) -> jax.Array:
            return jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], -1) if x.ndim > 1 else x

        return jax.tree.map(pack, tree)

    def unpack(self, tree: T, like: T) -> T:
        """The inverse of `pack`; `like` is what was packed, or has its shapes."""

        def unpack(x: jax.Array, like: jax.Array) -> jax.Array:
            if like.ndim == 1:
                return x
            return jnp.moveaxis(x.reshape(*x.shape[:-1], self.count, -1), -2, 0)

        return jax.tree.map(unpack, tree, like)

    def each(self, function: Callable[..., T], *arguments: Any) -> T:
        """What a function of one member gives for each: (P, ...) in a pack."""
        return jax.vmap(function)(*arguments) if self.members else function(*arguments)

    def spread(self, numbers: jax.Array, channels: int) -> jax.Array:
        """Numbers (..., P) for all channels of a pack, (..., channels); scalars stay."""
        if not self.members:
            return numbers
        return jnp.repeat(numbers, channels // self.members, axis=-1)

    def mean(self, x: jax.Array) -> jax.Array:
        """Each member's mean over everything."""
        if not self.members:
            return x.mean()
        return self._grouped(x).mean((*range(x.ndim - 1), x.ndim))

    def channel_sum(self, x: jax.Array) -> jax.Array:
        """Each member's sum over its channels, which leaves one: (..., C) to (..., 1)."""
        if not self.members:
            return x.sum(-1, keepdims=True)
        return self._grouped(x).sum(-1)

    def select(self, which: jax.Array, these: T, others: T) -> T:
        """`these` of members for which `which` is true, `others` of the rest."""

        def choose(a: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.where(self.spread(which, a.shape[-1] if a.ndim else 1), a, b)

        return jax.tree.map(choose, these, others)

    def finite(self, tree: Any) -> jax.Array:
        """Whether all numbers of each member are finite."""
        rows: dict[int, list[jax.Array]] = {}  # of arrays equally wide, to look at them together
        for x in jax.tree.leaves(tree):
            rows.setdefault(x.shape[-1], []).append(x.reshape(-1, x.shape[-1]))
        found = [jnp.isfinite(jnp.concatenate(same)).all(0) for same in rows.values()]
        return jnp.stack([self._grouped(each).all(-1) for each in found]).all(0)

    def block_diagonal(self, kernel: jax.Array) -> jax.Array:
        """(3, 3, C_in, P * C_out) to (3, 3, P * C_in, P * C_out), zero between members."""
        if self.count == 1:
            return kernel
        c_in, c_out = kernel.shape[2], kernel.shape[3] // self.count
        rows = jnp.arange(self.count * c_in)[:, None] // c_in
        columns = jnp.arange(kernel.shape[3]) // c_out
        return jnp.where(rows == columns, jnp.tile(kernel, (1, 1, self.count, 1)), 0)

    def _grouped(self, x: jax.Array) -> jax.Array:
        """(..., P * C) to (..., P, C)."""
        return x.reshape(*x.shape[:-1], self.count, -1)


PLAIN = Layout()
