"""Describing whole objects by plain data: classes, static configuration, and where leaves go.

What plain data cannot be is a map with one entry, whose key says what it is: `{"node": 3}`,
`{"leaf": "layers[0].w"}`, `{"tuple": [...]}`. `framework.io.building` is the way back.
"""

from __future__ import annotations

import dataclasses
from types import MethodType
from typing import Any, cast

import numpy as np

from framework.errors import CheckpointError
from framework.io.names import import_name
from framework.nodes.children import container_extras
from framework.nodes.graph import attributes_of
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.leaves import named_leaves
from framework.nodes.places import key_text
from framework.nodes.variable import Variable
from framework.nodes.walk import graph_of

__all__ = ["describe_object"]

_DIRECT = (type(None), bool, float, str, bytes)


def describe_object(root: Any) -> dict[str, Any]:
    """Describes an object by plain data.

    Args:
        root: An object of this package, or lists, tuples and dicts of such objects.

    Returns:
        What a file holds besides the leaves.

    Raises:
        CheckpointError: A static value has no form in a file.

    Example:
        >>> from framework.nodes.base import BrainPyObject
        >>> node = BrainPyObject(name="example")
        >>> node.size = (3, 4)
        >>> describe_object(node)["nodes"]
        [['framework.nodes.base:BrainPyObject', 'example', {'size': {'tuple': [3, 4]}}]]
    """
    return _Describe(root).run()


class _Describe:
    def __init__(self, root: Any) -> None:
        self.root = root
        self.nodes = graph_of(root).live_nodes()
        self.node_index = {id(node): i for i, node in enumerate(self.nodes)}
        named = named_leaves(root)
        self.variables = {
            id(leaf): path for path, leaf in named.values.items() if isinstance(leaf, Variable)
        }
        self.values = named.values
        self.array_paths = {
            (id(holder), keys): path for path, (holder, keys) in named.places.items()
        }

    def run(self) -> dict[str, Any]:
        return {
            "nodes": [self.node(node) for node in self.nodes],
            "variables": {
                path: [self.class_name(type(leaf), path), *leaf._meta]
                for path, leaf in self.values.items()
                if isinstance(leaf, Variable)
            },
            "companions": [
                [path, self.variables[id(leaf._companion[0])], leaf._companion[1]]
                for path, leaf in self.values.items()
                if isinstance(leaf, Variable)
                and leaf._companion is not None
                and id(leaf._companion[0]) in self.variables
            ],
            "root": self.value(self.root, None, (None,)),
        }

    def node(self, node: Any) -> list[Any]:
        attributes = {
            key: self.value(value, node, (key,))
            for key, value in attributes_of(node).items()
            if KIND_OF_TYPE[type(value)] != Kind.META
        }
        meta = node._meta
        return [self.class_name(type(node), ""), meta.name or meta.wanted_name, attributes]

    def class_name(self, cls: type, path: str) -> str:
        name = import_name(cls)
        if name is None:
            raise CheckpointError(f"cannot save {path!r}: its class {cls!r} has no import name")
        return name

    def value(self, value: Any, holder: Any, keys: tuple[Any, ...]) -> Any:
        kind = KIND_OF_TYPE[type(value)]
        if kind == Kind.NODE:
            return {"node": self.node_index[id(value)]}
        if kind == Kind.VARIABLE:
            return {"leaf": self.variables[id(value)]}
        if kind == Kind.ARRAY:
            place = keys[0] if len(keys) == 1 and keys[0] is not None else keys
            return {"leaf": self.array_paths[id(holder), place]}
        if kind == Kind.VIEW:
            target = self.value(value.target, holder, keys)
            return {"view": [target, self.value(value.index, holder, (*keys, "index"))]}
        if kind == Kind.REFERENCES:
            return {"references": [[k, self.outside(v, keys)] for k, v in value.items()]}
        if type(value) is MethodType:
            return self.method(value, holder, keys)
        if kind in (Kind.LIST, Kind.DICT):
            return self.container(value, kind, holder, keys)
        return self.static(value, holder, keys)

    def container(self, value: Any, kind: int, holder: Any, keys: tuple[Any, ...]) -> Any:
        if kind == Kind.LIST:
            content = [self.value(item, holder, (*keys, i)) for i, item in enumerate(value)]
        else:
            content = [
                [self.static(k, holder, keys), self.value(v, holder, (*keys, k))]
                for k, v in value.items()
            ]
        cls, extras = container_extras(value, kind)
        if cls is list:
            return content
        if cls in (tuple, dict):
            return {cls.__name__: content}
        static = [[k, self.value(v.value, holder, (*keys, k))] for k, v in extras]
        name = "list_of" if kind == Kind.LIST else "dict_of"
        return {name: [self.class_name(cls, self.text(holder, keys)), static, content]}

    def method(self, value: Any, holder: Any, keys: tuple[Any, ...]) -> Any:
        index = self.node_index.get(id(value.__self__))
        name = value.__func__.__name__
        if index is None or getattr(type(value.__self__), name, None) is not value.__func__:
            raise self.refused(value, holder, keys)
        return {"method": [index, name]}

    def outside(self, variable: Variable, keys: tuple[Any, ...]) -> str:
        path = self.variables.get(id(variable))
        if path is None:
            raise CheckpointError(
                f"cannot save {key_text(keys).removeprefix('.')!r}: it refers to a Variable "
                "outside of what is saved; save both together, for example "
                'save_object(path, {"net": net, "opt": opt})'
            )
        return path

    def static(self, value: Any, holder: Any, keys: tuple[Any, ...]) -> Any:
        cls = type(value)
        if cls in _DIRECT or (cls is int and -(2**63) <= value < 2**64):
            return value
        if cls is int:
            return {"int": str(value)}
        if cls is complex:
            return {"complex": [value.real, value.imag]}
        if isinstance(value, np.generic):
            return {"scalar": [value.dtype.name, value.tobytes()]}
        if isinstance(value, np.dtype):
            return {"dtype": value.name}
        if cls in (set, frozenset, tuple):
            items = sorted(value, key=repr) if cls is not tuple else value
            return {cls.__name__: [self.static(item, holder, keys) for item in items]}
        if cls is slice:
            parts = (value.start, value.stop, value.step)
            return {"slice": [self.static(part, holder, keys) for part in parts]}
        if value is Ellipsis:
            return {"ellipsis": None}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self.record(value, {f.name: getattr(value, f.name) for f in
                                       dataclasses.fields(value)}, holder, keys)  # fmt: skip
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return self.record(value, cast("Any", value)._asdict(), holder, keys)
        name = import_name(value) if callable(value) else None
        if name is None:
            raise self.refused(value, holder, keys)
        return {"name": name}

    def record(self, value: Any, fields: dict[str, Any], holder: Any, keys: Any) -> Any:
        name = import_name(type(value))
        if name is None:
            raise self.refused(value, holder, keys)
        content = [[k, self.value(v, holder, (*keys, k))] for k, v in fields.items()]
        return {"record": [name, content]}

    def refused(self, value: Any, holder: Any, keys: tuple[Any, ...]) -> CheckpointError:
        return CheckpointError(
            f"cannot save {self.text(holder, keys)!r}: it is {value!r}, for which a file has no "
            "form; allowed are numbers, text, dtypes, containers of them, dataclasses and "
            "namedtuples, and functions and classes that can be imported by name"
        )

    def text(self, holder: Any, keys: tuple[Any, ...]) -> str:
        places = graph_of(self.root).structure.places.nodes
        path, index = key_text(keys), self.node_index.get(id(holder), -1)
        while index >= 0:
            index, above = places[index]
            path = ("" if above is None else key_text(above)) + path
        return path.removeprefix(".")
