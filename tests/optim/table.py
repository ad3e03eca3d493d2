"""Every optimizer with settings, its oracle, and a learning rate that suits the test problems."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

import framework as fw
from framework import optim
from tests.optim import oracles


@dataclass(frozen=True)
class Case:
    """A row of the table.

    `lr` makes 10,000 steps go down the test functions; `settings` are this package's names.
    """

    name: str
    oracle: Any
    lr: float = 0.01
    settings: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    def make(self, train_vars=None, lr=None, **options):
        cls = getattr(optim, self.name)
        return cls(self.lr if lr is None else lr, train_vars, **{**self.settings, **options})

    def __str__(self):
        return self.name + self.label


PLAIN = [
    Case("SGD", oracles.sgd, 2e-3),
    Case("Momentum", oracles.momentum, 5e-4),
    Case("MomentumNesterov", oracles.nesterov, 5e-4),
    Case("Adagrad", oracles.adagrad, 0.2),
    Case("Adadelta", oracles.adadelta, 1.0),
    Case("RMSProp", oracles.rmsprop, 3e-3),
    Case("Adam", oracles.adam, 0.01),
    Case("AdamW", oracles.adamw, 0.01, {"weight_decay": 0.0}),
    Case("NAdam", oracles.nadam, 0.01),
    Case("RAdam", oracles.radam, 3e-3),
    Case("Adamax", oracles.adamax, 0.1),
    Case("Lion", oracles.lion, 3e-3),
    Case("Adan", oracles.adan, 0.01, {"weight_decay": 0.0}),
    Case("LARS", oracles.lars, 0.5, {"weight_decay": 0.0}),
    Case("LAMB", oracles.lamb, 3e-3),
    Case("SM3", oracles.sm3, 0.2),
    Case("Muon", oracles.muon, 0.02, {"weight_decay": 0.0}),
]

VARIANTS = [
    Case("SGD", oracles.sgd, 0.01, {"weight_decay": 0.1}, "-decay"),
    Case("Momentum", oracles.momentum, 0.01, {"momentum": 0.5, "weight_decay": 0.1}, "-decay"),
    Case("MomentumNesterov", oracles.nesterov, 0.01, {"weight_decay": 0.1}, "-decay"),
    Case("Adagrad", oracles.adagrad, 0.01, {"weight_decay": 0.1}, "-decay"),
    Case("Adadelta", oracles.adadelta, 0.5, {"rho": 0.8, "weight_decay": 0.1}, "-decay"),
    Case("RMSProp", oracles.rmsprop, 0.01, {"rho": 0.8, "weight_decay": 0.1}, "-decay"),
    Case("Adam", oracles.adam, 0.01, {"weight_decay": 0.1, "beta1": 0.0}, "-decay"),
    Case("AdamW", oracles.adamw, 0.01, {"amsgrad": True, "maximize": True}, "-amsgrad-maximize"),
    Case("NAdam", oracles.nadam, 0.01, {"weight_decay": 0.1, "momentum_decay": 0.1}, "-decay"),
    Case("RAdam", oracles.radam, 0.01, {"weight_decay": 0.1, "beta2": 0.9}, "-decay"),
    Case("Adamax", oracles.adamax, 0.01, {"weight_decay": 0.1}, "-decay"),
    Case("Lion", oracles.lion, 0.01, {"weight_decay": 0.1}, "-decay"),
    Case("Adan", oracles.adan, 0.01, {"weight_decay": 0.1}, "-prox"),
    Case("Adan", oracles.adan, 0.01, {"weight_decay": 0.1, "no_prox": True}, "-no-prox"),
    Case("LARS", oracles.lars, 0.5, {"weight_decay": 0.1, "tc": 0.1}, "-decay"),
    Case("LAMB", oracles.lamb, 0.01, {"weight_decay": 0.1}, "-decay"),
    Case("SM3", oracles.sm3, 0.1, {"beta": 0.9, "momentum": 0.9, "weight_decay": 0.1}, "-ema"),
    Case("Muon", oracles.muon, 0.02, {"nesterov": False, "ns_steps": 3}, "-plain"),
    Case("Muon", oracles.muon, 0.02, {"adjust": "match_adamw"}, "-match-adamw"),
]


class Net(fw.BrainPyObject):
    """A small model: parameters of two, one and no axes."""

    def __init__(self, dtype=jnp.float32, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.w = fw.TrainVar(jnp.asarray(rng.normal(size=(4, 3)), dtype))
        self.b = fw.TrainVar(jnp.asarray(rng.normal(size=3), dtype))
        self.s = fw.TrainVar(jnp.asarray(rng.normal(), dtype))

    def loss(self, x):
        return jnp.sum(jnp.tanh(x @ self.w.value + self.b.value) * self.s.value) ** 2


class Trainer(fw.BrainPyObject):
    """A model and its optimizer under one root."""

    def __init__(self, case, seed=0, dtype=jnp.float32, **options):
        super().__init__()
        self.net = Net(dtype, seed)
        self.opt = case.make(self.net.train_vars("relative"), **options)

    def step(self, x):
        variables = self.net.train_vars("relative")
        self.opt.update(fw.grad(self.net.loss, variables)(x))

    def values(self):
        return {key: np.asarray(v.value) for key, v in self.net.vars("relative").items()}


def batches(count, dtype=np.float32):
    """Inputs; one is all zeros."""
    x = np.random.default_rng(1).normal(size=(count, 2, 4)).astype(dtype)
    x[count // 2] = 0
    return x
