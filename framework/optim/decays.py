"""Schedules of the learning rate as BrainPy has them."""

# The formula of a schedule is in the docstring of its class.
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from framework.errors import MathError
from framework.optim.schedulers import CallBasedScheduler, Scheduler, count

__all__ = [
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialDecay",
    "ExponentialDecayLR",
    "ExponentialLR",
    "InverseTimeDecay",
    "InverseTimeDecayLR",
    "MultiStepLR",
    "PiecewiseConstant",
    "PiecewiseConstantLR",
    "PolynomialDecay",
    "PolynomialDecayLR",
    "StepLR",
]


class StepLR(Scheduler):
    """``lr * gamma ** floor(i / step_size)`` in epoch ``i``.

    Args:
        lr: The initial learning rate.
        step_size: The number of epochs between two decays.
        gamma: What each decay multiplies with.
        last_epoch: The number of the last epoch that has passed.
        name: A unique name.

    >>> [round(float(StepLR(1.0, 2)(i)), 3) for i in range(5)]
    [1.0, 1.0, 0.1, 0.1, 0.01]
    """

    def __init__(
        self,
        lr: Any,
        step_size: int,
        gamma: float = 0.1,
        last_epoch: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, last_epoch, name)
        self.step_size = count("step_size", step_size, 1)
        self.gamma = gamma

    def at(self, i: jax.Array) -> jax.Array:
        return self.lr.value * self.gamma ** jnp.floor(i / self.step_size)


class MultiStepLR(Scheduler):
    """``lr * gamma ** n`` in epoch ``i``, where ``n`` milestones are at most ``i``.

    Args:
        lr: The initial learning rate.
        milestones: The epochs that begin with a decay, increasing.
        gamma: What each decay multiplies with.
        last_epoch: The number of the last epoch that has passed.
        name: A unique name.

    >>> [round(float(MultiStepLR(1.0, [1, 3])(i)), 3) for i in range(4)]
    [1.0, 0.1, 0.1, 0.01]
    """

    def __init__(
        self,
        lr: Any,
        milestones: Sequence[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, last_epoch, name)
        self.milestones = tuple(count("a milestone", m, 0) for m in milestones)
        self.gamma = gamma

    def at(self, i: jax.Array) -> jax.Array:
        passed = passed_boundaries(i, self.milestones, inclusive=True)
        return self.lr.value * self.gamma ** passed.astype(self.lr.dtype)


class CosineAnnealingLR(Scheduler):
    """Cosine annealing without restarts (Loshchilov and Hutter, 2017, arXiv:1608.03983, eq. 5).

    ``eta_min + (lr - eta_min) * (1 + cos(pi * i / T_max)) / 2`` in epoch ``i``.

    Args:
        lr: The initial, largest learning rate.
        T_max: The number of epochs to the minimum.
        eta_min: The smallest learning rate.
        last_epoch: The number of the last epoch that has passed.
        name: A unique name.

    >>> [round(float(CosineAnnealingLR(1.0, T_max=2)(i)), 3) for i in (0, 1, 2)]
    [1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        lr: Any,
        T_max: int,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, last_epoch, name)
        self.T_max = count("T_max", T_max, 1)
        self.eta_min = eta_min

    def at(self, i: jax.Array) -> jax.Array:
        return annealed(self.lr.value, self.eta_min, i / self.T_max)


class CosineAnnealingWarmRestarts(CallBasedScheduler):
    """Cosine annealing with warm restarts (Loshchilov and Hutter, 2017, arXiv:1608.03983, eq. 5).

    ``eta_min + (lr - eta_min) * (1 + cos(pi * T_cur / T_i)) / 2``, where ``T_cur`` is the time
    since the last restart and ``T_i`` the time between it and the next.

    Args:
        lr: The learning rate at each restart.
        num_call_per_epoch: The number of updates in one epoch.
        T_0: The number of epochs to the first restart.
        T_mult: By how much the time between restarts grows with each.
        eta_min: The smallest learning rate.
        last_epoch: The number of the last epoch that has passed.
        last_call: The number of the last update that was made.
        name: A unique name.

    >>> schedule = CosineAnnealingWarmRestarts(1.0, num_call_per_epoch=1, T_0=2, T_mult=2)
    >>> [round(float(schedule(i)), 3) for i in range(7)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """

    def __init__(
        self,
        lr: Any,
        num_call_per_epoch: int,
        T_0: int,  # noqa: N803
        T_mult: int = 1,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
        last_call: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, last_epoch, last_call, name)
        self.num_call_per_epoch = count("num_call_per_epoch", num_call_per_epoch, 1)
        self.T_0 = count("T_0", T_0, 1)
        self.T_mult = count("T_mult", T_mult, 1)
        self.eta_min = eta_min

    def at(self, i: jax.Array) -> jax.Array:
        period = self.T_0 * self.num_call_per_epoch
        if self.T_mult == 1:
            return annealed(self.lr.value, self.eta_min, (i % period) / period)
        # A table, since a logarithm would sometimes miss a restart by one rounding error.
        starts, periods = [0], [period]
        while starts[-1] + periods[-1] < 2**31:
            starts.append(starts[-1] + periods[-1])
            periods.append(periods[-1] * self.T_mult)
        run = passed_boundaries(i, starts, inclusive=True) - 1
        start, period = (jnp.asarray(x, i.dtype)[run] for x in (starts, periods))
        return annealed(self.lr.value, self.eta_min, (i - start) / period)

    def current_epoch(self, i: Any = None) -> jax.Array:
        """The epoch of update ``i``; of the present one, if left out."""
        return jnp.floor((self.now() if i is None else jnp.asarray(i)) / self.num_call_per_epoch)


class ExponentialLR(Scheduler):
    """``lr * gamma ** i`` in epoch ``i``.

    Args:
        lr: The initial learning rate.
        gamma: What each epoch multiplies with.
        last_epoch: The number of the last epoch that has passed.
        name: A unique name.

    >>> float(ExponentialLR(1.0, 0.5)(3))
    0.125
    """

    def __init__(
        self, lr: Any, gamma: float, last_epoch: int = -1, name: str | None = None
    ) -> None:
        super().__init__(lr, last_epoch, name)
        self.gamma = gamma

    def at(self, i: jax.Array) -> jax.Array:
        return self.lr.value * self.gamma**i


class _Decay(CallBasedScheduler):
    """What decays on a scale of updates."""

    def __init__(
        self, lr: Any, decay_steps: int, last_epoch: int, last_call: int, name: str | None
    ) -> None:
        super().__init__(lr, last_epoch, last_call, name)
        self.decay_steps = count("decay_steps", decay_steps, 1)


class ExponentialDecayLR(_Decay):
    """``lr * decay_rate ** (i / decay_steps)`` in update ``i``.

    Args:
        lr: The initial learning rate.
        decay_steps: The number of updates in which it falls to ``decay_rate``.
        decay_rate: What ``decay_steps`` updates multiply with.
        last_epoch: The number of the last epoch that has passed.
        last_call: The number of the last update that was made.
        name: A unique name.

    >>> float(ExponentialDecayLR(1.0, 10, 0.25)(5))
    0.5
    """

    def __init__(
        self,
        lr: Any,
        decay_steps: int,
        decay_rate: float,
        last_epoch: int = -1,
        last_call: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, decay_steps, last_epoch, last_call, name)
        self.decay_rate = decay_rate

    def at(self, i: jax.Array) -> jax.Array:
        return self.lr.value * self.decay_rate ** (i / self.decay_steps)


class InverseTimeDecayLR(_Decay):
    """``lr / (1 + decay_rate * i / decay_steps)`` in update ``i``.

    Args:
        lr: The initial learning rate.
        decay_steps: The unit of time.
        decay_rate: By how much the divisor grows in it.
        staircase: Whether to count whole units only.
        last_epoch: The number of the last epoch that has passed.
        last_call: The number of the last update that was made.
        name: A unique name.

    >>> float(InverseTimeDecayLR(1.0, 2, 1.0)(6))
    0.25
    """

    def __init__(
        self,
        lr: Any,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        last_epoch: int = -1,
        last_call: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, decay_steps, last_epoch, last_call, name)
        self.decay_rate = decay_rate
        self.staircase = staircase

    def at(self, i: jax.Array) -> jax.Array:
        time = i / self.decay_steps
        return self.lr.value / (1 + self.decay_rate * (jnp.floor(time) if self.staircase else time))


class PolynomialDecayLR(_Decay):
    """``(lr - final_lr) * (1 - i / decay_steps) ** power + final_lr`` in update ``i``.

    Args:
        lr: The initial learning rate.
        decay_steps: The number of updates to the final one, which then stays.
        final_lr: The final learning rate.
        power: The exponent.
        last_epoch: The number of the last epoch that has passed.
        last_call: The number of the last update that was made.
        name: A unique name.

    >>> [float(PolynomialDecayLR(1.0, 4, 0.0, power=2.0)(i)) for i in (0, 2, 4, 9)]
    [1.0, 0.25, 0.0, 0.0]
    """

    def __init__(
        self,
        lr: Any,
        decay_steps: int,
        final_lr: float,
        power: float = 1.0,
        last_epoch: int = -1,
        last_call: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, decay_steps, last_epoch, last_call, name)
        self.final_lr = final_lr
        self.power = power

    def at(self, i: jax.Array) -> jax.Array:
        left = (jnp.maximum(self.decay_steps - i, 0) / self.decay_steps) ** self.power
        return (self.lr.value - self.final_lr) * left + self.final_lr


class PiecewiseConstantLR(CallBasedScheduler):
    """``values[n]`` in update ``i``, where ``n`` boundaries are less than ``i``.

    Args:
        boundaries: Counts of updates, increasing.
        values: One learning rate more than boundaries.
        last_epoch: The number of the last epoch that has passed.
        last_call: The number of the last update that was made.
        name: A unique name.

    Attributes:
        lr: A factor for all values, at first 1.

    Raises:
        MathError: The lengths don't fit.

    >>> [round(float(PiecewiseConstantLR([2], [1.0, 0.1])(i)), 3) for i in (2, 3)]
    [1.0, 0.1]
    """

    def __init__(
        self,
        boundaries: Sequence[int],
        values: Sequence[float],
        last_epoch: int = -1,
        last_call: int = -1,
        name: str | None = None,
    ) -> None:
        if np.ndim(boundaries) != 1 or np.ndim(values) != 1 or len(values) != len(boundaries) + 1:
            raise MathError(
                "boundaries and values must be sequences of numbers, values one longer, but got "
                f"shapes {np.shape(boundaries)} and {np.shape(values)}."
            )
        super().__init__(1.0, last_epoch, last_call, name)
        self.boundaries = tuple(int(b) for b in boundaries)
        self.values = tuple(float(v) for v in values)

    def at(self, i: jax.Array) -> jax.Array:
        passed = passed_boundaries(i, self.boundaries, inclusive=False)
        return self.lr.value * jnp.asarray(self.values, self.lr.dtype)[passed]


ExponentialDecay = ExponentialDecayLR
InverseTimeDecay = InverseTimeDecayLR
PolynomialDecay = PolynomialDecayLR
PiecewiseConstant = PiecewiseConstantLR


def annealed(high: jax.Array, low: Any, time: jax.Array) -> jax.Array:
    """The half cosine wave from ``high`` at time 0 to ``low`` at time 1."""
    return low + (high - low) * (1 + jnp.cos(jnp.pi * time)) / 2


def passed_boundaries(i: jax.Array, boundaries: Sequence[int], inclusive: bool) -> jax.Array:
    """How many boundaries are less than each count, or at most as large."""
    limits = jnp.asarray(boundaries, i.dtype)
    i = i[..., None]
    return jnp.sum(i >= limits if inclusive else i > limits, axis=-1)
