"""Situations: what a trace depends on, in words, to say why a function is traced again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import ref

from jax import tree_util

from framework.errors import TraceError
from framework.nodes.frames import by_value
from framework.nodes.graph import Node
from framework.nodes.kinds import Kind
from framework.nodes.lines import line_of, users_line, watch
from framework.nodes.ownership import full_path
from framework.nodes.places import node_paths
from framework.nodes.records import coded_attributes
from framework.nodes.structure import Structure
from framework.nodes.values import summary
from framework.nodes.variable import Variable
from framework.nodes.walk import graph_of
from framework.transforms.discovery import candidates
from framework.transforms.roots import Binding

__all__ = ["Journal", "Situation", "labelled"]


def labelled(names: list[str], args: Any, kwargs: Any) -> list[tuple[str, Any]]:
    """The arrays and objects among the arguments of a call, by path.

    Args:
        names: Names of the positional parameters.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """
    positional = {
        names[i] if i < len(names) else f"args[{i - len(names)}]": value
        for i, value in enumerate(args)
    }
    with by_value():
        return [
            (name + tree_util.keystr(path), leaf)
            for name, value in (*positional.items(), *kwargs.items())
            for path, leaf in tree_util.tree_flatten_with_path(value, is_leaf=_is_object)[0]
        ]


def _is_object(x: Any) -> bool:
    return isinstance(x, (Node, Variable))


class Journal:
    """Counts the traces of a function, and says why there was another one.

    Args:
        name: How to call the function.
        limit: The most traces that are allowed; None for any number.

    Attributes:
        traces: The number of traces so far.
    """

    def __init__(self, name: str, limit: int | None = None) -> None:
        self.name = name
        self.limit = limit
        self.traces = 0
        self._last: Situation | None = None
        self._next: Situation | None = None
        self._line = ""
        self._reason = ""

    def begin(self, situation: Situation) -> None:
        """Note that a trace begins.

        Raises:
            TraceError: It is one too many.
        """
        self._next = situation
        self._line = users_line()
        if self.limit is not None and self.traces >= self.limit:
            raise TraceError(
                f"`{self.name}` may be traced max_traces={self.limit} times, but needs another "
                f"trace{_at(self._line)}: {self._changes()}. Keep what changes in a Variable or an "
                "argument of fixed shape and dtype, or allow more traces."
            )

    def end(self) -> None:
        """Note that the trace is complete."""
        if self._last is not None:
            self._reason = f"{_at(self._line)} because: {self._changes()}"
        self._last = self._next
        self.traces += 1
        watch.everything()

    def _changes(self) -> str:
        if self._last is None or self._next is None:
            return "it has never been traced"
        return "; ".join(self._next.changes_since(self._last)) or (
            "neither arguments nor objects have changed, so a setting of JAX has, or it was called "
            "inside of another transform"
        )

    def explain(self) -> str:
        """Say why the last trace was made."""
        if not self.traces:
            return f"`{self.name}` has not been traced yet."
        if self.traces == 1:
            return f"`{self.name}` was traced once, at its first call."
        return f"`{self.name}` was traced {self.traces} times, the last time{self._reason}."


class Situation:
    """What one trace of a function depends on.

    Args:
        names: Names of the positional parameters.
        args: Positional arguments.
        kwargs: Keyword arguments.
        roots: The objects that it may use, by name.
        bindings: The names under which it finds them.
        static: The names or positions of static arguments.
    """

    def __init__(
        self,
        names: list[str],
        args: Any,
        kwargs: Any,
        roots: dict[str, Any],
        bindings: list[Binding],
        static: Any = (),
    ) -> None:
        taken = {names[k] if isinstance(k, int) and k < len(names) else k for k, *_ in static}
        self.static = {
            names[k] if isinstance(k, int) and k < len(names) else str(k): value
            for k, _, value in static
        }
        self.arguments: dict[str, str] = {}
        self.objects: dict[str, Any] = {}
        for label, leaf in labelled(names, args, kwargs):
            if _is_object(leaf):
                self.objects[label] = ref(leaf)
            elif label not in taken:
                self.arguments[label] = _array_text(leaf)
        self.bindings = {binding.text: binding.value for binding in bindings}
        self.contents = {b.text: b.contents for b in bindings}
        self.structures: dict[str, Structure] = {}
        self.leaves: dict[str, list[Any]] = {}
        self.serials: dict[str, list[int]] = {}
        for name, root in roots.items():
            if isinstance(root, Node):
                graph = graph_of(root)
                self.structures[name] = graph.structure
                self.leaves[name] = list(graph.leaf_refs)
                self.serials[name] = [node._meta.serial for node in graph.live_nodes()]
        self.shapes = {
            ref(variable): summary(variable._shown())
            for variable in candidates(roots.values())
            if variable.batch_axis is not None
        }

    def changes_since(self, old: Situation) -> list[str]:
        """What differs from an earlier situation, one sentence each."""
        found = [
            *_changed_texts("argument", old.arguments, self.arguments),
            *_changed_texts("static argument", old.static, self.static),
        ]
        for label, value in self.objects.items():
            before = old.objects.get(label)
            if before is not None and before() is not value():
                found.append(f"argument `{label}` is another object: {_object_text(value())}")
        for name, value in self.bindings.items():
            before = old.bindings.get(name)
            if before is not None and before() is not value():
                found.append(f"`{name}` is another object: {_object_text(value())}")
            elif (held := old.contents.get(name)) is not None and not held.match(value()):
                found.append(f"`{name}`, a {type(value()).__name__}, was changed in place")
        for name, structure in self.structures.items():
            before = old.structures.get(name)
            if before is not None and before != structure:
                found += _structure_changes(name, before, structure, self.serials[name])
            elif before is not None:
                found += [
                    f"`{name}{key}` was replaced by another {type(new()).__name__}"
                    f"{_assigned(self.serials[name][node], keys)}"
                    for key, (node, keys), leaf, new in zip(
                        structure.places.leaf_keys,
                        structure.places.leaves,
                        old.leaves[name],
                        self.leaves[name],
                        strict=True,
                    )
                    if leaf() is not new()
                ]
        for variable, shape in self.shapes.items():
            before = old.shapes.get(variable)
            if before not in (None, shape) and (cell := variable()) is not None:
                where = _assigned(cell._serial)
                found.append(f"{cell._label()} was {before}, is {shape}{where}")
        return found


def _changed_texts(what: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name, value in new.items():
        if name not in old:
            yield f"{what} `{name}` is new: {value}"
        elif type(old[name]) is not type(value) or old[name] != value:
            yield f"{what} `{name}` was {old[name]!s}, is {value!s}"
    for name in old:
        if name not in new:
            yield f"{what} `{name}` is gone"


def _array_text(leaf: Any) -> str:
    if hasattr(leaf, "dtype"):
        weakly = " (weakly typed)" if getattr(leaf, "weak_type", False) else ""
        return summary(leaf) + weakly
    return f"a Python {type(leaf).__name__}"


def _object_text(value: Any) -> str:
    if isinstance(value, Node):
        return full_path(value)
    return value._label() if isinstance(value, Variable) else type(value).__name__


def _join(name: str, path: str) -> str:
    return f"{name}{path}" if path.startswith("[") or not name else f"{name}.{path}"


def _at(line: str) -> str:
    return line and f" (at {line})"


def _assigned(serial: int, keys: Any = "") -> str:
    """Where what stands there was assigned, if that is known."""
    line = line_of(serial, keys if isinstance(keys, str) else keys[0])
    return line and f", assigned at {line}"


def _structure_changes(name: str, old: Structure, new: Structure, serials: list[int]) -> list[str]:
    before, after = _attributes(old), _attributes(new)
    found: list[str] = []
    for path, (kind, code, node, key) in after.items():
        old_kind, old_code, *_ = before.get(path, (None, None))
        if (old_kind, old_code) == (kind, code):
            continue
        if old_kind is None:
            what = "is new"
        elif kind == old_kind and kind not in (*_UNSHOWN, *Kind.CONTAINERS):
            what = f"was {old_code!r}, is {code!r}"
        else:
            what = "has another structure"
        label = _join(name, path.removeprefix("."))
        found.append(f"`{label}` {what}{_assigned(serials[node], key)}")
    found += [
        f"`{_join(name, path.removeprefix('.'))}` is gone" for path in before if path not in after
    ]
    return found or [f"`{name}` has another structure"]


_UNSHOWN = (Kind.NODE, Kind.VARIABLE, Kind.ARRAY)


def _attributes(structure: Structure) -> dict[str, tuple[int, Any, int, str]]:
    """Kind, code, number of the node, and key of each attribute of each node."""
    return {
        f"{path}.{key}": (kind, code, node, key)
        for node, (path, record) in enumerate(
            zip(node_paths(structure.places.nodes), structure.records, strict=True)
        )
        for key, kind, code in coded_attributes(record)
    }
