"""Copies: clone, copy, deepcopy and pickle."""

import copy
import functools
import gc
import pickle
import subprocess
import sys
import threading

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
)
from framework.nodes.collectors import References


class Plain(BrainPyObject):
    pass


class Dense(BrainPyObject):
    __slots__ = ("b",)

    def __init__(self, n=2, activation=jnp.tanh):
        super().__init__()
        self.w = TrainVar(jnp.ones(n), batch_axis=0)
        self.b = Variable(1.0)
        self.activation = activation

    def __call__(self, x):
        return self.activation(x * self.w + self.b)


class Net(BrainPyObject):
    def __init__(self):
        super().__init__()
        self.a, self.b = Dense(), Dense()
        self.b.setattr("w", self.a.w)
        self.a.parent = self
        self.layers = NodeList([self.a, NodeDict(x=self.b)])
        self.scales = VarDict(s=self.a.w, t=Variable(2))
        self.more = VarList([self.scales["t"]])
        self.plain = [{"k": (self.a, self.b.b)}]
        self.call = self.a.__call__
        self.host, self.device = np.ones(2), jnp.ones(2)
        self.numbers, self.tags = [1, 2], {"x"}
        self.register_implicit_vars(m=Variable(3))


def same_shape(net, twin):
    assert twin is not net
    assert twin.b.w is twin.a.w
    assert twin.a.parent is twin
    assert twin.layers[0] is twin.a
    assert twin.layers[1]["x"] is twin.b
    assert twin.scales["s"] is twin.a.w
    assert twin.more[0] is twin.scales["t"]
    assert twin.plain[0]["k"][0] is twin.a
    assert twin.plain[0]["k"][1] is twin.b.b
    assert twin.call.__self__ is twin.a
    assert type(twin.a.w) is TrainVar
    assert twin.a.w.batch_axis == 0
    assert [type(x) for x in (twin.layers, twin.scales, twin.more)] == [NodeList, VarDict, VarList]
    assert twin.implicit_vars["m"].shape == (3,)
    assert jax.tree.structure(twin) == jax.tree.structure(net)
    assert list(vars(twin)) == list(vars(net))


def pickled(x, protocol=pickle.HIGHEST_PROTOCOL):
    return pickle.loads(pickle.dumps(x, protocol))


COPIES = {
    "clone": lambda x: x.clone(),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickled,
    "pickle in Python": lambda x: pickle.loads(pickle._dumps(x)),
    "pickle 2": lambda x: pickled(x, 2),
    "tree.map": lambda x: jax.tree.map(lambda leaf: leaf, x),
    "copy of a copy": lambda x: copy.deepcopy(pickled(x.clone())),
}
EACH_COPY = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES.keys())


@EACH_COPY
class TestEach:
    def test_sharing_is_intact(self, copied):
        net = Net()
        same_shape(net, copied(net))

    def test_the_copy_is_independent(self, copied):
        net = Net()
        twin = copied(net)
        twin.a.w += 1
        twin.numbers.append(3)
        twin.tags.add("y")
        twin.layers.append(Dense())
        twin.plain[0]["new"] = 1
        twin.a.extra = 1
        assert net.b.w.value.sum() == 2
        assert (net.numbers, net.tags, len(net.layers), len(net.plain[0])) == ([1, 2], {"x"}, 2, 1)
        assert not hasattr(net.a, "extra")
        # Structures that are made once do not remember the other's changes either.
        same_shape(net, copied(net))
        assert len(copied(twin).layers) == 3

    def test_names_clash_with_nothing(self, copied):
        net = Net()
        taken = set(net.nodes())
        twin = copied(net)
        assert not taken & set(twin.nodes())
        assert set(net.nodes()) == taken

    def test_a_free_name_is_kept(self, copied):
        gc.collect()
        net = Net()
        net.name = "the_net"
        twin = copied(net)
        del net
        gc.collect()
        assert twin.name == "the_net"

    def test_gradients_of_the_copy(self, copied):
        net = Net()
        gradient = jax.grad(lambda n: n.b(n.a(jnp.ones(2))).sum())(copied(net))
        expected = jax.grad(lambda n: n.b(n.a(jnp.ones(2))).sum())(net)
        np.testing.assert_allclose(gradient.a.w.value, expected.a.w.value)

    def test_paths_in_errors(self, copied):
        twin = copied(Net())
        with pytest.raises(MathError, match=r"`\w+\.(a\.w|scales\['s'\])`"):
            twin.a.w = jnp.ones((3, 3))

    def test_public_functions(self, copied):
        functions = {
            "tanh": jnp.tanh,
            "relu": jax.nn.relu,
            "add": jnp.add,
            "partial": functools.partial(jax.nn.leaky_relu, negative_slope=0.5),
            "nested": [jax.nn.silu, {"f": (jnp.sin,)}],
            "dtype": jnp.bfloat16,
            "numpy": np.sin,
            "own": same_shape,
            "decorated": decorated,
        }
        node = Plain()
        for name, function in functions.items():
            setattr(node, name, function)
        twin = copied(node)
        assert twin.partial(-1.0) == -0.5
        del node.partial, twin.partial
        assert all(
            getattr(twin, name) is getattr(node, name)
            for name in functions
            if name not in ("partial", "nested")
        )
        assert twin.nested == node.nested
        assert jax.tree.structure(twin) == jax.tree.structure(node)

    def test_a_chain_of_20_000(self, copied):
        first = node = Plain()
        shared = first.shared = Variable(1)
        for _ in range(20_000):
            node.n = Plain()
            node = node.n
        node.last = shared
        node.back = first
        twin = copied(first)
        end = twin
        while hasattr(end, "n"):
            end = end.n
        assert end.last is twin.shared
        assert end.back is twin

    def test_keys_and_empty_nodes(self, copied):
        node = Plain()
        node.key = Variable(jax.random.key(3))
        node.raw_key = jax.random.key(4)
        node.child = Plain()
        twin = copied(node)
        assert jnp.array_equal(
            jax.random.key_data(twin.key.value), jax.random.key_data(node.key.value)
        )
        assert twin.raw_key.dtype == node.raw_key.dtype


@jax.jit
def decorated(x):
    return x + 1


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
class TestSeveralAtOnce:
    def test_share_what_they_shared(self, copied):
        net = Net()
        other = Plain()
        other.net, other.w = net, net.a.w
        orders = [
            (net, other),
            (other, net),
            (net.a, net),
            (net, net.a),
            (net.a.w, net),
            (net, net.a.w),
        ]
        for pair in orders:
            assert type(copied(pair)) is tuple
        first, second = copied((net, other))
        assert second.net is first
        assert second.w is first.a.w
        second, first = copied((other, net))
        assert second.net is first
        a, whole = copied((net.a, net))
        assert whole.a is a
        w, whole = copied([net.a.w, net])
        assert whole.b.w is w
        whole, w = copied([net, net.a.w])
        assert whole.b.w is w

    def test_siblings_with_a_common_part(self, copied):
        shared = Dense()
        shared.items = [1]
        left, right = Plain(), Plain()
        left.part = right.part = shared
        first, second = copied((left, right))
        assert first.part is second.part
        # The structure of what was copied in two steps is watched like any other.
        before = jax.tree.structure(second)
        second.part.items.append(2)
        assert jax.tree.structure(second) != before

    def test_long_chains_with_a_common_end(self, copied):
        end = Plain()
        starts = []
        for _ in range(2):
            node = end
            for _ in range(5_000):
                above = Plain()
                above.n = node
                node = above
            starts.append(node)
        ends = []
        for start in copied(starts):
            node = start
            while hasattr(node, "n"):
                node = node.n
            ends.append(node)
        assert ends[0] is ends[1]

    def test_a_static_object_that_holds_nodes(self, copied):
        net = Plain()
        net.child = Dense()
        net.helper = Helper(net.child, net)
        twin = copied(net)
        assert twin.helper is not net.helper
        assert twin.helper.node is twin.child
        assert twin.helper.top is twin
        leaves = jax.tree.leaves(twin)
        assert len(leaves) == 2
        assert jax.tree.map(lambda x: x, twin).helper is twin.helper

    def test_references(self, copied):
        dense, opt = Dense(), Plain()
        opt.targets = References(w=dense.w)
        first, second = copied((dense, opt))
        assert second.targets["w"] is first.w


class Helper:
    def __init__(self, node, top):
        self.node, self.top = node, top


class TestPickle:
    def test_what_cannot_be_pickled_is_named_by_python(self):
        node = Plain()
        node.f = lambda x: x
        with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
            pickle.dumps(node)
        node.f = jax.jit(lambda x: x)
        with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
            pickle.dumps(node)
        node.f = None
        assert pickled(node).f is None

    def test_a_failure_leaves_no_trace(self):
        net = Plain()
        net.child, net.bad = Dense(), threading.Lock()
        with pytest.raises(TypeError):
            pickle.dumps(net)
        assert len(pickle.dumps(net.child)) < 2_000
        net.bad = None
        same = pickled((net, net.child))
        assert same[0].child is same[1]

    def test_one_pickler_for_two(self):
        import io

        net = Net()
        file = io.BytesIO()
        pickler = pickle.Pickler(file)
        pickler.dump(net)
        pickler.dump(net.a)
        file.seek(0)
        unpickler = pickle.Unpickler(file)
        assert unpickler.load().a is unpickler.load()

    def test_in_another_process(self, tmp_path):
        script = (
            "import pickle, sys; from framework import BrainPyObject\n"
            "import jax, jax.numpy as jnp\n"
            "others = [BrainPyObject() for _ in range(3)]\n"
            "net = pickle.load(open(sys.argv[1], 'rb'))\n"
            "assert net.activation is jnp.tanh\n"
            "assert net.tied is net.w and net.w.value.sum() == 2\n"
            "assert net.name == 'BrainPyObject3', net.name\n"
        )
        net = BrainPyObject()
        net.w = net.tied = Variable(jnp.ones(2))
        net.activation = jnp.tanh
        net._meta.name = "BrainPyObject0"
        path = tmp_path / "net.pickle"
        path.write_bytes(pickle.dumps(net))
        subprocess.run([sys.executable, "-c", script, str(path)], check=True)


class TestDeepcopy:
    def test_copies_host_arrays_and_static_objects(self):
        net = Plain()
        net.host, net.static = np.ones(2), Helper(None, [1])
        twin = copy.deepcopy(net)
        assert twin.host is not net.host
        assert twin.static is not net.static
        assert net.clone().static is net.static
        # What the copy holds, not what its original holds, goes on from copy to copy.
        assert jax.tree.map(lambda x: x, twin).static is twin.static

    def test_local_functions_stay_the_same(self):
        node = Plain()
        node.f = jax.jit(lambda x: x)
        node.g = lambda x: x
        node.h = functools.partial(node.f, 1)
        twin = copy.deepcopy(node)
        assert (twin.f, twin.g, twin.h.func) == (node.f, node.g, node.f)


def test_inside_a_trace():
    @jax.jit
    def f(net):
        twin = net.clone()
        twin.a.w += 1
        return net, twin

    net, twin = f(Net())
    assert (float(net.a.w[0]), float(twin.a.w[0])) == (1, 2)
    assert twin.b.w is twin.a.w


def test_a_static_attribute_whose_copy_is_a_variable():
    class Recipe:
        def __deepcopy__(self, memo):
            return TrainVar(2)

    net = Plain()
    net.w = Recipe()
    assert list(copy.deepcopy(net).vars("relative")) == ["w"]
