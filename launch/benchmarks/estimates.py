"""The programs of which suites show what a compiler estimates, made for devices that are described.

For each number of chips, members and pixels: an iteration of every scale, by the program that
trains fleets, and a sample; then features of patches, and the heads of a study.
"""

import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from classify.backbones import weights
from classify.backbones.backbone import BACKBONES, Backbone
from classify.classifiers import features, heads
from classify.classifiers.training import TrainSet, TrainSettings
from launch.benchmarks import arithmetic
from singan_jax.backend import described
from singan_jax.config import Config
from singan_jax.devices import programs, sharding
from singan_jax.devices.bucket import Bucket
from singan_jax.errors import InputError
from singan_jax.samples import sample

SAMPLES = 8  # of each member and call
_HEADS = 16  # on each chip, as `classify.classifiers.heads` has them
_POOL, _FEATURES, _CLASSES = 5408, 2048, 3  # of a study; see `heads` beside this
_ROWS = 2048  # of a head's training set, and of its validation set, so that loops are equally long
_UNITS = {"T": 2**40, "G": 2**30, "M": 2**20, "K": 2**10}


class Case(NamedTuple):
    """A program.

    Attributes:
      row: what it is, as the first entries of a result's row.
      units: iterations of members, samples and so on that a device does in one run.
      flop: of the products that one of those needs.
      make: compiles it.
      iterations: how often loops run whose end depends on values.
      of_loop: whether what counts is one iteration of such a loop, not the whole program.
    """

    row: dict[str, Any]
    units: int
    flop: int
    make: Callable[[], Any]
    iterations: int = 1
    of_loop: bool = False


class Compiled(NamedTuple):
    """A compiled program, and how long that took in seconds."""

    program: Any
    seconds: float


def of_members(config: Config, size: int, members: int, chips: int) -> Iterator[Case]:
    """Training each scale of square colour images of `size` pixels, and sampling.

    Args:
      config: of the members; `max_size` is at least `size`.
      size: in pixels.
      members: on each chip.
      chips: how many.
    """
    bucket = Bucket(config, (size, size, 3))
    sizes = bucket.pyramid.sizes
    for scale, (height, width) in enumerate(sizes):
        row = {"what": "training", "size": size, "scale": scale, "height": height, "width": width}
        row |= {"channels": config.width(scale), "members": members}
        flop = arithmetic.iteration(config, scale, sizes)
        make = functools.partial(programs.chunk_program, bucket, scale, members * chips)
        yield Case(row, members, flop, make, of_loop=True)
    row = {"what": "sampling", "size": size, "members": members}
    flop = arithmetic.sample(config, sizes)
    make = functools.partial(_sampling, bucket, members * chips)
    yield Case(row, members * SAMPLES, flop, make)


def of_classifiers(backbones: Sequence[tuple[str, int]], epochs: int) -> Iterator[Case]:
    """Features of backbones by name and pixels of a patch, and heads of a study."""
    for name, side in backbones:
        backbone = _backbone(name, side)
        pixels = jax.ShapeDtypeStruct((features.BLOCK, side, side, 1), jnp.uint8)
        flop = arithmetic.of_function(backbone.features, backbone.variables, pixels)
        yield Case(
            {"what": f"features of {name}", "size": side, "members": features.BLOCK},
            features.BLOCK,
            flop // features.BLOCK,
            functools.partial(_features, backbone, pixels),
        )
    settings = TrainSettings(epochs=epochs)
    # Each epoch: training forward and for the gradient of the weights, validation forward.
    flop = epochs * 3 * 2 * _ROWS * _FEATURES * _CLASSES
    batches = _ROWS // settings.batch_size
    row = {"what": f"heads, {epochs} epochs", "members": _HEADS}
    yield Case(row, _HEADS, flop, functools.partial(_heads, settings), iterations=batches)


def _sampling(bucket: Bucket, members: int) -> Any:
    scales = tuple(shapes.frozen for shapes in bucket.shapes)
    plan = sample.SamplePlan(bucket.config, bucket.pyramid, bucket.channels, len(scales))
    key = jax.eval_shape(lambda: jax.random.key(0))
    first = jax.ShapeDtypeStruct((), jnp.int32)
    return programs.compiled(sample.program(plan, SAMPLES), members, scales, key, first)


def _backbone(name: str, side: int) -> Backbone:
    """A backbone with shapes in place of weights."""
    module = BACKBONES[name]
    variables = jax.eval_shape(functools.partial(weights.initial, module), jax.random.key(0))
    facts = variables, module.num_features, side, module.last_stage
    return Backbone(name, module, *facts, digest="", origin="")


def _features(backbone: Backbone, block: jax.ShapeDtypeStruct) -> Any:
    variables = sharding.shared_specs(backbone.variables)
    blocks = sharding.padded_size(1)
    return programs.compiled(features.program(backbone), blocks, block, shared=(variables,))


def _heads(settings: TrainSettings) -> Any:
    rows = np.arange(_ROWS)
    member = heads.member(TrainSet("key", rows, None, rows), (_FEATURES, _CLASSES), settings)
    pool = (
        jax.ShapeDtypeStruct((_POOL, _FEATURES), jnp.float32),
        jax.ShapeDtypeStruct((_POOL,), jnp.int32),
    )
    members = _HEADS * sharding.padded_size(1)
    shapes = jax.tree.map(np.asarray, member)
    shared = sharding.shared_specs(pool)
    return programs.compiled(heads.program(settings), members, shapes, shared=shared)


@contextlib.contextmanager
def made_for(devices: Sequence[jax.Device], memory: int) -> Iterator[None]:
    """Inside, programs are made for described devices, of so many bytes each, and not kept.

    JAX writes what it compiles for them to its cache on disk, and then cannot read it.
    """
    kept = jax.config.values["jax_enable_compilation_cache"]
    try:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()  # which else remembers whether it is in use
        with described(devices, memory):
            yield
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)
        compilation_cache.reset_cache()


def compiled(case: Case, memory: int) -> Compiled:
    """Compiles a case, inside `made_for`.

    Raises:
      InputError: it takes more than the `memory` of a device.
    """
    started = time.perf_counter()
    try:
        program = case.make()
    except jax.errors.JaxRuntimeError as error:
        told = re.findall(r"([\d.]+)([TGMK])\b", str(error))
        if "RESOURCE_EXHAUSTED" not in str(error) or len(told) < 2:
            raise
        needed, limit = (float(number) * _UNITS[unit] for number, unit in told[:2])
        raise _too_large(case, needed, limit) from error
    seconds = time.perf_counter() - started
    needs = program.memory_analysis()
    needed = (
        needs.argument_size_in_bytes
        + needs.output_size_in_bytes
        + needs.temp_size_in_bytes
        - needs.alias_size_in_bytes
    )
    if needed > memory:
        raise _too_large(case, needed, memory)
    return Compiled(program, seconds)


def _too_large(case: Case, needed: float, limit: float) -> InputError:
    members = case.row["members"]
    scale = f" scale {case.row['scale']} of" if "scale" in case.row else ""
    size = f"{scale} {case.row['size']} pixels" if "size" in case.row else ""
    return InputError(
        f"`members_per_chip`={members}: {case.row['what']}{size} takes {needed / 2**30:.1f} GiB of "
        f"the {limit / 2**30:.1f} GiB that a chip has; about {int(members * limit / needed)} "
        "members fit"
    )
