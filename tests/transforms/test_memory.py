"""A compiled step takes no more memory than the same written by hand, with donation."""

import functools

import jax
import jax.numpy as jnp
import pytest

import framework as fw
from framework.optim import AdamW

WIDTH, BATCH = 64, 32


class Layer(fw.BrainPyObject):
    def __init__(self, key):
        super().__init__()
        self.w = fw.TrainVar(jax.random.normal(key, (WIDTH, WIDTH)) / WIDTH**0.5)
        self.b = fw.TrainVar(jnp.zeros(WIDTH))


class MLP(fw.BrainPyObject):
    def __init__(self, layers):
        super().__init__()
        self.layers = [Layer(key) for key in jax.random.split(jax.random.key(0), layers)]

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(x @ layer.w + layer.b)
        return x


def by_hand(params, x):
    for w, b in params:
        x = jnp.tanh(x @ w + b)
    return (x**2).mean()


@functools.partial(jax.jit, donate_argnums=0)
def descend(params, x):
    loss, grads = jax.value_and_grad(by_hand)(params, x)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), loss


@functools.partial(jax.jit, donate_argnums=(0, 1, 2))
def adamw(params, m, v, t, x):
    loss, grads = jax.value_and_grad(by_hand)(params, x)
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, grads)
    a, c = 0.1 / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)
    new = jax.tree.map(
        lambda p, m, v: p * (1 - 0.1 * 0.01) - a * m / (jnp.sqrt(v) / c + 1e-8), params, m, v
    )
    return (new, m, v), loss


def needed(lowered):
    found = lowered.compile().memory_analysis()
    inside = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return found.temp_size_in_bytes, inside


@pytest.mark.parametrize("layers", [2, 20])
@pytest.mark.parametrize("optimizer", [False, True])
def test_a_step_needs_no_more_than_one_by_hand(layers, optimizer):
    net, x = MLP(layers), jnp.ones((BATCH, WIDTH))
    variables = net.train_vars().unique()
    gradient = fw.grad(lambda x: (net(x) ** 2).mean(), variables, return_value=True)
    opt = AdamW(0.1, variables) if optimizer else None

    @fw.jit
    def step(x):
        grads, loss = gradient(x)
        if opt is None:
            for key, g in grads.items():
                variables[key].value -= 0.1 * g
        else:
            opt.update(grads)
        return loss

    params = [(layer.w.value, layer.b.value) for layer in net.layers]
    zeros = jax.tree.map(jnp.zeros_like, params)
    if optimizer:
        expected = adamw.lower(params, zeros, zeros, jnp.float32(1), x)
    else:
        expected = descend.lower(params, x)
    (temporary, inside), (most, most_inside) = needed(step.lower(x)), needed(expected)
    assert temporary <= most
    # The hyperparameters are arguments, too: scalars.
    assert inside <= most_inside + (64 if optimizer else 0)
