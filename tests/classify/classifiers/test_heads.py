"""Heads against float64 NumPy and scikit-learn; sampling; independence of what trains beside."""

import jax
import numpy as np
import pytest
import scipy.stats
from scipy import special
from sklearn import linear_model, metrics

from classify.cells import StudyError
from classify.classifiers import heads, training
from classify.classifiers.heads import train_heads
from classify.classifiers.training import TrainSet, TrainSettings

CLASSES = 3


def pool(rng, count=90, width=11):
    """Features and labels that depend on them a little."""
    features = rng.normal(size=(count, width)).astype(np.float32)
    scores = features @ rng.normal(size=(width, CLASSES)) + rng.gumbel(size=(count, CLASSES)) * 3
    return features, scores.argmax(1)


def some_set(rng, key, n, m, count=90, weighted=False):
    weights = rng.uniform(size=n) if weighted else None
    return TrainSet(key, rng.integers(0, count, n), weights, rng.integers(0, count, m))


def train(features, labels, sets, settings):
    return [head for _, head in train_heads(features, labels, CLASSES, sets, settings)]


def cross_entropy(kernel, bias, x, y):
    return -special.log_softmax(x @ kernel + bias, axis=1)[np.arange(len(y)), y]


def reference(features, labels, one, settings):
    """The same training written plainly, in float64: kernel, bias, curves, best epoch.

    And of each epoch, of the training and the validation set, logits and labels.
    """
    x, y = features.astype(np.float64), labels
    start = training.initial_head(one.key, x.shape[1], CLASSES)
    w = np.vstack([start["kernel"].T, start["bias"]]).astype(np.float64)
    m, v, t, curves, best, said = np.zeros_like(w), np.zeros_like(w), 0, [], None, []
    for epoch, rows in enumerate(training.epoch_rows(one, settings.epochs)):
        lr, losses = settings.lr * settings.lr_decay ** (epoch // settings.lr_decay_epochs), []
        logits = []
        for begin in range(0, len(rows), settings.batch_size):
            batch = rows[begin : begin + settings.batch_size]
            losses.append(cross_entropy(w[:-1], w[-1], x[batch], y[batch]))
            ones = np.hstack([x[batch], np.ones((len(batch), 1))])
            logits.append(ones @ w)
            error = special.softmax(ones @ w, axis=1) - np.eye(CLASSES)[y[batch]]
            gradient = ones.T @ error / len(batch)
            t += 1
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            w = w - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        check = one.validation
        loss = cross_entropy(w[:-1], w[-1], x[check], y[check]).mean()
        if best is None or loss < curves[best[0]][1]:
            best = epoch, w
        curves.append((np.concatenate(losses).mean(), loss))
        said.append(((np.concatenate(logits), y[rows]), (x[check] @ w[:-1] + w[-1], y[check])))
    return best[1][:-1], best[1][-1], np.array(curves), best[0], said


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "m"), [(50, 20), (16, 16), (17, 33), (5, 3), (1, 1)])
def test_equals_float64_numpy(n, m, weighted):
    rng = np.random.default_rng(n)
    features, labels = pool(rng)
    settings = TrainSettings(epochs=7, batch_size=16, lr=0.03, lr_decay_epochs=2)
    one = some_set(rng, f"set {n}", n, m, weighted=weighted)
    (head,) = train(features, labels, [one], settings)
    kernel, bias, curves, best_epoch, said = reference(features, labels, one, settings)
    np.testing.assert_allclose(head.curves, curves, rtol=1e-4)
    assert head.best_epoch == best_epoch
    np.testing.assert_allclose(head.kernel, kernel, atol=2e-5)
    np.testing.assert_allclose(head.bias, bias, atol=2e-5)
    expected = special.softmax(features @ kernel + bias, axis=1)
    np.testing.assert_allclose(head.probabilities(features), expected, atol=1e-4)
    for epoch, of_sets in enumerate(said):
        for part, (logits, true) in enumerate(of_sets):
            check_measures(head.measures, (epoch, part), special.softmax(logits, axis=1), true)


def check_measures(found, place, probabilities, labels):
    """Against scikit-learn's; a pair may change its order where float32 cannot tell it apart."""
    called = probabilities.argmax(1)
    expected = metrics.confusion_matrix(labels, called, labels=range(CLASSES))
    np.testing.assert_array_equal(found.confusion[place], expected)
    for k in range(CLASSES):
        area, positive = found.roc_auc[place][k], labels == k
        if positive.all() or not positive.any():
            assert np.isnan(area)
        else:
            expected = metrics.roc_auc_score(positive, probabilities[:, k])
            assert area == pytest.approx(expected, abs=1 / positive.sum() / (~positive).sum())


def test_what_trains_beside_changes_nothing(monkeypatch):
    """Not one bit: other lengths, another place, blocks of another size."""
    rng = np.random.default_rng(0)
    features, labels = pool(rng)
    settings = TrainSettings(epochs=4, batch_size=8)
    sets = [
        some_set(rng, f"set {n}", n, m, weighted=n % 2 == 0)
        for n, m in [(20, 9), (3, 70), (80, 2), (41, 30), (64, 8), (8, 64)]
    ]
    together = train(features, labels, sets, settings)
    alone = [train(features, labels, [one], settings)[0] for one in sets]
    monkeypatch.setattr(heads, "_BLOCK", 1)
    more = [*sets[::-1], some_set(rng, "long", 300, 200)]
    in_blocks = train(features, labels, more, settings)[5::-1]
    assert len(more) > jax.device_count()  # else there is one block only
    assert len(set(map(str, (head.kernel for head in together)))) == len(sets)
    for same in zip(together, alone, in_blocks, strict=True):
        for other in same[1:]:
            jax.tree.map(np.testing.assert_array_equal, other, same[0])


def test_heads_come_in_order_and_block_after_block(monkeypatch):
    monkeypatch.setattr(heads, "_BLOCK", 1)
    begun, member = [], heads._member
    monkeypatch.setattr(heads, "_member", lambda *args: begun.append(0) or member(*args))
    rng = np.random.default_rng(0)
    features, labels = pool(rng)
    sets = [some_set(rng, str(n), 10, 5) for n in range(9)]
    places = []
    for place, _ in train_heads(features, labels, CLASSES, sets, TrainSettings(epochs=1)):
        places.append(place)
        assert place < len(begun) <= place + jax.device_count()  # not all before the first is out
    assert places == list(range(9))


def test_learning_rate_falls_to_a_tenth_every_five_epochs():
    rates = TrainSettings().learning_rates()
    assert rates.shape == (100,)
    np.testing.assert_allclose(rates[[0, 4, 5, 9, 10, 99]], [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-21])


def test_the_schedule_is_stepped():
    rng = np.random.default_rng(1)
    features, labels = pool(rng)
    one = some_set(rng, "a", 60, 30)
    settings = {"epochs": 8, "batch_size": 16, "lr_decay_epochs": 3}
    (stopped,) = train(features, labels, [one], TrainSettings(**settings, lr_decay=1e-20))
    (free,) = train(features, labels, [one], TrainSettings(**settings, lr_decay=1.0))
    validation = stopped.curves[:, 1]
    assert (validation[3:] == validation[2]).all()  # the weights stand still
    assert len({*validation[:3]}) == 3
    assert len({*free.curves[:, 1]}) == 8


def test_the_best_epoch_is_kept():
    """Labels of the validation set contradict those of training: it gets worse with time."""
    rng = np.random.default_rng(2)
    features = rng.normal(size=(60, 5)).astype(np.float32)
    right = (features[:, 0] > 0).astype(int)
    labels = np.where(np.arange(60) < 34, right, 1 - right)  # four of 30 agree
    one = TrainSet("a", np.arange(30), None, np.arange(30, 60))
    settings = TrainSettings(epochs=30, batch_size=10, lr=0.05, lr_decay=1.0)
    (head,) = train(features, labels, [one], settings)
    assert head.best_epoch == head.curves[:, 1].argmin() < 29
    assert head.curves[-1, 1] > head.curves[:, 1].min() + 0.1
    loss = metrics.log_loss(labels[30:], head.probabilities(features[30:]), labels=[0, 1, 2])
    np.testing.assert_allclose(loss, head.curves[:, 1].min(), rtol=1e-5)


def test_of_equal_epochs_the_first_is_the_best():
    rng = np.random.default_rng(3)
    features, labels = pool(rng)
    settings = TrainSettings(epochs=4, lr=1e-30)
    (head,) = train(features, labels, [some_set(rng, "a", 20, 10)], settings)
    assert len({*head.curves[:, 1]}) == 1
    assert head.best_epoch == 0


def test_reaches_the_optimum_of_logistic_regression():
    rng = np.random.default_rng(4)
    features, labels = pool(rng, count=200, width=4)
    everything = np.arange(200)
    one = TrainSet("a", everything, None, everything)
    settings = TrainSettings(epochs=400, batch_size=200, lr=0.05, lr_decay_epochs=150)
    (head,) = train(features, labels, [one], settings)
    best = linear_model.LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(features, labels)
    least = metrics.log_loss(labels, best.predict_proba(features))
    assert least <= head.curves[:, 1].min() + 1e-6
    np.testing.assert_allclose(head.curves[-1, 1], least, rtol=1e-4)
    np.testing.assert_allclose(
        head.probabilities(features), best.predict_proba(features), atol=0.01
    )


def test_separable_classes_are_separated():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, CLASSES, 300)
    features = (np.eye(CLASSES)[labels] * 3 + rng.normal(size=(300, CLASSES)) / 3).astype("f4")
    one = TrainSet("a", np.arange(150), None, np.arange(150, 200))
    (head,) = train(features, labels, [one], TrainSettings(epochs=20, batch_size=16, lr=0.1))
    found = head.probabilities(features[200:])
    assert metrics.roc_auc_score(labels[200:], found, multi_class="ovr") > 0.999
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_unweighted_epochs_visit_each_once_in_different_orders():
    rows = np.array([7, 3, 3, 9, *range(20, 60)])
    orders = training.epoch_rows(TrainSet("a", rows, None, rows), 50)
    assert orders.shape == (50, 44)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.sort(rows), (50, 1)))
    assert len(set(map(bytes, orders))) == 50
    places = np.array([np.flatnonzero(order == 9)[0] for order in orders])
    assert 10 < places.mean() < 33  # of 0 to 43: no favourite place


def test_weighted_epochs_draw_as_often_as_the_weights_say():
    weights = np.array([0.0, 1, 2, 3, 10, 0.5, 0])
    rows = np.array([11, 12, 13, 14, 15, 12, 16])  # 12 twice
    orders = training.epoch_rows(TrainSet("a", rows, weights, rows), 3000)
    assert orders.shape == (3000, 7)
    counts = np.bincount(orders.ravel(), minlength=17)[11:]
    assert counts[0] == counts[5] == 0
    expected = np.array([1.5, 2, 3, 10]) / 16.5 * orders.size
    assert scipy.stats.chisquare(counts[1:5], expected).pvalue > 1e-3
    repeats = [len(set(order)) for order in orders]
    assert max(repeats) <= 4  # with replacement: seven draws of four rows


def test_balanced_weights_balance_the_classes():
    labels = np.repeat([0, 1, 2], [300, 60, 15])
    weights = 1 / np.bincount(labels)[labels]
    orders = training.epoch_rows(TrainSet("a", np.arange(375), weights, labels), 100)
    shares = np.bincount(labels[orders].ravel()) / orders.size
    np.testing.assert_allclose(shares, 1 / 3, atol=5 * (2 / 9 / orders.size) ** 0.5)


def test_the_key_alone_decides():
    rng = np.random.default_rng(6)
    one = some_set(rng, "a", 30, 10)
    np.testing.assert_array_equal(
        training.epoch_rows(one, 3), training.epoch_rows(one._replace(validation=one.train), 5)[:3]
    )
    assert (training.epoch_rows(one, 1) != training.epoch_rows(one._replace(key="b"), 1)).any()
    heads = [training.initial_head(key, 2047, 3)["kernel"] for key in "aab"]
    np.testing.assert_array_equal(heads[0], heads[1])
    assert np.corrcoef(heads[0].ravel(), heads[2].ravel())[0, 1] < 0.1


def test_heads_start_as_pytorch_starts_linear_layers():
    head = training.initial_head("a", 400, 3)
    assert head["kernel"].shape == (3, 400)
    assert head["bias"].shape == (3,)
    for values in head.values():
        assert np.abs(values).max() <= 1 / 20
    uniform = scipy.stats.uniform(-1 / 20, 1 / 10)
    assert scipy.stats.kstest(head["kernel"].ravel(), uniform.cdf).pvalue > 1e-3


def test_a_diverging_head_is_named():
    rng = np.random.default_rng(7)
    features, labels = pool(rng)
    sets = [some_set(rng, "some/key", 20, 10)]
    settings = TrainSettings(epochs=3, lr=1e38)
    with pytest.raises(StudyError, match=r"some/key: .* not finite from epoch 1 .*`lr` is 1e"):
        train(features, labels, sets, settings)
