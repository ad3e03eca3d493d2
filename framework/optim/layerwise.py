"""Steps whose size or direction depends on a parameter as a whole: LARS, LAMB, Muon."""

# The formula of a rule is in the docstring of its class.
# ruff: noqa: D102

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from framework.optim.adam import Adam, corrected
from framework.optim.optimizer import Optimizer
from framework.optim.precision import real_shape

__all__ = ["LAMB", "LARS", "Muon"]


def trust_ratio(above: jax.Array, below: jax.Array, ratio: jax.Array) -> jax.Array:
    """The ratio, or 1 where one of the norms is 0."""
    return jnp.where((above > 0) & (below > 0), ratio, 1)


def norm(x: jax.Array) -> jax.Array:
    """The Euclidean norm of all elements."""
    return jnp.sqrt(jnp.sum(x**2))


class LARS(Optimizer):
    """Layer-wise adaptive rates (You, Gitman and Ginsburg, 2017, arXiv:1708.03888, algorithm 1).

    With norms over the whole parameter::

        r = η ‖θ‖ / (‖g‖ + λ ‖θ‖ + ε), 1 if ‖θ‖ or ‖g‖ is 0
        m ← μ m + γ r (g + λ θ)
        θ ← θ − m

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        momentum: μ.
        weight_decay: λ, which is part of the gradient here.
        tc: The trust coefficient η.
        eps: ε.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.array([3.0, 4.0]))
    >>> LARS(1.0, {"w": w}, weight_decay=0.0, tc=0.1, eps=0.0).update({"w": jnp.array([0.0, 5.0])})
    >>> [round(float(x), 3) for x in w]
    [3.0, 3.5]
    """

    defaults: ClassVar = {"momentum": 0.9, "weight_decay": 1e-4, "tc": 1e-3, "eps": 1e-5}
    slots = ("m",)
    decoupled = False

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        of_p, of_g = norm(p), norm(g)
        ratio = h.tc * of_p / (of_g + h.weight_decay * of_p + h.eps)
        s.m = h.momentum * s.m + h.lr * trust_ratio(of_p, of_g, ratio) * (g + h.weight_decay * p)
        return s.m


class LAMB(Adam):
    """Adam with layer-wise rates (You et al., 2020, arXiv:1904.00962, algorithm 2).

    With norms over the whole parameter::

        m̂ and v̂ as in Adam
        u = m̂ / (√v̂ + ε) + λ θ
        θ ← θ − γ u ‖θ‖ / ‖u‖, and θ ← θ − γ u if ‖θ‖ or ‖u‖ is 0

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        beta1: Decay rate β1 of the first moment.
        beta2: Decay rate β2 of the second moment.
        eps: ε, added to the root.
        weight_decay: λ, which is part of the step before it is scaled.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.array([3.0, 4.0]))
    >>> LAMB(0.1, {"w": w}).update({"w": jnp.array([1.0, -1.0])})
    >>> [round(float(x), 3) for x in w]
    [2.646, 4.354]
    """

    defaults: ClassVar = {"lr": 1e-3, **Adam.defaults, "eps": 1e-6, "weight_decay": 0.0}
    decoupled = False

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        m, v = corrected(g, s, h)
        change = m / (jnp.sqrt(v) + h.eps) + h.weight_decay * p
        of_p, of_change = norm(p), norm(change)
        return h.lr * trust_ratio(of_p, of_change, of_p / of_change) * change


class Muon(Adam):
    """Orthogonalised momentum for matrices (Jordan et al., 2024, kellerjordan.github.io).

    For a parameter with two axes, after the decoupled decay ``θ ← θ − γ λ θ``::

        b ← μ b + (1 − μ) g
        d = μ b + (1 − μ) g               if nesterov, otherwise b
        θ ← θ − γ κ orthogonalised(d)

    where ``orthogonalised`` makes all singular values nearly 1 by ``ns_steps`` Newton-Schulz steps
    ``X ← a X + (b X Xᵀ + c (X Xᵀ)²) X`` with (a, b, c) = (3.4445, −4.7750, 2.0315), and κ is
    √max(1, rows / columns). Every other parameter is trained by AdamW.

    Args:
        lr: Learning rate γ, of matrices and all else. With ``adjust="match_adamw"`` one that suits
            AdamW suits both; otherwise give the others an ``lr_factor`` by a :class:`Group`.
        train_vars: The parameters to train, by key.
        momentum: μ.
        nesterov: Whether to look ahead.
        ns_steps: The number of Newton-Schulz steps.
        adjust: ``"original"``, or ``"match_adamw"`` for κ = 0.2 √max(rows, columns) (Liu et al.,
            2025, arXiv:2502.16982, eq. 4).
        beta1: β1 of AdamW.
        beta2: β2 of AdamW.
        eps: ε of AdamW.
        weight_decay: λ, multiplied with the learning rate.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.zeros((2, 2)))
    >>> Muon(1.0, {"w": w}, weight_decay=0.0).update({"w": jnp.array([[9.0, 0.0], [0.0, 1.0]])})
    >>> print(bool(jnp.allclose(w.value, -jnp.eye(2), atol=0.35)))
    True
    """

    defaults: ClassVar = {
        "lr": 0.02,
        "momentum": 0.95,
        "nesterov": True,
        "ns_steps": 5,
        "adjust": "original",
        **Adam.defaults,
        "weight_decay": 0.1,
    }
    static = ("ns_steps",)

    def slots_for(self, parameter: Any) -> dict[str, tuple[int, ...]]:
        shape = real_shape(parameter)
        return {"b": shape} if len(shape) == 2 else super().slots_for(parameter)

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        if p.ndim != 2:
            return Adam.rule(p, g, s, h)
        s.b = h.momentum * s.b + (1 - h.momentum) * g
        direction = h.momentum * s.b + (1 - h.momentum) * g if h.nesterov else s.b
        rows, columns = p.shape
        if h.adjust == "original":
            scale = max(1.0, rows / max(columns, 1)) ** 0.5
        else:
            scale = 0.2 * max(rows, columns) ** 0.5
        return h.lr * scale * orthogonalised(direction, h.ns_steps)


def orthogonalised(x: jax.Array, steps: int) -> jax.Array:
    """Bring the singular values of a matrix near to 1 by Newton-Schulz steps."""
    wide = x.T if x.shape[0] > x.shape[1] else x
    wide = wide / (norm(wide) + 1e-7)
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(steps):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide.T if x.shape[0] > x.shape[1] else wide
