"""Random object graphs, and random changes to them, against a walk as simple as can be."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import BrainPyObject, MathError, NodeList, TrainVar, VarDict, Variable

ARRAYS = [jnp.full(n, float(n)) for n in range(4)]
NAMES = st.sampled_from("abc")
NUMBERS = st.integers(0, 3)


class A(BrainPyObject):
    pass


class B(BrainPyObject):
    __slots__ = ("b",)


class World:
    """Nodes and Variables to choose from, and all that is done to them."""

    def __init__(self):
        self.nodes = [A(), B(), A(), B()]
        self.variables = [
            cls(array) for cls, array in zip([Variable, TrainVar] * 2, ARRAYS, strict=True)
        ]
        self.lists = [[], [], NodeList()]
        self.dicts = [{}, VarDict()]
        # Something to begin with, so that changes in place have something to be seen in.
        root, other, *_ = self.nodes
        root.child, root.items, root.table = other, self.lists[0], self.dicts[0]
        other.items, other.table = (self.lists[1], self.lists[2]), {"inner": self.dicts[1]}

    @property
    def root(self):
        return self.nodes[0]

    def value(self, kind, i):
        match kind:
            case "node":
                return self.nodes[i]
            case "variable":
                return self.variables[i]
            case "list":
                return self.lists[i % 3]
            case "dict":
                return self.dicts[i % 2]
            case "fresh":
                return [self.variables[i], (self.nodes[i], {"k": ARRAYS[i]})]
            case "array":
                return ARRAYS[i]
            case _:
                return i

    def do(self, action, i, name, kind, j):  # noqa: C901 - a table of changes
        """One change, if it is possible."""
        node, value = self.nodes[i], self.value(kind, j)
        target = self.lists[i % 3] if action in ("append", "pop", "reverse") else self.dicts[i % 2]
        if kind in ("list", "dict") and action in ("append", "put"):
            return
        try:
            match action:
                case "set":
                    node.setattr(name, value)
                case "delete":
                    delattr(node, name)
                case "write":
                    setattr(node, name, self.variables[j].value)
                case "append":
                    target.append(value)
                case "pop":
                    target.pop()
                case "reverse":
                    target.reverse()
                case "put":
                    target[name] = value
                case "remove":
                    del target[name]
                case "register":
                    node.register_implicit_vars({f"m_{name}": self.variables[j]})
                case "unregister":
                    node.implicit_vars.pop(f"m_{name}")
        except (AttributeError, TypeError, IndexError, KeyError, ValueError, MathError):
            pass


ACTIONS = ["set"] * 3 + [
    "delete", "write", "append", "append", "pop", "reverse", "put", "put", "remove", "register",
    "unregister",
]  # fmt: skip
KINDS = ["node", "node", "variable", "variable", "list", "dict", "fresh", "array", "number"]
STEPS = st.tuples(st.sampled_from(ACTIONS), NUMBERS, NAMES, st.sampled_from(KINDS), NUMBERS)


def attributes(node):
    found = {k: x for k, x in vars(node).items() if k != "_meta"}
    return found | ({"b": node.b} if isinstance(node, B) and hasattr(node, "b") else {})


def members(value):
    """All that an attribute holds, whatever containers it is in."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from members(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from members(item)
    else:
        yield value


def reachable(root):
    """All nodes, Variables and arrays by the simplest walk, in no particular order."""
    nodes, variables, arrays, stack = {}, {}, [], [root]
    while stack:
        node = stack.pop()
        if id(node) in nodes:
            continue
        nodes[id(node)] = node
        for value in attributes(node).values():
            for member in members(value):
                if isinstance(member, BrainPyObject):
                    stack.append(member)
                elif isinstance(member, Variable):
                    variables[id(member)] = member
                elif isinstance(member, jax.Array):
                    arrays.append(member)
    return nodes, variables, arrays


def check(root):
    """What the package finds is what the simplest walk finds."""
    nodes, variables, arrays = reachable(root)
    assert {id(node) for node in root.nodes().values()} == set(nodes)
    assert {id(node) for node in root.nodes("relative").values()} == set(nodes)
    for method in ("absolute", "relative"):
        assert {id(v) for v in root.vars(method).values()} == set(variables)
    leaves = jax.tree.leaves(root, is_leaf=lambda x: isinstance(x, Variable))
    assert len(leaves) == len(variables) + len(arrays)
    assert {id(x) for x in leaves if isinstance(x, Variable)} == set(variables)
    pairs, treedef = jax.tree_util.tree_flatten_with_path(root)
    paths = [jax.tree_util.keystr(path) for path, _ in pairs]
    assert len(set(paths)) == len(paths) == treedef.num_leaves
    for path, leaf in pairs:
        held = eval(f"root{jax.tree_util.keystr(path)}", {"root": root})
        assert (held.value if isinstance(held, Variable) else held) is leaf


def same(a, b, seen):
    """Two values are alike: classes, names, contents, and who is who."""
    if isinstance(a, BrainPyObject | Variable):
        assert type(a) is type(b)
        if id(a) in seen:
            assert seen[id(a)] is b
            return
        assert a is not b
        seen[id(a)] = b
        if isinstance(a, Variable):
            np.testing.assert_array_equal(a.value, b.value)
        else:
            same(attributes(a), attributes(b), seen)
    elif isinstance(a, list | tuple):
        assert type(a) is type(b)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y, seen)
    elif isinstance(a, dict):
        assert type(a) is type(b)
        keep = [
            {k: x for k, x in d.items() if not (str(k).startswith("_implicit") and not x)}
            for d in (a, b)
        ]
        assert list(keep[0]) == list(keep[1])
        for key in keep[0]:
            same(keep[0][key], keep[1][key], seen)
    elif isinstance(a, jax.Array):
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


COPIES = {
    "clone": lambda x: x.clone(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "unflatten": lambda x: jax.tree.unflatten(*jax.tree.flatten(x)[::-1]),
}


@given(st.lists(STEPS, max_size=25))
def test_after_each_change_all_is_found(steps):
    world = World()
    check(world.root)
    for step in steps:
        world.do(*step)
        check(world.root)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES.keys())
@given(steps=st.lists(STEPS, max_size=25), more=st.lists(STEPS, max_size=5))
def test_copies_are_alike_and_independent(copied, steps, more):
    world = World()
    for step in steps:
        world.do(*step)
    root = world.root
    twin = copied(root)
    same(root, twin, {})
    check(twin)
    assert jax.tree.structure(root) == jax.tree.structure(twin)
    assert hash(jax.tree.structure(root)) == hash(jax.tree.structure(twin))
    nodes, variables, _ = reachable(root)
    others = reachable(twin)
    assert not set(nodes) & set(others[0])
    assert not set(variables) & set(others[1])
    before = copied(twin)
    for step in more:
        world.do(*step)
    same(before, twin, {})
    check(root)


@given(st.lists(STEPS, max_size=25))
def test_the_same_history_gives_the_same_treedef(steps):
    worlds = [World(), World()]
    for step in steps:
        for world in worlds:
            world.do(*step)
        worlds[0].root.vars(), jax.tree.leaves(worlds[0].root)
    first, second = (jax.tree.structure(world.root) for world in worlds)
    assert first == second
    assert hash(first) == hash(second)
