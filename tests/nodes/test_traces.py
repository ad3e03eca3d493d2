"""Writes inside plain JAX transforms: errors at the line, and cells that stay as they were."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework
from framework import BrainPyObject, TraceError, TrainVar, Variable, VariableView


class Layer(BrainPyObject):
    def __init__(self):
        super().__init__()
        self.w = TrainVar(jnp.ones(2))
        self.row = VariableView(self.w, slice(0, 1))
        self.raw = jnp.ones(2)


class Net(BrainPyObject):
    def __init__(self):
        super().__init__("traced_net")
        self.layers = [Layer()]


@pytest.fixture
def net():
    framework.clear_name_cache()
    return Net()


X = jnp.ones(2)
TRANSFORMS = {
    "jit": lambda f: jax.jit(f)(X),
    "vmap": lambda f: jax.vmap(f)(jnp.ones((3, 2))),
    "grad": lambda f: jax.grad(lambda x: f(x).sum())(X),
    "jvp": lambda f: jax.jvp(f, (X,), (X,)),
    "scan": lambda f: jax.lax.scan(lambda c, x: (c, f(x)), 0, jnp.ones((3, 2))),
    "cond": lambda f: jax.lax.cond(True, f, lambda x: x, X),
    "while_loop": lambda f: jax.lax.while_loop(lambda _: False, f, X),
    "eval_shape": lambda f: jax.eval_shape(f, X),
    "checkpoint": lambda f: jax.checkpoint(f)(X),
    "jit in jit": lambda f: jax.jit(jax.jit(f))(X),
    "vmap in framework.jit": lambda f: framework.jit(jax.vmap(f))(jnp.ones((3, 2))),
    "jit in framework.jit": lambda f: framework.jit(jax.jit(f))(X),
    "scan in framework.jit": lambda f: framework.jit(
        lambda x: jax.lax.scan(lambda c, x: (c, f(x)), 0, x)
    )(jnp.ones((3, 2))),
}
WRITES = {
    "value": lambda net, x: setattr(net.layers[0].w, "value", x),
    "attribute": lambda net, x: setattr(net.layers[0], "w", x),
    "in place": lambda net, x: net.layers[0].w.__iadd__(x),
    "item": lambda net, x: net.layers[0].w.__setitem__(0, x[0]),
    "view": lambda net, x: setattr(net.layers[0].row, "value", x[:1]),
}
SETTINGS = {
    "raw array": lambda net, x: setattr(net.layers[0], "raw", x),
    "new attribute": lambda net, x: setattr(net.layers[0], "new", x),
    "setattr": lambda net, x: net.layers[0].setattr("w", x),
    "list of arrays": lambda net, x: setattr(net.layers[0], "new", [{"a": x}]),
    "new Variable": lambda net, x: setattr(net.layers[0], "new", Variable(x)),
    "new node": lambda net, x: setattr(net.layers[0], "new", holding(x)),
    "implicit": lambda net, x: net.layers[0].register_implicit_vars(m=Variable(x)),
}


def holding(x):
    node = BrainPyObject()
    node.inner = BrainPyObject()
    node.inner.x = x
    return node


def attempt(transform, write, net):
    def f(x):
        write(net, x)
        return x

    transform(f)


def is_untouched(net):
    layer = net.layers[0]
    np.testing.assert_array_equal(layer.w.value, [1, 1])
    np.testing.assert_array_equal(layer.raw, [1, 1])
    assert set(vars(layer)) - {"_implicit_vars"} == {"_meta", "w", "row", "raw"}
    assert len(jax.tree.leaves(net)) == 2
    return True


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_foreign_writes(transform, write, net):
    with pytest.raises(TraceError) as caught:
        attempt(transform, write, net)
    text = str(caught.value)
    assert "`traced_net.layers[0].w`" in text
    line = Layer.__init__.__code__.co_firstlineno + 2
    assert f"{__file__}:{line})" in text
    assert "framework.jit" in text
    assert "argument" in text
    assert is_untouched(net)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
@pytest.mark.parametrize("write", SETTINGS.values(), ids=SETTINGS.keys())
def test_what_belongs_to_a_trace_is_not_hung_on_an_outer_object(transform, write, net):
    with pytest.raises(TraceError, match=r"`traced_net\.layers\[0\]\.(raw|new|w|implicit_vars)"):
        attempt(transform, write, net)
    assert is_untouched(net)


@pytest.mark.parametrize(
    "transform", [framework.jit, lambda f: framework.grad(lambda x: f(x).sum())]
)
class TestOwnTransforms:
    @pytest.mark.parametrize("write", [w for name, w in SETTINGS.items() if "new" not in name])
    def test_raw_arrays_are_no_state(self, transform, write, net):
        def f(x):
            write(net, x)
            return x

        with pytest.raises(TraceError, match=r"`traced_net\.layers\[0\]\.\w+.*Variable"):
            transform(f)(X)
        assert is_untouched(net)

    def test_even_where_the_array_is_concrete(self, transform, net):
        concrete = np.zeros(2)

        def f(x):
            net.layers[0].raw = concrete
            return x

        with pytest.raises(TraceError, match=r"layers\[0\]\.raw"):
            transform(f)(X)
        assert is_untouched(net)

    def test_variables_are(self, transform, net):
        def f(x):
            net.layers[0].w += x
            net.layers[0].row = x[:1] * 5
            return x

        transform(f)(X)
        np.testing.assert_array_equal(net.layers[0].w.value, [5, 2])

    def test_an_exception_leaves_all_as_it_was(self, transform, net):
        def f(x):
            net.layers[0].w += x
            raise KeyError("on purpose")

        with pytest.raises(KeyError, match="on purpose"):
            transform(f)(X)
        assert is_untouched(net)


class TestAllowed:
    def test_objects_made_inside(self):
        @jax.jit
        def f(x):
            node = holding(x)
            node.v = Variable(x)
            node.v += 1
            node.raw = x
            node.raw = x * 2
            node.inner.x = x + 1
            return node

        node = f(X)
        np.testing.assert_array_equal(node.v.value, [2, 2])
        np.testing.assert_array_equal(node.raw, [2, 2])

    def test_copies_made_inside(self, net):
        @jax.jit
        def f(net, x):
            net.layers[0].w += x
            net.layers[0].raw = x * 3
            net.layers[0].new = Variable(x)
            return net

        twin = f(net, X)
        assert is_untouched(net)
        np.testing.assert_array_equal(twin.layers[0].w.value, [2, 2])
        np.testing.assert_array_equal(twin.layers[0].raw, [3, 3])
        assert twin.layers[0].new.shape == (2,)

    def test_but_not_from_a_trace_further_in(self, net):
        @jax.jit
        def f(net, x):
            return jax.vmap(lambda row: net.layers[0].w.__iadd__(row).value)(jnp.stack([x, x]))

        with pytest.raises(TraceError, match=r"layers\[0\]\.w"):
            f(net, X)

    def test_concrete_values_and_static_attributes(self, net):
        constant = jnp.zeros(2)

        @jax.jit
        def f(x):
            net.layers[0].w.value = constant
            net.note = "seen"
            return x

        f(X)
        assert net.layers[0].w.value is constant
        assert net.note == "seen"

    def test_reading(self, net):
        np.testing.assert_array_equal(jax.jit(lambda x: net.layers[0].w + x)(X), [2, 2])


def test_the_line_of_creation_is_that_of_the_user():
    v = Variable(2)
    with pytest.raises(TraceError, match=r"test_traces\.py:\d+"):
        jax.jit(lambda x: setattr(v, "value", x))(X)
