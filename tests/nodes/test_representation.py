"""The text of objects."""

import gc

import jax
import jax.numpy as jnp
import numpy as np

from framework import (
    BrainPyObject,
    NodeList,
    Parameter,
    TrainVar,
    Variable,
    VariableView,
    clear_name_cache,
)


class Dense(BrainPyObject):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.n_out = n_out
        self.activation = jnp.tanh
        self.w = TrainVar(jnp.full((n_in, n_out), 123.0))
        self.b = Variable(jnp.zeros(n_out, jnp.bfloat16))


class Net(BrainPyObject):
    def __init__(self):
        super().__init__()
        self.layers = NodeList([Dense(3, 4), Dense(4, 2)])
        self.first = self.layers[0]
        self.first.parent = self
        self.table = {"a": (np.full(3, 123), 1)}
        self.view = VariableView(self.first.w, 0)
        self.key = Variable(jax.random.key(0))
        self.register_implicit_vars(m=Parameter(True))
        self.note = "x" * 1000


EXPECTED = """\
Net 'Net0'
  .layers[0]: Dense 'Dense0' (n_out=4)
    .w: TrainVar f32[3,4]
    .b: Variable bf16[4]
    .parent: Net (see the top)
  .layers[1]: Dense 'Dense1' (n_out=2)
    .w: TrainVar f32[4,2]
    .b: Variable bf16[2]
  .first: Dense (see .layers[0])
  .table['a'][0]: i64[3]
  .view: VariableView f32[4]
  .key: Variable key<fry>[]
  .implicit_vars['m']: Parameter bool[]"""


def make():
    gc.collect()
    clear_name_cache()
    return Net()


def test_the_whole():
    assert repr(make()) == EXPECTED


def test_in_traces_it_is_the_same():
    net, seen = make(), []
    net_text = repr(net)

    def look(x):
        seen.append(repr(net))
        return x

    for transform in (jax.jit, jax.vmap, lambda f: jax.grad(lambda x: f(x).sum())):
        transform(look)(jnp.ones(2))
    assert seen == [net_text] * 3


def test_by_value_in_traces():
    seen = []
    net = make()
    jax.jit(lambda net: seen.append(repr(net)))(net)
    jax.vmap(lambda net: seen.append(repr(net)), axis_size=2)
    assert "TrainVar f32[3,4]" in seen[0]
    assert "123" not in seen[0]
    assert "Traced" not in seen[0]


def test_no_contents():
    net = make()
    assert "123" not in repr(net)
    assert "123" not in repr(net.first.w)
    assert repr(net.first.w) == "TrainVar(f32[3,4])"


def test_of_whatever_stands_in_a_copy():
    net = make()
    for leaf in (None, 3, "x", object()):
        assert "TrainVar" in repr(jax.tree.map(lambda _, leaf=leaf: leaf, net))
    assert "TrainVar f32[3,4]" in repr(jax.eval_shape(lambda: net))


def test_before_init():
    class Careless(BrainPyObject):
        def __init__(self):
            self.text = repr(self)
            super().__init__()

    assert Careless().text == "Careless"


def test_cycles_and_shared_variables():
    a, b = BrainPyObject("a_"), BrainPyObject("b_")
    a.other, b.other = b, a
    a.v = b.v = Variable(1)
    text = (
        "BrainPyObject 'a_'\n  .other: BrainPyObject 'b_'\n    .other: BrainPyObject (see the top)"
    )
    assert repr(a) == f"{text}\n    .v: Variable f32[1]\n  .v: Variable f32[1] (see .other.v)"


def test_large_objects_are_cut_off():
    net = BrainPyObject()
    net.items = [Variable(True) for _ in range(1_000)]
    lines = repr(net).splitlines()
    assert len(lines) < 250
    assert lines[-1] == "…"
