"""The algorithms: each its slots and one pure rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from framework.nodes.variable import Variable
from framework.optim.optimizer import Optimizer

__all__ = ["AdamW"]


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101).

    For t = 1, 2, … with gradient g::

        θ ← θ − γ λ θ
        m ← β1 m + (1 − β1) g             m̂ = m / (1 − β1^t)
        v ← β2 v + (1 − β2) g²            v̂ = v / (1 − β2^t)
        amsgrad:   v̂max ← max(v̂max, v̂),  θ ← θ − γ m̂ / (√v̂max + ε)
        otherwise:                         θ ← θ − γ m̂ / (√v̂ + ε)

    Args:
        lr: Learning rate γ: a number, a Variable or a Scheduler.
        train_vars: The parameters to train, by key.
        beta1: Decay rate β1 of the first moment.
        beta2: Decay rate β2 of the second moment.
        eps: ε, added to the root.
        weight_decay: λ, multiplied with the learning rate.
        amsgrad: Whether to use the largest second moment so far (Reddi et al., 2018).
        name: A unique name.
        **options: See :class:`Optimizer`.

    Raises:
        ValueError: eps or weight_decay is negative, or a beta is not in [0, 1).

    >>> w = Variable(jnp.ones(2))
    >>> opt = AdamW(0.1, {"w": w}, weight_decay=0.0)
    >>> opt.update({"w": jnp.array([1.0, -1.0])})
    >>> print(w.value)
    [0.9 1.1]
    """

    def __init__(
        self,
        lr: Any,
        train_vars: Mapping[str, Variable] | None = None,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        eps: Any = 1e-8,
        weight_decay: Any = 0.01,
        amsgrad: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> None:
        self.slots = ("m", "v", "vmax") if amsgrad else ("m", "v")
        options |= {"beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": weight_decay}
        super().__init__(lr, train_vars, name, **options)

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        s.m = h.beta1 * s.m + (1 - h.beta1) * g
        s.v = h.beta2 * s.v + (1 - h.beta2) * g**2
        v_hat = s.v / (1 - h.beta2**h.t)
        if hasattr(s, "vmax"):
            v_hat = s.vmax = jnp.maximum(s.vmax, v_hat)
        return h.lr * (s.m / (1 - h.beta1**h.t)) / (jnp.sqrt(v_hat) + h.eps)
