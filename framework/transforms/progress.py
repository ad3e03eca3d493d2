"""Progress bars that advance while a compiled loop runs."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, tree_util

from framework.transforms.host_call import host_call

__all__ = ["Display", "ProgressBar", "in_chunks", "progress_bar_of"]

INTERVAL = 0.02
"""Seconds; no eye sees updates that follow each other faster, so they are left out."""


class ProgressBar:
    """How to show the progress of a loop. Updates too fast for the eye are left out.

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

    def start(self, total: int) -> Display:
        """Prepare for a loop.

        Args:
            total: The number of its steps.
        """
        return Display(total, self.freq or max(1, total // (self.count or 100)), self.desc)


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


class Display:
    """The bar of one loop on the screen: one run after the other.

    Args:
        total: The number of steps.
        every: After how many steps to update.
        desc: Text before the bar.
    """

    def __init__(self, total: int, every: int, desc: str | None) -> None:
        self.total = total
        self.every = max(1, min(every, total))
        self.desc = desc
        self.bar: Any = None
        self.lock = threading.Lock()
        self.stride = 1
        self.last = 0.0

    def report(self, number: Any, after: Any = ()) -> jax.Array:
        """Let a compiled loop show how many steps are behind it.

        Args:
            number: The number of steps.
            after: Arrays to wait for.

        Returns:
            After how many steps to report again.
        """
        usual = [x for x in tree_util.tree_leaves(after) if not _is_extended(x)]
        return host_call(self.update, number, [jnp.ravel(x)[:1] for x in usual[:1]])

    def update(self, done: int) -> int:
        """Show that so many steps are behind us.

        Returns:
            After how many steps to do so again.
        """
        with self.lock:
            now = perf_counter()
            if self.bar is None or done < self.bar.n:
                self.close()
                self.bar = _new_bar(self.total, self.desc)
                self.stride = 1
            elif now - self.last < INTERVAL / 4:
                self.stride *= 4
            elif now - self.last > INTERVAL:
                self.stride = max(1, self.stride // 2)
            self.last = now
            self.bar.update(done - self.bar.n)
            if done == self.total:
                self.close()
            return min(done + self.stride * self.every, self.total)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def in_chunks(
    scanned: Callable[..., Any], display: Display, carry: Any, xs: Any, reverse: bool
) -> Any:
    """Run a compiled loop in chunks and show progress between: a branch in each step is slow.

    Args:
        scanned: Runs some steps: carry, operands and their number in, carry and outputs out.
        display: Where to show progress.
        carry: The first carry.
        xs: The operands.
        reverse: Whether the loop goes from the last step to the first.

    Returns:
        The last carry, and the outputs.
    """
    total, every = display.total, display.every
    chunks, rest = divmod(total, every)
    cut = rest if reverse else total - rest
    head, tail = (
        tree_util.tree_map(lambda a: a[:cut], xs),
        tree_util.tree_map(lambda a: a[cut:], xs),
    )
    main, remainder = (tail, head) if reverse else (head, tail)

    def chunk(counted: Any, x: Any) -> Any:
        number, due, carry = counted
        due = lax.cond(number == due, lambda: display.report(number), lambda: due)
        carry, ys = scanned(carry, x, every)
        return (number + every, due, carry), ys

    chunked = tree_util.tree_map(lambda a: a.reshape(chunks, every, *a.shape[1:]), main)
    start = (jnp.int32(0), jnp.int32(0), carry)
    (number, due, carry), ys = lax.scan(chunk, start, chunked, chunks, reverse)
    ys = [y.reshape(chunks * every, *y.shape[2:]) for y in ys]
    if rest:
        # What comes from the host tells the compiler nothing, so this waits for the chunks.
        display.report(number, after=due)
        carry, more = scanned(carry, remainder, rest)
        pairs = zip(more, ys, strict=True) if reverse else zip(ys, more, strict=True)
        ys = [jnp.concatenate(pair) for pair in pairs]
    display.report(number + rest, after=(carry, ys) if rest else due)
    return carry, ys


def _is_extended(x: Any) -> bool:
    """Tell whether the array is one of keys, say, which callbacks don't take."""
    return jnp.issubdtype(jnp.result_type(x), jax.dtypes.extended)


def _new_bar(total: int, desc: str | None) -> Any:
    return _bar_class()(total=total, desc=desc)


@functools.cache
def _bar_class() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _PlainBar
    return tqdm


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
