"""What is saved comes back with the same bits and types."""

import collections
import math
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.errors import CheckpointError
from framework.io.leaf_types import _DTYPES, leaf_type
from framework.io.states import describe, load, save
from framework.io.writer import write_file
from tests.io.comparison import assert_same

JAX_DTYPES = [name for name in _DTYPES if "64[" not in name and hasattr(jnp, name)]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3, 4)])
@pytest.mark.parametrize("name", JAX_DTYPES)
def test_jax_arrays_of_every_dtype(tmp_path, name, shape):
    jax.config.update("jax_enable_x64", True)
    bits = np.random.default_rng(0).integers(0, 256, 16 * math.prod(shape), dtype=np.uint8)
    itemsize = _DTYPES[name].itemsize
    data = bits[: itemsize * math.prod(shape)]
    if name.startswith(("int2", "int4")) or name == "bool":
        data = data & 1
    elif name.startswith(("uint2", "uint4", "float4", "float6")):
        data = data & 3
    array = jnp.asarray(data.view(_DTYPES[name]).reshape(shape))
    save(tmp_path / "a.msgpack", array)
    assert_same(load(tmp_path / "a.msgpack"), array)


@pytest.mark.parametrize("name", _DTYPES)
def test_numpy_arrays_of_every_dtype(tmp_path, name):
    array = np.arange(6).astype(_DTYPES[name], casting="unsafe").reshape(2, 3)
    scalar = array[1, 2]
    save(tmp_path / "a.msgpack", [array, scalar, array[:0]])
    assert_same(load(tmp_path / "a.msgpack"), [array, scalar, array[:0]])


def test_arrays_of_any_layout(tmp_path):
    base = np.arange(24.0).reshape(2, 3, 4)
    arrays = [base.T, base[:, ::-2], np.asfortranarray(base), base[1, 2, 3:3]]
    save(tmp_path / "a.msgpack", arrays)
    for loaded, array in zip(load(tmp_path / "a.msgpack"), arrays, strict=True):
        assert loaded.dtype == array.dtype
        assert loaded.shape == array.shape
        assert (loaded == array).all()


def test_foreign_byte_order_becomes_native_with_the_same_values(tmp_path):
    save(tmp_path / "a.msgpack", np.arange(3, dtype=">i4"))
    loaded = load(tmp_path / "a.msgpack")
    assert loaded.dtype == np.dtype("int32")
    assert loaded.tolist() == [0, 1, 2]


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys_of_every_implementation(tmp_path, impl):
    keys = {"one": jax.random.key(3, impl=impl), "old": jax.random.PRNGKey(3)}
    keys["many"] = jax.random.split(keys["one"], (2, 3))
    save(tmp_path / "a.msgpack", keys)
    loaded = load(tmp_path / "a.msgpack")
    assert_same(loaded, keys)
    assert_same(jax.random.normal(loaded["one"]), jax.random.normal(keys["one"]))


@pytest.mark.parametrize(
    "scalar",
    [
        *(True, False, 0, -1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 10**40, -(10**40)),
        *(0.1, -0.0, math.inf, math.nan, 1j, complex(-0.0, math.nan)),
        *("", "hé\0 🙂", "\ud800", b"", b"\x00\xff"),
    ],
    ids=repr,
)
def test_python_scalars(tmp_path, scalar):
    save(tmp_path / "a.msgpack", {"x": scalar})
    assert_same(load(tmp_path / "a.msgpack"), {"x": scalar})


KEYS = st.one_of(
    st.text(st.characters(exclude_categories=[]), max_size=4),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.none(),
    st.binary(max_size=3),
    st.floats(allow_nan=False),
    st.tuples(st.text(max_size=2), st.integers(-3, 3)),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(exclude_categories=[]), max_size=5),
    st.binary(max_size=5),
    st.builds(np.arange, st.integers(0, 5)),
    st.builds(jnp.arange, st.integers(0, 5)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3).map(collections.OrderedDict),
    ),
    max_leaves=12,
)


@given(tree=TREES)
def test_nested_containers_with_awkward_keys(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("trees") / "a.msgpack"
    save(path, tree)
    assert_same(load(path), tree)


def test_deep_trees(tmp_path):
    tree = leaf = []
    for _ in range(20_000):
        leaf.append([])
        leaf = leaf[0]
    save(tmp_path / "a.msgpack", tree)
    loaded, depth = load(tmp_path / "a.msgpack"), 0
    while loaded:
        loaded, depth = loaded[0], depth + 1
    assert depth == 20_000


def test_metadata_is_kept(tmp_path):
    meta = {"step": 7, "loss": 0.5, "tags": ["a", None, True], "nested": {"é": b"\0"}}
    save(tmp_path / "a.msgpack", {}, meta=meta)
    assert describe(tmp_path / "a.msgpack").meta == meta


def test_a_leaf_longer_than_one_msgpack_object_is_split(tmp_path):
    array = np.arange(1000, dtype=np.int32)
    leaves = {"a": np.float32(1), "b": array, "c": np.arange(64, dtype=np.uint8), "d": array[:0]}
    write_file(tmp_path / "a.msgpack", leaves, bin_limit=64)
    for mmap in (True, False):
        assert_same(load(tmp_path / "a.msgpack", mmap=mmap), leaves)


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (object(), "builtins.object"),
        (lambda: 0, "function"),
        (np.array([None]), "dtype object"),
        (np.array(["a"]), "dtype <U1"),
        (np.zeros(2, "i4,f4"), "dtype"),
        (np.ma.zeros(2), "MaskedArray"),
        (np.str_("a"), "dtype"),
        ({1, 2}, "builtins.set"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_stored_is_named(tmp_path, leaf, words):
    with pytest.raises(CheckpointError, match=r"cannot save \"\['a'\]\[1\]\".*" + words):
        save(tmp_path / "a.msgpack", {"a": [0, leaf]})
    assert list(tmp_path.iterdir()) == []


def test_a_traced_or_deleted_array_is_named(tmp_path):
    def inside(x):
        with pytest.raises(CheckpointError, match=r"'\[0\]'.*transform"):
            save(tmp_path / "a.msgpack", [x])
        return x

    jax.jit(inside)(1.0)
    gone = jnp.arange(3)
    gone.delete()
    with pytest.raises(CheckpointError, match=r"'\[0\]'.*deleted"):
        save(tmp_path / "a.msgpack", [gone])


def test_a_container_in_itself_is_named(tmp_path):
    tree = {"a": []}
    tree["a"].append(tree)
    with pytest.raises(CheckpointError, match="contains itself"):
        save(tmp_path / "a.msgpack", tree)


def test_64_bit_arrays_are_not_silently_rounded(tmp_path):
    jax.config.update("jax_enable_x64", True)
    save(tmp_path / "a.msgpack", {"x": jnp.arange(3.0)})
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(CheckpointError, match="jax_enable_x64"):
        load(tmp_path / "a.msgpack")
    assert load(tmp_path / "a.msgpack", numpy=True)["x"].dtype == np.float64


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_copies_nothing(tmp_path):
    path = tmp_path / "a.msgpack"
    save(path, {"jax": jnp.arange(1000.0), "numpy": np.arange(1000.0)})
    loaded = load(path)
    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = [line.split()[0].split("-") for line in lines if line.endswith(str(path))]
    for address in (loaded["jax"].unsafe_buffer_pointer(), loaded["numpy"].ctypes.data):
        assert any(int(start, 16) <= address < int(stop, 16) for start, stop in mapped)


def test_saving_over_the_mapped_file_is_safe(tmp_path):
    path = tmp_path / "a.msgpack"
    save(path, {"jax": jnp.arange(1000.0), "numpy": np.arange(1000.0)})
    mapped, copied = load(path), load(path, mmap=False)
    mapped["numpy"][:] = 7
    save(path, {"jax": mapped["jax"] + 1, "numpy": mapped["numpy"]})
    assert_same(mapped["jax"], jnp.arange(1000.0))
    assert_same(copied, {"jax": jnp.arange(1000.0), "numpy": np.arange(1000.0)})
    assert_same(load(path), {"jax": jnp.arange(1000.0) + 1, "numpy": np.full(1000, 7.0)})


def test_donating_a_mapped_array_leaves_the_file_alone(tmp_path):
    path = tmp_path / "a.msgpack"
    save(path, jnp.arange(4096.0))
    before = path.read_bytes()
    step = jax.jit(lambda x: x * 2, donate_argnums=0)
    assert_same(step(load(path)), jnp.arange(4096.0) * 2)
    assert path.read_bytes() == before


def test_types_are_described_shortly():
    assert str(leaf_type(jnp.zeros((2, 3)))) == "float32[2,3]"
    assert str(leaf_type(jax.random.key(0))) == "key<threefry2x32>[2]"
    assert str(leaf_type(True)) == "bool"


@pytest.mark.parametrize("dtype", ["float32", "bool", "uint8", "complex64", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0)])
def test_thousands_of_small_arrays(tmp_path, dtype, shape):
    rng = np.random.default_rng(0)
    host = rng.integers(0, 2, (2_037, *shape)).astype(jnp.dtype(dtype))
    tree = {"many": list(jax.device_put(list(host))), "key": jax.random.key(3)}
    save(tmp_path / "a.msgpack", tree)
    loaded = load(tmp_path / "a.msgpack", like=tree)
    assert jax.random.key_data(loaded["key"]).tolist() == jax.random.key_data(tree["key"]).tolist()
    assert all(isinstance(x, jax.Array) and x.dtype == dtype for x in loaded["many"])
    assert np.stack(loaded["many"]).tobytes() == host.tobytes()
