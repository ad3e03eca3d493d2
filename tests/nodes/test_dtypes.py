"""Every dtype that JAX has."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from framework import BrainPyObject, MathError, Variable, VariableView

NAMES = [
    "bool",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (2, 4, 8, 16, 32, 64)),
    "float16", "float32", "float64", "bfloat16", "complex64", "complex128",
    *(name for name in dir(jnp) if name.startswith(("float8_", "float4_"))),
]  # fmt: skip
DTYPES = [name for name in NAMES if hasattr(jnp, name)]


def array(name, shape):
    return jnp.ones(shape, "float32").astype(name)


def same(a, b):
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return a.dtype == b.dtype and np.array_equal(np.asarray(a), np.asarray(b))


def round_trips(value):
    """Everything that an object goes through, with one Variable and one raw array."""
    node = BrainPyObject()
    node.v, node.raw = Variable(value), value
    node.row = VariableView(node.v, ...)
    assert same(node.v.value, value)
    for twin in (
        node.clone(),
        copy.deepcopy(node),
        pickle.loads(pickle.dumps(node)),
        jax.tree.map(lambda x: x, node),
        jax.jit(lambda node: node)(node),
        jax.lax.scan(lambda node, _: (node, None), node, None, length=1)[0],
    ):
        assert same(twin.v.value, value)
        assert same(twin.raw, value)
        assert same(twin.row.value, value)
    state = node.state_dict()
    node.load_state_dict(state)
    node.v.value = Variable(value)
    node.to("cpu")
    assert same(node.v.value, value)
    shapes = jax.eval_shape(lambda node: node, node)
    assert (shapes.v.dtype, shapes.v.shape) == (value.dtype, value.shape)
    assert f"[{','.join(map(str, value.shape))}]" in repr(node)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (2, 0)], ids=str)
@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(name, shape, x64):
    round_trips(array(name, shape))


@pytest.mark.parametrize("name", DTYPES)
def test_creation_and_assignment(name, x64):
    v = Variable((2,), name)
    assert v.dtype == jnp.dtype(name)
    assert Variable(np.zeros(2), dtype=name).dtype == jnp.dtype(name)
    v.value = np.asarray(array(name, 2))
    other = "float32" if name != "float32" else "int32"
    with pytest.raises(MathError, match=name):
        v.value = jnp.zeros(2, other)
    scalar = Variable(array(name, ()))
    scalar.value = 1
    assert (scalar.dtype, int(scalar.value.real.astype(int))) == (
        jnp.dtype(name), -1 if name == "int1" else 1
    )  # fmt: skip


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
@pytest.mark.parametrize("shape", [(), (0,), (3,)], ids=str)
def test_typed_keys(impl, shape):
    key = jax.random.key(7, impl=impl)
    round_trips(jax.random.split(key, shape) if shape else key)
    v = Variable(key)
    v.value = jax.random.split(v.value)[0]
    other = jax.random.key(0, impl="rbg" if impl != "rbg" else "threefry2x32")
    with pytest.raises(MathError, match="key"):
        v.value = other


def test_old_keys():
    round_trips(jax.random.PRNGKey(3))


@pytest.mark.parametrize(
    ("held", "given", "fits"),
    [
        ("bfloat16", "float32", True),
        ("float8_e4m3fn", "float32", True),
        ("int4", "int32", True),
        ("uint4", "uint8", True),
        ("uint8", "int8", False),
        ("float32", "int8", False),
        ("int8", "bool", False),
        ("complex64", "complex128", True),
        ("complex64", "float32", False),
        ("float32", "complex64", False),
        ("bool", "int8", False),
    ],
)
def test_numpy_arrays_may_differ_in_precision_only(held, given, fits, x64):
    v = Variable(array(held, 2))
    new = np.asarray(array(given, 2))
    if fits:
        v.value = new
        assert v.dtype == jnp.dtype(held)
    else:
        with pytest.raises(MathError):
            v.value = new
