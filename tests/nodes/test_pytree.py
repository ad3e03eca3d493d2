"""Objects as PyTrees: sharing, cycles, treedefs, key paths, and the cached structure."""

import collections
import functools
import gc
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import tree_util

from framework import (
    ArrayCollector,
    BrainPyObject,
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
    def __init__(self, key=None, n=3):
        super().__init__()
        self.w = TrainVar(jnp.ones((n, n)) if key is None else jax.random.normal(key, (n, n)))
        self.b = TrainVar(n)
        self.activation = jnp.tanh

    def __call__(self, x):
        return self.activation(x @ self.w + self.b)


class Net(BrainPyObject):
    """Shares a Variable and a node, has a cycle, containers, a raw array, and static values."""

    def __init__(self, key=None):
        super().__init__()
        self.first, self.second = Dense(key), Dense(key)
        self.second.setattr("w", self.first.w)
        self.layers = [self.first, {"k": (self.second,)}]
        self.first.parent = self
        self.count = Variable(jnp.int32(0))
        self.mean = jnp.arange(3.0)
        self.limits = (1, 2.5, "same", None, slice(1, 2))

    def __call__(self, x):
        return self.second(self.first(x)) + self.mean


def is_tied(net):
    return (
        net.second.w is net.first.w
        and net.layers[0] is net.first
        and net.layers[1]["k"][0] is net.second
        and net.first.parent is net
    )


X = jnp.ones((2, 3))


def floats(net):
    return [leaf for leaf in jax.tree.leaves(net) if leaf.dtype == jnp.float32]


class TestTransforms:
    def test_map(self):
        net = Net()
        twin = jax.tree.map(lambda x: x + 1, net)
        assert type(twin) is Net
        assert is_tied(twin)
        assert twin.first is not net.first
        assert float(twin.first.w[0, 0]) == 2
        assert float(net.first.w[0, 0]) == 1

    def test_map_over_two(self):
        total = jax.tree.map(lambda x, y: x + 3 * y, Net(), Net())
        assert is_tied(total)
        assert float(total.first.w[0, 0]) == 4

    def test_jit_traces_once(self):
        traces = []

        @jax.jit
        def step(net, x):
            traces.append(None)
            y = net(x)
            net.first.w += 1
            net.count += 1
            return net, y

        net = Net()
        for i in range(3):
            expected = net(X)
            net, y = step(net, X)
            np.testing.assert_allclose(y, expected, rtol=1e-6)
            assert is_tied(net)
            assert float(net.second.w[0, 0]) == 2 + i
        assert int(net.count) == 3
        assert len(traces) == 1

    def test_grad(self):
        net = Net()
        gradient = jax.grad(lambda net: net(X).sum(), allow_int=True)(net)
        assert type(gradient) is Net
        assert is_tied(gradient)

        def loss(w):
            y = jnp.tanh(X @ w + net.first.b.value)
            return (jnp.tanh(y @ w + net.second.b.value) + net.mean).sum()

        np.testing.assert_allclose(gradient.first.w.value, jax.grad(loss)(net.first.w.value))

    def test_vmap(self):
        ensemble = jax.vmap(Net)(jax.random.split(jax.random.key(0), 5))
        assert is_tied(ensemble)
        assert ensemble.first.w.shape == (5, 3, 3)
        out = jax.vmap(lambda net, x: net(x), in_axes=(0, None))(ensemble, X)
        assert out.shape == (5, 2, 3)
        member = jax.tree.map(lambda x: x[1], ensemble)
        np.testing.assert_allclose(member(X), out[1], rtol=1e-5)

    def test_vmap_with_axes_as_an_object(self):
        ensemble = jax.vmap(Net)(jax.random.split(jax.random.key(0), 5))
        axes = jax.tree.map(lambda _: 0, ensemble)
        assert jax.vmap(lambda net: net.mean.sum(), in_axes=(axes,))(ensemble).shape == (5,)
        some = jax.tree.map(lambda _: None, ensemble)
        some.first.w = 0
        out = jax.vmap(lambda net: net.first.w.value, in_axes=(some,))(ensemble)
        assert out.shape == (5, 3, 3)

    def test_scan_carry(self):
        def body(net, x):
            net.count += 1
            net.mean = net.mean * 0.5
            return net, net(x)

        net, ys = jax.lax.scan(body, Net(), jnp.ones((4, 2, 3)))
        assert is_tied(net)
        assert int(net.count) == 4
        assert ys.shape == (4, 2, 3)
        np.testing.assert_allclose(net.mean, jnp.arange(3.0) / 16)

    def test_while_loop_and_cond(self):
        def body(net):
            net.count += 1
            return net

        net = jax.lax.while_loop(lambda net: net.count.value < 5, body, Net())
        assert int(net.count) == 5
        net = jax.lax.cond(True, body, lambda net: net, net)
        assert int(net.count) == 6
        assert is_tied(net)

    def test_eval_shape(self):
        for shapes in (jax.eval_shape(Net), jax.eval_shape(lambda net: net, Net())):
            assert is_tied(shapes)
            assert isinstance(shapes.first.w.value, jax.ShapeDtypeStruct)
            assert shapes.first.w.shape == (3, 3)
            assert isinstance(shapes.mean, jax.ShapeDtypeStruct)
            assert jax.tree.structure(shapes) == jax.tree.structure(Net())

    def test_checkpoint_and_custom_derivatives(self):
        loss = jax.checkpoint(lambda net: net(X).sum())
        assert is_tied(jax.grad(loss, allow_int=True)(Net()))

    def test_a_list_of_objects_flattens_each(self):
        dense = Dense()
        first, second = jax.tree.map(lambda x: x, [dense, dense])
        assert first is not second
        both = jax.tree.map(lambda x: x, NodeList([dense, dense]))
        assert both[0] is both[1]


class TestFlatten:
    def test_each_variable_once(self):
        leaves = jax.tree.leaves(Net())
        assert sorted(x.shape for x in leaves) == [(), (3,), (3,), (3,), (3, 3)]

    def test_variables_are_children(self):
        net = Net()
        found = jax.tree.leaves(net, is_leaf=lambda x: isinstance(x, Variable))
        variables = [x for x in found if isinstance(x, Variable)]
        assert {id(v) for v in variables} == {id(v) for v in net.vars().values()}
        kept = jax.tree.map(lambda x: x, net, is_leaf=lambda x: isinstance(x, Variable))
        assert kept.first.w is net.first.w

    def test_direct_calls(self):
        net = Net()
        children, aux = net.tree_flatten()
        assert isinstance(children, tuple)
        assert isinstance(hash(aux), int)
        twin = Net.tree_unflatten(aux, children)
        assert is_tied(twin)
        assert twin.first.w is net.first.w

    def test_aux_holds_no_arrays(self):
        net = Net()
        net.table = {"a": np.ones(3), "b": [jnp.ones(2)]}
        net.set_of = {1, 2}
        _, aux = net.tree_flatten()
        gc.collect()
        seen, stack = set(), [aux]
        while stack:
            value = stack.pop()
            if id(value) in seen or isinstance(value, type | type(gc) | type(is_tied)):
                continue
            seen.add(id(value))
            assert not isinstance(value, jax.Array | np.ndarray | Variable)
            if type(value).__module__.split(".")[0] in ("builtins", "framework"):
                stack += gc.get_referents(value)

    def test_raw_arrays_are_leaves_and_not_shared(self):
        node = Plain()
        node.a = node.b = jnp.ones(2)
        node.c = np.ones(3)
        assert len(jax.tree.leaves(node)) == 3
        assert not node.vars()

    @pytest.mark.parametrize("leaf", [0, None, "x", jax.ShapeDtypeStruct((9,), "int8"), object()])
    def test_leaves_stay_leaves_whatever_stands_there(self, leaf):
        net = Net()
        net.table = {"a": [np.ones(3)]}
        treedef = jax.tree.structure(net)
        other = jax.tree.unflatten(treedef, [leaf] * treedef.num_leaves)
        assert other.mean is leaf
        assert other.table["a"][0] is leaf
        assert other.first.w.value is leaf
        assert is_tied(other)
        assert jax.tree.structure(other, is_leaf=lambda x: x is None) == treedef
        back = jax.tree.map(
            lambda _, x: x, other, jax.tree.map(lambda x: x + 1, net), is_leaf=lambda x: x is None
        )
        assert is_tied(back)
        assert float(back.mean[0]) == 1
        other.note = 3  # A changed object still knows what its leaves were.
        assert jax.tree.structure(other, is_leaf=lambda x: x is None).num_leaves == (
            treedef.num_leaves
        )

    def test_a_leaf_replaced_by_hand_is_static(self):
        node = Plain()
        node.a = jnp.ones(2)
        axes = jax.tree.map(lambda _: 0, node)
        assert jax.tree.leaves(axes) == [0]
        axes.a = 3
        assert jax.tree.leaves(axes) == []

    def test_switching_structures(self):
        small, large = Plain(), Plain()
        small.w = Variable(2)
        large.w, large.v = Variable(2), Variable(3)
        double = jax.jit(lambda node: jax.tree.map(lambda x: x * 2, node))
        for _ in range(2):
            assert len(jax.tree.leaves(double(small))) == 1
            assert len(jax.tree.leaves(double(large))) == 2


class TestTreedef:
    def test_equal_for_equal_architectures(self):
        first, second = jax.tree.structure(Net()), jax.tree.structure(Net())
        assert first == second
        assert hash(first) == hash(second)

    def test_names_are_not_compared(self):
        first, second = Plain("a_name"), Plain("another_name")
        assert jax.tree.structure(first) == jax.tree.structure(second)

    @pytest.mark.parametrize(
        "change",
        [
            lambda n: setattr(n, "limits", (1, 2.5, "other", None, slice(1, 2))),
            lambda n: setattr(n, "limits", (True, 2.5, "same", None, slice(1, 2))),
            lambda n: setattr(n, "limits", (1.0, 2.5, "same", None, slice(1, 2))),
            lambda n: setattr(n, "limits", [1, 2.5, "same", None, slice(1, 2)]),
            lambda n: setattr(n, "extra", None),
            lambda n: delattr(n, "limits"),
            lambda n: setattr(n, "mean", 3),
            lambda n: setattr(n.first, "activation", jnp.sin),
            lambda n: n.second.setattr("w", TrainVar((3, 3))),
            lambda n: n.second.setattr("b", Variable(3)),
            lambda n: setattr(n, "second", Dense()),
            lambda n: n.layers.append(3),
            lambda n: n.layers[1].update(j=1),
            lambda n: n.setattr("count", Plain()),
        ],
    )
    def test_differs(self, change):
        net = Net()
        assert jax.tree.structure(net) == jax.tree.structure(Net())
        change(net)
        assert jax.tree.structure(net) != jax.tree.structure(Net())

    @pytest.mark.parametrize(
        ("first", "second", "equal"),
        [
            (1, True, False),
            (0.0, -0.0, False),
            (float("nan"), float("nan"), True),
            (1, 1.0, False),
            (np.float32(1), np.float64(1), False),
            ([1], [1], True),
            ([1], (1,), False),
            ({"a": [1]}, {"a": [1]}, True),
            ({1, 2}, {2, 1}, True),
            ({1}, {True}, False),
            ({1}, frozenset({1}), False),
            (slice(1), slice(1), True),
            (bytearray(b"a"), bytearray(b"a"), False),
            (range(3), range(3), True),
            (jnp.float32, jnp.float32, True),
            (np.dtype("f4"), np.dtype("f4"), True),
            (jax.nn.relu, jax.nn.relu, True),
            (len, sum, False),
            (1j, 0 + 1j, True),
            (object(), object(), False),
            (collections.OrderedDict(a=1), collections.OrderedDict(a=1), True),
            (collections.OrderedDict(a=1), {"a": 1}, False),
            (collections.deque([1]), collections.deque([1]), False),
        ],
    )
    def test_static_values(self, first, second, equal):
        a, b = Plain(), Plain()
        a.x, b.x = first, second
        a.items, b.items = [first], [second]
        assert (jax.tree.structure(a) == jax.tree.structure(b)) is equal
        assert jax.tree.structure(a) == jax.tree.structure(jax.tree.map(lambda x: x, a))

    def test_a_value_whose_comparison_fails(self):
        class Odd:
            __hash__ = object.__hash__

            def __eq__(self, other):
                raise RuntimeError

        a, b = Plain(), Plain()
        a.x, b.x = Odd(), Odd()
        assert jax.tree.structure(a) != jax.tree.structure(b)
        assert jax.tree.structure(a) == jax.tree.structure(a)

    def test_the_order_of_attributes_does_not_matter(self):
        a, b = Plain(), Plain()
        a.w, a.n, a.v = Variable(2), 3, Variable(3)
        b.v, b.w, b.n = Variable(3), Variable(2), 3
        assert jax.tree.structure(a) == jax.tree.structure(b)
        assert hash(jax.tree.structure(a)) == hash(jax.tree.structure(b))
        total = jax.tree.map(jnp.add, a, b)
        assert (total.w.shape, total.v.shape) == ((2,), (3,))
        # Each copy keeps the order of its original.
        assert list(a.clone().vars("relative")) == ["w", "v"]
        assert list(jax.tree.map(lambda x: x, b).vars("relative")) == ["v", "w"]

    def test_the_order_of_a_dictionary_does(self):
        a, b = Plain(), Plain()
        a.table, b.table = {"x": 1, "y": 2}, {"y": 2, "x": 1}
        assert jax.tree.structure(a) != jax.tree.structure(b)
        assert list(jax.tree.map(lambda x: x, b).table) == ["y", "x"]

    def test_text_has_one_short_line_per_node(self):
        net = Net()
        net.note = "x" * 1000
        net.numbers = list(range(1000))
        lines = repr(net.tree_flatten()[1]).strip().splitlines()
        assert [line.partition(":")[0] for line in lines] == [".", "first", "second"]
        assert max(map(len, lines)) < 600

    def test_a_mismatch_is_explained(self):
        other = Net()
        other.first.extra = 3
        with pytest.raises(ValueError, match="extra"):
            jax.tree.map(lambda x, _: x, Net(), other)


class TestKeyPaths:
    def test_readable(self):
        net = Net()
        net.table = {"a": np.ones(3), 0: [Variable(1)]}
        net.register_implicit_vars(m=Variable(1))
        paths = {tree_util.keystr(path) for path, _ in tree_util.tree_leaves_with_path(net)}
        assert paths == {
            ".count", ".mean", ".first.w", ".first.b", ".second.b",
            ".table['a']", ".table[0][0]", ".implicit_vars['m']",
        }  # fmt: skip
        [(path, _)] = tree_util.tree_leaves_with_path({"net": VarList([Variable(1)])})
        assert tree_util.keystr(path) == "['net'][0]"

    def test_of_all_containers(self):
        node = Plain()
        node.a = NodeList([Dense()])
        node.b = NodeDict(x=Dense())
        node.c, node.d = VarList([Variable(1)]), VarDict(k=Variable(1))
        node.e = Point(Variable(1), 2)
        paths = {tree_util.keystr(path) for path, _ in tree_util.tree_leaves_with_path(node)}
        assert paths == {
            ".a[0].w", ".a[0].b", ".b['x'].w", ".b['x'].b", ".c[0]", ".d['k']", ".e.x",
        }  # fmt: skip

    def test_a_chain_of_20_000(self):
        first, array = Plain(), jnp.ones(1)
        node = first
        for _ in range(20_000):
            node.w = Variable(array)
            node.n = Plain()
            node = node.n
        pairs, treedef = tree_util.tree_flatten_with_path(first)
        assert len(pairs) == 20_000
        assert tree_util.keystr(pairs[2][0]) == ".n.n.w"
        twin = jax.tree.unflatten(treedef, [leaf for _, leaf in pairs])
        assert jax.tree.structure(twin) == treedef


Point = collections.namedtuple("Point", ["x", "y"])


@tree_util.register_pytree_with_keys_class
class Pair:
    def __init__(self, left, right, label="l"):
        self.left, self.right, self.label = left, right, label

    def tree_flatten_with_keys(self):
        keys = (tree_util.GetAttrKey("left"), tree_util.GetAttrKey("right"))
        return tuple(zip(keys, (self.left, self.right), strict=True)), self.label

    @classmethod
    def tree_unflatten(cls, label, children):
        return cls(*children, label)


class TestCache:
    """After any change, the next flatten sees it, as if the object had just been made."""

    CHANGES: ClassVar = {
        "attribute added": lambda n: setattr(n, "new", Variable(7)),
        "static added": lambda n: setattr(n, "new", 7),
        "attribute removed": lambda n: delattr(n, "count"),
        "static removed": lambda n: delattr(n, "limits"),
        "attribute replaced": lambda n: setattr(n, "first", Dense(n=7)),
        "variable replaced": lambda n: n.second.setattr("b", Variable(7)),
        "static changed": lambda n: setattr(n.second, "activation", jnp.sin),
        "array replaced": lambda n: setattr(n, "mean", jnp.ones(7)),
        "array replaced below": lambda n: setattr(n.deep["x"][0], "mean", jnp.ones(7)),
        "list appended": lambda n: n.layers.append(Dense(n=7)),
        "list item replaced": lambda n: n.layers.__setitem__(0, Dense(n=7)),
        "list item removed": lambda n: n.layers.pop(),
        "list reversed": lambda n: n.layers.reverse(),
        "static list changed": lambda n: n.numbers.__setitem__(0, 7),
        "dict item added": lambda n: n.layers[1].update(j=Dense(n=7)),
        "dict item replaced": lambda n: n.deep.update(x=[]),
        "dict item removed": lambda n: n.deep.clear(),
        "nested list changed": lambda n: n.deep["x"].append(Variable(7)),
        "nested in a tuple": lambda n: n.nest[0].append(7),
        "set added": lambda n: n.tags.add("seven"),
        "set removed": lambda n: n.tags.clear(),
        "nested set": lambda n: n.nest[1].add(7),
        "ordered dict": lambda n: n.ordered.move_to_end("a"),
        "default dict": lambda n: n.default[3].append(7),
        "node list": lambda n: n.nodes_.append(Dense(n=7)),
        "node list item replaced": lambda n: n.nodes_.__setitem__(0, Dense(n=7)),
        "node list emptied": lambda n: n.nodes_.clear(),
        "list behind the back": lambda n: vars(n).update(nodes_=[*n.nodes_]),
        "node dict": lambda n: n.node_dict.pop("a"),
        "var list": lambda n: n.var_list.__setitem__(slice(0, 1), [Variable(7)]),
        "var dict": lambda n: n.var_dict.pop("a"),
        "collector": lambda n: n.collector.update(new=Variable(7)),
        "collector replaced": lambda n: n.collector.replace("a", Variable(7)),
        "implicit": lambda n: n.register_implicit_vars(new=Variable(7)),
        "implicit below": lambda n: n.first.implicit_vars.update(new=Variable(7)),
        "implicit node": lambda n: n.register_implicit_nodes(new=Dense(n=7)),
        "references": lambda n: n.references.update(b=n.second.b),
        "custom child": lambda n: setattr(n.pair, "left", Variable(7)),
        "custom aux": lambda n: setattr(n.pair, "label", "seven"),
        "shared child": lambda n: setattr(n.layers[1]["k"][0], "extra", 7),
    }

    @staticmethod
    def model(lists=0):
        net = Net()
        net.more = tuple(NodeList([Plain()]) for _ in range(lists))
        for each in net.more:
            each[0].below = [Variable(1)]
        net.numbers = [1, 2]
        net.deep = {"x": [Plain(), []], "y": 3}
        net.deep["x"][0].mean = jnp.ones(2)
        net.nest = ([1], {1})
        net.tags = {"a"}
        net.ordered = collections.OrderedDict(a=Variable(1), b=Variable(2))
        net.default = collections.defaultdict(list, {1: [Variable(1)]})
        net.nodes_ = NodeList([Dense()])
        net.node_dict = NodeDict(a=Dense())
        net.var_list = VarList([Variable(1)])
        net.var_dict = VarDict(a=Variable(1))
        net.collector = ArrayCollector(a=Variable(1))
        net.references = References(a=net.first.w)
        net.pair = Pair(Variable(1), [2])
        return net

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
    @pytest.mark.parametrize("rebuilt", [False, True], ids=["made", "rebuilt"])
    @pytest.mark.parametrize("lists", [0, 20])
    def test_is_noticed(self, change, rebuilt, lists):
        net = self.model(lists)
        if rebuilt:
            net = jax.tree.map(lambda x: x, net)
        before, seen = jax.tree.structure(net), list(net.vars().values())
        assert jax.tree.structure(net) == before
        change(net)
        fresh = self.model(lists)
        change(fresh)
        after = jax.tree.structure(net)
        assert after == jax.tree.structure(fresh)
        shapes = [[x.shape for x in jax.tree.leaves(n)] for n in (net, fresh)]
        assert shapes[0] == shapes[1]
        assert list(net.vars("relative")) == list(fresh.vars("relative"))
        assert after != before or change in (
            self.CHANGES["array replaced"], self.CHANGES["array replaced below"],
            self.CHANGES["variable replaced"], self.CHANGES["collector replaced"],
            self.CHANGES["var list"], self.CHANGES["custom child"],
            self.CHANGES["node list item replaced"],
        )  # fmt: skip
        del seen

    def test_unchanged_structures_are_kept(self):
        net = self.model()
        net.vars()
        aux = net.tree_flatten()[1]
        net.first.w += 1
        net.first.w = jnp.zeros((3, 3))
        Dense().other = 3
        assert net.tree_flatten()[1] is aux

    def test_a_write_needs_no_new_walk(self):
        net = Net()
        leaves = jax.tree.leaves(net)
        net.first.w += 1
        assert any(a is not b for a, b in zip(leaves, jax.tree.leaves(net), strict=True))


class TestReferences:
    class Optimizer(BrainPyObject):
        def __init__(self, variables):
            super().__init__()
            self.targets = References(variables)
            self.register_implicit_vars(
                {f"{key}_m": Variable(jnp.zeros_like(v.value)) for key, v in variables.items()}
            )

    def test_adds_nothing_of_its_own(self):
        dense = Dense()
        opt = self.Optimizer(dense.train_vars("relative"))
        assert set(opt.vars("relative")) == {"w_m", "b_m"}
        assert len(jax.tree.leaves(opt)) == 2
        assert set(opt.save_state()) == {"w_m", "b_m"}

    @pytest.mark.parametrize("order", [("net", "opt"), ("opt", "net")])
    def test_under_one_root_it_follows(self, order):
        dense = Dense()
        parts = {"net": dense, "opt": self.Optimizer(dense.train_vars("relative"))}
        root = Plain()
        for name in order:
            setattr(root, name, parts[name])
        for twin in (jax.tree.map(lambda x: x, root), root.clone()):
            assert type(twin.opt.targets) is References
            assert twin.opt.targets["w"] is twin.net.w
            assert twin.net.w is not dense.w

    def test_alone_it_refers_to_the_original(self):
        dense = Dense()
        opt = self.Optimizer(dense.train_vars("relative"))
        twin = jax.tree.map(lambda x: x + 1, opt)
        assert twin.targets["w"] is dense.w
        assert opt.clone().targets["b"] is dense.b
        assert jax.tree.structure(opt) == jax.tree.structure(twin)
        other = self.Optimizer(Dense().train_vars("relative"))
        assert jax.tree.structure(opt) != jax.tree.structure(other)


class TestOtherAttributes:
    def test_bound_methods_follow(self):
        node = Plain()
        node.child = Dense()
        node.call = node.child.__call__
        node.calls = [node.child.__call__]
        for twin in (jax.tree.map(lambda x: x, node), node.clone()):
            assert twin.call.__self__ is twin.child
            assert twin.calls[0].__self__ is twin.child

    def test_partials_are_static(self):
        node = Plain()
        node.f = functools.partial(jnp.sum, axis=0)
        assert jax.tree.map(lambda x: x, node).f is node.f

    def test_named_tuples(self):
        node = Plain()
        node.point = Point(Variable(1), jnp.ones(2))
        twin = jax.tree.map(lambda x: x + 1, node)
        assert type(twin.point) is Point
        assert twin.point.x.value == 1
        assert list(node.vars("relative")) == ["point-x"]

    def test_custom_pytrees(self):
        node = Plain()
        node.pair = Pair(Dense(), [jnp.ones(2), Variable(1)], "label")
        twin = jax.tree.map(lambda x: x + 1, node)
        assert (type(twin.pair), twin.pair.label) == (Pair, "label")
        assert twin.pair.left.w.value[0, 0] == 2
        assert len(node.nodes()) == 2
        assert set(node.vars("relative")) == {"pair.left.w", "pair.left.b", "pair-right-1"}

    def test_none_is_static(self):
        node = Plain()
        node.x, node.items = None, [None, None]
        assert jax.tree.leaves(node) == []
        assert jax.tree.map(lambda x: x, node).items == [None, None]
