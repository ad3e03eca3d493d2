"""`vmap`: one function over many lanes, with axes for state as for arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import tree_util
from jax.custom_batching import custom_vmap

from framework.errors import MathError
from framework.nodes.array import raw
from framework.nodes.frames import Frame, peek, store_all
from framework.nodes.graph import Node
from framework.nodes.variable import Variable
from framework.random import RandomKey
from framework.transforms.discovery import candidates, placeholder
from framework.transforms.functionalize import flatten_by_reference, functionalize
from framework.transforms.lanes import arrays_of, lane_twin

__all__ = ["vmap"]


def vmap(
    func: Callable[..., Any] | None = None,
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    axis_size: int | None = None,
    spmd_axis_name: Any = None,
    *,
    state_axes: Any = None,
) -> Any:
    """Run a function on every slice of its arguments at once.

    A Variable is one for all lanes, and can't take a value that differs between lanes, unless it
    is mapped: because it is in an object that is a mapped argument, or by ``state_axes``. Random
    states are split, so that each lane draws its own numbers.

    Args:
        func: Any function, or a class, whose objects come out stacked. Without it, a decorator is
            returned.
        in_axes: As in `jax.vmap`; for an object, the axis of all its Variables and arrays.
        out_axes: As in `jax.vmap`.
        axis_name: The name of the new axis for collectives.
        axis_size: The number of lanes, where no argument tells it.
        spmd_axis_name: As in `jax.vmap`.
        state_axes: Which other Variables are mapped: a Variable, an object, a class of Variables, a
            predicate of a Variable, or a list of these, along axis 0; or a dict from these to axes.

    Returns:
        The mapped function.

    Raises:
        MathError: At a call, if a value that differs between lanes is written into a Variable that
            is not mapped.
        ValueError: At a call, if the number of lanes is not known or not the same everywhere.

    >>> import jax.numpy as jnp
    >>> v = Variable(jnp.zeros(3))
    >>> def add(x):
    ...     v.value += x
    >>> vmap(add, state_axes=v)(jnp.arange(3.0))
    >>> print(v.value)
    [0. 1. 2.]
    """

    def decorate(fun: Callable[..., Any]) -> Callable[..., Any]:
        options = {"axis_name": axis_name, "spmd_axis_name": spmd_axis_name}
        selectors = _selectors(state_axes)

        @functools.wraps(fun, updated=())
        def mapped(*args: Any, **kwargs: Any) -> Any:
            return _Call(fun, args, kwargs, in_axes, selectors).run(out_axes, axis_size, options)

        return mapped

    return decorate if func is None else decorate(func)


def _selectors(state_axes: Any) -> list[tuple[Any, int | None]]:
    if state_axes is None:
        return []
    if isinstance(state_axes, Mapping) and not all(isinstance(k, str) for k in state_axes):
        return list(state_axes.items())
    several = isinstance(state_axes, (list, tuple))
    return [(selector, 0) for selector in (state_axes if several else (state_axes,))]


class _Call:
    """One call of a mapped function."""

    def __init__(
        self,
        fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        in_axes: Any,
        selectors: list[tuple[Any, int | None]],
    ) -> None:
        self.fun = fun
        self.axes: dict[Variable, int | None] = {}
        self.rules: list[tuple[Callable[..., object], int | None]] = []
        for selector, axis in selectors:
            self.select(selector, axis)
        self.leaf_axes: list[int | None] = []
        self.arrays: list[Any] = []
        self.array_axes: list[int | None] = []
        self.twins: set[int] = set()
        in_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
        tree_util.tree_map(self.take, in_axes, args, is_leaf=lambda x: x is None)
        tree_util.tree_map(functools.partial(self.take, 0), kwargs, is_leaf=_is_object)
        self.leaves, self.treedef = flatten_by_reference((args, kwargs))

    def select(self, selector: Any, axis: int | None) -> None:
        """Note what a selector of Variables maps."""
        if isinstance(selector, type):
            self.rules.append((lambda variable: isinstance(variable, selector), axis))
        elif isinstance(selector, (Node, Variable)):
            self.axes |= dict.fromkeys(candidates([selector]), axis)
        elif isinstance(selector, Mapping):
            self.axes |= dict.fromkeys(candidates(selector.values()), axis)
        elif callable(selector):
            self.rules.append((selector, axis))
        else:
            raise TypeError(
                "state_axes takes Variables, objects, classes of Variables and predicates, but got "
                f"a {type(selector).__name__}."
            )

    def take(self, axis: int | None, argument: Any) -> None:
        """Note what a part of the arguments maps."""
        self.leaf_axes += [axis] * len(flatten_by_reference(argument)[0])
        for item in tree_util.tree_leaves(argument, is_leaf=_is_object):
            if _is_object(item):
                self.axes |= dict.fromkeys(candidates([item]), axis)
                arrays = arrays_of(item) if axis is not None else []
                if arrays:
                    self.twins.add(id(item))
                self.arrays += arrays
                self.array_axes += [axis] * len(arrays)

    def axis_of(self, variable: Variable) -> int | None:
        """The axis along which a Variable is mapped."""
        if variable in self.axes:
            return self.axes[variable]
        return next((axis for rule, axis in self.rules if rule(variable)), None)

    def run(self, out_axes: Any, axis_size: int | None, options: dict[str, Any]) -> Any:
        """Trace until the state is known, then run."""
        lanes = _Lanes(self, out_axes)
        while True:
            values, axes = lanes.inputs(self.size(axis_size))
            traced = functools.partial(lanes.run, axes, self.size(axis_size), options)
            jax.eval_shape(traced, values)
            if not lanes.missed:
                break
            lanes.known += lanes.missed
        lanes.written = list(lanes.writes)
        leaves, new = lanes.run(axes, self.size(axis_size), options, values, lanes.leaf_axes)
        kept = {
            variable: value
            for variable, value in zip(lanes.written, new, strict=True)
            if variable in lanes.writes and not lanes.is_split(variable)
        }
        # Random states go on behind the lanes.
        after = kept | lanes.next_keys
        store_all(after, after.values())
        return tree_util.tree_unflatten(lanes.treedef, leaves)

    def size(self, given: int | None) -> int:
        """The number of lanes."""
        if given is not None:
            return given
        pairs = [*zip(self.leaves, self.leaf_axes, strict=True)]
        pairs += zip(self.arrays, self.array_axes, strict=True)
        pairs += [(peek(variable), axis) for variable, axis in self.axes.items()]
        sizes = [x.shape[axis] for x, axis in pairs if axis is not None and hasattr(x, "shape")]
        if not sizes:
            raise ValueError(
                "vmap can't tell the number of lanes, since no argument is mapped. Give axis_size=."
            )
        return sizes[0]


class _Offer(Frame):
    """What is around the lanes: notes which mapped Variables are read but not offered yet."""

    __slots__ = ("axis_of", "missed")

    def __init__(self, known: dict[Any, Any], axis_of: Callable[[Variable], Any]) -> None:
        super().__init__(known)
        self.axis_of = axis_of
        self.missed: dict[Any, None] = {}

    def read(self, cell: Any) -> Any:
        met = self.has(cell)
        value = super().read(cell)
        if met or (self.axis_of(cell) is None and not self.is_split(cell)):
            return value
        self.missed[cell] = None
        return self.slice_of(cell, value)

    def peek(self, cell: Any) -> Any:
        value = super().peek(cell)
        return value if self.has(cell) else self.slice_of(cell, value)

    def read_matters(self, cell: Any) -> bool:
        if self.has(cell):
            return False
        return self.is_split(cell) or super().read_matters(cell)

    def has(self, cell: Any) -> bool:
        """Tell whether the lanes have a value of their own for it."""
        return cell in self.values or cell._serial > self.serial

    def is_split(self, cell: Any) -> bool:
        """Tell whether each lane gets its own key, and the state another one."""
        return self.axis_of(cell) is None and _splits(cell)

    def slice_of(self, cell: Any, value: Any) -> Any:
        """Something of the shape that a lane will see, so that the trace gets to its end."""
        axis = self.axis_of(cell)
        if axis is None:
            return value
        shape = list(value.shape)
        del shape[axis]
        # Of no trace: the one that reads may be an inner one, and end before that of the lanes.
        with jax.ensure_compile_time_eval():
            return placeholder(value, tuple(shape))


class _Lanes:
    """The mapped function, first as a trace to see what state it uses, then for that state."""

    def __init__(self, call: _Call, out_axes: Any) -> None:
        self.call = call
        self.out_axes = out_axes
        self.known: list[Variable] = []
        self.missed: dict[Variable, None] = {}
        self.writes: dict[Variable, None] = {}
        self.written: list[Variable] = []
        self.next_keys: dict[Variable, Any] = {}
        self.leaf_axes: list[int | None] = []
        self.treedef: Any = None

    def is_split(self, variable: Variable) -> bool:
        return self.call.axis_of(variable) is None and _splits(variable)

    def inputs(self, size: int) -> tuple[list[Any], list[int | None]]:
        """The values of the known Variables, and their axes."""
        values: list[Any] = []
        axes: list[int | None] = []
        for variable in self.known:
            value, axis = variable.value, self.call.axis_of(variable)
            if self.is_split(variable):
                keys = jax.random.split(value, size + 1)
                value, self.next_keys[variable], axis = keys[:-1], keys[-1], 0
            values.append(value)
            axes.append(axis)
        return values, axes

    def run(
        self,
        axes: list[int | None],
        size: int,
        options: dict[str, Any],
        values: list[Any],
        leaf_axes: Any = 0,
    ) -> Any:
        """Run all lanes."""
        call = self.call
        out_axes = [
            0 if self.is_split(variable) else call.axis_of(variable) for variable in self.written
        ]
        mapped = jax.vmap(
            self.lane,
            in_axes=(axes, call.leaf_axes, call.array_axes, 0),
            out_axes=(leaf_axes, out_axes),
            axis_size=size,
            **options,
        )
        return mapped(values, call.leaves, call.arrays, jnp.arange(size))

    def lane(self, values: list[Any], leaves: list[Any], arrays: list[Any], number: Any) -> Any:
        """Run one lane."""
        call = self.call
        args, kwargs = tree_util.tree_unflatten(call.treedef, leaves)
        if arrays:
            remaining = iter(arrays)
            args, kwargs = tree_util.tree_map(
                lambda item: lane_twin(item, remaining) if id(item) in call.twins else item,
                (args, kwargs),
                is_leaf=_is_object,
            )
        offer = _Offer(dict(zip(self.known, values, strict=True)), call.axis_of)
        with offer.active():
            out, frame = functionalize(call.fun, {}, args, kwargs)
        self.missed, self.writes = offer.missed, frame.writes
        # The trace that found the state took all branches, this one perhaps not.
        new = [frame.read(variable) for variable in self.written]
        self.check(new, number)
        self.leaf_axes = _broadcast(self.out_axes, out, frame.serial)
        out_leaves, self.treedef = flatten_by_reference(out, frame.serial)
        return out_leaves, new

    def check(self, new: list[Any], number: Any) -> None:
        """Refuse values that differ between lanes where there is no axis for them."""
        call = self.call
        pairs = [
            (variable, value)
            for variable, value in zip(self.written, new, strict=True)
            if call.axis_of(variable) is None and not self.is_split(variable)
        ]
        for (variable, _), is_batched in zip(
            pairs, _batched([value for _, value in pairs], number), strict=True
        ):
            if is_batched:
                raise MathError(
                    f"{variable._label()} is one for all lanes of vmap, but gets a value that "
                    "differs between lanes. Map it (`state_axes=...`, or pass the object that "
                    "holds it as a mapped argument), or write a mean or sum over the lanes "
                    "(`axis_name=...` and `jax.lax.pmean`)."
                )


def _splits(variable: Variable) -> bool:
    return isinstance(variable, RandomKey)


def _is_object(x: Any) -> bool:
    return isinstance(x, (Node, Variable))


def _broadcast(out_axes: Any, out: Any, up_to: int) -> list[int | None]:
    """The output axis of each leaf of a result."""
    axes: list[int | None] = []

    def take(axis: int | None, part: Any) -> None:
        axes.extend([axis] * len(flatten_by_reference(part, up_to)[0]))

    tree_util.tree_map(take, out_axes, out, is_leaf=lambda x: x is None)
    return axes


def _batched(values: list[Any], number: Any) -> list[bool]:
    """Which values differ between the lanes of the innermost vmap, as the number of a lane does."""
    found = [False] * len(values)

    @custom_vmap
    def probe(*xs: Any) -> Any:
        return xs

    @probe.def_vmap
    def _(axis_size: int, in_batched: Any, *xs: Any) -> Any:  # noqa: ARG001
        found[:] = in_batched[1:]
        return xs, tuple(in_batched)

    if values:
        # With the number, or a vmap around this one would answer where no value differs in this
        # one. The probe has no derivative, and needs none.
        probe(number, *(jax.lax.stop_gradient(raw(value)) for value in values))
    return found
