"""Spreading members over devices: the only file that knows of meshes and of other processes.

Members are independent, so the fleet axis is split over devices and each device runs its own
members by itself: `shard_map`, no collectives. (`jit` with a sharded `vmap` is not an
alternative: XLA's partitioner mishandles the weight gradient of a convolution batched over
weights, silently.)

Where several processes train one fleet, each has its own members on its own devices: a
mesh never spans processes, so none waits for another inside a program, and compilers, slices and
checkpoints are unaware of it. What the processes have to tell each other goes through `gathered`.

A thread may keep to some of the devices (`on`), so that several threads train beside each other.
"""

import atexit
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from data_pipeline.files import limits
from singan_jax import backend
from singan_jax.devices.packs import Packs

AXIS = "fleet"
T = TypeVar("T")  # any pytree


def mesh() -> Mesh:
    """The devices of this thread in a line."""
    return Mesh(np.array(backend.devices()), (AXIS,), axis_types=(AxisType.Auto,))


def padded_size(members: int) -> int:
    """`members` rounded up to a multiple of the number of devices."""
    return -(-members // len(backend.devices())) * len(backend.devices())


def padded(tree: T, members: int) -> T:
    """Repeats the last member until there are `members`, rounded up to whole devices."""
    members = padded_size(members)

    def pad(x: Any) -> Any:
        missing = members - x.shape[0]
        if not missing:
            return x
        stack = jnp if isinstance(x, jax.Array) else np
        return stack.concatenate([x, stack.repeat(x[-1:], missing, axis=0)])

    return jax.tree.map(pad, tree)


def to_devices(tree: T) -> T:
    """Puts arrays whose leading axis is the fleet's on the devices, split along it."""
    sharding = NamedSharding(mesh(), PartitionSpec(AXIS))
    return jax.device_put(tree, sharding)


def to_all_devices(tree: T) -> T:
    """Puts a copy of every array on each device."""
    return jax.device_put(tree, NamedSharding(mesh(), PartitionSpec()))


def to_host(tree: T, members: int) -> T:
    """The first `members` entries of every array, as NumPy arrays."""
    return jax.tree.map(lambda x: np.asarray(x)[:members], jax.device_get(tree))


def specs(tree: T, members: int) -> T:
    """Shapes of per-member arrays stacked `members` deep and split over the devices.

    Args:
      tree: shapes (or arrays) of one member.
      members: a multiple of the number of devices.
    """
    sharding = NamedSharding(mesh(), PartitionSpec(AXIS))
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((members, *x.shape), x.dtype, sharding=sharding), tree
    )


def shared_specs(tree: T) -> T:
    """Shapes of arrays (or shapes) that are the same for all members."""
    sharding = NamedSharding(mesh(), PartitionSpec())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def scalar_spec(dtype: Any) -> jax.ShapeDtypeStruct:
    """A scalar that is the same for all members."""
    return shared_specs(jax.ShapeDtypeStruct((), dtype))


def over_members(
    function: Callable[..., Any],
    shared: int = 0,
    donate: tuple[int, ...] = (),
    packs: Callable[[int], Packs | None] | None = None,
) -> Any:
    """Runs a function of one member for a whole fleet.

    On CPU a device runs its members one after another, which keeps each in cache and avoids
    convolutions batched over weights; elsewhere it runs them as one batch.

    Args:
      function: takes and returns pytrees of one member; its last `shared` arguments, pytrees
        too, are common to all members.
      shared: how many those are.
      donate: indices of arguments whose memory the result may take over.
      packs: how so many members of a device are gathered into packs, if they are; `function` then
        takes and returns what belongs to the P members of one, (P, ...), and is told `layout`.

    Returns:
      A jitted function of the same arguments with a leading fleet axis (a multiple of the number
      of devices) on all but the shared ones. It stays with the devices of the thread that made it.
    """
    spread_over = mesh()

    def local(*arguments: Any) -> Any:
        split = len(arguments) - shared
        members, common = arguments[:split], arguments[split:]
        if packs and (made := packs(len(jax.tree.leaves(members)[0]))):
            of_pack = functools.partial(function, layout=made.layout)
            return _by_packs(made, lambda *pack: of_pack(*pack, *common), members)
        if backend.backend() == "cpu":
            return jax.lax.map(lambda member: function(*member, *common), members)
        return jax.vmap(lambda *member: function(*member, *common))(*members)

    def spread(*arguments: Any) -> Any:
        split = len(arguments) - shared
        in_specs = (PartitionSpec(AXIS),) * split + (PartitionSpec(),) * shared
        mapped = jax.shard_map(
            local,
            mesh=spread_over,
            in_specs=in_specs,
            out_specs=PartitionSpec(AXIS),
            check_vma=False,
        )
        return mapped(*arguments)

    return jax.jit(spread, donate_argnums=donate)


def _by_packs(packs: Packs, function: Callable[..., Any], members: Sequence[Any]) -> Any:
    """A function of one pack's members for all members of a device, (members, ...)."""
    count = len(jax.tree.leaves(members)[0])
    shape = packs.groups, packs.at_once, packs.layout.count
    places = jnp.minimum(jnp.arange(packs.members), count - 1).reshape(shape)
    grouped = jax.tree.map(lambda x: x[places], tuple(members))
    one_group = jax.vmap(function)
    results = jax.lax.map(lambda group: one_group(*group), grouped)
    return jax.tree.map(lambda x: x.reshape(packs.members, *x.shape[3:])[:count], results)


def memory() -> int:
    """Bytes of a device's memory; for CPU devices, which share it, what this process may use."""
    if given := backend.described_memory():
        return given
    stats = backend.devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or limits.memory_bytes()


def fits(compiled: Any, share: float) -> bool:
    """Whether a compiled program and its arguments fit into `share` of each device's memory.

    CPU devices share half the machine's memory, or its container's; the other half is for the
    host's own copies.
    """
    limit = memory()
    if backend.backend() == "cpu":
        limit //= 2 * len(backend.devices())
    needs = compiled.memory_analysis()
    total = (
        needs.argument_size_in_bytes
        + needs.output_size_in_bytes
        + needs.temp_size_in_bytes
        - needs.alias_size_in_bytes
    )
    return total <= share * limit


def join(
    coordinator: str | None, num_processes: int | None, process_id: int | None, patience: int = 100
) -> None:
    """Makes this process one of several that train a fleet; call it before anything uses a device.

    Args:
      coordinator: host and port where the first process listens; JAX finds out whatever is None.
      num_processes: how many there are.
      process_id: which one this is, from 0.
      patience: seconds of silence after which a process counts as dead, which ends them all.

    Raises:
      ValueError: JAX could not find out what is None.
      RuntimeError: this process joined before. (If the others do not join within 5 minutes, JAX
        ends the process, with a traceback of its own.)
    """
    # JAX's handler would swallow a SIGTERM that comes before ours is installed.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator, num_processes, process_id, heartbeat_timeout_seconds=patience
    )


def processes() -> int:
    """Number of processes that train together."""
    return jax.process_count()


def process() -> int:
    """The index of this process; the first, 0, writes what exists once for all of them."""
    return jax.process_index()


def gathered(values: Sequence[int]) -> np.ndarray:
    """The values that each process passes; waits until all have called this.

    Args:
      values: numbers of 31 bits, the same count in all processes.

    Returns:
      (processes, values) int32.

    Raises:
      ConnectionError: another process is gone.
    """
    own = np.array(values, np.int32)[None]
    if processes() == 1:
        return own
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    everyone = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
    split, copied = (
        NamedSharding(everyone, spec) for spec in (PartitionSpec(AXIS), PartitionSpec())
    )
    rows = jax.make_array_from_callback((len(devices), len(values)), split, lambda _: own)
    try:
        copies = np.asarray(jax.jit(_same, out_shardings=copied)(rows).addressable_data(0))
    except jax.errors.JaxRuntimeError as error:
        atexit.register(_exit_alone)
        raise ConnectionError(
            f"another process of this run is gone ({str(error).splitlines()[0][:200]}); the same "
            "command goes on from here"
        ) from error
    owners = [device.process_index for device in devices]
    return copies[[owners.index(n) for n in range(processes())]]


def _same(x: jax.Array) -> jax.Array:
    return x


def _exit_alone() -> None:
    """Ends this process without JAX's shutdown, which aborts when another is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
