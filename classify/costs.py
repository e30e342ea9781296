"""What a study costs, estimated before it starts from the speed of the devices at hand."""

import collections
import time

import jax
import jax.numpy as jnp
import pandas as pd

from classify.backbones.backbone import Backbone
from classify.plan.plan import Plan
from singan_jax.devices import sharding
from singan_jax.fleet.cost import relative_cost
from singan_jax.scale.pyramid import Pyramid

_SIZE = 1024  # of the matrices that are multiplied to measure the devices
# Fitted on CPU. On a GPU the networks of a SinGAN are too small to reach the same share of the
# matrix product's speed unless hundreds of them train side by side.
_SINGAN_FLOPS = 3.1e3  # that take as long as one unit of `relative_cost`
_BACKBONE_SHARE = 0.5  # of the matrix product's speed that a backbone reaches
_HEAD_FLOPS = 30  # that take as long as one feature of one patch in one epoch


def matrix_product_rate() -> float:
    """FLOP/s of a float32 matrix product on all devices together, measured in under a second."""
    square = sharding.over_members(lambda x: x @ x)
    devices = jax.device_count()
    x = sharding.to_devices(jnp.ones((devices, _SIZE, _SIZE)) / _SIZE)
    best = float("inf")
    for _ in range(4):  # the first compiles
        start = time.perf_counter()
        jax.block_until_ready(square(x))
        best = min(best, time.perf_counter() - start)
    return devices * 2 * _SIZE**3 / best


def table(plan: Plan, backbone: Backbone, train_generators: bool) -> pd.DataFrame:
    """What each stage has to do and about how many minutes it will take.

    Args:
      plan: of the study.
      backbone: the network that computes the features.
      train_generators: whether generators are trained, rather than samples given.

    Returns:
      One row for each stage: stage, work, minutes.
    """
    rate = matrix_product_rate()
    config = plan.config
    patches = len(plan.records) + len(plan.test_rows) + sum(plan.wanted.values())
    rows = []
    if train_generators and plan.wanted:
        steps, cost = plan.singan.steps_per_scale, _iteration_cost(plan)
        work = f"{len(plan.wanted)} generators{_zooms(plan)}, {steps} iterations a scale"
        flops = len(plan.wanted) * steps * cost * _SINGAN_FLOPS
        rows.append(("train generators", work, flops / rate / 60))
    flops = patches * _backbone_flops(backbone) / _BACKBONE_SHARE
    trained = sum(len(chosen.real) + len(chosen.synthetic) for chosen in plan.sets.values())
    work = f"{len(plan.sets)} classifiers, {config.epochs} epochs"
    if config.train == "head":
        rows.append(("extract features", f"{patches} patches", flops / rate / 60))
        flops = trained * config.epochs * backbone.num_features * _HEAD_FLOPS
    else:
        flops = 3 * trained * config.epochs * _backbone_flops(backbone) / _BACKBONE_SHARE
    rows.append(("train classifiers", work, flops / rate / 60))
    return pd.DataFrame(rows, columns=["stage", "work", "minutes, roughly"])


def _zooms(plan: Plan) -> str:
    """How many generators are of each zoom group, where they are of several."""
    zooms = [record.zoom_group for record in plan.records if record.patch_id in plan.wanted]
    counts = sorted(collections.Counter(zooms).items())
    listed = ", ".join(f"{count} of zoom {zoom}" for zoom, count in counts)
    return f" ({listed})" if len(counts) > 1 else ""


def _iteration_cost(plan: Plan) -> float:
    """The cost of one iteration at every scale of one generator, in units of `relative_cost`."""
    size = plan.config.patch_size
    scales = Pyramid.of((size, size), plan.singan)
    return sum(relative_cost(plan.singan, scales, n) for n in range(scales.num_scales))


def _backbone_flops(backbone: Backbone) -> float:
    """FLOPs of one patch, as XLA counts them; NaN where it gives no count."""
    size = backbone.input_size
    patch = jax.ShapeDtypeStruct((1, size, size, 1), jnp.uint8)
    lowered = jax.jit(backbone.features).lower(backbone.variables, patch)
    return float((lowered.cost_analysis() or {}).get("flops", "nan"))
