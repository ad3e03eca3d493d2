"""A whole run of training compiles its step once, whatever happens to values meanwhile."""

import logging

import jax
import jax.numpy as jnp
import numpy as np

import framework as fw
from framework import optim
from tests.transforms.models import Dense

STEPS, SAVED_AT, RESTORED_AT = 1_000, 500, 800


class Run(fw.BrainPyObject):
    def __init__(self):
        super().__init__()
        self.net = Dense(3, 2)
        self.noise = fw.random.RandomState(0)
        schedule = optim.ExponentialDecayLR(0.05, decay_steps=100, decay_rate=0.9)
        self.opt = optim.AdamW(schedule, self.net.train_vars().unique(), clip_norm=1.0)


def test_a_thousand_steps(tmp_path, caplog):
    run, traces = Run(), []
    weights = run.net.train_vars().unique()

    def loss(x, y):
        return jnp.mean((run.net(x + 0.01 * run.noise.normal(size=3)) - y) ** 2)

    @fw.jit
    def training_step(x, y):
        traces.append(x.shape)
        grads, value = fw.grad(loss, weights, return_value=True)(x, y)
        run.opt.update(grads)
        return value

    x, y = jnp.ones((4, 3)), jnp.zeros((4, 2))
    losses, rates = [], {}
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for number in range(STEPS):
            if number == SAVED_AT:
                run.save_states(tmp_path / "run.msgpack")
            elif number == RESTORED_AT:
                run.load_states(tmp_path / "run.msgpack")
            elif number % 125 == 0:
                run.opt.lr.lr = 0.02 + number / 1e6
                run.opt.beta1 = 0.9 - number / 1e5
            losses.append(training_step(x, y))
            if number % 25 == 0:
                rates[number] = float(run.opt.lr())
    compiled = [r for r in caplog.messages if "Compiling" in r and "training_step" in r]
    assert len(compiled) == 1
    assert len(traces) == training_step.traces == 1
    assert len(set(rates.values())) > len(rates) / 2
    assert losses[-1] < losses[0] / 10
    # What was restored is all that a step depends on.
    again, first = (slice(start, start + 75) for start in (RESTORED_AT, SAVED_AT))
    np.testing.assert_array_equal(losses[again], losses[first])
    assert rates[RESTORED_AT + 50] == rates[SAVED_AT + 50]


def test_another_shape_is_seen(caplog):
    """What the test above relies on."""
    double = fw.jit(lambda x: 2 * x)
    double.fun.__name__ = "doubled"
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        double(jnp.ones(2))
        double(jnp.ones(3))
    assert len([r for r in caplog.messages if "Compiling" in r and "doubled" in r]) == 2
