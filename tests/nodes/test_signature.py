"""What a node knows of its attributes is what they are, however they were set."""

import functools
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import BrainPyObject, TrainVar, Variable
from framework.nodes.signature import MAX_LEARNED, Signature
from framework.nodes.walk import graph_of, walk


class Net(BrainPyObject):
    pass


class Lazy(BrainPyObject):
    @functools.cached_property
    def w(self):
        return TrainVar(3)


class Slotted(BrainPyObject):
    __slots__ = ("w",)


def own_paths(node):
    return list(node.vars("relative"))


def test_what_a_cached_property_sets_is_found():
    lazy = Lazy()
    assert own_paths(lazy) == []
    assert lazy.w is lazy.w
    lazy.training = True
    assert own_paths(lazy) == ["w"]
    assert len(jax.tree.leaves(lazy)) == 1


def test_what_is_set_behind_the_back_of_setattr_is_found():
    net = Net()
    object.__setattr__(net, "w", TrainVar(3))
    net.__dict__["b"] = TrainVar(2)
    assert own_paths(net) == ["w", "b"]
    assert [leaf.shape for leaf in jax.tree.leaves(net)] == [(2,), (3,)]


def test_a_variable_in_the_place_of_none():
    net = Net()
    net.w = None
    assert own_paths(net) == []
    net.w = TrainVar(3)
    assert own_paths(net) == ["w"]
    net.setattr("w", None)
    assert own_paths(net) == []
    assert jax.tree.leaves(net) == []


def test_slots_are_learned_too():
    node = Slotted()
    node.w = TrainVar(3)
    assert own_paths(node) == ["w"]
    del node.w
    assert own_paths(node) == []


def test_many_attributes_in_one_node():
    net = Net()
    for i in range(3 * MAX_LEARNED):
        setattr(net, f"w{i}", TrainVar(1))
    assert own_paths(net) == [f"w{i}" for i in range(3 * MAX_LEARNED)]
    net.w7 = jnp.ones(1)
    del net.w8
    assert len(jax.tree.leaves(net)) == 3 * MAX_LEARNED - 1


def test_the_order_of_attributes_does_not_matter():
    a, b = Net(), Net()
    a.x, a.w, a.child = 1, TrainVar(3), Net()
    b.child, b.w, b.x = Net(), TrainVar(3), 1
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert list(vars(jax.tree.map(lambda x: x, b)))[1:] == ["child", "w", "x"]


def test_ever_new_names_of_attributes_leave_nothing():
    def signatures():
        gc.collect()
        return sum(type(obj) is Signature for obj in gc.get_objects())

    before = signatures()
    for i in range(20_000):
        setattr(Net(), f"x{i}", i)
    assert signatures() - before <= 4_096 + 2 * MAX_LEARNED


@pytest.mark.parametrize("leaf", [None, 0, "axis", jax.ShapeDtypeStruct((3,), "float32")])
def test_what_takes_the_place_of_a_variable_is_no_variable(leaf):
    net = Net()
    net.w, net.b = TrainVar(3), TrainVar(3)
    is_cell = lambda x: isinstance(x, Variable)  # noqa: E731
    marked = jax.tree.map(lambda _: leaf, net, is_leaf=is_cell)
    assert marked.w is leaf
    assert own_paths(marked) == []
    arrays = jax.tree.map(lambda cell: cell.value, net, is_leaf=is_cell)
    assert own_paths(arrays) == []
    assert len(jax.tree.leaves(arrays)) == 2


VALUES = st.sampled_from([
    lambda: 1, lambda: True, lambda: 1.5, lambda: None, lambda: "relu", lambda: np.float32(2),
    lambda: TrainVar(2), lambda: jnp.ones(2), Net, lambda: [Net(), TrainVar(1)],
    lambda: {"a": 1}, lambda: (1, 2), lambda: len,
])  # fmt: skip
CHANGES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["a", "b", "c"]), st.none() | VALUES), max_size=12
)


@given(CHANGES)
def test_a_graph_that_is_brought_up_to_date_is_that_of_a_walk(changes):
    root = Net()
    root.first, root.second = Net(), [Net()]
    root.first.up = root
    nodes = [root, root.first, root.second[0]]
    for index, name, make in changes:
        if make is not None:
            nodes[index].setattr(name, make())
        elif name in vars(nodes[index]):
            delattr(nodes[index], name)
        kept, fresh = graph_of(root), walk(root)
        assert kept.structure == fresh.structure
        assert hash(kept.structure) == hash(fresh.structure)
        assert all(a is b for a, b in zip(kept.live_leaves(), fresh.live_leaves(), strict=True))
        copy = jax.tree.map(lambda x: x, root)
        assert jax.tree.structure(copy) == jax.tree.structure(root)
        assert list(copy.vars("relative")) == list(root.vars("relative"))
