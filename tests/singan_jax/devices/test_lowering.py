"""Every program lowers for GPU and TPU, with members as one batch, as they run there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from classify.backbones.backbone import load_backbone
from classify.classifiers import heads, training
from classify.classifiers.training import TrainSettings
from singan_jax.devices import sharding
from singan_jax.devices.bucket import Bucket
from singan_jax.evaluate import measures
from singan_jax.manipulate import animation, operations
from singan_jax.samples import sample
from singan_jax.scale import train_scale

PLATFORMS = {"cuda": "gpu", "tpu": "tpu"}  # names of a platform to lower for, and of its backend
SHAPE = (17, 19, 3)


@pytest.fixture(params=PLATFORMS)
def lowers(request, monkeypatch):
    """Lowers a jitted function for a platform, as if it were the backend; its text."""
    monkeypatch.setattr(jax, "default_backend", lambda: PLATFORMS[request.param])

    def lower(program, *arguments):
        exported = jax.export.export(program, platforms=[request.param])(*arguments)
        assert exported.platforms == (request.param,)
        return exported.mlir_module()

    return lower


@pytest.fixture(scope="module")
def bucket():
    return Bucket(tiny.CONFIG, SHAPE)


def arguments(bucket, scale, members):
    shapes = bucket.shapes[scale]
    frozen = tuple(s.frozen for s in bucket.shapes[:scale])
    return sharding.specs((frozen, shapes.task, shapes.state), members)


@pytest.mark.parametrize("scale", [0, 2])
def test_training(lowers, bucket, scale):
    chunk = functools.partial(train_scale.train_chunk, tiny.CONFIG, bucket.pyramid, scale)
    members = sharding.padded_size(1)
    count = sharding.scalar_spec(jnp.int32)
    program = sharding.over_members(chunk, shared=2, donate=(2,))
    text = lowers(program, *arguments(bucket, scale, members), count, count)
    assert "stablehlo.convolution" in text or "stablehlo.dot_general" in text
    assert not any(word in text for word in ("all_reduce", "all_gather", "collective_permute"))


@pytest.mark.parametrize("scale", [0, 2])
def test_beginning_and_finishing_a_scale(lowers, bucket, scale):
    members = sharding.padded_size(1)
    _, task, state = arguments(bucket, scale, members)
    begin = functools.partial(train_scale.begin, tiny.CONFIG, scale)
    lowers(sharding.over_members(begin), sharding.specs(bucket.shapes[scale].start, members))
    finish = functools.partial(train_scale.finish, tiny.CONFIG, bucket.pyramid, scale)
    lowers(sharding.over_members(finish), task, state)


def test_sampling(lowers, bucket):
    members = sharding.padded_size(1)
    plan = sample.SamplePlan(tiny.CONFIG, bucket.pyramid, 3, bucket.pyramid.num_scales)
    sample.program.cache_clear()  # the one of the backend that tests run on
    frozen = sharding.specs(tuple(s.frozen for s in bucket.shapes), members)
    keys = sharding.specs(jax.eval_shape(lambda: jax.random.key(0)), members)
    first = sharding.specs(jax.ShapeDtypeStruct((), jnp.int32), members)
    try:
        lowers(sample.program(plan, 2), frozen, keys, first)
    finally:
        sample.program.cache_clear()


@pytest.mark.parametrize("task", ["inject", "super_resolve", "animate"])
def test_manipulations(lowers, bucket, task):
    members, plan = sharding.padded_size(1), sample.SamplePlan(tiny.CONFIG, bucket.pyramid, 3, 3, 1)
    frozen = tuple(s.frozen for s in bucket.shapes)
    key = jax.eval_shape(lambda: jax.random.key(0))
    first = jax.ShapeDtypeStruct((), jnp.int32)
    coarse, finest = (jax.ShapeDtypeStruct(s.rec.shape[1:], jnp.float32) for s in bucket.shapes[1:])
    doubled = operations.Enlargement(tiny.CONFIG, bucket.pyramid, 3, 2.0)
    walk = animation.Walk(*(jax.ShapeDtypeStruct((), dtype) for dtype in ("int32", *2 * ("f4",))))
    cached, settings, given = {
        "inject": (operations._injection, (plan, 2), (frozen, coarse, key, first)),
        "super_resolve": (operations._enlargement, (doubled, 2), (frozen[-1], finest, key, first)),
        "animate": (
            animation._program,
            (tiny.CONFIG, bucket.pyramid, 2),
            (frozen, key, walk, first),
        ),
    }[task]
    cached.cache_clear()  # those of the backend that tests run on
    try:
        lowers(cached(*settings), *sharding.specs(given, members))
    finally:
        cached.cache_clear()


def test_measures(lowers, bucket):
    members = sharding.padded_size(1)
    measure = functools.partial(measures.measure_member, weights=())
    arrays = [jax.ShapeDtypeStruct((*n, 17, 18, 3), jnp.float32) for n in ((), (4,))]
    lowers(sharding.over_members(measure), *sharding.specs(arrays, members))


@pytest.mark.parametrize("name", ["alexnet", "resnet50", "resnet_small"])
def test_features(lowers, name):
    backbone = load_backbone(name, "random", 64)
    pixels = jax.ShapeDtypeStruct((4, 64, 64, 1), jnp.uint8)
    assert "stablehlo.convolution" in lowers(
        jax.jit(backbone.features), jax.eval_shape(lambda: backbone.variables), pixels
    )


def test_heads(lowers):
    rows = np.arange(20)
    one = training.TrainSet("key", rows, None, rows)
    settings = TrainSettings(epochs=2, batch_size=8)
    member = heads._member(one, (5, 3), [32, 32], settings.epochs)
    program = sharding.over_members(functools.partial(heads._train, settings), shared=2)
    stacked = jax.tree.map(lambda x: np.stack([x] * sharding.padded_size(1)), member)
    features, labels = np.zeros((20, 5), np.float32), np.zeros(20, np.int32)
    lowers(program, stacked, features, labels)
