"""VarList, VarDict, NodeList, NodeDict."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from framework import (
    BrainPyObject,
    MathError,
    NodeDict,
    NodeList,
    TrainVar,
    VarDict,
    Variable,
    VarList,
    node_dict,
    node_list,
    var_dict,
    var_list,
)


class Child(BrainPyObject):
    def __init__(self, size=2):
        super().__init__()
        self.w = TrainVar(size)


def test_aliases():
    assert (var_list, var_dict, node_list, node_dict) == (VarList, VarDict, NodeList, NodeDict)


GOOD = {VarList: lambda: Variable(2), NodeList: Child}


@pytest.mark.parametrize("cls", [VarList, NodeList])
class TestLists:
    @pytest.mark.parametrize(
        "put",
        [
            lambda items, x: items.append(x),
            lambda items, x: items.extend([items[0], x]),
            lambda items, x: items.insert(0, x),
            lambda items, x: items.__iadd__([x]),
            lambda items, x: items + [x],  # noqa: RUF005 - this is what is tested
            lambda items, x: items.__setitem__(slice(0, 1), [x]),
            lambda items, x: type(items)([x]),
        ],
    )
    def test_only_one_kind(self, cls, put):
        items = cls([GOOD[cls]()])
        before = list(items)
        for bad in (1, jnp.ones(2), None, "ab", [GOOD[cls]()]):
            with pytest.raises(TypeError, match=f"{cls.__name__} holds"):
                put(items, bad)
            assert list(map(id, items)) == list(map(id, before))

    def test_list_behaviour(self, cls):
        a, b, c = (GOOD[cls]() for _ in range(3))
        items = cls([a])
        items += [b]
        items.insert(0, c)
        assert [items.index(x) for x in (c, a, b)] == [0, 1, 2]
        assert a in items
        assert GOOD[cls]() not in items
        assert items.count(b) == 1
        items.remove(a)
        assert type(items[:1]) is cls
        assert type(items + cls([a])) is cls
        assert items.pop() is b
        with pytest.raises(ValueError, match="not in"):
            items.remove(a)
        with pytest.raises(ValueError, match="not in"):
            items.index(a)

    def test_equality_and_hash_are_identity(self, cls):
        items = cls([GOOD[cls]()])
        assert items == items
        assert items != cls(items)
        assert len({items, cls(items)}) == 2

    def test_is_a_pytree(self, cls):
        items = cls([GOOD[cls](), GOOD[cls]()])
        items.append(items[0])
        twin = jax.tree.map(lambda x: x + 1, items)
        assert type(twin) is cls
        assert twin[2] is twin[0]
        assert len(jax.tree.leaves(items)) == 2
        assert jax.tree.structure(items) == jax.tree.structure(twin)

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
    def test_copies(self, cls, copied):
        items = cls([GOOD[cls](), GOOD[cls]()])
        items.append(items[0])
        twin = copied(items)
        assert type(twin) is cls
        assert twin[2] is twin[0]
        assert twin[0] is not items[0]


class TestVarList:
    def test_an_item_takes_a_value(self):
        first = Variable(2)
        items = VarList([first])
        items[0] = jnp.ones(2)
        items[-1] = Variable([2.0, 3.0])
        assert items[0] is first
        np.testing.assert_array_equal(first.value, [2, 3])
        with pytest.raises(MathError):
            items[0] = jnp.ones(3)

    def test_in_place(self):
        items = VarList([Variable(2)])
        items[0] += 1
        assert items[0].value.sum() == 2

    def test_a_slice_replaces(self):
        old, new = Variable(2), Variable(3)
        items = VarList([old, old])
        items[1:] = [new, new]
        assert [x is new for x in items] == [False, True, True]


class TestVarDict:
    def test_a_used_key_takes_a_value(self):
        first = Variable(2)
        items = VarDict({"a": first}, b=Variable(1))
        items["a"] = jnp.ones(2)
        items.update(a=np.full(2, 3.0))
        items |= {"a": items["a"] + 1}
        assert items["a"] is first
        np.testing.assert_array_equal(first.value, [4, 4])

    @pytest.mark.parametrize(
        "put",
        [
            lambda d, x: d.__setitem__("n", x),
            lambda d, x: d.update(ok=Variable(1), n=x),
            lambda d, x: d.update([("ok", Variable(1)), ("n", x)]),
            lambda d, x: d.setdefault("n", x),
            lambda d, x: d.__ior__({"ok": Variable(1), "n": x}),
            lambda d, x: VarDict(d, n=x),
            lambda _, x: VarDict.fromkeys(["n"], x),
        ],
    )
    def test_only_variables(self, put):
        items = VarDict(a=Variable(2))
        with pytest.raises(TypeError, match="VarDict holds Variables"):
            put(items, jnp.ones(2))
        assert list(items) == ["a"]

    def test_update_is_all_or_nothing(self):
        items = VarDict(a=Variable(2), b=Variable(2))
        with pytest.raises(MathError):
            items.update(a=jnp.ones(2), b=jnp.ones(3))
        assert items["a"].value.sum() == 0


class TestNodeDict:
    def test_ways_in(self):
        a, b, c = Child(), Child(), Child()
        items = NodeDict({"a": a}, ("b", b), c=c)
        assert list(items.items()) == [("a", a), ("b", b), ("c", c)]
        with pytest.raises(TypeError, match="list"):
            NodeDict([a])

    @pytest.mark.parametrize(
        "put",
        [
            lambda d, x: d.__setitem__("n", x),
            lambda d, x: d.update(ok=Child(), n=x),
            lambda d, x: d.setdefault("n", x),
            lambda d, x: d.__ior__({"ok": Child(), "n": x}),
            lambda d, x: NodeDict(d, n=x),
        ],
    )
    def test_only_nodes(self, put):
        items = NodeDict(a=Child())
        with pytest.raises(TypeError, match="NodeDict holds BrainPyObjects"):
            put(items, Variable(1))
        assert list(items) == ["a"]

    def test_check_unique(self):
        a, b = Child(), Child()
        items = NodeDict({"a": a}, check_unique=True)
        items["a"] = a
        with pytest.raises(KeyError, match="'a'"):
            items["a"] = b
        with pytest.raises(KeyError, match="'a'"):
            items.update(c=b, a=b)
        assert list(items.items()) == [("a", a)]
        twin = jax.tree.map(lambda x: x, items)
        with pytest.raises(KeyError):
            twin["a"] = b
        free = NodeDict(a=a)
        free["a"] = b
        assert free["a"] is b

    def test_nested(self):
        items = NodeDict(a=NodeList([Child()]), b=NodeDict(c=Child()))
        assert len(jax.tree.leaves(items)) == 2


@pytest.mark.parametrize("make", [lambda: VarDict(a=Variable(2)), lambda: NodeDict(a=Child())])
def test_dictionaries_are_pytrees_and_keep_their_type(make):
    items = make()
    items["b"] = items["a"]
    for twin in (
        jax.tree.map(lambda x: x + 1, items),
        copy.deepcopy(items),
        pickle.loads(pickle.dumps(items)),
    ):
        assert type(twin) is type(items)
        assert list(twin) == ["a", "b"]
        assert twin["b"] is twin["a"]
        assert twin["a"] is not items["a"]
    assert type(items.copy()) is type(items)
    assert type(items | {}) is type(items)


def test_key_paths():
    tree = NodeDict(a=NodeList([Child()]))
    [(path, _)] = jax.tree_util.tree_flatten_with_path(tree)[0]
    assert jax.tree_util.keystr(path) == "['a'][0].w"


def test_inside_plain_containers():
    child = Child()
    tree = {"x": [child, VarList([child.w])], "y": 3}
    twin = jax.tree.map(lambda x: x, tree)
    assert type(twin["x"][0]) is Child
    assert type(twin["x"][1]) is VarList
