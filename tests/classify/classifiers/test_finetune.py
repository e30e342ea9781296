"""Fine-tuning against plain loops, against training of heads, and on other numbers of devices."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from sklearn import metrics

from classify.backbones.backbone import Backbone
from classify.backbones.resnet import Block, ResNet
from classify.cells import StudyError
from classify.classifiers import finetune, training
from classify.classifiers.finetune import train_network
from classify.classifiers.heads import train_heads
from classify.classifiers.training import TrainSet, TrainSettings
from singan_jax.devices import sharding

CLASSES, SIDE = 3, 8
SETTINGS = TrainSettings(epochs=3, batch_size=6, lr=0.01, lr_decay_epochs=2)


class Flat(nn.Module):
    """Pixels are features; there is nothing to train."""

    num_features = SIDE * SIDE * 3
    last_stage = ()

    def __call__(self, x, train):
        return x.reshape(len(x), -1)


class Plain(nn.Module):
    """Two convolutions without norms."""

    num_features = 5
    last_stage: ClassVar = ("second",)

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Conv(4, (3, 3), 2, name="first")(x))
        return nn.relu(nn.Conv(5, (3, 3), name="second")(x)).mean((1, 2))


NORMED = ResNet((1, 1), width=4, small_stem=True)


@functools.cache
def backbone(module):
    variables = jax.jit(functools.partial(module.init, train=False))(
        jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3))
    )
    variables = jax.device_get({"params": {}, **variables})
    names = module.num_features, SIDE, module.last_stage
    return Backbone("tiny", module, variables, *names, digest="", origin="")


def pool(seed=0, count=40):
    """Noise; the class is the third of the rows that is brighter."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    pixels = rng.integers(0, 160, (count, SIDE, SIDE, 1))
    for place, label in enumerate(labels):
        pixels[place, 3 * label : 3 * label + 2] += 90
    return pixels.astype(np.uint8), labels


def some_set(weighted=False):
    rng = np.random.default_rng(1)
    rows = rng.permutation(40)
    return TrainSet("a", rows[:21], rng.uniform(size=21) if weighted else None, rows[21:30])


def train(module, one, settings=SETTINGS, trainable="all", seed=0):
    pixels, labels = pool(seed)
    return train_network(backbone(module), pixels, labels, CLASSES, one, settings, trainable)


def one_device(monkeypatch):
    names, auto = (sharding.AXIS,), (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((1,), names, auto, devices=jax.devices()[:1])
    monkeypatch.setattr(sharding, "mesh", lambda: mesh)
    monkeypatch.setattr(sharding, "padded_size", lambda members: members)


@pytest.mark.parametrize("weighted", [False, True])
def test_without_a_network_it_trains_heads(weighted):
    pixels, labels = pool()
    one = some_set(weighted)
    network = train(Flat(), one)
    features = np.asarray(backbone(Flat()).prepare(pixels)).reshape(len(pixels), -1)
    ((_, head),) = train_heads(features, labels, CLASSES, [one], SETTINGS)
    np.testing.assert_allclose(network.curves, head.curves, rtol=1e-4)
    np.testing.assert_array_equal(network.measures.confusion, head.measures.confusion)
    np.testing.assert_allclose(network.measures.roc_auc, head.measures.roc_auc, atol=0.02)
    assert network.best_epoch == head.best_epoch
    found, expected = network.probabilities(pixels), head.probabilities(features)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("trainable", ["all", "last_stage"])
def test_equals_a_plain_loop(trainable):
    """Of partial batches as they are, on one device, with Optax' own Adam and schedule."""
    pixels, labels = pool()
    one, net = some_set(), backbone(Plain())
    images = net.prepare(pixels)
    start = training.initial_head(one.key, Plain.num_features, CLASSES)
    params = {"net": net.variables["params"], "head": start}

    def loss(params, rows):
        features = net.module.apply({"params": params["net"]}, images[rows], True)
        logits = features @ params["head"]["kernel"].T + params["head"]["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

    drops = {8: 0.1}  # of four steps an epoch, after two epochs
    adam = optax.adam(optax.piecewise_constant_schedule(0.01, drops))
    optimiser, checks, best = adam.init(params), [], None
    for rows in training.epoch_rows(one, 3):
        for begin in range(0, 21, 6):
            gradients = jax.grad(loss)(params, rows[begin : begin + 6])
            if trainable == "last_stage":
                gradients["net"]["first"] = jax.tree.map(jnp.zeros_like, gradients["net"]["first"])
            updates, optimiser = adam.update(gradients, optimiser)
            params = optax.apply_updates(params, updates)
        checks.append(loss(params, one.validation))
        if checks[-1] == min(checks):
            best = params
    network = train(Plain(), one, trainable=trainable)
    np.testing.assert_allclose(network.curves[:, 1], checks, rtol=1e-4)
    features = net.module.apply({"params": best["net"]}, images, True)
    logits = features @ best["head"]["kernel"].T + best["head"]["bias"]
    np.testing.assert_allclose(network.probabilities(pixels), nn.softmax(logits), atol=1e-4)


@pytest.mark.parametrize("module", [Plain(), NORMED], ids=["plain", "normed"])
def test_number_of_devices_does_not_matter(module, monkeypatch):
    """Without norms for any batch size, with norms for those that devices divide."""
    pixels, _ = pool()
    size = {Plain: 6, ResNet: 8}[type(module)]
    settings = TrainSettings(epochs=2, batch_size=size, lr=1e-3)
    split = train(module, some_set(), settings)
    found = split.probabilities(pixels)
    assert jax.device_count() > 1
    one_device(monkeypatch)
    whole = train(module, some_set(), settings)
    atol = 1e-5 if module == Plain() else 1e-4
    np.testing.assert_allclose(split.curves, whole.curves, atol=atol)
    np.testing.assert_allclose(found, whole.probabilities(pixels), atol=atol)


def test_frozen_stages_stay_and_trained_norms_follow_the_batch():
    pixels, labels = pool(count=8)
    net = backbone(NORMED)
    rng = np.random.default_rng(0)
    noisy = jax.tree.map(lambda x: x + rng.uniform(size=x.shape).astype("f4"), net.variables)
    net = Backbone("tiny", NORMED, noisy, *([net.num_features, SIDE, net.last_stage]), "", "")
    start = finetune._start(net, CLASSES, "a", "last_stage")
    optimiser = training.start_adam((start.trained, start.head))
    batch = finetune._batch(pixels, labels, np.arange(8), 0, 8, 8)
    after, _, _ = finetune._step(net, start, optimiser, batch, 1e-2)

    assert set(after.trained) == {"layer2_0"}
    assert set(after.frozen) == {"conv1", "layer1_0"}
    jax.tree.map(
        np.testing.assert_array_equal, after.frozen, {n: noisy["params"][n] for n in after.frozen}
    )
    for moved, before in zip(*map(jax.tree.leaves, (after.trained, start.trained)), strict=True):
        assert (np.abs(moved - before) > 1e-3).mean() > 0.9
    for name in after.frozen:
        jax.tree.map(
            np.testing.assert_array_equal, after.batch_stats[name], noisy["batch_stats"][name]
        )
    # The last stage alone, in training, on what the frozen part gives in evaluation.
    _, seen = NORMED.apply(noisy, net.prepare(pixels), False, capture_intermediates=True)
    (inputs,) = seen["intermediates"]["layer1_0"]["__call__"]
    last = {kind: noisy[kind]["layer2_0"] for kind in noisy}
    block = Block(width=8, stride=2, bottleneck=False)
    _, expected = block.apply(last, inputs, True, mutable=["batch_stats"])
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
        after.batch_stats["layer2_0"],
        expected["batch_stats"],
    )
    unlike = jax.tree.map(
        lambda x, y: np.abs(x - y).max(), last["batch_stats"], expected["batch_stats"]
    )
    assert min(jax.tree.leaves(unlike)) > 1e-3


def test_what_fills_a_batch_up_are_patches_of_the_epoch():
    pixels, labels = pool()
    rows = np.arange(10, 19)
    batch = finetune._batch(pixels, labels, rows, 6, 6, 8)
    np.testing.assert_array_equal(batch.pixels, pixels[[16, 17, 18, 10, 11, 12, 13, 14]])
    np.testing.assert_array_equal(batch.labels, labels[[16, 17, 18, 10, 11, 12, 13, 14]])
    np.testing.assert_array_equal(batch.real, [True] * 3 + [False] * 5)
    batch = finetune._batch(pixels, labels, rows, 0, 6, 8)
    np.testing.assert_array_equal(batch.real, [True] * 6 + [False] * 2)


def test_learns_what_is_to_be_seen_and_keeps_the_best_epoch():
    pixels, labels = pool()
    rows = np.arange(40)
    one = TrainSet("a", rows[:24], None, rows[24:32])
    settings = TrainSettings(epochs=12, batch_size=8, lr=0.02, lr_decay=1.0)
    counts = []
    network = train_network(
        backbone(NORMED), pixels, labels, CLASSES, one, settings, "all", counts.append
    )
    assert counts == [1] * 12
    assert network.curves.shape == (12, 2)
    assert network.best_epoch == network.curves[:, 1].argmin()
    found = network.probabilities(pixels[one.validation])
    loss = metrics.log_loss(labels[one.validation], found, labels=range(CLASSES))
    np.testing.assert_allclose(loss, network.curves[:, 1].min(), rtol=1e-4)
    found = network.probabilities(pixels[32:])
    assert metrics.accuracy_score(labels[32:], found.argmax(1)) == 1


def test_the_first_of_equal_epochs_is_the_best_and_the_backbone_stays():
    before = jax.tree.map(np.copy, backbone(Plain()).variables)
    network = train(Plain(), some_set(), TrainSettings(epochs=3, lr=1e-30))
    assert len({*network.curves[:, 1]}) == 1
    assert network.best_epoch == 0
    train(Plain(), some_set())
    jax.tree.map(np.testing.assert_array_equal, backbone(Plain()).variables, before)


def test_a_diverging_network_is_named_in_its_first_epoch():
    counts = []
    pixels, labels = pool()
    settings = TrainSettings(epochs=50, lr=1e38)
    with pytest.raises(StudyError, match=r"classifier a: .* not finite from epoch 1 .*`lr`"):
        train_network(
            backbone(Plain()), pixels, labels, CLASSES, some_set(), settings, "all", counts.append
        )
    assert not counts
