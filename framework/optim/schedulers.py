"""Schedulers: learning rates as functions of saved counters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from framework.nodes.array import raw
from framework.nodes.base import BrainPyObject
from framework.nodes.variable import Variable

__all__ = ["CallBasedScheduler", "Constant", "CosineAnnealingLR", "Scheduler", "make_schedule"]


class Scheduler(BrainPyObject):
    """A learning rate that depends on how many epochs have passed.

    Calling it without an argument gives the present value, with one the value at that count.
    The epoch clock advances when you call :meth:`step_epoch`, and at no other time.

    Args:
        lr: The initial learning rate: a number, or a Variable to share with others.
        last_epoch: The number of the last epoch that has passed; -1 at the start.
        name: A unique name.
    """

    def __init__(self, lr: Any, last_epoch: int = -1, name: str | None = None) -> None:
        super().__init__(name)
        self.lr = lr if isinstance(lr, Variable) else Variable(jnp.asarray(lr, dtype=float))
        self.last_epoch = Variable(jnp.asarray(last_epoch, jnp.int32))

    def step_epoch(self) -> None:
        """Advance the epoch clock by one."""
        self.last_epoch += 1

    def step_call(self) -> None:
        """Advance the call clock by one, if this schedule has one. Every ``update`` does so."""

    def set_value(self, lr: Any) -> None:
        """Set the initial learning rate. No compiled function is traced again."""
        self.lr.value = raw(lr)

    def __call__(self, i: Any = None) -> jax.Array:
        """The learning rate at count ``i``, an int or int array; now, if left out."""
        return self.at(self.now() if i is None else jnp.asarray(raw(i)))

    def now(self) -> jax.Array:
        """The present count: 0 in the first epoch."""
        return self.last_epoch.value + 1

    def at(self, i: jax.Array) -> jax.Array:
        """The learning rate at count ``i``: what a schedule defines."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `at(self, i)`, the learning rate at count i."
        )


class CallBasedScheduler(Scheduler):
    """A learning rate that depends on how many updates have been made.

    The call clock advances by one with every ``update`` of the optimizer.

    Args:
        lr: The initial learning rate.
        last_epoch: The number of the last epoch that has passed.
        last_call: The number of the last update that was made; -1 at the start.
        name: A unique name.
    """

    def __init__(
        self, lr: Any, last_epoch: int = -1, last_call: int = -1, name: str | None = None
    ) -> None:
        super().__init__(lr, last_epoch, name)
        self.last_call = Variable(jnp.asarray(last_call, jnp.int32))

    def step_call(self) -> None:
        """Advance the call clock by one."""
        self.last_call += 1

    def now(self) -> jax.Array:
        """The present count: 0 in the first update."""
        return self.last_call.value + 1


class Constant(Scheduler):
    """The same learning rate at all times.

    >>> float(Constant(0.5)(100))
    0.5
    """

    def at(self, i: jax.Array) -> jax.Array:
        return jnp.broadcast_to(self.lr.value, jnp.shape(i))


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
        if T_max <= 0:
            raise ValueError(f"T_max must be positive, but got {T_max}.")
        super().__init__(lr, last_epoch, name)
        self.T_max = T_max
        self.eta_min = eta_min

    def at(self, i: jax.Array) -> jax.Array:
        lr = self.lr.value
        phase = i.astype(lr.dtype) * (jnp.pi / self.T_max)
        return self.eta_min + (lr - self.eta_min) * (1 + jnp.cos(phase)) / 2


def make_schedule(lr: Any) -> Scheduler:
    """A schedule for a number or Variable; a schedule is returned as it is."""
    return lr if isinstance(lr, Scheduler) else Constant(lr)
