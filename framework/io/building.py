"""Building objects from their descriptions, without running any code of their classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MethodType
from typing import Any

import numpy as np

from framework.errors import CheckpointError
from framework.io.leaf_types import dtype_named
from framework.io.names import Resolver
from framework.nodes.children import container_of
from framework.nodes.collectors import References
from framework.nodes.graph import Node
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.ownership import adopt
from framework.nodes.rebuild import allocate
from framework.nodes.variable import Variable
from framework.nodes.view import VariableView

__all__ = ["build_object"]


def build_object(description: dict[str, Any], leaves: Mapping[str, Any], resolver: Resolver) -> Any:
    """Rebuilds an object.

    Args:
        description: From `describe_object`, possibly by way of a hostile file.
        leaves: Array by path.
        resolver: Which classes and functions may be used.

    Returns:
        A new object.

    Raises:
        CheckpointError: A class or function is missing or not allowed.
        LookupError, TypeError, ValueError, AttributeError: The description is malformed.
    """
    return _Build(description, leaves, resolver).run()


class _Build:
    def __init__(
        self, description: dict[str, Any], leaves: Mapping[str, Any], resolver: Resolver
    ) -> None:
        self.description = description
        self.resolver = resolver
        self.leaves = dict(leaves)
        for path, (name, batch_axis, axis_names) in description["variables"].items():
            names = None if axis_names is None else tuple(axis_names)
            cls = self.subclass(name, Variable)
            self.leaves[path] = cls.tree_unflatten((batch_axis, names), [leaves[path]])
        for path, target, role in description["companions"]:
            self.leaves[path]._accompany(self.leaves[target], role)
        classes = [self.subclass(name, Node) for name, _, _ in description["nodes"]]
        self.nodes: list[Any] = [allocate(cls) for cls in classes]

    def run(self) -> Any:
        for node, (_, name, attributes) in zip(self.nodes, self.description["nodes"], strict=True):
            if isinstance(name, str) and name.isidentifier():
                node._meta.wanted_name = name
            for key, described in attributes.items():
                value = self.value(described)
                # Neither `__setattr__` nor a property of the class gets to run.
                if key in node._slot_names:
                    object.__setattr__(node, key, value)
                elif type(key) is str and not (key.startswith("__") or key == "_meta"):
                    node.__dict__[key] = value
                else:
                    raise ValueError(f"no attribute is called {key!r}")
                adopt(node, value, KIND_OF_TYPE[type(value)])
        return self.value(self.description["root"])

    def subclass(self, name: str, base: type) -> Any:
        cls = self.resolver.find(name)
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise CheckpointError(f"uses {name} as a class of objects, which it is not")
        return cls

    def value(self, described: Any) -> Any:  # noqa: C901, PLR0912 - one case per form
        if isinstance(described, list):
            return [self.value(item) for item in described]
        if not isinstance(described, dict):
            return described
        ((form, content),) = described.items()
        match form:
            case "node":
                return self.nodes[content]
            case "leaf":
                return self.leaves[content]
            case "tuple":
                return tuple(self.value(item) for item in content)
            case "set":
                return {self.value(item) for item in content}
            case "frozenset":
                return frozenset(self.value(item) for item in content)
            case "dict":
                return {self.value(k): self.value(v) for k, v in content}
            case "list_of" | "dict_of":
                return self.container(form, *content)
            case "references":
                return References._trusted((k, self.leaves[path]) for k, path in content)
            case "view":
                return VariableView.over(self.value(content[0]), self.value(content[1]))
            case "method":
                return self.method(*content)
            case "record":
                return self.record(*content)
            case "int":
                return int(content)
            case "complex":
                return complex(*content)
            case "scalar":
                return np.frombuffer(content[1], dtype_named(content[0]), count=1)[0]
            case "dtype":
                return dtype_named(content)
            case "slice":
                return slice(*(self.value(part) for part in content))
            case "ellipsis":
                return ...
            case "name":
                return self.resolver.find(content)
            case _:
                raise ValueError(f"unknown form {form!r}")

    def container(self, form: str, name: str, extras: Any, content: Any) -> Any:
        cls = self.subclass(name, list if form == "list_of" else dict)
        static = tuple((key, _Plain(self.value(value))) for key, value in extras)
        if form == "list_of":
            keys, children = (), [self.value(item) for item in content]
            return container_of(Kind.LIST, (cls, static), keys, children)
        keys = [self.value(key) for key, _ in content]
        children = [self.value(value) for _, value in content]
        return container_of(Kind.DICT, (cls, static), keys, children)

    def method(self, index: int, name: str) -> Any:
        node = self.nodes[index]
        function = next((vars(c)[name] for c in type(node).__mro__ if name in vars(c)), None)
        if not callable(function) or not hasattr(function, "__code__"):
            raise ValueError(f"{type(node).__name__} has no method {name!r}")
        return MethodType(function, node)

    def record(self, name: str, fields: Any) -> Any:
        cls = self.resolver.find(name)
        values = {key: self.value(value) for key, value in fields}
        if isinstance(cls, type) and dataclasses.is_dataclass(cls):
            record = object.__new__(cls)
            known = {f.name for f in dataclasses.fields(cls)}
            if set(values) != known:
                raise ValueError(f"{name} has the fields {sorted(known)}, not {sorted(values)}")
            for key, value in values.items():
                object.__setattr__(record, key, value)
            return record
        if not (isinstance(cls, type) and issubclass(cls, tuple)):
            raise ValueError(f"{name} is no type of plain data")
        if tuple(values) != vars(cls).get("_fields"):
            raise ValueError(f"{name} has other fields than {list(values)}")
        return tuple.__new__(cls, values.values())


class _Plain:
    """What `container_of` takes an extra attribute from."""

    def __init__(self, value: Any) -> None:
        self.value = value
