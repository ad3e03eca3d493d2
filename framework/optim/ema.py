"""Moving averages of parameters, for evaluation."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from framework.errors import MathError
from framework.nodes.base import BrainPyObject
from framework.nodes.collectors import References
from framework.nodes.variable import Variable
from framework.optim.hyperparameters import check, held, present
from framework.optim.precision import computation_dtype
from framework.optim.registry import check_train_vars
from framework.optim.schedulers import Scheduler, text_of

__all__ = ["EMA"]


class EMA(BrainPyObject):
    """The exponential moving average of parameters (Polyak and Juditsky, 1992; Izmailov et al.).

    ``a ← d a + (1 − d) θ`` with every :meth:`update`, from the first parameters on; in float32 at
    least.

    Args:
        train_vars: The parameters, by key.
        decay: d: a number, a Variable or a Scheduler of the count of updates.
        name: A unique name.

    Attributes:
        swapped: Whether the parameters hold their averages now.

    Raises:
        MathError: ``train_vars`` is no dict of Variables of floating dtype.
        ValueError: ``decay`` is not in [0, 1).

    >>> w = Variable(jnp.zeros(1))
    >>> ema = EMA({"w": w}, decay=0.5)
    >>> w.value = jnp.ones(1)
    >>> ema.update()
    >>> with ema.swap():
    ...     print(w.value)
    [0.5]
    >>> print(w.value)
    [1.]
    """

    def __init__(
        self, train_vars: Mapping[str, Variable], decay: Any = 0.999, name: str | None = None
    ) -> None:
        check_train_vars(train_vars)
        check("decay", decay)
        super().__init__(name)
        self.decay: Any = held(decay)
        self.vars_to_average = References(dict(train_vars))
        self.swapped = False
        first: dict[Variable, str] = {}
        for key, parameter in train_vars.items():
            first.setdefault(parameter, key)
        for parameter, key in first.items():
            low = jnp.finfo(parameter.dtype).bits < 32
            dtype = computation_dtype(parameter.dtype) if low else parameter.dtype
            self._add(key, parameter, "average", jnp.array(parameter.value, dtype))
            if low:
                # An average that went through a parameter of lower precision would be rounded.
                self._add(key, parameter, "stash", jnp.zeros_like(parameter.value))

    def _add(self, key: str, parameter: Variable, role: str, value: jax.Array) -> None:
        variable = Variable(value)
        variable._accompany(parameter, role)
        self.register_implicit_vars({f"{key}_{role}": variable})

    def _of(self, role: str) -> dict[Variable, Variable]:
        companions = ((v, v._companion) for v in self.implicit_vars.values())
        return {c[0]: v for v, c in companions if c is not None and c[1] == role}

    def update(self) -> None:
        """Take the present parameters into the averages.

        Raises:
            MathError: The parameters hold their averages now.
        """
        if self.swapped:
            raise MathError("The parameters hold their averages now: call `swap()` before.")
        decay = present(self.decay)
        for parameter, average in self._of("average").items():
            keep = decay.astype(jnp.finfo(average.dtype).dtype)
            value = parameter.value.astype(average.dtype)
            average.value = keep * average.value + (1 - keep) * value
        if isinstance(self.decay, Scheduler):
            self.decay.step_call()

    def swap(self) -> AbstractContextManager[None]:
        """Exchange parameters and averages, until the next call.

        Returns:
            A context, at the end of which they are exchanged back.
        """
        stashes = self._of("stash")
        for parameter, average in self._of("average").items():
            stash = stashes.get(parameter)
            if stash is None:
                parameter.value, average.value = average.value, parameter.value
            elif self.swapped:
                parameter.value = stash.value
            else:
                stash.value = parameter.value
                parameter.value = average.value.astype(parameter.dtype)
        self.swapped = not self.swapped
        return self._until_end()

    @contextmanager
    def _until_end(self) -> Generator[None]:
        try:
            yield
        finally:
            if self.swapped:
                self.swap()

    def __repr__(self) -> str:
        return f"EMA(decay={text_of(self.decay)}, parameters={len(self.vars_to_average)})"
