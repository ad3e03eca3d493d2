"""BrainPyObject: attributes, registration, and what nodes() and vars() find."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from framework import (
    Base,
    BrainPyObject,
    MathError,
    NodeDict,
    NodeList,
    Parameter,
    TrainVar,
    VarDict,
    Variable,
    VarList,
    clear_name_cache,
)


@pytest.fixture(autouse=True)
def fresh_names():
    gc.collect()
    clear_name_cache()


class Dense(BrainPyObject):
    def __init__(self, size=2, name=None):
        super().__init__(name)
        self.w = TrainVar(size)
        self.b = Variable(size)


class Net(BrainPyObject):
    def __init__(self):
        super().__init__()
        self.scale = Parameter(1.0)
        self.first = Dense()
        self.layers = [Dense(), (Dense(), {"x": Dense()})]
        self.table = {"a": Dense(), 0: Dense()}


class Plain(BrainPyObject):
    pass


def test_base_is_an_alias():
    assert Base is BrainPyObject


class TestAttributes:
    def test_assigning_writes_the_value(self):
        dense = Dense()
        w = dense.w
        dense.w = jnp.ones(2)
        dense.w = Variable([2.0, 3.0])
        dense.w += 1
        assert dense.w is w
        np.testing.assert_array_equal(w.value, [3, 4])

    def test_errors_name_the_path(self):
        net = Net()
        with pytest.raises(MathError, match=r"Net0\.layers\[1\]\[1\]\['x'\]\.w.*shape \(2,\)"):
            net.layers[1][1]["x"].w = jnp.ones(3)

    def test_setattr_bypasses(self):
        dense = Dense()
        new = Variable(5)
        dense.setattr("w", new)
        assert dense.vars("relative")["w"] is new
        dense.setattr("w", 3)
        assert dense.w == 3
        assert list(dense.vars("relative")) == ["b"]

    def test_deleting(self):
        dense = Dense()
        dense.vars()
        del dense.w
        assert list(dense.vars("relative")) == ["b"]
        with pytest.raises(AttributeError):
            del dense.w

    def test_properties(self):
        class Model(BrainPyObject):
            def __init__(self):
                super().__init__()
                self._w = TrainVar(2)

            @property
            def w(self):
                return self._w

            @w.setter
            def w(self, value):
                self._w.value = jnp.asarray(value) * 2

        model = Model()
        before = jax.tree.structure(model)
        model.w = [1.0, 2.0]
        np.testing.assert_array_equal(model.w.value, [2, 4])
        assert list(model.vars("relative")) == ["_w"]
        assert jax.tree.structure(model) is before or jax.tree.structure(model) == before
        np.testing.assert_array_equal(jax.tree.map(lambda x: x + 1, model).w.value, [3, 5])

    def test_slots(self):
        class Slotted(BrainPyObject):
            __slots__ = ("__hidden", "child", "unset", "w")

            def __init__(self):
                super().__init__()
                self.w = TrainVar(2)
                self.child = Dense()
                self.__hidden = Variable(1)
                self.other = Variable(3)

            @property
            def hidden(self):
                return self.__hidden

        class Below(Slotted):
            __slots__ = "more"  # noqa: PLC0205 - allowed by Python

        node = Below()
        node.more = Variable(4)
        w = node.w
        node.w = jnp.ones(2)
        assert node.w is w
        found = set(node.vars("relative"))
        assert found == {"w", "more", "other", "child.w", "child.b", "_Slotted__hidden"}
        twin = jax.tree.map(lambda x: x + 1, node)
        assert (twin.w.value.sum(), twin.more.value.sum()) == (4, 4)
        assert twin.hidden.value == 1
        assert not hasattr(twin, "unset")
        del node.more
        assert "more" not in node.vars("relative")

    def test_a_dataclass(self):
        import dataclasses

        @dataclasses.dataclass(eq=True)
        class Model(BrainPyObject):
            w: Variable
            n: int = 3

            def __post_init__(self):
                super().__init__()

        model = Model(TrainVar(2))
        assert model.name == "Model0"
        assert list(model.vars("relative")) == ["w"]
        assert jax.tree.map(lambda x: x, model).n == 3

    def test_without_a_call_of_init(self):
        class Careless(BrainPyObject):
            def __init__(self):
                self.w = Variable(2)

        node = Careless()
        assert node.name == "Careless0"
        assert list(node.vars()) == ["Careless0.w"]


class TestNodes:
    def test_absolute_keys_are_names(self):
        net = Net()
        nodes = net.nodes()
        assert list(nodes) == [net.name, *(f"Dense{i}" for i in range(6))]
        assert all(key == node.name for key, node in nodes.items())

    def test_relative_keys_are_paths(self):
        nodes = Net().nodes("relative")
        assert list(nodes) == [
            "", "first", "layers-0", "layers-1-0", "layers-1-1.x", "table.a", "table-0",
        ]  # fmt: skip

    def test_containers_of_all_kinds_count_alike(self):
        plain, ours = Plain(), Plain()
        plain.items, plain.table = [Dense(), Dense()], {"a": Dense()}
        ours.items, ours.table = NodeList([Dense(), Dense()]), NodeDict(a=Dense())
        assert list(plain.nodes("relative")) == list(ours.nodes("relative"))
        assert list(plain.vars("relative")) == list(ours.vars("relative"))

    def test_self_can_be_left_out(self):
        net = Net()
        assert net not in net.nodes(include_self=False).values()
        assert "" not in net.nodes("relative", include_self=False)
        assert len(net.nodes(include_self=False)) == 6

    @pytest.mark.parametrize("method", ["absolute", "relative"])
    @pytest.mark.parametrize(
        ("level", "count"), [(0, 1), (1, 3), (2, 7), (3, 15), (9, 15), (-1, 15)]
    )
    def test_level_counts_edges(self, method, level, count):
        def tree(depth):
            node = Plain()
            node.v = Variable(1)
            if depth:
                node.children = [tree(depth - 1), tree(depth - 1)]
            return node

        root = tree(3)
        assert len(root.nodes(method, level)) == count
        assert len(root.nodes(method, level, include_self=False)) == count - 1
        assert len(root.vars(method, level)) == count
        assert len(root.vars(method, level, include_self=False)) == count - 1

    def test_the_level_of_a_shared_node_is_its_nearest(self):
        root, far, shared = Plain(), Plain(), Plain()
        root.far, far.shared = far, shared
        root.near = shared
        assert len(root.nodes(level=1)) == 3

    @pytest.mark.parametrize("method", ["Absolute", "", None, 0])
    def test_other_methods(self, method):
        for collect in (Plain().nodes, Plain().vars, Plain().train_vars):
            with pytest.raises(ValueError, match="'absolute' or 'relative'"):
                collect(method)

    def test_cycles(self):
        root, x, y = Plain(), Plain(), Plain()
        root.x, root.y = x, y
        x.pre, y.pre = y, x
        assert len(root.nodes()) == 3
        assert set(root.nodes("relative")) == {"", "x", "y", "x.pre", "y.pre"}

    def test_a_node_that_holds_itself(self):
        node = Plain()
        node.me = node
        node.v = Variable(1)
        assert list(node.nodes("relative")) == ["", "me"]
        assert len(node.nodes()) == 1
        assert set(node.vars("relative")) == {"v", "me.v"}

    def test_a_shared_child_is_no_conflict(self):
        root, shared = Plain(), Dense()
        root.a, root.b, root.items = shared, shared, [shared]
        other = root.other = Plain()
        other.mine = shared
        assert len(root.nodes()) == 3
        # Each parent-to-child edge once.
        assert list(root.nodes("relative")) == ["", "a", "other", "other.mine"]
        assert len(root.vars()) == 2
        assert set(root.vars("relative")) == {"a.w", "a.b", "other.mine.w", "other.mine.b"}


class TestVars:
    def test_keys(self):
        node = Plain()
        node.v = Variable(1)
        node.items = [Variable(1), (Variable(1), {"k": Variable(1)})]
        node.table = {"a": Variable(1), 3: Variable(1)}
        keys = ["v", "items-0", "items-1-0", "items-1-1-k", "table-a", "table-3"]
        assert list(node.vars("relative")) == keys
        assert list(node.vars()) == [f"Plain0.{key}" for key in keys]
        ours = Plain()
        ours.v, ours.items = Variable(1), VarList([Variable(1), Variable(1)])
        ours.table = VarDict(a=Variable(1))
        assert list(ours.vars("relative")) == ["v", "items-0", "items-1", "table-a"]

    def test_a_shared_variable_has_all_its_keys(self):
        a, b = Dense(), Dense()
        b.setattr("w", a.w)
        root = Plain()
        root.items = [a, b]
        found = root.vars("relative")
        assert list(found) == ["items-0.w", "items-0.b", "items-1.w", "items-1.b"]
        assert found["items-0.w"] is found["items-1.w"]
        assert list(found.unique()) == ["items-0.w", "items-0.b", "items-1.b"]

    def test_train_vars(self):
        net = Net()
        assert set(net.train_vars("relative", level=1)) == {
            "first.w", "layers-0.w", "layers-1-0.w", "layers-1-1.x.w", "table.a.w", "table-0.w",
        }  # fmt: skip
        assert len(net.train_vars(level=0)) == 0

    def test_exclude_types(self):
        net = Net()
        assert set(net.first.vars("relative", exclude_types=(TrainVar,))) == {"b"}
        assert len(net.vars(exclude_types=(Parameter, TrainVar))) == 6

    def test_a_collector_of_its_own_each_time(self):
        net = Net()
        net.vars().clear()
        assert len(net.vars()) == 13

    def test_two_under_one_key_are_refused(self):
        node = Plain()
        node.table = {1: Variable(1), "1": Variable(1)}
        for collect in (node.vars, lambda: node.vars("relative"), node.save_state):
            with pytest.raises(ValueError, match="table-1"):
                collect()
        node.table = {1: node.table[1]}
        assert len(node.vars()) == 1
        children = Plain()
        children.x = {"a.b": Plain(), "a": Plain()}
        children.x["a"].b = Plain()
        with pytest.raises(ValueError, match=r"x\.a\.b"):
            children.nodes("relative")

    def test_sets_of_state_are_refused(self):
        for member in (Variable(1), Plain()):
            node = Plain("bag")
            node.members = set()
            assert len(node.vars()) == 0
            node.members.add(member)
            for collect in (node.vars, node.nodes, lambda n=node: jax.tree.leaves(n), node.clone):
                with pytest.raises(TypeError, match=r"bag\.members.*set.*list"):
                    collect()
            node.members = frozenset([member])
            with pytest.raises(TypeError, match=r"bag\.members"):
                node.vars()
            node.name = "free"


class TestImplicit:
    def test_vars(self):
        node = Plain()
        a, b, c, d, e = (Variable(i + 1) for i in range(5))
        node.register_implicit_vars(a, [b, VarList([c])], {"d": d}, e=e)
        assert node.implicit_vars.data()[0] is a.value
        assert [v is w for v, w in zip(node.implicit_vars.values(), (a, b, c, d, e), strict=True)]
        assert {"d", "e"} < set(node.implicit_vars)
        assert set(node.vars("relative")) == set(node.implicit_vars)
        node.register_implicit_vars(VarDict(f=Variable(6)))
        assert node.implicit_vars["f"].shape == (6,)
        assert len(node.vars()) == 6

    def test_nodes(self):
        node, a, b, c = Plain(), Dense(), Dense(), Dense()
        node.register_implicit_nodes(a, NodeList([b]), c=c)
        assert list(node.implicit_nodes.values()) == [a, b, c]
        assert len(node.nodes()) == 4
        assert set(node.nodes("relative", include_self=False)) == set(node.implicit_nodes)
        assert len(jax.tree.leaves(node)) == 6

    @pytest.mark.parametrize("bad", [3, None, jnp.ones(2), "w", [1], {"a": [Variable(1), 2]}])
    def test_wrong_types(self, bad):
        node = Plain()
        for register in (node.register_implicit_vars, node.register_implicit_nodes):
            with pytest.raises(ValueError, match=r"Variable|BrainPyObject"):
                register(bad)
            with pytest.raises(ValueError, match=r"Variable|BrainPyObject"):
                register(ok=bad)
        assert not node.implicit_vars
        assert not node.implicit_nodes

    def test_all_or_nothing(self):
        node = Plain()
        with pytest.raises(ValueError, match="int"):
            node.register_implicit_vars(a=Variable(1), b=3)
        assert not node.implicit_vars

    def test_classes(self):
        node = Plain()
        node.register_implicit_vars(TrainVar(1), var_cls=TrainVar)
        with pytest.raises(ValueError, match="TrainVar"):
            node.register_implicit_vars(Variable(1), var_cls=TrainVar)
        with pytest.raises(ValueError, match="Dense"):
            node.register_implicit_nodes(Plain(), node_cls=Dense)

    def test_a_key_keeps_its_object(self):
        node, v = Plain(), Variable(1)
        node.register_implicit_vars(a=v)
        node.register_implicit_vars(a=v)
        with pytest.raises(ValueError, match="'a'"):
            node.register_implicit_vars(a=Variable(1))
        assert node.implicit_vars["a"] is v

    def test_looking_changes_nothing(self):
        looked, other = Plain(), Plain()
        looked.x = other.x = 3
        before = jax.tree.structure(looked)
        assert len(looked.implicit_vars) == len(looked.implicit_nodes) == 0
        assert jax.tree.structure(looked) == before == jax.tree.structure(other)
        looked.implicit_vars["v"] = Variable(2)
        assert list(looked.vars("relative")) == ["v"]
        assert len(jax.tree.leaves(looked)) == 1

    def test_an_attribute_of_the_same_key(self):
        node = Plain()
        node.w = Variable(1)
        node.register_implicit_vars(w=node.w)
        assert list(node.vars("relative")) == ["w"]
        node.setattr("w", Variable(1))
        with pytest.raises(ValueError, match="'w'"):
            node.vars("relative")


def test_a_chain_of_20_000():
    first = node = Plain()
    for _ in range(20_000):
        node.n = Plain()
        node = node.n
    node.v = Variable(1)
    assert len(first.nodes()) == 20_001
    assert len(first.vars()) == 1
    assert len(first.nodes(level=5)) == 6
    assert len(repr(first).splitlines()) < 300


def test_long_containers():
    node = Plain()
    array = jnp.ones(1)
    node.items = [Variable(array) for _ in range(20_000)]
    assert len(node.vars()) == 20_000
    assert len(jax.tree.leaves(node)) == 20_000
