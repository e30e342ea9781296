"""Paint-to-image with few colours: the scale that takes the painting is retrained for them.

A painting has flat colours that no image of the coarser scales has. So the official code finds
the main colours of the training image by k-means, and trains the start scale anew, from fresh
weights, on coarse images reduced to them. So does this, or it goes on from the trained weights.

Three things differ on purpose. Colours are clusters of pixels: the official code reads an array of
(channels, height, width) as if the channels came last, so that each of its five "colours" is three
neighbouring levels of one channel. A pixel takes the nearest colour: there, clusters are fitted to
each image again, which breaks up flat areas of a painting into several colours. And the padding
around the coarse image stays zero in training, as it is when a painting goes in.
"""

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import sklearn.cluster
import sklearn.exceptions
import tqdm

from singan_jax.config import Config
from singan_jax.devices import sharding
from singan_jax.samples.sample import SamplePlan
from singan_jax.scale import train_scale
from singan_jax.scale.generate import FrozenScale
from singan_jax.scale.networks import Variables
from singan_jax.scale.pyramid import Pyramid, resize
from singan_jax.scale.train_scale import Start
from singan_jax.scale.train_step import Hyper, ScaleState, Task, iterate
from singan_jax.workdir.finished import FinishedScale

COLOURS = 5  # as in the official code
_CHUNK = 20  # iterations between two updates of the progress bar


def palette(image: np.ndarray) -> np.ndarray:
    """The main colours of an (H, W, C) image by k-means: (COLOURS, C).

    Where it has fewer, the last of them is repeated, which changes nothing in what `quantise` does.
    """
    pixels = image.reshape(-1, image.shape[-1])
    count = min(COLOURS, len(np.unique(pixels, axis=0)))
    while (centres := _centres(pixels, count)) is None:
        count -= 1
    return np.pad(centres, ((0, COLOURS - count), (0, 0)), mode="edge")


def _centres(pixels: np.ndarray, count: int) -> np.ndarray | None:
    """The centres of clusters; None where pixels that rounding alone tells apart have fewer."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", sklearn.exceptions.ConvergenceWarning)
        try:
            means = sklearn.cluster.KMeans(count, n_init=10, random_state=0).fit(pixels)
        except sklearn.exceptions.ConvergenceWarning:
            return None
    centres: np.ndarray = means.cluster_centers_.astype(np.float32)
    return centres


def quantise(images: jax.Array, colours: jax.Array) -> jax.Array:
    """Replaces each pixel by the nearest colour.

    Args:
      images: (..., C).
      colours: (colours, C).

    Returns:
      An array of the shape of `images`.
    """
    distances = jnp.square(images[..., None, :] - colours).sum(-1)  # (..., colours)
    return colours[distances.argmin(-1)]


def coarse_input(plan: SamplePlan, image: jax.Array, colours: jax.Array) -> jax.Array:
    """What enters the start scale when a painting is injected in few colours.

    Args:
      plan: the start scale.
      image: (H, W, C) in [-1, 1], at the size of the finest scale.
      colours: (colours, C).

    Returns:
      (h, w, C) at the size of the start scale.
    """
    sizes, scale = plan.pyramid.sizes, plan.start_scale
    factor = plan.pyramid.ratio ** (len(sizes) - 1 - scale)
    flat = quantise(image, colours)[None]
    return resize(flat, factor, sizes[scale], uint8=plan.config.uint8_resize)[0]


@functools.cache
def _coarse_inputs(plan: SamplePlan) -> Any:
    return jax.jit(jax.vmap(functools.partial(coarse_input, plan)))


def coarse_inputs(plan: SamplePlan, images: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """`coarse_input` of (members, H, W, C) images and (members, colours, C) colours."""
    return np.asarray(_coarse_inputs(plan)(images, colours))


def _chunk(
    config: Config,
    pyramid: Pyramid,
    scale: int,
    scales: Sequence[FrozenScale],
    task: Task,
    state: ScaleState,
    colours: jax.Array,
    first: jax.Array,
    stop: jax.Array,
) -> ScaleState:
    """Iterations as in the first training, on coarse images of few colours."""

    def body(iteration: jax.Array, state: ScaleState) -> ScaleState:
        draws = train_scale.draw(config, pyramid, scale, scales, task, iteration)
        draws = draws._replace(prev=quantise(draws.prev, colours))
        return iterate(config, scale, state, task, draws, iteration)[0]

    return jax.lax.fori_loop(first, stop, body, state)


def _begin(
    config: Config, scale: int, start: Start[jax.Array], colours: jax.Array
) -> tuple[Task, ScaleState]:
    """Begins the scale; its reconstruction starts from few colours, as its random images do."""
    task, state = train_scale.begin(config, scale, start)
    return task._replace(rec_prev=quantise(task.rec_prev, colours)), state


@functools.cache
def _programs(plan: SamplePlan) -> tuple[Any, Any]:
    begin = functools.partial(_begin, plan.config, plan.start_scale)
    chunk = functools.partial(_chunk, plan.config, plan.pyramid, plan.start_scale)
    return sharding.over_members(begin), sharding.over_members(chunk, shared=2, donate=(2,))


def retrain(
    plan: SamplePlan,
    keys: jax.Array,
    hypers: Hyper,
    reals: np.ndarray,
    scales: Sequence[FinishedScale[np.ndarray]],
    colours: np.ndarray,
    *,
    fresh: bool = True,
    quiet: bool = False,
) -> tuple[FrozenScale, np.ndarray]:
    """Trains the start scale for coarse images of few colours.

    From fresh weights, as in the official code, both networks are drawn anew, though at most
    scales training itself starts from those of the scale before, and the amplitude of the noise is
    that of training. Going on, they are the trained ones, and the amplitude is taken from the
    reconstruction in few colours, which is further from the image.

    Args:
      plan: the start scale, n, at least 1; its config says for how many iterations.
      keys: (members,) the members' keys.
      hypers: (members,) their hyperparameters.
      reals: (members, 1, h, w, C) the training images at scale n.
      scales: the finished scales with a leading members axis.
      colours: (members, colours, C).
      fresh: from fresh weights; else on from the trained ones.
      quiet: without a progress bar.

    Returns:
      The scale to put in place of the n-th; and (members,) whether training went well.
    """
    members, scale = len(keys), plan.start_scale
    rec_prev = np.asarray(scales[scale - 1].rec_next)
    networks: tuple[Variables, ...] = ()
    if not fresh:
        rec_prev = np.asarray(jax.vmap(quantise)(jnp.asarray(rec_prev), jnp.asarray(colours)))
        networks = (scales[scale].frozen.generator, scales[scale].discriminator)
    start: Start[np.ndarray] = Start(
        keys, hypers, reals, rec_prev, np.ones(members, bool), networks
    )
    start, colours = sharding.to_devices(sharding.padded((start, colours), members))
    coarser = tuple(finished.frozen for finished in scales[:scale])
    coarser = sharding.to_devices(sharding.padded(coarser, members))
    begin, chunk = _programs(plan)
    task, state = begin(start, colours)
    steps = plan.config.steps_per_scale
    with tqdm.tqdm(total=steps, desc="retraining", unit=" steps", disable=quiet) as bar:
        for first in range(0, steps, _CHUNK):
            stop = min(first + _CHUNK, steps)
            state = chunk(coarser, task, state, colours, np.int32(first), np.int32(stop))
            jax.block_until_ready(state)
            bar.update(stop - first)
    frozen = FrozenScale(state.generator.variables, task.noise_amp, state.z_rec)
    return sharding.to_host((frozen, state.healthy), members)
