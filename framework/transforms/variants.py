"""Variants: the traces of one function for different arguments and states of its objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any, Protocol
from weakref import ref

from jax import tree_util

from framework.nodes.frames import Frame
from framework.nodes.graph import Node
from framework.nodes.handles import weak
from framework.nodes.ownership import full_path, path_from_root
from framework.nodes.variable import Variable
from framework.transforms.arguments import Arguments
from framework.transforms.discovery import FirstTrace, StateGrew, candidates
from framework.transforms.functionalize import functionalize
from framework.transforms.guard import Guard
from framework.transforms.program import Program
from framework.transforms.roots import roots_of
from framework.transforms.situation import Journal, Situation, labelled

__all__ = ["Entry", "Owner", "Variant"]

# Traces kept for one structure of arguments, the last used first: one for training and one for
# evaluation, say. A static attribute that takes ever new values does not fill the memory.
MAX_VARIANTS = 32


class Owner(Protocol):
    """A compiled function, whose traces these are.

    Attributes:
        fun: The user's function.
        options: Options of `jax.jit`.
        watch_values: Whether plain values that the function finds by name lead to a new trace, too.
        pack_state: Whether to keep small arrays of state together between calls.
        journal: What is noted of the traces.
    """

    fun: Callable[..., Any]
    options: dict[str, Any]
    watch_values: bool
    pack_state: bool
    journal: Journal

    def arguments_of(self, bound: Any) -> Arguments:
        """How to take arguments, given what the function is bound to."""
        ...


class Variant:
    """The trace of a function for one state of the objects that it uses."""

    __slots__ = ("entry", "guard", "program")

    def __init__(self, entry: Entry, leaves: list[Any]) -> None:
        self.entry = entry
        roots, bindings = entry.roots(*entry.arguments(leaves))
        offered = candidates(roots.values())
        first = entry.first_trace(leaves, offered, ())
        self.program = Program(entry, first)
        # Objects that no search found are guarded by the root that holds their Variables.
        known = set(offered)
        for variable in (*first.read, *first.written):
            if variable not in known:
                root, _ = path_from_root(variable)
                if isinstance(root, Node):
                    roots.setdefault(full_path(root), root)
        # Taken now, so that what the trace itself changed is part of it.
        self.guard = Guard(roots, bindings)

    def is_dead(self) -> bool:
        """Tell whether one of its objects is gone."""
        return not self.program.alive or self.guard.is_dead()

    def is_right(self) -> bool:
        """Tell whether a new trace would give the same."""
        return self.program.alive and self.guard.holds()

    def grown(self, grew: StateGrew, leaves: list[Any]) -> Program:
        """Make the program anew with more state, which a later trace has met."""
        program = self.program
        written: list[Any] = [*(v() for v in program.written), *grew.writes]
        offered = dict.fromkeys((*written, *(v() for v in program.read), *grew.reads))
        first = self.entry.first_trace(leaves, offered, written)
        self.program = Program(self.entry, first)
        return self.program


class Entry:
    """All traces of a function for one structure of its arguments.

    Args:
        jitted: The compiled function, referred to weakly.
        treedef: The structure of the arguments.
        static: The static arguments.
        marks: For each array among the arguments, whether its buffer may be reused.
        bound: The object whose method the function is, if any.
    """

    __slots__ = ("bound", "jitted", "marks", "static", "treedef", "variants")

    def __init__(
        self, jitted: Owner, treedef: Any, static: Any, marks: list[bool], bound: Any
    ) -> None:
        self.jitted = ref(jitted)
        self.treedef, self.static, self.marks = treedef, static, marks
        self.bound = None if bound is None else weak(bound)
        self.variants: list[Variant] = []

    def variant(self, leaves: list[Any]) -> Variant:
        """The variant whose trace is right as things are, else a new one."""
        for variant in self.variants:
            if variant.is_right():
                self.variants = [variant, *(v for v in self.variants if v is not variant)]
                return variant
        variant = Variant(self, leaves)
        alive = [v for v in self.variants if not v.is_dead()]
        self.variants = [variant, *alive[: MAX_VARIANTS - 1]]
        return variant

    def is_dead(self) -> bool:
        """Tell whether it can never be used again."""
        return (self.bound is not None and self.bound() is None) or (
            bool(self.variants) and all(v.is_dead() for v in self.variants)
        )

    def split(self, leaves: list[Any]) -> tuple[list[Any], list[Any]]:
        """The leaves whose buffers may be reused, and the others."""
        if not any(self.marks):
            return [], leaves
        pairs = list(zip(leaves, self.marks, strict=True))
        return [x for x, mark in pairs if mark], [x for x, mark in pairs if not mark]

    def user_function(self) -> Callable[..., Any]:
        """The function as the user wrote it."""
        return self.owner().fun

    def options(self) -> dict[str, Any]:
        """Options of `jax.jit`."""
        return self.owner().options

    def packs_state(self) -> bool:
        """Whether to keep small arrays of state together between calls."""
        return self.owner().pack_state

    def fun(self) -> Callable[..., Any]:
        """The function, bound to its object."""
        fun = self.owner().fun
        return fun if self.bound is None else MethodType(fun, self.bound())

    def roots(self, args: Any, kwargs: Any) -> tuple[dict[str, Any], list[Any]]:
        """The objects that the function may use, by name, and the names that it finds them by."""
        names = self.owner().arguments_of(self.bound).names
        more = {f"[{i}]": x for i, x in enumerate(args[len(names) :])}
        given = dict(zip(names, args, strict=False)) | more | kwargs
        return roots_of(self.fun(), given, self.owner().watch_values)

    def labels(self) -> list[str]:
        """The path of each array among the arguments."""
        names = self.owner().arguments_of(self.bound).names
        slots = [_Slot() for _ in range(self.treedef.num_leaves)]
        args, kwargs = self.arguments(slots)
        return [label for label, leaf in labelled(names, args, kwargs) if isinstance(leaf, _Slot)]

    def first_trace(self, leaves: list[Any], offered: Iterable[Any], written: Any) -> FirstTrace:
        """Trace the function, and count that."""
        first = FirstTrace(self.trace, offered, written, self.owner().fun, self.labels(), leaves)
        self.traced()
        return first

    def arguments(self, leaves: list[Any]) -> tuple[Any, Any]:
        """Positional and keyword arguments around some arrays."""
        args, kwargs = tree_util.tree_unflatten(self.treedef, leaves)
        return Arguments.join(args, kwargs, self.static)

    def trace(self, known: dict[Variable, Any], leaves: list[Any]) -> tuple[Any, Frame]:
        """Run the user's function, which JAX traces.

        Raises:
            TraceError: It has been traced too often.
        """
        args, kwargs = self.arguments(leaves)
        owner = self.owner()
        situation = Situation(
            owner.arguments_of(self.bound).names,
            args,
            kwargs,
            *self.roots(args, kwargs),
            self.static,
        )
        owner.journal.begin(situation)
        return functionalize(self.fun(), known, args, kwargs)

    def traced(self) -> None:
        """Count a trace that is complete."""
        self.owner().journal.end()

    def owner(self) -> Owner:
        """The compiled function."""
        return self.jitted()  # type: ignore[return-value]


class _Slot:
    """Stands for an array."""
