"""Schedules beyond BrainPy's: warm-up, linear decay, one cycle, and schedules one after another."""

# The formula of a schedule is in the docstring of its class.
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import jax
import jax.numpy as jnp

from framework.optim.decays import PolynomialDecayLR, annealed, passed_boundaries
from framework.optim.schedulers import CallBasedScheduler, Scheduler, count, make_schedule

__all__ = ["JoinedLR", "LinearDecayLR", "LinearWarmupLR", "OneCycleLR", "join", "sequential"]


class LinearWarmupLR(CallBasedScheduler):
    """From ``start_lr`` in equal steps to ``lr`` in update ``warmup_steps``; then ``lr``.

    Args:
        lr: The final learning rate.
        warmup_steps: The number of updates to it.
        start_lr: The learning rate of the first update.
        last_epoch: The number of the last epoch that has passed.
        last_call: The number of the last update that was made.
        name: A unique name.

    >>> [float(LinearWarmupLR(1.0, 4)(i)) for i in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """

    def __init__(
        self,
        lr: Any,
        warmup_steps: int,
        start_lr: float = 0.0,
        last_epoch: int = -1,
        last_call: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, last_epoch, last_call, name)
        self.warmup_steps = count("warmup_steps", warmup_steps, 1)
        self.start_lr = start_lr

    def at(self, i: jax.Array) -> jax.Array:
        done = jnp.minimum(i / self.warmup_steps, 1)
        return self.start_lr + (self.lr.value - self.start_lr) * done


class LinearDecayLR(PolynomialDecayLR):
    """From ``lr`` in equal steps to ``final_lr`` in update ``decay_steps``; then that.

    Args:
        lr: The initial learning rate.
        decay_steps: The number of updates to the final one.
        final_lr: The final learning rate.
        last_epoch: The number of the last epoch that has passed.
        last_call: The number of the last update that was made.
        name: A unique name.

    >>> [float(LinearDecayLR(1.0, 4)(i)) for i in (0, 1, 4, 9)]
    [1.0, 0.75, 0.0, 0.0]
    """

    def __init__(
        self,
        lr: Any,
        decay_steps: int,
        final_lr: float = 0.0,
        last_epoch: int = -1,
        last_call: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, decay_steps, final_lr, 1.0, last_epoch, last_call, name)


class OneCycleLR(CallBasedScheduler):
    """One cycle: up to ``lr`` and down to almost nothing (Smith and Topin, 2018, arXiv:1708.07120).

    Half a cosine wave from ``lr / div_factor`` to ``lr`` in the first ``pct_start`` of the updates,
    and half of another down to ``lr / div_factor / final_div_factor``, which then stays. The
    highest and lowest values are where PyTorch's ``OneCycleLR`` has them.

    Args:
        lr: The highest learning rate.
        total_steps: The number of updates of the cycle.
        pct_start: The part of them that goes up.
        div_factor: The highest over the first learning rate.
        final_div_factor: The first over the last learning rate.
        last_epoch: The number of the last epoch that has passed.
        last_call: The number of the last update that was made.
        name: A unique name.

    Raises:
        ValueError: ``pct_start`` leaves no update to go up or down.

    >>> [round(float(OneCycleLR(1.0, 10, pct_start=0.3)(i)), 3) for i in (0, 2, 9)]
    [0.04, 1.0, 0.0]
    """

    def __init__(
        self,
        lr: Any,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        last_epoch: int = -1,
        last_call: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(lr, last_epoch, last_call, name)
        self.total_steps = count("total_steps", total_steps, 2)
        self.pct_start = pct_start
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        if not 0 < pct_start * total_steps - 1 < total_steps - 1:
            raise ValueError(
                f"pct_start={pct_start} of {total_steps} steps leaves no step to go up or down."
            )

    def at(self, i: jax.Array) -> jax.Array:
        top, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        lr = self.lr.value
        start = lr / self.div_factor
        up = annealed(start, lr, i / top)
        down = annealed(
            lr, start / self.final_div_factor, (jnp.minimum(i, end) - top) / (end - top)
        )
        return jnp.where(i <= top, up, down)


class JoinedLR(CallBasedScheduler):
    """Schedules one after another. Made by :func:`join` and :func:`sequential`.

    Each schedule counts from 0 at its own beginning. Their own clocks stand still: that of the
    whole counts.

    Attributes:
        lr: A factor for all schedules, at first 1.
    """

    def __init__(
        self,
        schedules: Sequence[Any],
        boundaries: Sequence[int],
        clock: str = "update",
        last_epoch: int = -1,
        last_call: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(1.0, last_epoch, last_call, name)
        self.schedules = [make_schedule(schedule) for schedule in schedules]
        self.boundaries = tuple(count("a boundary", b, 0) for b in boundaries)
        increasing = all(a < b for a, b in pairwise(self.boundaries))
        if len(self.schedules) != len(self.boundaries) + 1 or not increasing:
            raise ValueError(
                "Joining takes one boundary less than schedules, and increasing ones, but got "
                f"{len(self.schedules)} schedules and the boundaries {list(self.boundaries)}."
            )
        if clock not in ("update", "epoch"):
            raise ValueError(f"clock must be 'update' or 'epoch', but got {clock!r}.")
        self.clock = clock

    def now(self) -> jax.Array:
        """The present count on the clock of this schedule."""
        return (self.last_call if self.clock == "update" else self.last_epoch).value + 1

    def at(self, i: jax.Array) -> jax.Array:
        current = passed_boundaries(i, self.boundaries, inclusive=True)
        value = jnp.zeros(jnp.shape(i), self.lr.dtype)
        starts = (0, *self.boundaries)
        for index, (start, schedule) in enumerate(zip(starts, self.schedules, strict=True)):
            here = schedule(jnp.maximum(i - start, 0)).astype(self.lr.dtype)
            value = jnp.where(current == index, here, value)
        return self.lr.value * value


def join(schedules: Sequence[Any], boundaries: Sequence[int], clock: str = "update") -> JoinedLR:
    """Let schedules follow one another.

    Args:
        schedules: Schedules, or whatever can stand for a learning rate.
        boundaries: The counts at which the second, third, … schedule begins.
        clock: ``'update'`` if the boundaries count updates, ``'epoch'`` if they count epochs.

    Returns:
        The schedule of all.

    Raises:
        ValueError: The numbers of schedules and boundaries don't fit.

    >>> warm = join([LinearWarmupLR(1.0, 2), LinearDecayLR(1.0, 4)], [2])
    >>> [float(warm(i)) for i in range(7)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    return JoinedLR(schedules, boundaries, clock)


def sequential(*stages: tuple[Any, int] | Scheduler, clock: str = "update") -> JoinedLR:
    """Let schedules follow one another, each with its length.

    Args:
        *stages: Pairs of a schedule and its length; the last may be a schedule alone.
        clock: As for :func:`join`.

    Returns:
        The schedule of all.

    Raises:
        ValueError: A stage other than the last has no length.

    >>> schedule = sequential((0.1, 2), (0.2, 3), 0.3)
    >>> [round(float(schedule(i)), 3) for i in (0, 2, 5)]
    [0.1, 0.2, 0.3]
    """
    pairs = [stage if isinstance(stage, tuple) else (stage, 0) for stage in stages]
    if any(not isinstance(stage, tuple) for stage in stages[:-1]):
        raise ValueError("Only the last stage may have no length: write (schedule, length).")
    ends = list(accumulate(length for _, length in pairs[:-1]))
    return JoinedLR([schedule for schedule, _ in pairs], ends, clock)
