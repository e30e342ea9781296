"""Networks and their Adam optimisers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from singan_jax.config import Config
from singan_jax.scale.layout import PLAIN, Layout
from singan_jax.scale.networks import Variables


class Network(NamedTuple):
    """Variables of a network and the state of its optimiser."""

    variables: Variables
    optimiser: optax.OptState


def _adam(config: Config) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=config.beta1, b2=0.999, eps=1e-8)


def fresh(config: Config, variables: Variables) -> Network:
    """A network with a new optimiser."""
    return Network(variables, _adam(config).init(variables["params"]))


def update(
    config: Config, network: Network, gradients: Variables, lr: jax.Array, layout: Layout = PLAIN
) -> Network:
    """One Adam step."""
    params = network.variables["params"]
    # Members of a pack are at the same step, but for those that stopped, whose result is not used.
    count = network.optimiser.count
    updates, optimiser = _adam(config).update(
        gradients, network.optimiser._replace(count=count.max()), params
    )
    optimiser = optimiser._replace(count=jnp.broadcast_to(optimiser.count, count.shape))
    updates = jax.tree.map(lambda u: -layout.spread(lr, u.shape[-1]) * u, updates)
    variables = {**network.variables, "params": optax.apply_updates(params, updates)}
    return Network(variables, optimiser)


def restarted(network: Network) -> Network:
    """A network with its optimiser as new."""
    return network._replace(optimiser=jax.tree.map(jnp.zeros_like, network.optimiser))
