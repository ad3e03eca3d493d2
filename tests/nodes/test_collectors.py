"""Collector, ArrayCollector and References."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from framework import ArrayCollector, BrainPyObject, Collector, TensorCollector, TrainVar, Variable
from framework.nodes.collectors import References


class A:
    pass


class B(A):
    pass


a1, a2, b1 = A(), A(), B()


def full():
    return Collector(a1=a1, a2=a2, b1=b1)


def test_a_key_keeps_its_object():
    items = Collector(x=a1)
    items["x"] = a1
    for put in (
        lambda: items.__setitem__("x", a2),
        lambda: items.update(y=a1, x=a2),
        lambda: items.update({"y": a1, "x": a2}),
        lambda: items.__ior__({"y": a1, "x": a2}),
        lambda: items + {"x": a2},
        lambda: Collector(items, x=a2) + items,
    ):
        with pytest.raises(ValueError, match="'x'"):
            put()
        assert dict(items) == {"x": a1}


def test_replace():
    items = full()
    items.replace("a1", b1)
    assert items["a1"] is b1


class TestUpdate:
    def test_returns_self(self):
        items = Collector()
        assert items.update({"x": a1}, y=a2) is items
        assert dict(items) == {"x": a1, "y": a2}

    def test_list_items_are_numbered(self):
        items = Collector(x=a1).update([a2]).update((b1,))
        assert dict(items) == {"x": a1, "_var1": a2, "_var2": b1}

    @pytest.mark.parametrize("other", [3, "ab", {a1}, iter([])])
    def test_other_types(self, other):
        with pytest.raises(AssertionError, match=type(other).__name__):
            Collector().update(other)


class TestPlusAndMinus:
    def test_plus(self):
        left = Collector(x=a1)
        both = left + {"y": a2}
        assert type(both) is Collector
        assert dict(both) == {"x": a1, "y": a2}
        assert dict(left) == {"x": a1}
        assert dict(left + [a2]) == {"x": a1, "_var1": a2}  # noqa: RUF005 - this is what is tested

    @pytest.mark.parametrize(
        ("other", "left"),
        [
            ({"a1": a1}, ["a2", "b1"]),
            (Collector(a1=a1, b1=b1), ["a2"]),
            (["a1"], ["a2", "b1"]),
            ([a1, "b1"], ["a2"]),
            ((b1,), ["a1", "a2"]),
            ([], ["a1", "a2", "b1"]),
        ],
    )
    def test_minus(self, other, left):
        items = full()
        assert list(items - other) == left
        assert type(items - other) is Collector
        assert len(items) == 3

    @pytest.mark.parametrize("other", [{"a1": a2}, {"z": a1}, ["z"], [A()], [None], 3, "a1", {a1}])
    def test_minus_what_is_not_there(self, other):
        items = full()
        with pytest.raises(ValueError, match=r"a1|remove|Subtract"):
            items - other
        assert len(items) == 3

    def test_values_go_by_identity(self):
        v, w = Variable(2), Variable(2)
        items = ArrayCollector(v=v, again=v, w=w)
        assert list(items - [v]) == ["w"]
        with pytest.raises(ValueError, match="Variable"):
            items - [Variable(2)]

    def test_an_array_is_no_key(self):
        with pytest.raises(ValueError, match="Array"):
            full() - [jnp.ones(3)]


def test_filters():
    items = full()
    assert list(items.subset(A)) == ["a1", "a2", "b1"]
    assert list(items.subset(B)) == ["b1"]
    assert list(items.subset((B, int))) == ["b1"]
    assert list(items.not_subset(B)) == ["a1", "a2"]
    assert list(items.include(A)) == ["a1", "a2"]
    assert list(items.include(A, B)) == ["a1", "a2", "b1"]
    assert list(items.exclude(A)) == ["b1"]
    twice = Collector(x=a1, y=a2, z=a1)
    assert list(twice.unique()) == ["x", "y"]
    assert all(type(x) is Collector for x in (items.subset(A), items.include(A), twice.unique()))


def test_copies_keep_the_type():
    items = ArrayCollector(w=TrainVar(2))
    assert type(items.copy()) is ArrayCollector
    assert type(items | {}) is ArrayCollector
    assert type(copy.copy(items)) is ArrayCollector
    assert copy.copy(items)["w"] is items["w"]
    for twin in (copy.deepcopy(items), pickle.loads(pickle.dumps(items))):
        assert type(twin) is ArrayCollector
        assert type(twin["w"]) is TrainVar
        assert twin["w"] is not items["w"]


class TestArrayCollector:
    def test_alias(self):
        assert TensorCollector is ArrayCollector

    @pytest.mark.parametrize(
        "put",
        [
            lambda d, x: d.__setitem__("n", x),
            lambda d, x: d.update(ok=Variable(1), n=x),
            lambda d, x: d.update([x]),
            lambda d, x: d.setdefault("n", x),
            lambda d, x: d.replace("v", x),
            lambda d, x: d + {"n": x},
            lambda d, x: d.__ior__({"n": x}),
            lambda _, x: ArrayCollector(n=x),
        ],
    )
    def test_values_are_variables(self, put):
        items = ArrayCollector(v=Variable(1))
        before = items["v"]
        with pytest.raises(AssertionError, match="Variables"):
            put(items, jnp.ones(2))
        assert list(items) == ["v"]
        assert items["v"] is before

    def test_arrays(self):
        items = ArrayCollector(v=Variable([1.0]), w=Variable([2.0]))
        assert {k: x.tolist() for k, x in items.dict().items()} == {"v": [1.0], "w": [2.0]}
        assert [x.tolist() for x in items.data()] == [[1.0], [2.0]]


class Sub(ArrayCollector):
    pass


@pytest.mark.parametrize("cls", [ArrayCollector, References, Sub])
def test_is_a_pytree(cls):
    items = cls(v=Variable([1.0]), w=TrainVar([2.0]))
    twin = jax.tree.map(lambda x: x + 1, items)
    assert type(twin) is cls
    assert [type(x) for x in twin.values()] == [Variable, TrainVar]
    assert [x.tolist() for x in twin.data()] == [[2.0], [3.0]]
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(items)]
    assert paths == ["['v']", "['w']"]
    gradient = jax.grad(lambda c: (c["v"] ** 2).sum())(items)
    np.testing.assert_array_equal(gradient["v"].value, [2.0])


def test_a_collector_of_anything_is_a_pytree():
    assert dict(jax.tree.map(lambda x: x + 1, Collector(a=1, b=2))) == {"a": 2, "b": 3}


def test_unflatten_takes_anything():
    treedef = jax.tree.structure(
        ArrayCollector(v=Variable(1)), is_leaf=lambda x: isinstance(x, Variable)
    )
    assert dict(jax.tree.unflatten(treedef, [None])) == {"v": None}


def test_history_of_a_collector_does_not_show():
    def net(detour):
        node = BrainPyObject()
        node.items = ArrayCollector(v=Variable(1))
        if detour:
            node.items["w"] = Variable(1)
            del node.items["w"]
        return node

    assert jax.tree.structure(net(True)) == jax.tree.structure(net(False))
    assert repr(full()) == repr(dict(full()))
