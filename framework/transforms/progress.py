"""Progress bars that advance while a compiled loop runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from framework.nodes.frames import is_tracer

__all__ = ["ProgressBar", "progress_bar_of"]


class ProgressBar:
    """How to show the progress of a loop.

    Args:
        freq: After how many steps to update.
        count: How many updates to make; 100 if neither is given.
        desc: Text before the bar.

    Raises:
        ValueError: Both are given, or one is not positive.

    >>> ProgressBar(count=10, desc="train")
    ProgressBar(count=10, desc='train')
    """

    def __init__(
        self, freq: int | None = None, count: int | None = None, desc: str | None = None
    ) -> None:
        if freq is not None and count is not None:
            raise ValueError("ProgressBar takes freq= or count=, not both.")
        for name, value in (("freq", freq), ("count", count)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, but is {value}.")
        self.freq = freq
        self.count = count
        self.desc = desc

    def _key(self) -> tuple[Any, ...]:
        return self.freq, self.count, self.desc

    def __eq__(self, other: object) -> bool:
        return type(other) is ProgressBar and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        given = zip(("freq", "count", "desc"), self._key(), strict=True)
        return f"ProgressBar({', '.join(f'{k}={v!r}' for k, v in given if v is not None)})"

    def start(self, total: int) -> Callable[[Any], None]:
        """Prepare for a loop.

        Args:
            total: The number of its steps.

        Returns:
            What to call at the begin of each step with its number, a Python int or traced.
        """
        every = self.freq or max(1, total // (self.count or 100))
        display = _Display(total, every, self.desc)

        def step(number: Any) -> None:
            if not is_tracer(number):
                if display.is_due(int(number)):
                    display.update(int(number))
                return
            lax.cond(
                display.is_due(number),
                lambda n: jax.debug.callback(display.update, n),
                lambda n: None,  # noqa: ARG005
                number,
            )

        return step


def progress_bar_of(value: bool | int | ProgressBar | None) -> ProgressBar | None:
    """The bar that an argument ``progress_bar`` asks for, if any.

    Args:
        value: Whether to show one, the number of steps between updates, or a ProgressBar.

    Raises:
        TypeError: It is something else.
    """
    if value is None or value is False:
        return None
    if value is True:
        return ProgressBar()
    if isinstance(value, int):
        return ProgressBar(freq=value)
    if isinstance(value, ProgressBar):
        return value
    raise TypeError(f"progress_bar must be bool, int, or ProgressBar, but got {value!r}.")


class _Display:
    """The bar of one loop on the screen: one run after the other."""

    def __init__(self, total: int, every: int, desc: str | None) -> None:
        self.total = total
        self.every = every
        self.desc = desc
        self.bar: Any = None
        self.lock = threading.Lock()

    def is_due(self, number: Any) -> Any:
        """Tell whether to update at the begin of this step."""
        return (number % self.every == 0) | (number == self.total - 1)

    def update(self, number: Any) -> None:
        """Show that so many steps are behind us, or all if it is the last."""
        with self.lock:
            done = int(number)
            if self.bar is None or done < self.bar.n:
                self.close()
                self.bar = _new_bar(self.total, self.desc)
            last = done == self.total - 1
            self.bar.update((self.total if last else done) - self.bar.n)
            if last:
                self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _new_bar(total: int, desc: str | None) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _PlainBar(total, desc)
    return tqdm(total=total, desc=desc)


class _PlainBar:
    """Progress as text, for want of tqdm."""

    def __init__(self, total: int, desc: str | None) -> None:
        self.total = total
        self.desc = f"{desc}: " if desc else ""
        self.n = 0

    def update(self, steps: int) -> None:
        """Take some steps."""
        self.n += steps
        percent = 100 * self.n // max(self.total, 1)
        sys.stderr.write(f"\r{self.desc}{percent:3d}% {self.n}/{self.total}")
        sys.stderr.flush()

    @staticmethod
    def close() -> None:
        """End the line."""
        sys.stderr.write("\n")
        sys.stderr.flush()
