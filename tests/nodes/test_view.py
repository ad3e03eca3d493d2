"""Views: windows on parts of Variables."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from framework import BrainPyObject, MathError, Variable, VariableView


def target():
    return Variable(jnp.arange(6.0).reshape(2, 3))


INDICES = [
    1,
    -1,
    slice(0, 1),
    (slice(None), 1),
    (0, [0, 2]),
    [1, 0],
    np.array([True, False]),
    np.array([0, 1]),
    jnp.array([1]),
    (..., slice(None, None, 2)),
    (0, None, 1),
    (),
    Variable(jnp.array([1])),
    (Variable(jnp.int32(1)), slice(1, None)),
]


@pytest.mark.parametrize("index", INDICES, ids=lambda index: type(index).__name__)
def test_reads_and_writes_through(index):
    v = target()
    plain = index.value if isinstance(index, Variable) else index
    if isinstance(index, tuple):
        plain = tuple(i.value if isinstance(i, Variable) else i for i in index)
    plain = jnp.asarray(plain) if isinstance(plain, list) else plain
    if isinstance(plain, tuple):
        plain = tuple(jnp.asarray(i) if isinstance(i, list) else i for i in plain)
    view = VariableView(v, index)
    np.testing.assert_array_equal(view.value, v.value[plain])
    expected = v.value.at[plain].set(-v.value[plain] - 1)
    view.value = -view - 1
    np.testing.assert_array_equal(v.value, expected)
    twin = jax.tree.map(lambda x: x, view)
    np.testing.assert_array_equal(twin.value, view.value)
    assert hash(jax.tree.structure(view)) == hash(jax.tree.structure(VariableView(v, index)))


def test_only_of_variables():
    with pytest.raises(ValueError, match=r"ndarray|Array"):
        VariableView(jnp.ones(3), 0)


def test_checks():
    v = target()
    view = VariableView(v, 0)
    for bad in (jnp.ones(2), jnp.ones(3, int), [1.0, 2.0, 3.0]):
        with pytest.raises(MathError):
            view.value = bad
    assert v.value.sum() == 15


def test_in_place_and_items():
    v = target()
    view = VariableView(v, 1)
    view += 10
    view[0] = 0
    np.testing.assert_array_equal(v.value, [[0, 1, 2], [0, 14, 15]])
    assert (view.shape, view.dtype, view.batch_axis) == ((3,), jnp.float32, None)


def test_a_view_of_a_view():
    v = target()
    VariableView(VariableView(v, 1), slice(0, 2)).value = jnp.zeros(2)
    np.testing.assert_array_equal(v.value, [[0, 1, 2], [0, 0, 5]])


class Net(BrainPyObject):
    def __init__(self):
        super().__init__()
        self.w = target()
        self.row = VariableView(self.w, 0)
        self.rows = [VariableView(self.w, 1)]


def test_as_attribute():
    net = Net()
    net.row = jnp.zeros(3)
    assert isinstance(net.row, VariableView)
    assert net.w.value[0].sum() == 0
    assert len(jax.tree.leaves(net)) == 1


def test_excluded_from_vars_by_default():
    net = Net()
    assert list(net.vars("relative")) == ["w"]
    assert set(net.vars("relative", exclude_types=())) == {"w", "row", "rows-0"}


@pytest.mark.parametrize(
    "copied",
    [
        lambda x: x.clone(),
        copy.deepcopy,
        lambda x: pickle.loads(pickle.dumps(x)),
        lambda x: jax.tree.map(lambda leaf: leaf, x),
    ],
)
def test_copies_look_at_copies(copied):
    net = Net()
    twin = copied(net)
    assert twin.row.target is twin.w
    assert twin.rows[0].target is twin.w
    twin.row = jnp.full(3, 7.0)
    assert twin.w.value[0].sum() == 21
    assert net.w.value[0].sum() == 3


def test_copies_on_their_own():
    v = target()
    view = VariableView(v, 0)
    assert copy.copy(view).target is v
    twin = copy.deepcopy(view)
    assert twin.target is not v
    pair = copy.deepcopy((v, view))
    assert pair[1].target is pair[0]


@pytest.mark.parametrize("leaf", [None, 3])
def test_repr_of_anything(leaf):
    assert "VariableView f32[3]" in repr(Net())
    view = jax.tree.map(lambda _: leaf, VariableView(target(), 0))
    assert "VariableView" in repr(view)
