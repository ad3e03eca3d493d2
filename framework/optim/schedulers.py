"""The base of schedulers: values that are pure functions of saved counters."""

# The formula of a schedule is in the docstring of its class.
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from framework.nodes.array import raw
from framework.nodes.base import BrainPyObject
from framework.nodes.frames import is_tracer
from framework.nodes.variable import Variable

__all__ = ["CallBasedScheduler", "Constant", "LambdaLR", "Scheduler", "make_schedule"]


class Scheduler(BrainPyObject):
    """A learning rate that depends on how many epochs have passed.

    Calling it without an argument gives the present value, with one the value at that count.
    The epoch clock advances when you call :meth:`step_epoch`, and at no other time.

    Args:
        lr: The initial learning rate: a number, or a Variable to share with others.
        last_epoch: The number of the last epoch that has passed; -1 at the start.
        name: A unique name.

    Attributes:
        lr: The initial learning rate. Assigning never compiles anything anew.
        last_epoch: The epoch clock.

    Raises:
        ValueError: ``last_epoch`` is no integer from -1 on.
    """

    def __init__(self, lr: Any, last_epoch: int = -1, name: str | None = None) -> None:
        super().__init__(name)
        self.lr = lr if isinstance(lr, Variable) else Variable(jnp.asarray(lr, dtype=float))
        self.last_epoch = Variable(jnp.asarray(count("last_epoch", last_epoch, -1), jnp.int32))

    def step_epoch(self) -> None:
        """Advance the epoch clock by one."""
        self.last_epoch += 1

    def step_call(self) -> None:
        """Advance the call clock by one, if this schedule has one. Every ``update`` does so."""

    def set_value(self, lr: Any) -> None:
        """Set the initial learning rate. No compiled function is traced again."""
        self.lr.value = raw(lr)

    def __call__(self, i: Any = None) -> jax.Array:
        """The learning rate at count ``i``, a number or an array of numbers; now, if left out."""
        i = self.now() if i is None else raw(i)
        return self.at(jnp.asarray(i).astype(self.lr.dtype))

    def now(self) -> jax.Array:
        """The present count: 0 in the first epoch."""
        return self.last_epoch.value + 1

    def at(self, i: jax.Array) -> jax.Array:
        """The learning rate at count ``i``, elementwise: what a schedule defines."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `at(self, i)`, the learning rate at count i."
        )

    def plot(self, steps: int, ax: Any = None) -> Any:
        """Draw the first values.

        Args:
            steps: How many.
            ax: The matplotlib axes to draw on; new ones if left out.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        try:
            from matplotlib import pyplot as plt
        except ImportError as error:
            raise ImportError(
                "Scheduler.plot needs matplotlib: pip install 'pytree-framework[plot]'"
            ) from error
        if ax is None:
            ax = plt.figure().subplots()
        counts = jnp.arange(count("steps", steps, 1))
        ax.plot(counts, jax.vmap(self)(counts), label=type(self).__name__)
        ax.set(xlabel=self.clock, ylabel="learning rate")
        return ax

    clock = "epoch"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(lr={text_of(self.lr)})"


class CallBasedScheduler(Scheduler):
    """A learning rate that depends on how many updates have been made.

    The call clock advances by one with every ``update`` of the optimizer.

    Args:
        lr: The initial learning rate.
        last_epoch: The number of the last epoch that has passed.
        last_call: The number of the last update that was made; -1 at the start.
        name: A unique name.

    Attributes:
        last_call: The call clock.
    """

    clock = "update"

    def __init__(
        self, lr: Any, last_epoch: int = -1, last_call: int = -1, name: str | None = None
    ) -> None:
        super().__init__(lr, last_epoch, name)
        self.last_call = Variable(jnp.asarray(count("last_call", last_call, -1), jnp.int32))

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


class LambdaLR(CallBasedScheduler):
    """``lr * function(i)`` in update ``i``.

    Args:
        lr: The learning rate that is multiplied.
        function: From the count to a factor, in JAX operations; an Optax schedule, for example.
        last_epoch: The number of the last epoch that has passed.
        last_call: The number of the last update that was made.
        name: A unique name.

    >>> float(LambdaLR(0.5, lambda i: 1 / (1 + i))(3))
    0.125
    """

    def __init__(
        self,
        lr: Any,
        function: Callable[[jax.Array], Any],
        last_epoch: int = -1,
        last_call: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, last_epoch, last_call, name)
        self.function = function

    def at(self, i: jax.Array) -> jax.Array:
        return self.lr.value * jnp.asarray(self.function(i)).astype(self.lr.dtype)


def make_schedule(value: Any) -> Scheduler:
    """A schedule for a number, a Variable, or a function of the count of updates.

    Args:
        value: A schedule is returned as it is.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(value, Scheduler):
        return value
    if callable(value) and not isinstance(value, Variable):
        return LambdaLR(1.0, value)
    if isinstance(value, str) or value is None or np.shape(raw(value)) != ():
        raise TypeError(
            "A learning rate is a number, a Variable without axes, a Scheduler, or a function of "
            f"the count of updates, but got a {type(value).__name__}."
        )
    return Constant(value)


def count(name: str, value: Any, least: int) -> int:
    """The value, if it is an integer that is not too small.

    Raises:
        ValueError: It is not.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < least:
        raise ValueError(f"{name} must be an integer of at least {least}, but got {value!r}.")
    return int(value)


def text_of(value: Any) -> str:
    """How a repr shows a hyperparameter.

    >>> text_of(Constant(0.1)), text_of(Variable(0.5)), text_of(True)
    ('0.1', '0.5', 'True')
    """
    if isinstance(value, Constant):
        return text_of(value.lr)
    if not isinstance(value, Variable):
        return repr(value)
    shown = value._shown()
    if is_tracer(shown):
        return "traced"
    numbers = [f"{float(x):.6g}" for x in jnp.ravel(shown)]
    return numbers[0] if jnp.ndim(shown) == 0 else f"({', '.join(numbers)})"
