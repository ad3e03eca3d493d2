"""PyTrees of plain containers: their leaves by path, and a description to build them again from.

The description is a flat list, one entry for each container and leaf, parents before children, so
that neither writing nor reading recurses and trees of any depth work.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jax import tree_util

from framework.errors import CheckpointError
from framework.io.leaf_types import Leaf
from framework.io.paths import key_of, nested, split
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.leaves import named_leaves
from framework.nodes.variable import Variable

__all__ = ["Flat", "build", "flatten", "flatten_like"]

_KEY_TYPES = (str, int, float, bool, bytes, type(None))
_MALFORMED = (TypeError, KeyError, ValueError, IndexError, AttributeError, RecursionError)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class Flat(NamedTuple):
    """A tree or object taken apart.

    Attributes:
        leaves: Each leaf by its path; of a Variable, its array.
        aliases: Further paths of what is shared.
        structure: Description of the containers.
    """

    leaves: dict[str, Leaf]
    aliases: dict[str, str]
    structure: list[Any]


def flatten(tree: Any) -> Flat:
    """Takes a tree apart.

    Args:
        tree: An object of this package, or containers (dict, list, tuple and whatever JAX knows
            as a PyTree) of arrays, scalars and such objects.

    Returns:
        Its leaves by path, and its structure.

    Raises:
        CheckpointError: A dictionary has keys that a file cannot hold, or a container holds
            itself.

    Example:
        >>> flatten({"a": [1, 2.5], 3: None}).leaves
        {"['a'][0]": 1, "['a'][1]": 2.5}
    """
    walk = _Walk()
    walk.run(tree)
    if not walk.objects:
        return Flat(walk.leaves, {}, walk.structure)
    named = named_leaves(tree)
    for path in (*named.values, *named.aliases):
        if _ADDRESS.search(path):
            raise CheckpointError(
                f"the path {path!r} depends on a memory address, so no other process would find "
                "it; use dictionary keys that print the same everywhere"
            )
    held = {path: leaf.value if isinstance(leaf, Variable) else leaf for path, leaf in
            named.values.items()}  # fmt: skip
    path_of = {id(leaf): path for path, leaf in named.values.items()}
    for entry, variable in walk.variables:
        entry[1] = path_of[id(variable)]
    return Flat(walk.leaves | held, named.aliases, walk.structure)


def flatten_like(tree: Any) -> tuple[dict[str, Leaf], Any]:
    """Takes a plain tree apart in the order of JAX.

    Args:
        tree: A PyTree without objects of this package.

    Returns:
        Its leaves by path, and its treedef.

    Raises:
        CheckpointError: There is an object in it.
    """

    def is_object(value: Any) -> bool:
        return KIND_OF_TYPE[type(value)] in (Kind.NODE, Kind.VARIABLE)

    pairs, treedef = tree_util.tree_flatten_with_path(tree, is_leaf=is_object)
    if any(is_object(leaf) for _, leaf in pairs):
        raise CheckpointError(
            "`like` holds a Variable or BrainPyObject; to load into objects in place, write "
            "load_states(path, tree)"
        )
    return {"".join(map(_step, path)).removeprefix("."): leaf for path, leaf in pairs}, treedef


def build(structure: Sequence[Any], leaves: Mapping[str, Leaf], aliases: Mapping[str, str]) -> Any:
    """Puts a tree together again.

    Args:
        structure: From `flatten`, possibly by way of a hostile file.
        leaves: Leaf by path.
        aliases: Further paths of what is shared.

    Returns:
        The tree. In the place of an object, or a PyTree of a class that only its program knows,
        there is a dict with its attributes.

    Raises:
        CheckpointError: The structure is not what `flatten` makes.

    Example:
        >>> flat = flatten({"a": [1, (2.5,)], 3: None})
        >>> build(flat.structure, flat.leaves, flat.aliases)
        {'a': [1, (2.5,)], 3: None}
    """
    by_steps: dict[Any, Any] | None = None
    built: list[Any] = []
    try:
        # From the end, so that children are there when their parent comes.
        for kind, content in reversed(structure):
            if kind == "leaf":
                built.append(leaves[content])
            elif kind == "none":
                built.append(None)
            elif kind == "object":
                if by_steps is None:
                    by_steps = nested(leaves, aliases)
                built.append(_at(by_steps, content))
            else:
                keys = content if isinstance(content, list) else range(content)
                # A count that is not true ends at the bottom of the stack.
                children = [built.pop() for _ in keys]
                built.append(_container(kind, content, children))
        (tree,) = built
    except _MALFORMED as error:
        raise CheckpointError(f"has a malformed tree structure: {error!r}") from error
    return tree


class _Walk:
    def __init__(self) -> None:
        self.leaves: dict[str, Leaf] = {}
        self.structure: list[Any] = []
        self.variables: list[tuple[list[Any], Variable]] = []
        self.objects = False
        # Containers between the root and here; an id stands for leaving the container.
        self.open: set[int] = set()

    def run(self, tree: Any) -> None:
        stack: list[tuple[str | None, Any]] = [("", tree)]
        while stack:
            path, value = stack.pop()
            if path is None:
                self.open.discard(value)
                continue
            kind = KIND_OF_TYPE[type(value)]
            if kind == Kind.ARRAY:  # Most are: what `leaf` would do, without a call.
                path = path.removeprefix(".")
                self.leaves[path] = value
                self.structure.append(["leaf", path])
                continue
            if kind in Kind.CONTAINERS:
                children = self.container(path, value, kind)
                if children is not None:
                    if id(value) in self.open:
                        raise CheckpointError(
                            f"the {type(value).__name__} at {path!r} contains itself; only "
                            "BrainPyObjects may form cycles"
                        )
                    self.open.add(id(value))
                    stack.append((None, id(value)))
                    stack.extend(reversed(children))
                    continue
            self.leaf(path, value, kind)

    def leaf(self, path: str, value: Any, kind: int) -> None:
        entry: list[Any] = ["leaf", path.removeprefix(".")]
        if kind == Kind.NODE:
            self.objects = True
            entry[0] = "object"
        elif kind == Kind.VARIABLE:
            self.objects = True
            self.variables.append((entry, value))
        elif value is None:
            entry = ["none", 0]
        else:
            self.leaves[entry[1]] = value
        self.structure.append(entry)

    def container(self, path: str, value: Any, kind: int) -> list[tuple[str, Any]] | None:
        cls = type(value)
        if kind == Kind.LIST:
            self.structure.append(["tuple" if cls is tuple else "list", len(value)])
            return [(f"{path}[{i}]", child) for i, child in enumerate(value)]
        if isinstance(value, dict):
            # Subclasses that JAX does not know, such as VarDict, are plain dictionaries here.
            name = "ordered" if cls is OrderedDict else "dict"
            self.structure.append([name, [_stored_key(key, path) for key in value]])
            return [(f"{path}[{key!r}]", child) for key, child in value.items()]
        pairs, _ = tree_util.tree_flatten_with_path(value, is_leaf=lambda x: x is not value)
        if len(pairs) == 1 and not pairs[0][0]:
            return None
        steps = [_step(entries[0]) for entries, _ in pairs]
        self.structure.append(["attributes", [key_of(step) for step in steps]])
        return [(path + step, child) for step, (_, child) in zip(steps, pairs, strict=True)]


def _step(key: Any) -> str:
    match key:
        case tree_util.GetAttrKey(name=name):
            return f".{name}"
        case tree_util.SequenceKey(idx=index):
            return f"[{index}]"
        case tree_util.DictKey(key=key) | tree_util.FlattenedIndexKey(key=key):
            return f"[{key!r}]"
        case _:
            return str(key)


def _stored_key(key: Any, path: str) -> Any:
    if type(key) is tuple:
        return {"tuple": [_stored_key(part, path) for part in key]}
    if type(key) not in _KEY_TYPES or (type(key) is int and not -(2**63) <= key < 2**64):
        raise CheckpointError(
            f"the dict at {path or 'the top'!r} has the key {key!r}, which a file cannot hold; "
            "use str, int, float, bool, bytes, None, or tuples of them"
        )
    return key


def _loaded_key(key: Any) -> Any:
    if isinstance(key, dict):
        return tuple(_loaded_key(part) for part in key["tuple"])
    return key


def _container(kind: str, content: Any, children: list[Any]) -> Any:
    match kind:
        case "list":
            return children
        case "tuple":
            return tuple(children)
        case "dict" | "attributes":
            return dict(zip(map(_loaded_key, content), children, strict=True))
        case "ordered":
            return OrderedDict(zip(map(_loaded_key, content), children, strict=True))
        case _:
            raise ValueError(f"unknown container {kind!r}")


def _at(by_steps: Any, path: str) -> Any:
    # An object without leaves has left no trace in the paths.
    for step in split(path):
        by_steps = by_steps.get(key_of(step), {})
    return by_steps
