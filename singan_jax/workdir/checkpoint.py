"""Saving and restoring arrays: the only file that imports orbax.

A fleet's arrays live in groups of members of one shape. A group's folder holds, as orbax
checkpoints named for what is in them,

    scale_02_members_0000-0063              a finished scale of these members
    scale_02_members_0064-0127_step_000300  the newest state of the members in training

Orbax writes into a temporary folder and renames it, so a name that exists is complete. A name
says which members are inside, so processes that train different members of a group save by
themselves, and any number of processes and devices goes on from what is there.
"""

import asyncio
import functools
import pathlib
import re
import shutil
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint._src.serialization import tensorstore_utils

from singan_jax.devices import sharding
from singan_jax.workdir.record import require_space

T = TypeVar("T")

_NAME = re.compile(r"scale_(\d+)_members_(\d+)-(\d+)(?:_step_(\d+))?")
# As orbax names what it is still writing; up to 0.11 it added the time.
_UNFINISHED = re.compile(_NAME.pattern + r"\.orbax-checkpoint-tmp(-\d+)?")


class CheckpointName(NamedTuple):
    """What one checkpoint holds, as its folder is named.

    Attributes:
      scale: index of the scale.
      members: places in the group.
      step: number of iterations done, or None for a finished scale.
    """

    scale: int
    members: range
    step: int | None = None

    def __str__(self) -> str:
        span = f"{self.members.start:04d}-{self.members.stop - 1:04d}"
        name = f"scale_{self.scale:02d}_members_{span}"
        return name if self.step is None else f"{name}_step_{self.step:06d}"

    @classmethod
    def parse(cls, folder: str) -> "CheckpointName | None":
        """The parsed name of a folder; None if the folder is not a checkpoint."""
        match = _NAME.fullmatch(folder)
        if match is None:
            return None
        scale, first, last = (int(match[n]) for n in (1, 2, 3))
        return cls(scale, range(first, last + 1), None if match[4] is None else int(match[4]))


class _NumpyHandler(ocp.type_handlers.NumpyHandler):
    """Writes NumPy arrays in whichever process saves them.

    Orbax assumes them equal in all processes, and writes only the first one's.
    """

    async def _background_serialize(
        self, values: Sequence[np.ndarray], infos: Sequence[Any], args: Any = None
    ) -> None:
        async def write(value: np.ndarray, info: Any, arg: Any) -> None:
            await info.await_path_creation()
            spec = tensorstore_utils.build_array_write_spec(
                info=info,
                arg=arg,
                global_shape=value.shape,
                local_shape=value.shape,
                dtype=value.dtype,
                use_ocdbt=info.is_ocdbt_checkpoint,
                process_index=sharding.process(),
            )
            await self._open_and_write(value, spec.json, info.ts_context)

        await asyncio.gather(*map(write, values, infos, args))


class Store:
    """The checkpoints of one group."""

    def __init__(self, folder: pathlib.Path, *, read_only: bool = False):
        """Opens a group's folder.

        Args:
          folder: created if missing.
          read_only: leave the folder as it is; another process may be training in it.
        """
        self._folder = folder.absolute()
        self._outdated: list[pathlib.Path] = []
        if not read_only:
            self._folder.mkdir(parents=True, exist_ok=True)

    @functools.cached_property
    def _checkpointer(self) -> ocp.AsyncCheckpointer:
        alone = ocp.options.MultiprocessingOptions(
            primary_host=sharding.process(),
            active_processes={sharding.process()},
            barrier_sync_key_prefix=f"process{sharding.process()}",
        )
        handler = ocp.PyTreeCheckpointHandler(
            multiprocessing_options=alone,
            type_handler_registry=ocp.type_handlers.create_type_handler_registry(
                (jax.Array, ocp.type_handlers.ArrayHandler()), (np.ndarray, _NumpyHandler())
            ),
        )
        # In the background, its end would be signalled under names that all processes share.
        here = ocp.options.AsyncOptions(create_directories_asynchronously=False)
        return ocp.AsyncCheckpointer(handler, async_options=here, multiprocessing_options=alone)

    def clean(self) -> None:
        """Removes what interrupted saves left; call it only while nobody trains in the folder.

        All else stays: people and systems put files of their own anywhere.
        """
        for path in self._folders():
            if _UNFINISHED.fullmatch(path.name):
                # NFS keeps what another process has open; the save that it stops, if any, tells.
                shutil.rmtree(path, ignore_errors=True)

    def names(self) -> list[CheckpointName]:
        """All complete checkpoints, sorted by their folders."""
        return [name for path in self._folders() if (name := CheckpointName.parse(path.name))]

    def _folders(self) -> list[pathlib.Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if path.is_dir())

    def save(self, name: CheckpointName, tree: Any) -> None:
        """Starts saving host arrays; removes what they supersede once the save is complete.

        Args:
          name: says what the arrays are.
          tree: NumPy arrays.

        Raises:
          OSError: this save or the one before it could not be written.
        """
        self.wait()
        require_space(self._folder, sum(x.nbytes for x in jax.tree.leaves(tree)))
        path = self._folder / str(name)
        self._checkpointer.save(path, args=ocp.args.PyTreeSave(tree))
        outdated = _outdated([*self.names(), name])
        self._outdated = [self._folder / str(old) for old in outdated]

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
          OSError: it could not be written.
        """
        try:
            self._checkpointer.wait_until_finished()
        except Exception as error:  # tensorstore reports a full disk as ValueError and others
            raise OSError(f"{self._folder}: cannot write a checkpoint: {error}") from error
        for path in self._outdated:
            shutil.rmtree(path, ignore_errors=True)
        self._outdated = []

    def restore(self, name: CheckpointName, shapes: T) -> T:
        """NumPy arrays of one checkpoint, in the structure of `shapes`."""
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        arguments = ocp.args.PyTreeRestore(item=shapes, restore_args=as_numpy)
        return self._checkpointer.restore(self._folder / str(name), args=arguments)

    def close(self) -> None:
        """Waits for the last save and releases the checkpointer's threads."""
        self.wait()
        self._checkpointer.close()


def _outdated(names: Sequence[CheckpointName]) -> list[CheckpointName]:
    """The unfinished states whose members are all in later checkpoints of the scale."""
    found = []
    for old in names:
        later = [name for name in names if name.scale == old.scale and _is_later(name, old)]
        if all(any(n in name.members for name in later) for n in old.members):
            found.append(old)
    return found


def _is_later(name: CheckpointName, old: CheckpointName) -> bool:
    return old.step is not None and (name.step is None or name.step > old.step)
