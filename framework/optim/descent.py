"""Gradient descent, momentum, and step sizes from sums of squared gradients."""

# The formula of a rule is in the docstring of its class; not every rule uses every argument.
# ruff: noqa: ARG004, D102

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from framework.optim.hyperparameters import is_zero
from framework.optim.optimizer import Optimizer
from framework.optim.precision import real_shape

__all__ = [
    "SGD",
    "SM3",
    "Adadelta",
    "Adagrad",
    "Momentum",
    "MomentumNesterov",
    "RMSProp",
]


class SGD(Optimizer):
    """Stochastic gradient descent (Robbins and Monro, 1951, doi:10.1214/aoms/1177729586).

    ``θ ← θ − γ g``, after the decoupled decay ``θ ← θ − γ λ θ``.

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        weight_decay: λ, multiplied with the learning rate.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.ones(2))
    >>> SGD(0.5, {"w": w}).update({"w": jnp.array([1.0, -1.0])})
    >>> [round(float(x), 3) for x in w]
    [0.5, 1.5]
    """

    defaults: ClassVar = {"weight_decay": None}

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        return h.lr * g


class Momentum(Optimizer):
    """Gradient descent with momentum (Qian, 1999, doi:10.1016/S0893-6080(98)00116-6).

    After the decoupled decay ``θ ← θ − γ λ θ``::

        v ← μ v − γ g
        θ ← θ + v

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        momentum: μ.
        weight_decay: λ, multiplied with the learning rate.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.zeros(1))
    >>> opt = Momentum(1.0, {"w": w}, momentum=0.5)
    >>> for _ in range(2):
    ...     opt.update({"w": jnp.ones(1)})
    >>> [round(float(x), 3) for x in w]
    [-2.5]
    """

    defaults: ClassVar = {"momentum": 0.9, "weight_decay": None}
    slots = ("v",)

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        s.v = h.momentum * s.v - h.lr * g
        return -s.v


class MomentumNesterov(Momentum):
    """Momentum with Nesterov's look-ahead (Sutskever et al., 2013, ICML, eq. 3–4).

    In terms of the parameter looked ahead to, after the decoupled decay ``θ ← θ − γ λ θ``::

        v ← μ v − γ g
        θ ← θ + μ v − γ g

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        weight_decay: λ, multiplied with the learning rate.
        momentum: μ.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.zeros(1))
    >>> MomentumNesterov(1.0, {"w": w}, momentum=0.5).update({"w": jnp.ones(1)})
    >>> [round(float(x), 3) for x in w]
    [-1.5]
    """

    defaults: ClassVar = {"weight_decay": None, "momentum": 0.9}

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        Momentum.rule(p, g, s, h)
        return h.lr * g - h.momentum * s.v


class Adagrad(Optimizer):
    """Step sizes from the sum of squared gradients (Duchi et al., 2011, JMLR 12:2121).

    After the decoupled decay ``θ ← θ − γ λ θ``::

        c ← c + g²
        θ ← θ − γ g / √(c + ε)

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        weight_decay: λ, multiplied with the learning rate.
        epsilon: ε, inside of the root.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.zeros(1))
    >>> Adagrad(1.0, {"w": w}).update({"w": 2 * jnp.ones(1)})
    >>> [round(float(x), 3) for x in w]
    [-1.0]
    """

    defaults: ClassVar = {"weight_decay": None, "epsilon": 1e-6}
    slots = ("cache",)

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        s.cache = s.cache + g**2
        return h.lr * g / jnp.sqrt(s.cache + h.epsilon)


class RMSProp(Optimizer):
    """Step sizes from the mean of squared gradients (Tieleman and Hinton, 2012, lecture 6.5).

    After the decoupled decay ``θ ← θ − γ λ θ``::

        c ← ρ c + (1 − ρ) g²
        θ ← θ − γ g / √(c + ε)

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        weight_decay: λ, multiplied with the learning rate.
        epsilon: ε, inside of the root.
        rho: ρ.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.zeros(1))
    >>> RMSProp(1.0, {"w": w}, rho=0.75).update({"w": 2 * jnp.ones(1)})
    >>> [round(float(x), 3) for x in w]
    [-2.0]
    """

    defaults: ClassVar = {"weight_decay": None, "epsilon": 1e-6, "rho": 0.9}
    slots = ("cache",)

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        s.cache = h.rho * s.cache + (1 - h.rho) * g**2
        return h.lr * g / jnp.sqrt(s.cache + h.epsilon)


class Adadelta(Optimizer):
    """Step sizes in the unit of the parameter (Zeiler, 2012, arXiv:1212.5701, algorithm 1).

    After the decoupled decay ``θ ← θ − γ λ θ``::

        c ← ρ c + (1 − ρ) g²
        u = g √(d + ε) / √(c + ε)
        d ← ρ d + (1 − ρ) u²
        θ ← θ − γ u

    Args:
        lr: Learning rate γ; 1 in the paper.
        train_vars: The parameters to train, by key.
        weight_decay: λ, multiplied with the learning rate.
        epsilon: ε.
        rho: ρ.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.zeros(1))
    >>> Adadelta(train_vars={"w": w}, rho=0.75).update({"w": jnp.ones(1)})
    >>> [round(float(x), 4) for x in w]
    [-0.002]
    """

    defaults: ClassVar = {"lr": 1.0, "weight_decay": None, "epsilon": 1e-6, "rho": 0.95}
    slots = ("cache", "delta")

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        s.cache = h.rho * s.cache + (1 - h.rho) * g**2
        change = g * jnp.sqrt(s.delta + h.epsilon) / jnp.sqrt(s.cache + h.epsilon)
        s.delta = h.rho * s.delta + (1 - h.rho) * change**2
        return h.lr * change


class SM3(Optimizer):
    """Adagrad with one accumulator for each row, column, … (Anil et al., 2019, arXiv:1901.11150).

    For an array with axes 1 … n and an accumulator μᵢ for each slice across axis i, after the
    decoupled decay ``θ ← θ − γ λ θ`` (algorithm SM3-II, and a mean in the place of the sum if
    β > 0)::

        ν = minᵢ μᵢ + g²                   if β = 0
        ν = β minᵢ μᵢ + (1 − β) g²         otherwise
        μᵢ ← max(μᵢ, maximum of ν over all axes but i)
        u = g / √(ν + ε)
        b ← α b + (1 − α) u                if α > 0; then b is used for u
        θ ← θ − γ u

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        beta: β.
        momentum: α.
        eps: ε, inside of the root.
        weight_decay: λ, multiplied with the learning rate.
        name: A unique name.
        **options: See :class:`Optimizer`.

    Raises:
        ValueError: beta or momentum is not in [0, 1), or eps is negative.

    >>> from framework import Variable
    >>> w = Variable(jnp.zeros(2))
    >>> SM3(0.1, {"w": w}).update({"w": jnp.array([1.0, -3.0])})
    >>> [round(float(x), 3) for x in w]
    [-0.1, 0.1]
    """

    defaults: ClassVar = {"beta": 0.0, "momentum": 0.0, "eps": 1e-30, "weight_decay": None}
    momentum: Any

    def slots_for(self, parameter: Any) -> dict[str, tuple[int, ...]]:
        shape = real_shape(parameter)
        ones = [1] * len(shape)
        covers = {f"m{i}": (*ones[:i], n, *ones[i + 1 :]) for i, n in enumerate(shape)}
        buffer = {} if is_zero(self.momentum) else {"mbuffer": shape}
        return (covers or {"m0": ()}) | buffer

    def __setattr__(self, key: str, value: Any) -> None:
        if key == "momentum" and key in vars(self) and is_zero(self.momentum):
            raise ValueError(
                "This SM3 was made without momentum and has no buffers for it. Make another one "
                "with `momentum=...`, which can be changed later."
            )
        super().__setattr__(key, value)

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        covers = {key: getattr(s, key) for key in s if key != "mbuffer"}
        least = jnp.broadcast_to(jnp.asarray(0.0, p.dtype), p.shape)
        for index, cover in enumerate(covers.values()):
            least = jnp.minimum(least, cover) if index else jnp.broadcast_to(cover, p.shape)
        nu = jnp.where(h.beta > 0, h.beta, 1) * least + (1 - h.beta) * g**2
        for index, (key, cover) in enumerate(covers.items()):
            others = tuple(axis for axis in range(p.ndim) if axis != index)
            setattr(s, key, jnp.maximum(cover, jnp.max(nu, axis=others, keepdims=True)))
        change = g / jnp.sqrt(nu + h.eps)
        if hasattr(s, "mbuffer"):
            change = s.mbuffer = h.momentum * s.mbuffer + (1 - h.momentum) * change
        return h.lr * change
