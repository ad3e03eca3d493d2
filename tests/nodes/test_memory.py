"""Nothing keeps a dropped object alive, and registries stay small."""

import gc
import pickle
import weakref

import jax
import jax.numpy as jnp
import pytest

from framework import BrainPyObject, NodeList, TrainVar, Variable, VariableView
from framework.nodes import frames, graph, kinds, naming, signature

ZERO = jnp.zeros(1)


class Leaf(BrainPyObject):
    def __init__(self):
        super().__init__()
        self.w = TrainVar(ZERO)


class Net(BrainPyObject):
    def __init__(self):
        super().__init__()
        self.items = [Leaf(), [Leaf()], {"k": (Leaf(),)}]
        self.list = NodeList([Leaf(), Leaf()])
        self.child = Leaf()
        self.child.parent = self
        self.view = VariableView(self.child.w, 0)
        self.array = jnp.ones(2)


def use(net):
    """Fill every cache."""
    net.nodes(), net.nodes("relative"), net.vars(), net.vars("relative"), repr(net)
    leaves, treedef = jax.tree.flatten(net)
    jax.tree_util.tree_flatten_with_path(net)
    net.state_dict()
    pickle.dumps(net)
    return treedef, jax.tree.unflatten(treedef, leaves)


def test_dropped_objects_die_although_structures_live():
    net = Net()
    treedef, twin = use(net)
    use(twin)
    watched = [
        weakref.ref(x) for n in (net, twin) for x in (*n.nodes().values(), *n.vars().values())
    ]
    del net, twin
    gc.collect()
    assert [ref() for ref in watched if ref() is not None] == []
    assert treedef.num_leaves == 7


@pytest.mark.parametrize(
    "remove",
    [
        lambda net: net.items.pop(0),
        lambda net: net.items[1].pop(),
        lambda net: net.items[2].pop("k")[0],
        lambda net: net.list.pop(),
        lambda net: net.__dict__.pop("child"),
    ],
)
def test_removed_children_die_although_the_parent_lives(remove):
    net = Net()
    use(net)
    child = remove(net)
    del child.w
    ref = weakref.ref(child)
    if hasattr(child, "parent"):
        del net.view
    del child
    gc.collect()
    assert ref() is None
    assert len(net.list) + len(net.items) >= 2


def test_replaced_arrays_die():
    net = Net()
    use(net)
    gc.collect()  # The copy has a cycle.
    old = weakref.ref(net.array)
    net.array = jnp.zeros(2)
    assert old() is None
    net.child.w = jnp.ones(1)
    value = weakref.ref(net.child.w.value)
    net.child.w = jnp.zeros(1)
    assert value() is None


def test_without_a_cycle_nothing_waits_for_the_collector():
    gc.collect()
    gc.disable()
    try:
        node = Leaf()
        node.vars(), jax.tree.leaves(node), repr(node), node.clone()
        refs = weakref.ref(node), weakref.ref(node.w)
        del node
        assert [ref() for ref in refs] == [None, None]
    finally:
        gc.enable()


def test_100_000_objects_leave_nothing():
    node = Leaf()
    jax.tree.map(lambda x: x, node)
    gc.collect()
    objects = len(gc.get_objects())
    for i in range(100_000):
        node = Leaf()
        if i % 100 == 0:
            node.note = i
            node.vars()
            jax.tree.unflatten(jax.tree.structure(node), [ZERO])
    gc.collect()
    assert len(naming._holders) < 1_000
    assert len(naming._counters) < 1_000
    assert len(graph.rebuilt_roots) < 100
    assert len(kinds.KIND_OF_TYPE) <= 4_097
    assert signature.signature_of.cache_info().currsize <= 4_096
    assert len(frames.concrete) <= 64
    assert len(gc.get_objects()) < objects + 5_000


def test_types_of_attributes_do_not_pile_up():
    node = BrainPyObject()
    for _ in range(5_000):
        node.x = type("T", (), {})()
        node.vars()
    assert len(kinds.KIND_OF_TYPE) <= 4_097


def test_a_variable_is_small():
    import sys

    assert sys.getsizeof(Variable(ZERO)) <= 120
