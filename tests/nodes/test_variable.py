"""Variables: creation, values, checks, array behaviour, identity."""

import copy
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from framework import BATCH_AXIS, MathError, Parameter, TrainVar, Variable


class TestCreation:
    @pytest.mark.parametrize(
        ("size", "shape"),
        [(3, (3,)), (0, (0,)), ((2, 3), (2, 3)), ([2, 3], (2, 3)), ((), ()), ([], ())],
    )
    def test_ints_are_a_shape(self, size, shape):
        v = Variable(size)
        assert (v.shape, v.dtype) == (shape, jnp.float32)
        assert not v.value.any()

    def test_dtype_of_a_shape(self):
        assert Variable((2,), int).dtype == jnp.int32
        assert Variable(2, jnp.bfloat16).dtype == jnp.bfloat16

    @pytest.mark.parametrize(
        ("data", "dtype"),
        [
            (1.5, "float32"),
            (True, "bool"),
            (2j, "complex64"),
            ([1.0, 2.0], "float32"),
            ([[1, 2], [3, 4]], "int32"),
            ((True, False), "bool"),
            (np.int64(3), "int32"),
            (np.arange(3.0), "float32"),
            (np.arange(3, dtype="int8"), "int8"),
            (jnp.arange(3, dtype=jnp.uint8), "uint8"),
        ],
    )
    def test_data(self, data, dtype):
        v = Variable(data)
        assert v.dtype == dtype
        np.testing.assert_array_equal(v.value, data)

    def test_from_another_variable(self):
        first = Variable([1.0, 2.0])
        second = Variable(first)
        second += 1
        np.testing.assert_array_equal(first.value, [1, 2])

    def test_numpy_data_is_copied(self):
        data = np.ones(1000, "float32")
        v = Variable(data)
        data[:] = 7
        assert v.value.max() == 1

    def test_dtype_converts_data(self):
        assert Variable([1.5, 2.5], dtype=jnp.float16).dtype == jnp.float16
        assert Variable(jnp.ones(2), dtype=int).dtype == jnp.int32

    @pytest.mark.parametrize("data", [1.5, jnp.asarray(1.5), jnp.full(3, 2.0)])
    def test_weak_types_never_enter(self, data):
        v = Variable(data)
        assert not v.value.weak_type
        v.value = jnp.full(v.shape, 2.0)
        assert not v.value.weak_type
        v *= 2
        assert not v.value.weak_type

    def test_prng_keys(self):
        assert Variable(jax.random.PRNGKey(0)).dtype == jnp.uint32
        key = jax.random.key(0)
        assert Variable(key).dtype == key.dtype

    @pytest.mark.parametrize("axis", [1, 2, -1])
    def test_batch_axis_must_exist(self, axis):
        with pytest.raises(MathError, match="batch_axis"):
            Variable(jnp.ones(2), batch_axis=axis)

    def test_batch_axis_of_a_scalar(self):
        with pytest.raises(MathError, match="0 dimensions"):
            Variable(1.0, batch_axis=0)


class TestValue:
    @pytest.mark.parametrize(
        ("dtype", "new"),
        [
            ("float32", 2),
            ("float32", True),
            ("int32", 2.7),
            ("complex64", 1.0),
            ("float32", jnp.asarray(2)),
            ("float32", np.float64(1.5)),
            ("float32", np.asarray(1.5, "float16")),
            ("int8", np.asarray(5, "int64")),
            ("float16", jnp.asarray(2, "float16")),
            ("float32", Variable(2.0)),
        ],
    )
    def test_accepts(self, dtype, new):
        v = Variable(jnp.zeros((), dtype))
        v.value = new
        assert (v.dtype, v.shape) == (dtype, ())
        assert v.value == np.asarray(new).astype(dtype)

    @pytest.mark.parametrize(
        "new",
        [
            jnp.ones(3),
            jnp.ones((2, 1)),
            np.ones(3),
            1.0,
            jnp.ones(2, "float16"),
            jnp.ones(2, "int32"),
            np.ones(2, "int32"),
            np.ones(2, "complex64"),
            np.array(["a", "b"]),
            np.array([None, 1]),
            [1.0, 2.0],
            (1.0, 2.0),
            "ab",
            None,
            Variable(jnp.ones(3)),
            Variable(jnp.ones(2, "int32")),
        ],
    )
    def test_refuses(self, new):
        v = Variable([1.0, 2.0])
        with pytest.raises(MathError, match="Variable"):
            v.value = new
        np.testing.assert_array_equal(v.value, [1, 2])

    @pytest.mark.parametrize("new", [1j, jnp.asarray(1j), np.complex64(1)])
    def test_never_drops_an_imaginary_part(self, new):
        with pytest.raises(MathError, match="float32"):
            Variable(1.0).value = new

    @pytest.mark.parametrize("new", [3, 1.5, True, np.uint32(3), jnp.uint32(3)])
    def test_a_key_takes_only_keys(self, new):
        v = Variable(jax.random.key(0))
        with pytest.raises(MathError, match="key"):
            v.value = new
        v.value = jax.random.key(1)

    def test_a_number_takes_no_key(self):
        with pytest.raises(MathError, match="key"):
            Variable(jnp.uint32(1)).value = jax.random.key(0)

    def test_a_number_out_of_range_is_refused(self):
        v = Variable(jnp.uint8(3))
        with pytest.raises(MathError, match="uint8"):
            v.value = 300
        assert v.value == 3

    def test_errors_name_where_it_was_made(self):
        v = Variable([1.0, 2.0])
        with pytest.raises(MathError, match=r"test_variable\.py:\d+.*shape \(2,\).*\(3,\)"):
            v.value = jnp.ones(3)

    def test_anything_with_jax_array(self):
        class Like:
            def __jax_array__(self):
                return jnp.ones(2)

        v = Variable(2)
        v.value = Like()
        np.testing.assert_array_equal(v.value, [1, 1])

    def test_the_array_is_stored_as_it_is(self):
        array = jnp.arange(3.0)
        v = Variable(3)
        v.value = array
        assert v.value is array


class TestBatchAxis:
    def test_only_that_axis_changes(self):
        v = Variable(jnp.ones((2, 3)), batch_axis=0)
        v.value = jnp.zeros((5, 3))
        assert (v.batch_size, v.size_without_batch) == (5, (3,))
        for bad in (jnp.zeros((5, 4)), jnp.zeros(5), jnp.zeros((5, 3, 1))):
            with pytest.raises(MathError, match="axis 0"):
                v.value = bad
        assert v.shape == (5, 3)

    def test_without_one(self):
        v = Variable((2, 3))
        assert (v.batch_axis, v.batch_size, v.size_without_batch) == (None, None, (2, 3))

    def test_read_only(self):
        v = Variable((2, 3), batch_axis=1)
        assert v.size_without_batch == (2,)
        for name in ("batch_axis", "batch_size"):
            with pytest.raises(ValueError, match=name):
                setattr(v, name, 1)
        assert (v.batch_axis, v.batch_size) == (1, 3)

    def test_axis_names(self):
        assert Variable((2, 3)).axis_names is None
        assert Variable((2, 3), axis_names=["a", "b"]).axis_names == ("a", "b")
        named = Variable((2, 3), batch_axis=1, axis_names=["a"])
        assert named.axis_names == ("a", BATCH_AXIS)

    @pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], []])
    def test_axis_names_must_fit(self, names):
        with pytest.raises(MathError, match="axis_names"):
            Variable((2, 3), axis_names=names)


BINARY = [
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow",
    "eq", "ne", "lt", "le", "gt", "ge",
]  # fmt: skip
IN_PLACE_BITWISE = ["iand", "ior", "ixor", "ilshift", "irshift"]
BITWISE = ["and_", "or_", "xor", "lshift", "rshift"]
X, Y = jnp.array([7.0, 5.0]), jnp.array([2.0, 5.0])
K, J = jnp.array([7, 5]), jnp.array([2, 1])


class TestArrayBehaviour:
    @pytest.mark.parametrize("name", BINARY + BITWISE)
    @pytest.mark.parametrize("other", ["variable", "jax", "numpy", "scalar"])
    def test_operators_and_reflections(self, name, other):
        op = getattr(operator, name)
        a, b = (K, J) if name in BITWISE else (X, Y)
        right = {"variable": Variable(b), "jax": b, "numpy": np.asarray(b), "scalar": 3}[other]
        plain = 3 if other == "scalar" else b
        v = Variable(a)
        for got, expected in ((op(v, right), op(a, plain)), (op(right, v), op(plain, a))):
            assert isinstance(got, jax.Array)
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(v.value, a)

    @pytest.mark.parametrize("scalar", [np.float32(2), np.float64(2), np.ones((), "float32")])
    def test_numpy_scalars(self, scalar):
        v = Variable(X)
        np.testing.assert_array_equal(v * scalar, X * scalar)
        np.testing.assert_array_equal(scalar * v, scalar * X)

    def test_matmul_and_divmod(self):
        m, n = jnp.arange(6.0).reshape(2, 3), jnp.arange(6.0).reshape(3, 2)
        for a, b in ((Variable(m), n), (m, Variable(n)), (np.asarray(m), Variable(n))):
            np.testing.assert_array_equal(a @ b, m @ n)
        for got, expected in zip(divmod(Variable(X), Y), divmod(X, Y), strict=True):
            np.testing.assert_array_equal(got, expected)
        for got, expected in zip(divmod(7.0, Variable(Y)), divmod(7.0, Y), strict=True):
            np.testing.assert_array_equal(got, expected)

    @pytest.mark.parametrize(
        "name",
        ["iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", *IN_PLACE_BITWISE],
    )
    def test_in_place_writes_into_the_cell(self, name):
        op = getattr(operator, name)
        a, b = (K, J) if name in IN_PLACE_BITWISE else (X, Y)
        v = Variable(a)
        assert op(v, Variable(b)) is v
        np.testing.assert_array_equal(v.value, op(a, b))

    def test_in_place_matmul(self):
        v = Variable(jnp.eye(2))
        v @= jnp.ones((2, 2))
        np.testing.assert_array_equal(v.value, jnp.ones((2, 2)))

    def test_in_place_checks(self):
        v = Variable(K)
        with pytest.raises(MathError, match="int32"):
            v *= jnp.ones(2)
        with pytest.raises(MathError, match="shape"):
            v += jnp.ones((2, 2), int)
        np.testing.assert_array_equal(v.value, K)

    def test_numpy_in_place_stays_numpy(self):
        data = np.ones(2, "float32")
        kept = data
        data += np.asarray(Variable(X))
        assert data is kept
        np.testing.assert_array_equal(kept, X + 1)

    @pytest.mark.parametrize("op", [operator.neg, operator.pos, abs])
    def test_unary(self, op):
        np.testing.assert_array_equal(op(Variable(-X)), op(-X))

    def test_conversions(self):
        v = Variable(3.0)
        assert (bool(v), int(v), float(v), complex(v)) == (True, 3, 3.0, 3 + 0j)
        assert [10, 20, 30][Variable(jnp.int32(1))] == 20
        assert round(Variable(2.6)) == 3
        assert f"{v:.2f}" == "3.00"
        np.testing.assert_array_equal(~Variable(K), ~K)

    def test_container(self):
        v = Variable(X)
        assert len(v) == 2
        assert [float(x) for x in v] == [7.0, 5.0]
        assert 7.0 in v
        assert Variable(5.0) in v
        with pytest.raises(TypeError):
            len(Variable(1.0))
        with pytest.raises(TypeError):
            iter(Variable(1.0))

    def test_indexing(self):
        v = Variable(jnp.arange(6.0).reshape(2, 3))
        np.testing.assert_array_equal(v[1, :2], [3, 4])
        np.testing.assert_array_equal(v[Variable(jnp.array([1]))], [[3, 4, 5]])
        v[0, 1] = 9
        v[1] = Variable(jnp.ones(3))
        v[Variable(jnp.int32(0)), 0] = -1
        np.testing.assert_array_equal(v.value, [[-1, 9, 2], [1, 1, 1]])
        v[:] = 0
        assert not v.value.any()

    def test_at(self):
        v = Variable(X)
        np.testing.assert_array_equal(v.at[0].add(1), [8, 5])
        np.testing.assert_array_equal(v.value, X)

    def test_attributes(self):
        v = Variable((2, 3))
        assert (v.shape, v.ndim, v.size, v.T.shape) == ((2, 3), 2, 6, (3, 2))

    def test_has_what_arrays_have(self):
        names = {name for name in dir(jnp.ones(1)) if not name.startswith("_")}
        internal = {"device_buffer", "device_buffers", "traceback", "unsafe_raw_buffer"}
        assert names - set(dir(Variable)) <= internal

    def test_methods(self):
        v = Variable(X)
        assert v.sum() == 12
        assert v.astype(int).dtype == jnp.int32
        assert v.reshape(2, 1).shape == (2, 1)
        assert v.mean() == 6

    def test_functions_of_jax_and_numpy(self):
        v = Variable(X)
        np.testing.assert_array_equal(jnp.sin(v), jnp.sin(X))
        np.testing.assert_array_equal(jnp.add(v, Variable(Y)), X + Y)
        np.testing.assert_array_equal(np.asarray(v), np.asarray(X))
        assert np.asarray(v, dtype="float64").dtype == np.float64
        np.testing.assert_array_equal(np.sin(v), np.sin(np.asarray(X)))
        assert jnp.asarray(v).shape == (2,)

    def test_numpy_copies_on_demand(self):
        v = Variable(X)
        copied = np.array(v)
        copied[:] = 0
        np.testing.assert_array_equal(v.value, X)


class TestIdentity:
    def test_hash_is_identity(self):
        a, b = Variable(X), Variable(X)
        assert hash(a) != hash(b)
        assert len({a, b, a}) == 2

    def test_equality_is_elementwise(self):
        assert (Variable(X) == Variable(Y)).tolist() == [False, True]
        assert (Variable(X) != Y).tolist() == [True, False]

    def test_copy_is_another_cell(self):
        v = TrainVar(X, batch_axis=0, axis_names=["a"])
        for twin in (copy.copy(v), copy.deepcopy(v)):
            twin.value += 1
            assert (type(twin), twin.batch_axis, twin.axis_names) == (TrainVar, 0, ("a",))
        np.testing.assert_array_equal(v.value, X)


class TestPyTree:
    @pytest.mark.parametrize("cls", [Variable, TrainVar, Parameter])
    def test_what_survives(self, cls):
        v = cls(jnp.ones((2, 3)), batch_axis=0, axis_names=["n"])
        twin = jax.tree.map(lambda x: x * 2, v)
        assert type(twin) is cls
        assert (twin.batch_axis, twin.axis_names) == (0, (BATCH_AXIS, "n"))
        assert twin.value.sum() == 12
        assert v.value.sum() == 6

    def test_a_subclass(self):
        class Weight(TrainVar):
            pass

        assert type(jax.tree.map(lambda x: x, Weight(2))) is Weight

    @pytest.mark.parametrize(
        "leaf", [None, 3, "axis", jax.ShapeDtypeStruct((9,), "int8"), object()]
    )
    def test_unflatten_validates_nothing(self, leaf):
        treedef = jax.tree.structure(Variable(jnp.ones((2, 3)), batch_axis=1))
        v = jax.tree.unflatten(treedef, [leaf])
        assert v.value is leaf
        assert "Variable" in repr(v)

    def test_direct_calls(self):
        v = Variable(X, batch_axis=0)
        children, aux = v.tree_flatten()
        hash(aux)
        assert len(children) == 1
        twin = Variable.tree_unflatten(aux, children)
        assert twin is not v
        assert twin.batch_axis == 0

    def test_treedefs(self):
        same, other = Variable(3), Variable(3, batch_axis=0)
        assert jax.tree.structure(Variable(2)) == jax.tree.structure(same)
        assert jax.tree.structure(same) != jax.tree.structure(other)
        assert jax.tree.structure(same) != jax.tree.structure(TrainVar(3))

    def test_transforms_by_value(self):
        v = Variable(X)
        doubled = jax.jit(lambda v: v * 2)(v)
        np.testing.assert_array_equal(doubled, X * 2)
        gradient = jax.grad(lambda v: (v**2).sum())(v)
        assert type(gradient) is Variable
        np.testing.assert_array_equal(gradient.value, 2 * X)
