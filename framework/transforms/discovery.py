"""Discovery: which Variables a function reads and writes, found by tracing it once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from framework.nodes.frames import Frame, next_serial, peek
from framework.nodes.graph import Node
from framework.nodes.variable import Variable
from framework.nodes.view import VariableView
from framework.nodes.walk import graph_of
from framework.transforms.functionalize import Output

__all__ = [
    "FirstTrace",
    "StateGrew",
    "Trace",
    "ambient",
    "candidates",
    "named_after",
    "placeholder",
    "state_outputs",
]

Trace = Callable[[dict[Variable, Any], list[Any]], tuple[Any, Frame]]
"""Runs the user's function: what Variables read as, and the arrays among its arguments, in."""

ambient: dict[Variable, None] = {}
"""Variables that any function may use, though no search finds them: the default random state."""

# More Variables than this are not offered to a trace; it is traced again with those that it met.
MAX_OFFERED = 20_000


class StateGrew(Exception):  # noqa: N818 - caught inside the package, never seen by users
    """A trace met Variables that the compiled function does not get or give back yet."""

    def __init__(self, reads: Iterable[Variable], writes: Iterable[Variable]) -> None:
        super().__init__()
        self.reads = list(reads)
        self.writes = list(writes)


def candidates(roots: Iterable[Any]) -> list[Variable]:
    """The Variables below some objects, each once; Variables themselves are among the objects."""
    found: dict[Variable, None] = {}
    for root in roots:
        leaves = graph_of(root).live_leaves() if isinstance(root, Node) else [root]
        for leaf in leaves:
            while isinstance(leaf, VariableView):
                leaf = leaf.target  # noqa: PLW2901
            if isinstance(leaf, Variable) and isinstance(leaf._value, jax.Array):
                found[leaf] = None
    return list(found)


def state_outputs(out: Any, frame: Frame, written: Iterable[Variable]) -> tuple[Output, list[Any]]:
    """The result and the new state, if that is all that the function has changed.

    Raises:
        StateGrew: It has written, or read from outside, another Variable.
    """
    targets = dict.fromkeys(written)
    writes = [variable for variable in frame.writes if variable not in targets]
    if frame.reads or writes:
        raise StateGrew(frame.reads, writes)
    return Output(out, frame.serial), [frame.read(variable) for variable in targets]


class FirstTrace:
    """A trace of a function that gets every Variable it may use, to see which it does use.

    JAX keeps the trace, so that a function compiled for just the Variables that are used
    can be built around it and the user's function runs only once.

    Args:
        trace: Runs the user's function.
        offered: The Variables that it may use.
        written: Variables that count as written in any case.
        fun: The user's function, by which JAX's messages call it.
        labels: The path of each array among the arguments.
        leaves: These arrays.

    Attributes:
        read: The Variables that it reads and does not write.
        written: The Variables that it writes.
        resized: Those of them that come out with another shape, so have no use for the old buffer.
        calls_back: Whether it calls back into Python while it runs.
    """

    def __init__(
        self,
        trace: Trace,
        offered: Iterable[Variable],
        written: Iterable[Variable],
        fun: Any,
        labels: list[str],
        leaves: list[Any],
    ) -> None:
        self._trace = trace
        self._offered = list(dict.fromkeys(offered) | ambient)
        if len(self._offered) > MAX_OFFERED:
            self._offered = []
        self._labels = labels
        self._beyond: dict[Variable, None] = {}
        self._outputs: list[Variable] = []
        self._reads: dict[Variable, None] = {}
        self._writes = dict.fromkeys(written)
        self._settled = False
        self.resized: set[Variable] = set()
        while True:
            jitted = jax.jit(named_after(fun, self._run), inline=True)
            shown = list(map(peek, self._offered))
            traced = jitted.trace(shown, dict(zip(labels, leaves, strict=True)))
            if not self._beyond:
                break
            self._offered += self._beyond
        self._jitted = jitted
        self._settled = True
        self.written = self._outputs
        targets = set(self.written)
        self.read = [variable for variable in self._reads if variable not in targets]
        self.calls_back = _calls_back(traced.jaxpr.jaxpr)

    def _run(self, values: list[Any], arguments: dict[str, Any]) -> tuple[Output, list[Any]]:
        leaves = [arguments[label] for label in self._labels]
        offer = Frame(dict(zip(self._offered, values, strict=True)))
        with offer.active():
            out, frame = self._trace({}, leaves)
            if self._settled:
                # JAX did not take the kept trace, for arguments of other shapes, say.
                if offer.reads or not frame.writes.keys() <= set(self._outputs):
                    raise StateGrew(offer.reads, frame.writes)
                return Output(out, frame.serial), [
                    frame.read(variable) for variable in self._outputs
                ]
            self._outputs = list(self._writes | frame.writes)
            new = [frame.read(variable) for variable in self._outputs]
            self.resized = {
                v for v, x in zip(self._outputs, new, strict=True) if x.shape != peek(v).shape
            }
        self._reads = frame.reads
        self._beyond = offer.reads
        return Output(out, frame.serial), new

    def __call__(
        self, known: dict[Variable, Any], leaves: list[Any]
    ) -> tuple[Output, dict[Variable, Any]]:
        """Run the kept trace as part of another one.

        Args:
            known: The values of the Variables that it uses.
            leaves: The arrays among the arguments.

        Returns:
            The result, and what the Variables that it writes become.
        """
        values = [known[v] if v in known else _unused(peek(v)) for v in self._offered]
        serial = next_serial()
        out, new = self._jitted(values, dict(zip(self._labels, leaves, strict=True)))
        return Output(out, serial), dict(zip(self.written, new, strict=True))


def named_after(fun: Any, pure: Callable[..., Any]) -> Callable[..., Any]:
    """Let JAX's messages speak of the user's function instead of ours."""

    def renamed(*args: Any) -> Any:
        return pure(*args)

    renamed.__name__ = renamed.__qualname__ = getattr(fun, "__name__", type(fun).__name__)
    renamed.__wrapped__ = fun  # type: ignore[attr-defined]
    renamed.__signature__ = inspect.signature(pure)  # type: ignore[attr-defined]
    return renamed


def placeholder(value: Any, shape: tuple[int, ...]) -> Any:
    """An array like the value, of a given shape, for an input that is not used."""
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        data = jax.eval_shape(jax.random.key_data, value)
        words = data.shape[value.ndim :]
        return jax.random.wrap_key_data(
            jnp.zeros((*shape, *words), data.dtype), impl=jax.random.key_impl(value)
        )
    return jnp.zeros(shape, value.dtype)


def _unused(value: Any) -> Any:
    return placeholder(value, value.shape)


def _calls_back(jaxpr: Any) -> bool:
    stack = [jaxpr]
    while stack:
        for equation in stack.pop().eqns:
            if "callback" in equation.primitive.name:
                return True
            for parameter in equation.params.values():
                for inner in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
                    inner = getattr(inner, "jaxpr", inner)  # noqa: PLW2901
                    if hasattr(inner, "eqns"):
                        stack.append(inner)
    return False
