"""Adam and its relatives: steps from running means of the gradient and of its square."""

# The formula of a rule is in the docstring of its class; not every rule uses every argument.
# ruff: noqa: ARG004, D102

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from framework.optim.optimizer import Optimizer

__all__ = ["Adam", "AdamW", "Adamax", "Adan", "Lion", "NAdam", "RAdam", "corrected"]


def completed(beta: jax.Array, t: jax.Array) -> jax.Array:
    """``1 − β^t``, to the last digit even where β^t is almost 1.

    >>> round(float(completed(jnp.float32(0.999), jnp.float32(1.0))), 7)
    0.001
    """
    return -jnp.expm1(t * jnp.log1p(beta - 1))


def corrected(g: jax.Array, s: Any, h: Any) -> tuple[jax.Array, jax.Array]:
    """Update both moments, and correct what the zeros at the start make of them.

    Returns:
        m̂ and v̂.
    """
    s.m = h.beta1 * s.m + (1 - h.beta1) * g
    s.v = h.beta2 * s.v + (1 - h.beta2) * g**2
    return s.m / completed(h.beta1, h.t), s.v / completed(h.beta2, h.t)


class Adam(Optimizer):
    """Adaptive moment estimation (Kingma and Ba, 2015, arXiv:1412.6980, algorithm 1).

    For t = 1, 2, …, after the decoupled decay ``θ ← θ − γ λ θ``::

        m ← β1 m + (1 − β1) g             m̂ = m / (1 − β1^t)
        v ← β2 v + (1 − β2) g²            v̂ = v / (1 − β2^t)
        θ ← θ − γ m̂ / (√v̂ + ε)

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        beta1: Decay rate β1 of the first moment.
        beta2: Decay rate β2 of the second moment.
        eps: ε, added to the root.
        weight_decay: λ, multiplied with the learning rate.
        name: A unique name.
        **options: See :class:`Optimizer`.

    Raises:
        ValueError: eps or weight_decay is negative, or a beta is not in [0, 1).

    >>> from framework import Variable
    >>> w = Variable(jnp.ones(2))
    >>> Adam(0.1, {"w": w}).update({"w": jnp.array([1.0, -3.0])})
    >>> [round(float(x), 3) for x in w]
    [0.9, 1.1]
    """

    defaults: ClassVar = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": None}
    slots = ("m", "v")

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        m, v = corrected(g, s, h)
        return h.lr * m / (jnp.sqrt(v) + h.eps)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101).

    For t = 1, 2, … with gradient g::

        θ ← θ − γ λ θ
        m ← β1 m + (1 − β1) g             m̂ = m / (1 − β1^t)
        v ← β2 v + (1 − β2) g²            v̂ = v / (1 − β2^t)
        amsgrad:   v̂max ← max(v̂max, v̂),  θ ← θ − γ m̂ / (√v̂max + ε)
        otherwise:                         θ ← θ − γ m̂ / (√v̂ + ε)

    Args:
        lr: Learning rate γ.
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

    >>> from framework import Variable
    >>> w = Variable(jnp.ones(2))
    >>> AdamW(0.1, {"w": w}, weight_decay=0.0).update({"w": jnp.array([1.0, -3.0])})
    >>> [round(float(x), 3) for x in w]
    [0.9, 1.1]
    """

    defaults: ClassVar = {**Adam.defaults, "weight_decay": 0.01, "amsgrad": False}
    amsgrad: bool

    def slots_for(self, parameter: Any) -> dict[str, tuple[int, ...]]:
        slots = super().slots_for(parameter)
        return {**slots, "vmax": slots["v"]} if self.amsgrad else slots

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        m, v = corrected(g, s, h)
        if h.amsgrad:
            v = s.vmax = jnp.maximum(s.vmax, v)
        return h.lr * m / (jnp.sqrt(v) + h.eps)


class NAdam(Adam):
    """Adam with Nesterov momentum (Dozat, 2016, ICLR workshop, algorithm 2).

    With ``μ_t = β1 (1 − 0.96^{t ψ} / 2)``, after the decoupled decay ``θ ← θ − γ λ θ``::

        Π ← Π μ_t, from 1
        m, v, v̂ as in Adam
        m̂ = μ_{t+1} m / (1 − Π μ_{t+1}) + (1 − μ_t) g / (1 − Π)
        θ ← θ − γ m̂ / (√v̂ + ε)

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        beta1: Decay rate β1 of the first moment.
        beta2: Decay rate β2 of the second moment.
        eps: ε, added to the root.
        weight_decay: λ, multiplied with the learning rate.
        momentum_decay: ψ.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.ones(2))
    >>> NAdam(0.1, {"w": w}).update({"w": jnp.array([1.0, -3.0])})
    >>> [round(float(x), 3) for x in w]
    [0.894, 1.106]
    """

    defaults: ClassVar = {"lr": 2e-3, **Adam.defaults, "momentum_decay": 4e-3}

    def slots_for(self, parameter: Any) -> dict[str, tuple[int, ...]]:
        return {**super().slots_for(parameter), "mu_product": ()}

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        mu, mu_next = (
            h.beta1 * (1 - 0.5 * jnp.power(jnp.asarray(0.96, p.dtype), t * h.momentum_decay))
            for t in (h.t, h.t + 1)
        )
        s.mu_product = mu * jnp.where(h.t == 1, 1, s.mu_product)
        _, v = corrected(g, s, h)
        m = mu_next * s.m / (1 - s.mu_product * mu_next) + (1 - mu) * g / (1 - s.mu_product)
        return h.lr * m / (jnp.sqrt(v) + h.eps)


class RAdam(Adam):
    """Rectified Adam (Liu et al., 2020, arXiv:1908.03265, algorithm 2).

    With ``ρ∞ = 2 / (1 − β2) − 1``, after the decoupled decay ``θ ← θ − γ λ θ``::

        m, v, m̂ as in Adam
        ρ = ρ∞ − 2 t β2^t / (1 − β2^t)
        ρ > 5:      r = √((ρ − 4)(ρ − 2) ρ∞ / ((ρ∞ − 4)(ρ∞ − 2) ρ))
                    θ ← θ − γ r m̂ √(1 − β2^t) / (√v + ε)
        otherwise:  θ ← θ − γ m̂

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        beta1: Decay rate β1 of the first moment.
        beta2: Decay rate β2 of the second moment.
        eps: ε, added to the root.
        weight_decay: λ, multiplied with the learning rate.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.ones(2))
    >>> RAdam(0.1, {"w": w}).update({"w": jnp.array([1.0, -3.0])})
    >>> [round(float(x), 3) for x in w]
    [0.9, 1.3]
    """

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        m, _ = corrected(g, s, h)
        done = completed(h.beta2, h.t)
        longest = 2 / (1 - h.beta2) - 1
        rho = longest - 2 * h.t * (1 - done) / done
        # Where it is not used, the root must be one of a positive number all the same.
        safe = jnp.maximum(rho, 5)
        ratio = (safe - 4) * (safe - 2) * longest / ((longest - 4) * (longest - 2) * safe)
        adaptive = jnp.sqrt(ratio * done) / (jnp.sqrt(s.v) + h.eps)
        return h.lr * m * jnp.where(rho > 5, adaptive, 1)


class Adamax(Adam):
    """Adam with the infinity norm (Kingma and Ba, 2015, arXiv:1412.6980, algorithm 2).

    After the decoupled decay ``θ ← θ − γ λ θ``::

        m, m̂ as in Adam
        u ← max(β2 u, |g| + ε)
        θ ← θ − γ m̂ / u

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        beta1: Decay rate β1 of the first moment.
        beta2: Decay rate β2 of the norm.
        eps: ε.
        weight_decay: λ, multiplied with the learning rate.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.ones(2))
    >>> Adamax(0.1, {"w": w}).update({"w": jnp.array([1.0, -3.0])})
    >>> [round(float(x), 3) for x in w]
    [0.9, 1.1]
    """

    defaults: ClassVar = {"lr": 2e-3, **Adam.defaults}
    slots = ("m", "u")

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        s.m = h.beta1 * s.m + (1 - h.beta1) * g
        s.u = jnp.maximum(h.beta2 * s.u, jnp.abs(g) + h.eps)
        return h.lr * s.m / completed(h.beta1, h.t) / s.u


class Lion(Optimizer):
    """The sign of an interpolated momentum (Chen et al., 2023, arXiv:2302.06675, algorithm 2).

    After the decoupled decay ``θ ← θ − γ λ θ``::

        θ ← θ − γ sign(β1 m + (1 − β1) g)
        m ← β2 m + (1 − β2) g

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        beta1: Weight β1 of the momentum in the step.
        beta2: Decay rate β2 of the momentum.
        weight_decay: λ, multiplied with the learning rate.
        name: A unique name.
        **options: See :class:`Optimizer`.

    >>> from framework import Variable
    >>> w = Variable(jnp.ones(2))
    >>> Lion(0.1, {"w": w}).update({"w": jnp.array([1.0, -3.0])})
    >>> [round(float(x), 3) for x in w]
    [0.9, 1.1]
    """

    defaults: ClassVar = {"lr": 1e-4, "beta1": 0.9, "beta2": 0.99, "weight_decay": None}
    slots = ("m",)

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        direction = jnp.sign(h.beta1 * s.m + (1 - h.beta1) * g)
        s.m = h.beta2 * s.m + (1 - h.beta2) * g
        return h.lr * direction


class Adan(Optimizer):
    """Adaptive Nesterov momentum (Xie et al., 2022, arXiv:2208.06677, algorithm 1).

    With the gradient g′ of the step before (g itself at first), and each mean corrected as in Adam
    by ``1 − (1 − β)^t``::

        m ← (1 − β1) m + β1 g
        v ← (1 − β2) v + β2 (g − g′)
        n ← (1 − β3) n + β3 (g + (1 − β2)(g − g′))²
        u = γ (m̂ + (1 − β2) v̂) / (√n̂ + ε)
        θ ← (θ − u) / (1 + γ λ),  with no_prox: θ ← (1 − γ λ) θ − u

    Args:
        lr: Learning rate γ.
        train_vars: The parameters to train, by key.
        betas: β1, β2 and β3.
        eps: ε, added to the root.
        weight_decay: λ, multiplied with the learning rate.
        no_prox: Whether weights decay as in AdamW.
        name: A unique name.
        **options: See :class:`Optimizer`.

    Raises:
        AssertionError: There are not three betas.
        ValueError: eps or weight_decay is negative, or a beta is not in [0, 1).

    >>> from framework import Variable
    >>> w = Variable(jnp.ones(2))
    >>> Adan(0.1, {"w": w}, weight_decay=0.0).update({"w": jnp.array([1.0, -3.0])})
    >>> [round(float(x), 3) for x in w]
    [0.9, 1.1]
    """

    defaults: ClassVar = {
        "lr": 1e-3,
        "betas": (0.02, 0.08, 0.01),
        "eps": 1e-8,
        "weight_decay": 0.02,
        "no_prox": False,
    }
    slots = ("m", "v", "n", "prev_grad")
    decoupled = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        betas = self._signature.bind(*args, **kwargs).arguments.get("betas", (0, 0, 0))
        assert np.shape(betas) == (3,), f"Adan takes three betas, but got {betas}."  # noqa: S101
        super().__init__(*args, **kwargs)

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        beta1, beta2, beta3 = h.betas
        difference = g - jnp.where(h.t == 1, g, s.prev_grad)
        s.prev_grad = g
        s.m = (1 - beta1) * s.m + beta1 * g
        s.v = (1 - beta2) * s.v + beta2 * difference
        s.n = (1 - beta3) * s.n + beta3 * (g + (1 - beta2) * difference) ** 2
        m, v, n = (
            mean / completed(1 - beta, h.t)
            for mean, beta in ((s.m, beta1), (s.v, beta2), (s.n, beta3))
        )
        change = h.lr * (m + (1 - beta2) * v) / (jnp.sqrt(n) + h.eps)
        decay = h.lr * h.weight_decay
        return change + decay * p if h.no_prox else (change + decay * p) / (1 + decay)
