"""`jit`: discovery of state, retraces, donation, by-reference arguments, errors, threads."""

# ruff: noqa: ARG005, PLW0108

import copy
import functools
import gc
import pickle
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework.nodes import lines
from tests.transforms.models import Counter, Dense, Net

SCALE = fw.Variable(2.0)


def test_reads_and_writes_through_a_closure():
    v = fw.Variable(jnp.zeros(2))

    @fw.jit
    def add(x):
        v.value += x
        return v * 2

    np.testing.assert_array_equal(add(jnp.ones(2)), [2, 2])
    np.testing.assert_array_equal(add(jnp.ones(2)), [4, 4])
    np.testing.assert_array_equal(v.value, [2, 2])
    assert add.traces == 1


def test_global_variable():
    @fw.jit
    def scaled(x):
        return x * SCALE

    assert scaled(3.0) == 6
    SCALE.value = 5.0
    assert scaled(3.0) == 15
    assert scaled.traces == 1
    SCALE.value = 2.0


@pytest.mark.parametrize("target", ["method", "object", "partial", "nested partial", "decorated"])
def test_targets(target):
    counter = Counter()
    fun = {
        "method": lambda: fw.jit(counter.__call__),
        "object": lambda: fw.jit(counter),
        "partial": lambda: fw.jit(functools.partial(Counter.__call__, counter)),
        "nested partial": lambda: fw.jit(
            functools.partial(functools.partial(lambda f, x: f(x)), counter)
        ),
        "decorated": lambda: fw.jit(inline=True)(counter),
    }[target]()
    for n in range(3):
        np.testing.assert_array_equal(fun(jnp.ones(2)), [2 * n + 2] * 2)
    assert counter.count.value == 3
    assert fun.traces == 1


def test_state_behind_plain_python_objects():
    class Trainer:
        def __init__(self):
            self.parts = {"net": [Counter()]}

        @fw.jit
        def step(self, x):
            return self.parts["net"][0](x)

    trainer = Trainer()
    trainer.step(1.0)
    trainer.step(1.0)
    assert trainer.parts["net"][0].count.value == 2
    assert trainer.step.traces == 1


def test_state_that_no_search_finds_is_found_by_tracing():
    hidden = iter([fw.Variable(1.0)])
    found = []

    @fw.jit
    def step():
        if not found:
            v = next(hidden)
            found.append(lambda: v)
        v = found[0]()
        v.value += 1
        return v.value

    assert [float(step()) for _ in range(3)] == [2, 3, 4]


def test_state_list_grows_on_a_retrace():
    a, b = fw.Variable(jnp.zeros(())), fw.Variable(jnp.zeros(()))

    @fw.jit
    def step(x):
        a.value += 1
        if x.ndim:
            b.value += 10
        return a + b

    assert step(jnp.ones(())) == 1
    assert step(jnp.ones(1)) == 12
    assert step(jnp.ones(())) == 13
    assert step(jnp.ones(1)) == 24
    assert (a.value, b.value) == (4, 20)
    # The first shape once more, with the longer list.
    assert step.traces == 3


def test_integer_bool_complex_and_key_state():
    kinds = [jnp.int8(1), jnp.bool_(True), jnp.complex64(1j), jnp.bfloat16(2), jax.random.key(3)]
    variables = [fw.Variable(k) for k in kinds]

    @fw.jit
    def step():
        i, b, c, h, key = variables
        i.value = i.value + jnp.int8(1)
        b.value = ~b.value
        c.value = c * 2
        h.value = h * 2
        key.value = jax.random.split(key.value)[0]

    step()
    step()
    i, b, c, h, key = variables
    assert (i.value, b.value, c.value, h.value) == (3, True, 4j, 8)
    expected = jax.random.split(jax.random.split(jax.random.key(3))[0])[0]
    assert (jax.random.key_data(key.value) == jax.random.key_data(expected)).all()


class TestRetraces:
    def test_values_never_retrace(self):
        net = Net()
        step = fw.jit(net)
        for _ in range(5):
            step(jnp.ones(3))
            net.layers[0].w.value = jnp.zeros((3, 3))
        assert step.traces == 1

    def test_shape_and_dtype(self):
        step = fw.jit(Counter())
        step(jnp.ones(2))
        step(jnp.ones(2))
        step(1.0)
        assert step.traces == 2

    def test_training_flag(self):
        layer = Dense(3, 3)
        layer.w.value = jnp.eye(3)
        step = fw.jit(layer)
        x = jnp.full(3, 2.0)
        for training in (True, False, True, False):
            layer.training = training
            np.testing.assert_allclose(step(x), jnp.tanh(x) if training else x, rtol=1e-6)
        assert step.traces == 2

    def test_flag_deep_in_the_tree(self):
        net = Net()
        step = fw.jit(lambda x: net(x))
        out = step(jnp.ones(3))
        net.layers[1].training = False
        assert not np.allclose(step(jnp.ones(3)), out)

    def test_structure(self):
        net = Net()
        step = fw.jit(net)
        step(jnp.ones(3))
        net.layers.append(Dense(3, 5))
        assert step(jnp.ones(3)).shape == (5,)
        assert step.traces == 2
        del net.layers[-1]
        assert step(jnp.ones(3)).shape == (3,)
        assert step.traces == 2

    def test_replaced_variable(self):
        layer = Dense(2, 2)
        step = fw.jit(layer)
        step(jnp.ones(2))
        layer.setattr("w", fw.TrainVar(jnp.ones((2, 3))))
        layer.setattr("b", fw.TrainVar(jnp.ones(3)))
        assert step(jnp.ones(2)).shape == (3,)

    def test_replaced_variable_of_the_same_shape(self):
        layer = Dense(2, 2)
        step = fw.jit(layer)
        step(jnp.ones(2))
        old = layer.calls
        layer.setattr("calls", fw.Variable(jnp.int32(10)))
        step(jnp.ones(2))
        assert (old.value, layer.calls.value) == (1, 11)

    def test_rebound_closure(self):
        layer = Counter()

        @fw.jit
        def step():
            return layer(1.0)

        step()
        first, layer = layer, Counter()
        step()
        assert (first.count.value, layer.count.value) == (1, 1)

    def test_rebound_global(self, monkeypatch):
        @fw.jit
        def scaled(x):
            return x * SCALE

        assert scaled(1.0) == 2
        monkeypatch.setitem(globals(), "SCALE", fw.Variable(7.0))
        assert scaled(1.0) == 7

    def test_plain_array_attribute(self):
        layer = Counter()
        layer.mask = jnp.array([1.0, 0.0])
        step = fw.jit(lambda: layer(1.0) * layer.mask)
        np.testing.assert_array_equal(step(), [2, 0])
        layer.mask = jnp.array([0.0, 1.0])
        np.testing.assert_array_equal(step(), [0, 4])

    def test_batch_axis(self):
        v = fw.Variable(jnp.zeros((2, 3)), batch_axis=0)
        step = fw.jit(lambda: v.value + 1)
        assert step().shape == (2, 3)
        v.value = jnp.zeros((5, 3))
        assert step().shape == (5, 3)
        assert step.traces == 2

    def test_state_of_all_kinds_at_once(self):
        """What is not donated must not change places with what is."""
        key, n, batch, x = (
            fw.Variable(jax.random.key(0)),
            fw.Variable(jnp.int32(0)),
            fw.Variable(jnp.zeros((2, 3)), batch_axis=0),
            fw.Variable(jnp.zeros(4)),
        )

        @fw.jit
        def step():
            key.value = jax.random.split(key.value)[0]
            batch.value = jnp.concatenate([batch.value, batch.value])
            n.value += 1
            x.value += 1

        for _ in range(2):
            step()
        assert [v.shape for v in (key, n, batch, x)] == [(), (), (8, 3), (4,)]
        assert (n.value, x.value[0]) == (2, 2)

    def test_a_batch_axis_may_change_inside(self):
        v = fw.Variable(jnp.zeros((2, 3)), batch_axis=0)

        @fw.jit
        def grow():
            v.value = jnp.concatenate([v.value, v.value])

        grow()
        grow()
        assert v.shape == (8, 3)


class TestDonation:
    def test_old_values_stay_valid(self):
        v = fw.Variable(jnp.arange(4.0))

        @fw.jit
        def step():
            v.value = v * 2

        step()
        old = v.value
        view = np.asarray(old)
        step()
        np.testing.assert_array_equal(old, [0, 2, 4, 6])
        np.testing.assert_array_equal(view, [0, 2, 4, 6])
        np.testing.assert_array_equal(v.value, [0, 4, 8, 12])

    def test_numpy_views_stay_valid(self):
        v = fw.Variable(jnp.arange(4.0))

        @fw.jit
        def step():
            v.value = v * 2

        step()
        view = np.asarray(v)
        step()
        step()
        np.testing.assert_array_equal(view, [0, 2, 4, 6])

    def test_data_of_a_key_stays_valid(self):
        v = fw.Variable(jax.random.key(0))

        @fw.jit
        def step():
            v.value = jax.random.split(v.value)[0]

        step()
        data = jax.random.key_data(v.value)
        expected = np.array(data)
        step()
        np.testing.assert_array_equal(data, expected)

    def test_state_is_donated(self):
        v = fw.Variable(jnp.zeros(1000))

        @fw.jit
        def step():
            v.value += 1

        step()
        pointer = v.value.unsafe_buffer_pointer()
        step()
        assert v.value.unsafe_buffer_pointer() == pointer

    def test_two_variables_with_one_array(self):
        x = jnp.zeros(3)
        a, b = fw.Variable(x), fw.Variable(x)
        del x

        @fw.jit
        def step():
            a.value += 1
            b.value += 2

        step()
        step()
        np.testing.assert_array_equal(a.value, [2] * 3)
        np.testing.assert_array_equal(b.value, [4] * 3)

    def test_argument_that_is_state(self):
        v = fw.Variable(jnp.ones(3))

        @fw.jit
        def step(x):
            v.value = v + x

        step(v.value)
        step(v.value)
        np.testing.assert_array_equal(v.value, [4] * 3)

    def test_output_that_is_state(self):
        v = fw.Variable(jnp.ones(3))

        @fw.jit
        def step():
            v.value = v + 1
            return v.value

        first = step()
        second = step()
        np.testing.assert_array_equal(first, [2] * 3)
        np.testing.assert_array_equal(second, [3] * 3)

    def test_donated_argument(self):
        step = fw.jit(lambda x, y: x + y, donate_argnums=0)
        x, y = jnp.ones(3), jnp.ones(3)
        step(x, y)
        assert x.is_deleted()
        assert not y.is_deleted()

    @pytest.mark.parametrize("how", [{"donate_argnums": 2}, {"donate_argnames": "x"}])
    def test_donated_argument_beside_objects_and_static_ones(self, how):
        step = fw.jit(lambda net, n, x, y: net(x + y) * n, static_argnums=1, **how)
        net, x, y = Counter(), jnp.ones(2), jnp.ones(2)
        step(net, 3, x, y)
        assert (x.is_deleted(), y.is_deleted()) == (True, False)
        x = jnp.ones(2)
        step(net, n=3, x=x, y=y)
        assert (x.is_deleted(), y.is_deleted()) == (True, False)
        assert net.count.value == 2

    @pytest.mark.parametrize("make", [lambda: Counter(), lambda: fw.Variable(1.0)])
    def test_donated_object_is_left_alone(self, make):
        thing = make()
        fw.jit(lambda thing, x: x, donate_argnums=0)(thing, 1.0)
        assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(thing))


class TestArguments:
    def test_objects_by_reference(self):
        step = fw.jit(lambda net, x: net(x))
        a, b = Counter(), Counter()
        step(a, 1.0)
        step(a, 1.0)
        step(b, 1.0)
        assert (a.count.value, b.count.value) == (2, 1)

    def test_nested_objects(self):
        step = fw.jit(lambda tree: tree["nets"][0](tree["x"]))
        net = Counter()
        step({"nets": [net], "x": jnp.ones(2)})
        assert net.count.value == 1

    def test_variables_by_reference(self):
        @fw.jit
        def step(v, x):
            v.value = v + x

        v = fw.Variable(1.0)
        step(v, 2.0)
        assert v.value == 3

    def test_same_object_comes_out(self):
        net = Counter()
        assert fw.jit(lambda n: (n, 1))(net)[0] is net

    def test_objects_created_inside(self):
        made = fw.jit(lambda key: Net(key=key))(jax.random.key(5))
        expected = Net(key=jax.random.key(5))
        for path, v in expected.vars("relative").items():
            np.testing.assert_allclose(made.vars("relative")[path].value, v.value, rtol=1e-6)
        made(jnp.ones(3))
        assert made.layers[0].calls.value == 1

    def test_created_object_that_holds_an_existing_one(self):
        inner = Counter()

        @fw.jit
        def wrap():
            outer = fw.BrainPyObject()
            outer.inner = inner
            outer.v = fw.Variable(jnp.ones(2))
            return outer

        outer = wrap()
        assert outer.inner is inner
        np.testing.assert_array_equal(outer.v.value, [1, 1])

    def test_static(self):
        step = fw.jit(
            lambda x, n, *, flip=False: (-x if flip else x) * n,
            static_argnums=1,
            static_argnames="flip",
        )
        assert step(2.0, 3) == 6
        assert step(2.0, 3, flip=True) == -6
        assert step(2.0, n=3) == 6
        assert step(5.0, 3) == 15
        assert step.traces == 3

    def test_negative_static_number(self):
        assert fw.jit(lambda x, n: x * len(n), static_argnums=-1)(2.0, "abc") == 6

    def test_one_is_not_true(self):
        step = fw.jit(lambda x: type(x).__name__ == "bool", static_argnums=0)
        assert [bool(step(x)) for x in (1, True, 1.0)] == [False, True, False]

    def test_unhashable_static(self):
        with pytest.raises(ValueError, match=r"static argument 0 is a list.*tuple"):
            fw.jit(lambda x: x, static_argnums=0)([1])

    @pytest.mark.parametrize("number", ["a", 1.5, True, [1, "a"]])
    def test_wrong_static_number(self, number):
        with pytest.raises(ValueError, match="static_argnums"):
            fw.jit(lambda x: x, static_argnums=number)

    def test_keywords_and_defaults(self):
        step = fw.jit(
            lambda x, y=10.0, *args, z=100.0, **kw: x + y + z + sum(args) + sum(kw.values())
        )
        assert step(1.0) == 111
        assert step(1.0, z=0.0) == 11
        assert step(1.0, 2.0, 3.0, z=0.0, w=4.0) == 10

    def test_bound_method_counts_without_self(self):
        class A(Counter):
            def scaled(self, n, x):
                return self(x) * n

        a = A()
        assert fw.jit(a.scaled, static_argnums=0)(3, 1.0)[0] == 6

    def test_not_callable(self):
        with pytest.raises(TypeError, match="jit takes a callable, but got a int"):
            fw.jit(3)


class TestMethods:
    def test_decorated_method(self):
        class A(Counter):
            @fw.jit
            def step(self, x):
                return self(x)

        a, b = A(), A()
        for _ in range(2):
            a.step(1.0)
        b.step(1.0)
        assert (a.count.value, b.count.value) == (2, 1)

    def test_static_numbers_count_without_self(self):
        class A(Counter):
            @fw.jit(static_argnums=0)
            def step(self, name, x):
                return self(x) * len(name)

            @fw.cls_jit(static_argnums=1, static_argnames="name")
            def other(self, x, n, *, name):
                return self(x) * n * len(name)

            @fw.cls_jit
            def plain(self, x):
                return self(x)

        a = A()
        assert a.step("ab", 1.0)[0] == 4
        assert a.step(name="ab", x=1.0)[0] == 8
        assert a.other(1.0, 2, name="a")[0] == 12
        assert a.plain(1.0)[0] == 8

    @pytest.mark.parametrize("number", ["a", 1.5, [None]])
    def test_cls_jit_wrong_number(self, number):
        with pytest.raises(ValueError, match="static_argnums"):
            fw.cls_jit(lambda self: 1, static_argnums=number)

    def test_inherited_and_super(self):
        class A(Counter):
            @fw.jit
            def step(self, x):
                return self(x)

        class B(A):
            @fw.jit
            def step(self, x):
                return super().step(x) + 1

        b = B()
        assert b.step(1.0)[0] == 3
        assert b.step(1.0)[0] == 5
        assert b.count.value == 2

    def test_plain_class(self):
        class A:
            def __init__(self):
                self.v = fw.Variable(0.0)

            @fw.jit
            def step(self):
                self.v.value += 1

        a = A()
        a.step()
        a.step()
        assert a.v.value == 2
        assert A.step.traces == 1


class TestExceptions:
    def test_state_is_as_before(self):
        net = Counter()

        @fw.jit
        def step(x):
            net(x)
            raise RuntimeError("boom")

        for _ in range(2):
            with pytest.raises(RuntimeError, match="boom"):
                step(1.0)
        assert net.count.value == 0

    def test_after_a_good_trace(self):
        net = Counter()

        @fw.jit
        def step(x):
            net(x.reshape(2))
            if x.ndim == 2:
                raise RuntimeError("boom")

        step(jnp.ones(2))
        with pytest.raises(RuntimeError):
            step(jnp.ones((1, 2)))
        step(jnp.ones(2))
        assert net.count.value == 2

    def test_failed_callback(self):
        """State that a failing program has got must not be lost."""
        v = fw.Variable(jnp.zeros(3))
        fail = [False]

        def check(x):
            if fail[0]:
                raise ValueError("from the host")
            return x

        @fw.jit
        def step():
            v.value = jax.pure_callback(check, jax.ShapeDtypeStruct((3,), jnp.float32), v + 1)

        step()
        fail[0] = True
        with pytest.raises(Exception, match="from the host"):
            step()
        np.testing.assert_array_equal(v.value, [1] * 3)
        fail[0] = False
        step()
        np.testing.assert_array_equal(v.value, [2] * 3)

    def test_wrong_shape_names_the_path(self):
        net = Net()

        @fw.jit
        def step():
            net.layers[1].b.value = jnp.zeros(7)

        with pytest.raises(fw.MathError, match=r"layers\[1\]\.b.*\(3,\).*\(7,\)"):
            step()

    def test_array_attribute(self):
        net = Counter()
        net.cache = jnp.zeros(2)

        @fw.jit
        def step(x):
            net.cache = x

        with pytest.raises(fw.TraceError, match=r"cache.*Variable"):
            step(1.0)

    def test_leaked_new_variable(self):
        net = Counter()

        @fw.jit
        def step(x):
            net.extra = fw.Variable(x)

        with pytest.raises(fw.TraceError, match="extra"):
            step(1.0)


class TestForeignWrites:
    """A Variable from outside is written inside a plain JAX transform."""

    @pytest.mark.parametrize(
        "transform",
        [
            lambda f: jax.jit(f)(1.0),
            lambda f: jax.vmap(f)(jnp.ones(2)),
            lambda f: jax.grad(f)(1.0),
            lambda f: jax.lax.scan(lambda c, x: (c, f(x)), 0, jnp.ones(2)),
            lambda f: jax.lax.cond(jnp.bool_(True), f, f, 1.0),
            lambda f: jax.lax.map(f, jnp.ones(2)),
            lambda f: jax.checkpoint(f)(1.0),
            lambda f: jax.make_jaxpr(f)(1.0),
            lambda f: jax.eval_shape(f, 1.0),
        ],
    )
    @pytest.mark.parametrize("inside_jit", [False, True])
    def test_is_an_error_at_the_line(self, transform, inside_jit):
        net = Counter()

        def write(x):
            net.total.value = net.total * x
            return x * 1.0

        def run():
            transform(write)

        with pytest.raises(fw.TraceError) as error:
            (fw.jit(run) if inside_jit else run)()
        text = str(error.value)
        assert f"{net.name}.total" in text
        assert "models.py" in text
        assert "framework.jit" in text
        assert "return it" in text
        assert any(entry.name == "write" for entry in error.traceback)
        np.testing.assert_array_equal(net.total.value, [0, 0])

    def test_objects_by_value(self):
        @jax.jit
        def step(net, x):
            net(x)
            return net

        net = step(step(Counter(), 1.0), 1.0)
        assert net.count.value == 2


class TestForeignWritesOfSome:
    """Of two Variables that are written inside a plain JAX transform, one does not depend on it."""

    OURS: ClassVar = {
        "jit": fw.jit,
        "packing jit": lambda f: fw.jit(f, pack_state=True),
        "for_loop": lambda f: lambda x: fw.for_loop(lambda _: f(x), jnp.ones(1)),
        "for_loop in Python": lambda f: (
            lambda x: fw.for_loop(lambda _: f(x), jnp.ones(1), jit=False)
        ),
        "scan": lambda f: lambda x: fw.scan(lambda c, _: (c, f(x)), 0, jnp.ones(1))[1],
        "while_loop": lambda f: (
            lambda x: fw.while_loop(lambda i: (f(x), i + 1)[1:], lambda i: i < 1, (0,))
        ),
        "cond": lambda f: lambda x: fw.jit(fw.cond, static_argnums=(1, 2))(True, f, f, x),
        "checkpoint": fw.checkpoint,
        "grad": lambda f: lambda x: fw.grad(lambda y: f(x) * y)(1.0),
        "vmap": lambda f: lambda x: fw.vmap(lambda y: f(x), axis_size=2, in_axes=None)(1.0),
    }
    THEIRS: ClassVar = {
        "jit": lambda f: jax.jit(f)(1.0),
        "vmap": lambda f: jax.vmap(f)(jnp.ones(3)),
        "grad": lambda f: jax.grad(lambda x: jnp.sum(x + 0 * jnp.sum(f(x))))(1.0),
        "jvp": lambda f: jax.jvp(f, (1.0,), (1.0,)),
        "linearize": lambda f: jax.linearize(f, 1.0),
    }

    @staticmethod
    def writing(dependent_first):
        """Two Variables, and a function that writes both, the second with its argument."""
        a, b = fw.Variable(jnp.zeros(2)), fw.Variable(jnp.zeros(2))

        def write(x):
            if dependent_first:
                b.value = b + x
            a.value = a + 1
            if not dependent_first:
                b.value = b + x
            return x * 1.0

        return a, b, write

    @pytest.mark.parametrize("used_before", [False, True])
    @pytest.mark.parametrize("dependent_first", [False, True])
    @pytest.mark.parametrize("ours", OURS)
    @pytest.mark.parametrize("theirs", THEIRS)
    def test_changes_nothing(self, theirs, ours, dependent_first, used_before):
        a, b, write = self.writing(dependent_first)
        run = self.OURS[ours](write)
        count = 0
        if used_before:
            run(1.0)
            count = 1
        before = a.value, b.value
        with pytest.raises(fw.TraceError, match="is written inside a JAX transform"):
            self.THEIRS[theirs](run)
        for variable, value in zip((a, b), before, strict=True):
            assert variable.value is value
            np.testing.assert_array_equal(value, [count, count])
        run(1.0)
        np.testing.assert_array_equal(a.value, [count + 1] * 2)
        np.testing.assert_array_equal(b.value, [count + 1] * 2)

    @pytest.mark.parametrize("dependent_first", [False, True])
    @pytest.mark.parametrize("ours", OURS)
    @pytest.mark.parametrize("theirs", THEIRS)
    def test_by_a_closure(self, theirs, ours, dependent_first):
        a, b, write = self.writing(dependent_first)

        def outer(x):
            return self.OURS[ours](lambda _: write(x))(1.0)

        before = a.value, b.value
        with pytest.raises(fw.TraceError, match="is written inside a JAX transform"):
            self.THEIRS[theirs](outer)
        for variable, value in zip((a, b), before, strict=True):
            assert variable.value is value
            np.testing.assert_array_equal(value, [0, 0])


class TestNesting:
    def test_jit_in_jit(self):
        net = Counter()
        inner = fw.jit(net)
        outer = fw.jit(lambda x: inner(x) + inner(x))
        outer(1.0)
        outer(1.0)
        assert net.count.value == 4
        assert outer.traces == 1

    def test_inner_failure(self):
        net = Counter()
        inner = fw.jit(net)

        @fw.jit
        def bad(x):
            inner(x)
            raise RuntimeError

        @fw.jit
        def outer(x):
            inner(x)
            with pytest.raises(RuntimeError):
                bad(x)

        outer(1.0)
        assert net.count.value == 1

    def test_inside_plain_jit(self):
        net = Counter()
        step = fw.jit(net)

        @jax.jit
        def plain(net, x):
            fw.jit(lambda n, x: n(x))(net, x)
            return net

        assert plain(net, 1.0).count.value == 1
        assert net.count.value == 0
        with pytest.raises(fw.TraceError):
            jax.jit(lambda x: step(x))(1.0)

    def test_read_only_inside_plain_transforms(self):
        layer = fw.Variable(jnp.arange(3.0))
        step = fw.jit(lambda x: (layer * x).sum())
        np.testing.assert_allclose(jax.vmap(step)(jnp.ones((2, 3))), [3, 3])
        np.testing.assert_allclose(jax.grad(step)(jnp.ones(3)), [0, 1, 2])


class TestMemory:
    def test_dropped_models_die(self):
        step = fw.jit(lambda net, x: net(x))
        net = Counter()
        step(net, 1.0)
        dead, cell = weakref.ref(net), weakref.ref(net.total)
        del net
        gc.collect()
        assert dead() is None
        assert cell() is None

    def test_dropped_bound_models_die(self):
        class A(Counter):
            @fw.jit
            def step(self, x):
                return self(x)

        a = A()
        a.step(1.0)
        dead = weakref.ref(a)
        del a
        gc.collect()
        assert dead() is None

    def test_dropped_functions_die(self):
        net = Counter()
        step = fw.jit(functools.partial(lambda net, x: net(x), net))
        step(1.0)
        dead = weakref.ref(step), weakref.ref(net)
        del step, net
        gc.collect()
        assert [d() for d in dead] == [None, None]

    def test_entries_of_dead_models_are_dropped(self):
        step = fw.jit(lambda net, x: net(x))
        for _ in range(20):
            step(Counter(), 1.0)
        gc.collect()
        step(Counter(), 1.0)
        assert len(step._entries) <= 3

    def test_no_traced_values_stay(self):
        with jax.checking_leaks():
            net = Net()
            step = fw.jit(net)
            step(jnp.ones(3))
            net.layers[0].training = False
            step(jnp.ones(3))
        assert step.traces == 2


class TestModes:
    def test_disable_jit(self):
        net = Counter()
        seen = []

        @fw.jit
        def step(x):
            seen.append(float(net(x)[0]))
            if x > 1:
                raise RuntimeError

        with jax.disable_jit():
            step(1.0)
            step(1.0)
            with pytest.raises(RuntimeError):
                step(2.0)
        assert seen == [2, 4, 8]
        assert net.count.value == 2

    def test_disable_jit_and_an_argument_called_fun(self):
        double = fw.jit(lambda fun: 2 * fun)
        with jax.disable_jit():
            assert double(fun=2) == 4

    def test_disable_jit_decorated_method(self):
        class A(Counter):
            @fw.jit(static_argnums=1)
            def step(self, x, n):
                return self(x) * n

        a = A()
        with jax.disable_jit():
            a.step(1.0, 2)
        assert a.count.value == 1

    def test_debug_nans(self):
        v = fw.Variable(1.0)

        @fw.jit
        def step(x):
            v.value = v / x
            return jnp.log(v.value)

        with jax.debug_nans(True):
            step(1.0)
            with pytest.raises(FloatingPointError):
                step(-1.0)
        assert v.value == 1

    @pytest.mark.usefixtures("x64")
    def test_x64(self):
        v = fw.Variable(1.0, dtype=jnp.float64)

        @fw.jit
        def step(x):
            v.value = v + x

        step(1e-12)
        assert v.dtype == jnp.float64
        assert v.value == 1 + 1e-12

    def test_switching_x64(self):
        step = fw.jit(lambda x: x * 2)
        assert step(1.0).dtype == jnp.float32
        jax.config.update("jax_enable_x64", True)
        assert step(1.0).dtype == jnp.float64

    def test_strict_promotion(self):
        with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
            net = Counter()
            step = fw.jit(net)
            step(jnp.ones(2))
            step(jnp.ones(2))
        assert net.count.value == 2


class TestThreads:
    def test_first_and_further_calls(self):
        net = Net()
        step = fw.jit(lambda x: net.layers[0].w @ x)
        barrier = threading.Barrier(8)

        def work(n):
            barrier.wait()
            return [step(jnp.full(3, float(n))) for _ in range(20)]

        with ThreadPoolExecutor(8) as pool:
            for n, results in enumerate(pool.map(work, range(8))):
                for result in results:
                    np.testing.assert_allclose(
                        result, net.layers[0].w.value @ jnp.full(3, float(n)), rtol=1e-5
                    )

    def test_a_trace_does_not_show_elsewhere(self):
        v = fw.Variable(1.0)
        inside, done = threading.Event(), threading.Event()
        seen = []

        def look():
            inside.wait(10)
            seen.append(float(v.value))
            v2 = fw.jit(lambda: v + 1)()
            seen.append(float(v2))
            done.set()

        thread = threading.Thread(target=look)
        thread.start()

        @fw.jit
        def step():
            v.value = v + 100
            inside.set()
            assert done.wait(10)

        step()
        thread.join()
        assert seen == [1, 2]
        assert v.value == 101


class TestInspection:
    def test_lower_and_compile(self):
        net = Counter()
        step = fw.jit(net)
        lowered = step.lower(jnp.ones(2))
        assert "stablehlo" in lowered.as_text()
        assert lowered.compile().memory_analysis() is not None
        assert net.count.value == 0
        step(jnp.ones(2))
        assert step.traces == 1
        assert net.count.value == 1

    def test_lower_of_a_method(self):
        class A(Counter):
            @fw.jit
            def step(self, x):
                return self(x)

        assert "stablehlo" in A().step.lower(1.0).as_text()

    def test_wrapped(self):
        def user(x):
            """Doc."""

        assert (fw.jit(user).__name__, fw.jit(user).__doc__) == ("user", "Doc.")
        assert "user" in repr(fw.jit(user))

    @pytest.mark.parametrize("name", ["dyn_vars", "child_objs"])
    def test_declared_state(self, name):
        with pytest.warns(DeprecationWarning, match=f"{name}.*ignored"):
            fw.jit(lambda x: x, **{name: fw.Variable(1.0)})
        with pytest.warns(DeprecationWarning, match=f"{name}.*ignored"):
            fw.cls_jit(lambda self, x: x, **{name: fw.Variable(1.0)})

    def test_errors_speak_of_the_user_function(self):
        @fw.jit
        def my_step(x, length):
            return jnp.zeros(length) + x

        with pytest.raises(TypeError, match="my_step"):
            my_step(1.0, 3)

    def test_max_traces(self):
        step = fw.jit(lambda x: x * 2, max_traces=2)
        step(jnp.ones(2))
        step(jnp.ones(3))
        step(jnp.ones(3))
        with pytest.raises(fw.TraceError, match=r"max_traces=2.*x.*f32\[3\].*f32\[4\]"):
            step(jnp.ones(4))
        step(jnp.ones(2))


class Trainer(fw.BrainPyObject):
    def __init__(self):
        super().__init__()
        self.count = fw.Variable(jnp.int32(0))
        self.step = fw.jit(self._step, static_argnames=["by"], max_traces=2)
        self.steps = [self.step]
        self.bound = self.twice

    def _step(self, by):
        self.count += by
        return self.count.value

    @fw.jit
    def twice(self):
        self.count *= 2


class TestCopies:
    """What is compiled of an object's own method is compiled of that of its copy."""

    @pytest.mark.parametrize("traced", [True, False])
    @pytest.mark.parametrize(
        "copied",
        [
            fw.BrainPyObject.clone,
            copy.copy,
            copy.deepcopy,
            lambda trainer: pickle.loads(pickle.dumps(trainer)),
            lambda trainer: jax.tree.map(jnp.copy, trainer),
        ],
    )
    def test_the_step_of_a_copy_acts_on_the_copy(self, copied, traced):
        trainer = Trainer()
        before = trainer.step(by=3) if traced else trainer.count.value
        twin = copied(trainer)
        assert isinstance(twin.step, type(trainer.step))
        assert twin.step(by=1) == before + 1
        twin.bound()
        twin.steps[0](by=1)
        assert trainer.count == before
        assert twin.count == 2 * (before + 1) + 1
        assert trainer.step(by=4) == before + 4
        assert twin.step.traces == 1
        with pytest.raises(fw.TraceError, match="max_traces=2"):
            [twin.step(by=n) for n in range(5)]
        assert jax.tree.structure(trainer) == jax.tree.structure(twin)

    def test_of_another_object(self):
        first, second = Trainer(), Trainer()
        first.other = second.step
        twin = first.clone()
        twin.other(by=1)
        assert (first.count, second.count, twin.count) == (0, 1, 0)

    def test_of_a_function(self):
        net = Counter()
        net.f = fw.jit(lambda x: x)
        assert net.clone().f is net.f
        assert pickle.loads(pickle.dumps(fw.jit(jnp.sin)))(0.0) == 0


def here() -> int:
    """The number of the line that calls."""
    return sys._getframe(1).f_lineno


class TestExplain:
    def test_never_called(self):
        assert "not been traced" in fw.jit(lambda x: x).explain()

    def test_once(self):
        step = fw.jit(lambda x: x)
        step(1.0)
        assert "once" in step.explain()

    def test_argument(self):
        step = fw.jit(lambda x, *, y: x)
        step(jnp.ones(2), y={"a": 1.0})
        step(jnp.ones(3), y={"a": 1.0})
        assert "`x`" in step.explain()
        assert "f32[2]" in step.explain()
        assert "f32[3]" in step.explain()
        step(jnp.ones(3), y={"a": jnp.ones(4)})
        assert "`y['a']`" in step.explain()

    def test_structure_of_an_argument(self):
        step = fw.jit(lambda x: 1)
        step({"a": 1.0})
        step({"b": 1.0})
        assert "`x['a']` is gone" in step.explain()
        assert "`x['b']` is new" in step.explain()

    def test_static_argument(self):
        step = fw.jit(lambda x, n: x * n, static_argnames="n")
        step(1.0, n=2)
        step(1.0, n=3)
        assert "`n`" in step.explain()
        assert "2" in step.explain()
        assert "3" in step.explain()

    def test_static_attribute(self):
        net = Net()
        step = fw.jit(lambda x: net(x))
        step(jnp.ones(3))
        net.layers[1].training = False
        step(jnp.ones(3))
        text = step.explain()
        assert "layers[1].training" in text
        assert "True" in text
        assert "False" in text

    def test_the_line_of_an_assignment(self):
        net = Net()
        net.mode = "slow"
        net.scale = jnp.ones(3)
        step = fw.jit(lambda x: net(x), max_traces=4)
        step(jnp.ones(3))
        for key, value, said in (
            ("mode", "fast", "was 'slow', is 'fast'"),
            ("scale", jnp.zeros(3), "was replaced by another"),
            ("extra", 2, "is new"),
        ):
            line = here() + 1
            setattr(net, key, value)
            net.mode = net.mode  # No change, so not where it came from.
            step(jnp.ones(3))
            assert f"`net.{key}` {said}" in step.explain()
            assert f", assigned at {__file__}:{line}" in step.explain()
        net.layers[0].mode = 1
        line = here() - 1
        with pytest.raises(
            fw.TraceError, match=rf"layers\[0\].mode` is new, assigned at .*:{line}"
        ):
            step(jnp.ones(3))

    def test_the_line_of_the_call(self):
        step = fw.jit(lambda x: x)
        step(jnp.ones(2))
        line = here() + 1
        step(jnp.ones(3))
        assert f"the last time (at {__file__}:{line}) because" in step.explain()

    def test_no_lines_while_objects_are_built(self):
        fw.jit(lambda: 1)()
        count = len(lines._lines)
        Net()
        assert len(lines._lines) == count

    def test_old_lines_are_forgotten(self, monkeypatch):
        monkeypatch.setattr(lines, "MAX_LINES", 2)
        monkeypatch.setattr(lines, "_lines", {})
        for serial in (1, 2, 1, 3):
            lines.note_line(serial, "x")
        assert [bool(lines.line_of(serial, "x")) for serial in (1, 2, 3)] == [True, False, True]

    def test_variable(self):
        net = Counter()
        net.batch = fw.Variable(jnp.zeros((2, 3)), batch_axis=0)
        step = fw.jit(lambda: net.batch + 1)
        step()
        line = here() + 1
        net.batch = jnp.zeros((4, 3))
        step()
        text = step.explain()
        assert "batch" in text
        assert "f32[2,3]" in text
        assert "f32[4,3]" in text
        assert f", assigned at {__file__}:{line}" in text

    def test_rebound_name(self):
        net = Counter()
        step = fw.jit(lambda: net(1.0))
        step()
        net = Counter()
        step()
        assert "`net`" in step.explain()

    def test_plain_array(self):
        net = Counter()
        net.mask = jnp.ones(2)
        step = fw.jit(lambda: net.mask)
        step()
        net.mask = jnp.zeros(2)
        step()
        assert "mask" in step.explain()

    def test_another_object(self):
        step = fw.jit(lambda net: net(1.0))
        step(Counter())
        second = Counter()
        step(second)
        assert "`net`" in step.explain()
