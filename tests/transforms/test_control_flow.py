"""Branches and loops: results, state, gradients, errors, caches."""

# ruff: noqa: ARG005, B023, E731, PLW0108

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework.transforms import compiled
from tests.transforms.models import Counter, Net


def everywhere(run):
    """Eager, disabled, in jit, and in the Python of `jax.disable_jit` inside jit."""
    with jax.disable_jit():
        yield run()
    yield run()
    yield fw.jit(run)()


class TestCond:
    @pytest.mark.parametrize("pred", [True, False])
    @pytest.mark.parametrize("traced", [True, False])
    def test_state_of_one_branch(self, pred, traced):
        a, b = fw.Variable(1.0), fw.Variable(10.0)

        def left(x):
            a.value += x
            return a.value

        def right(x):
            b.value += x
            return b.value

        run = lambda p: fw.cond(p, left, right, (2.0,))
        out = (fw.jit(run) if traced else run)(jnp.bool_(pred))
        assert (a.value, b.value) == ((3, 10) if pred else (1, 12))
        assert out == (3 if pred else 12)

    def test_operands(self):
        v = fw.Variable(3.0)
        add = lambda x, y: (isinstance(x, fw.Variable), x + y)
        for run in (lambda f: f, fw.jit):
            is_variable, total = run(lambda p: fw.cond(p, add, add, (v, 1.0)))(True)
            assert not is_variable
            assert total == 4
            assert run(lambda p: fw.cond(p, add, add, [1.0, 1.0]))(True)[1] == 2
            assert run(lambda p: fw.cond(p, lambda x: x, lambda x: x, v))(True) == 3
            assert run(lambda p: fw.cond(p, 1.0, 2.0))(False) == 2
            assert run(lambda p: fw.cond(p, lambda d: d["a"], lambda d: 0.0, {"a": 5.0}))(True) == 5

    def test_objects_as_operands(self):
        net = Counter()
        run = fw.jit(lambda p: fw.cond(p, lambda n: n(1.0), lambda n: n(5.0), (net,)))
        np.testing.assert_array_equal(run(True), [2, 2])
        np.testing.assert_array_equal(run(False), [12, 12])
        assert net.count.value == 2

    def test_variables_as_results(self):
        a, b = fw.Variable(1.0), fw.Variable(2.0)
        assert fw.jit(lambda p: fw.cond(p, lambda: a, lambda: b))(False) == 2

    def test_grad(self):
        w, n = fw.Variable(3.0), fw.Variable(jnp.int32(0))

        def square():
            n.value += 1
            return w**2

        f = lambda p: fw.cond(p, square, lambda: w * 5)
        for transform in (lambda g: g, fw.jit):
            assert transform(fw.grad(f, w))(True) == 6
            assert transform(fw.grad(f, w))(False) == 5
        assert n.value == 2

    def test_grad_of_an_argument(self):
        f = lambda x: fw.ifelse([x >= 10], [lambda x: x, lambda x: x**2], x)
        assert fw.grad(f)(9.0) == 18
        assert fw.grad(f)(11.0) == 1

    def test_an_exception_in_a_branch(self):
        net = Counter()

        def fail():
            net(1.0)
            raise RuntimeError("boom")

        for run in (lambda f: f, fw.jit):
            with pytest.raises(RuntimeError, match="boom"):
                run(lambda p: fw.cond(p, fail, fail))(True)
        assert net.count.value == 0

    def test_no_scalar(self):
        with pytest.raises(TypeError, match=r"pred must be a scalar, but has shape \(2,\)"):
            fw.cond(jnp.ones(2), 1, 2)

    def test_branches_that_do_not_match(self):
        with pytest.raises(TypeError):
            fw.jit(lambda p: fw.cond(p, lambda: 1.0, lambda: jnp.ones(2)))(True)

    def test_batch_axis_in_both_branches(self):
        v = fw.Variable(jnp.zeros((1, 2)), batch_axis=0)

        def grow():
            v.value = jnp.ones((3, 2))

        fw.jit(lambda p: fw.cond(p, grow, grow))(True)
        assert v.shape == (3, 2)


class TestSwitchAndIfelse:
    @pytest.mark.parametrize("traced", [True, False])
    @pytest.mark.parametrize(("index", "expected"), [(-1, 0), (0, 0), (1, 1), (2, 2), (9, 2)])
    def test_switch(self, traced, index, expected):
        vs = [fw.Variable(0.0) for _ in range(3)]

        def branch(i):
            def run(x):
                vs[i].value += x
                return i

            return run

        run = lambda i: fw.switch(i, [branch(0), branch(1), branch(2)], 1.0)
        assert (fw.jit(run) if traced else run)(index) == expected
        assert [float(v.value) for v in vs] == [float(i == expected) for i in range(3)]

    @pytest.mark.parametrize("traced", [True, False])
    @pytest.mark.parametrize("x", [-1, 1, 4, 8, 20])
    def test_ifelse(self, traced, x):
        run = lambda a: fw.ifelse([a < 0, a < 2, a < 5, a < 10], [lambda: 1, 2, 3, 4, 5])
        assert (fw.jit(run) if traced else run)(x) == {-1: 1, 1: 2, 4: 3, 8: 4, 20: 5}[x]

    def test_errors(self):
        with pytest.raises(ValueError, match=r"2 conditions.*got 2 branches"):
            fw.ifelse([True, False], [1, 2])
        with pytest.raises(ValueError, match="at least one branch"):
            fw.switch(0, [])
        with pytest.raises(TypeError, match="integer"):
            fw.switch(1.5, [1, 2])


class TestForLoop:
    def test_state_and_outputs(self):
        net = Counter()
        run = lambda: fw.for_loop(net, jnp.ones((3, 2)))
        for n, out in enumerate(everywhere(run)):
            np.testing.assert_array_equal(out[:, 0], np.arange(1, 4) * 2 + 6 * n)
        assert net.count.value == 9

    def test_operands(self):
        add = lambda x, y: x + y
        xs = jnp.arange(3.0)
        np.testing.assert_array_equal(fw.for_loop(add, (xs, xs)), [0, 2, 4])
        np.testing.assert_array_equal(fw.for_loop(add, [xs, xs]), [0, 2, 4])
        np.testing.assert_array_equal(fw.for_loop(lambda d: d["a"], {"a": xs}), [0, 1, 2])
        v = fw.Variable(xs)
        np.testing.assert_array_equal(fw.for_loop(lambda x: x * 2, v), [0, 2, 4])
        np.testing.assert_array_equal(fw.for_loop(lambda: 1, (), length=2), [1, 1])

    @pytest.mark.parametrize("options", [{"jit": False}, {}, {"unroll": 2}, {"remat": True}])
    def test_reverse(self, options):
        seen = fw.Variable(0.0)

        def body(x):
            seen.value = seen * 10 + x
            return seen.value

        out = fw.for_loop(body, jnp.array([1.0, 2.0, 3.0]), reverse=True, **options)
        np.testing.assert_array_equal(out, [321, 32, 3])

    def test_in_python(self):
        seen = []
        fw.for_loop(lambda x: seen.append(float(x)), jnp.arange(3.0), jit=False)
        assert seen == [0, 1, 2]

    def test_zero_length(self):
        with pytest.warns(UserWarning, match="zero-length input"):
            out = fw.for_loop(lambda x: (x, jnp.int32(1)), jnp.zeros((0, 4)), jit=False)
        assert [o.shape for o in out] == [(0, 4), (0,)]
        assert fw.for_loop(lambda x: x, jnp.zeros((0, 4))).shape == (0, 4)

    def test_an_exception_leaves_no_half(self):
        net = Counter()

        def body(x):
            net(1.0)
            if x > 1:
                raise RuntimeError("boom")

        with pytest.raises(RuntimeError):
            fw.for_loop(body, jnp.arange(3.0), jit=False)
        with pytest.raises(jax.errors.TracerBoolConversionError):
            fw.for_loop(body, jnp.arange(3.0))
        assert net.count.value == 0

    def test_grad(self):
        w, n = fw.Variable(2.0), fw.Variable(jnp.int32(0))

        def body(x):
            n.value += 1
            return w * x

        f = lambda: fw.for_loop(body, jnp.arange(4.0)).sum()
        assert fw.grad(f, w)() == 6
        assert fw.jit(fw.grad(f, w))() == 6
        assert n.value == 8

    def test_grad_through_state(self):
        v, w = fw.Variable(1.0), fw.Variable(2.0)

        def body(x):
            v.value = v * w + x

        def f():
            v.value = jnp.float32(1.0)
            fw.for_loop(body, jnp.ones(3))
            return v.value

        expected = jax.grad(lambda w: ((1.0 * w + 1) * w + 1) * w + 1)(2.0)
        assert fw.grad(f, w)() == expected
        assert fw.jit(fw.grad(f, w))() == expected

    def test_new_batch_size(self):
        v = fw.Variable(jnp.zeros((1, 2)), batch_axis=0)

        def body(x):
            v.value = jnp.concatenate([v.value, v.value])

        with pytest.raises(fw.MathError, match=r"changes its shape from \(1, 2\) to \(2, 2\)"):
            fw.for_loop(body, jnp.ones(2))

    def test_body_is_a_jitted_method(self):
        class A(Counter):
            @fw.jit
            def step(self, x):
                return self(x)

        a = A()
        for _ in range(3):
            fw.for_loop(a.step, jnp.ones(2))
        assert a.count.value == 6
        assert len([key for key in compiled._jits if key[-1][-1] == id(a)]) == 1


class TestScan:
    def test_carry_and_state(self):
        net = Counter()

        def body(carry, x):
            net(x)
            return carry + net.total.value, carry

        run = lambda: fw.scan(body, jnp.zeros(2), jnp.ones((3, 2)))
        carry, ys = run()
        np.testing.assert_array_equal(carry, [6, 6])
        np.testing.assert_array_equal(ys[:, 0], [0, 1, 3])
        assert net.count.value == 3

    @pytest.mark.parametrize("options", [{}, {"unroll": 3}, {"remat": True}, {"reverse": True}])
    def test_against_jax(self, options):
        body = lambda c, x: (jnp.sin(c) + x, c * x)
        xs = jnp.arange(7.0)
        ours = fw.scan(body, 0.5, xs, **options)
        theirs = {k: v for k, v in options.items() if k != "remat"}
        for a, b in zip(ours, jax.lax.scan(body, 0.5, xs, **theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)

    def test_variables_and_objects_carried(self):
        net, v = Counter(), fw.Variable(1.0)

        def body(carry, x):
            net, total = carry
            net(x)
            return (net, total + x), net.total.value

        (out, total), _ = fw.scan(body, (net, v), jnp.ones(3))
        assert out is net
        assert total == 4
        assert v.value == 1
        assert net.count.value == 3

    def test_objects_made_in_the_body(self):
        stacked = fw.scan(
            lambda c, key: (c, Net(key=key)), 0, jax.random.split(jax.random.key(0), 3)
        )[1]
        assert isinstance(stacked, Net)
        assert stacked.layers[0].w.shape == (3, 3, 3)

    def test_no_pair(self):
        with pytest.raises(TypeError, match=r"pair \(carry, output\).*returned Array|returned"):
            fw.scan(lambda c, x: c, 0.0, jnp.ones(2))

    def test_other_structure(self):
        with pytest.raises(TypeError, match="must keep its structure"):
            fw.scan(lambda c, x: ((c, c), x), 0.0, jnp.ones(2))

    def test_no_length(self):
        with pytest.raises(ValueError, match="length"):
            fw.for_loop(lambda: 1, (), progress_bar=True)


class TestWhile:
    def test_state(self):
        a = fw.Variable(jnp.zeros(1))

        def body(x, y):
            a.value += x
            return x + 1, y * 2

        run = lambda: fw.while_loop(body, lambda x, y: x < 6.0, (1.0, 1.0))
        for out in everywhere(run):
            assert tuple(map(float, out)) == (6, 32)
        assert a.value == 45

    def test_condition_reads_state(self):
        a = fw.Variable(jnp.int32(0))

        def body():
            a.value += 1

        for n, out in enumerate(everywhere(lambda: fw.while_loop(body, lambda: a < 5, ()))):
            assert out == ()
            assert a.value == 5, n
            a.value = 0

    def test_body_without_result_keeps_operands(self):
        a = fw.Variable(0.0)

        def body(x):
            a.value += x

        assert fw.while_loop(body, lambda x: a < 5, 2.0) == 2
        assert a.value == 6

    def test_lanes_without_jit(self):
        def count(n):
            return fw.while_loop(lambda i: i + 1, lambda i: i < n, 0)

        with jax.disable_jit():
            np.testing.assert_array_equal(fw.vmap(count)(jnp.arange(3)), [0, 1, 2])

    def test_condition_that_writes(self):
        a = fw.Variable(0.0)

        def condition():
            a.value += 1
            return a < 3

        for run in everywhere_functions():
            with pytest.raises(ValueError, match="cond_fun should not have any write states"):
                run(lambda: fw.while_loop(lambda: None, condition))()
        assert a.value == 0

    def test_forward_mode(self):
        w = fw.Variable(1.5)
        f = lambda: fw.while_loop(lambda x: x * w, lambda x: x < 10, 1.0)
        assert np.isclose(fw.jacfwd(f, w)(), 6 * 1.5**5)


def everywhere_functions():
    def disabled(f):
        def run():
            with jax.disable_jit():
                return f()

        return run

    return [lambda f: f, disabled, fw.jit]


class TestNesting:
    def test_loops_and_branches(self):
        net = Counter()

        def inner(x):
            return fw.cond(x > 1, lambda: net(x), lambda: net.total * 0)

        def outer(x):
            fw.for_loop(inner, jnp.arange(3.0) + x)
            return fw.while_loop(lambda n: n + net.count, lambda n: n < 10, 0)

        eager = Counter()
        expected = []
        for x in range(3):
            for y in range(3):
                if x + y > 1:
                    eager(float(x + y))
            n = 0
            while n < 10:
                n += int(eager.count.value)
            expected.append(n)
        for run in everywhere_functions():
            net.count.value, net.total.value = 0, jnp.zeros(2)
            np.testing.assert_array_equal(
                run(lambda: fw.for_loop(outer, jnp.arange(3.0)))(), expected
            )
            np.testing.assert_array_equal(net.total.value, eager.total.value)
            assert net.count.value == eager.count.value

    def test_one_body_for_several_objects(self):
        """What a body wrote when it was traced for another object is not written now."""

        def stepping(net):
            return lambda x: net(x)

        a, b = Counter(), Counter()
        for net in (a, b, a):
            step = fw.jit(lambda: fw.for_loop(stepping(net), jnp.ones(2)))
            step()
            written = {
                v() for entry in step._entries.values() for v in entry.variants[0].program.written
            }
            assert written == {net.count, net.total}
        assert (a.count.value, b.count.value) == (4, 2)

    def test_no_leaks(self):
        net = Counter()
        with jax.checking_leaks():
            step = lambda x: fw.cond(x > 0, lambda: net(x), lambda: net(x) * 2)
            fw.jit(fw.grad(lambda x: fw.for_loop(lambda y: step(y * x), jnp.ones(3)).sum()))(1.0)
            fw.for_loop(step, jnp.ones(3))
        assert net.count.value == 6


class TestCompiledOnce:
    def count(self, loop):
        traces = []

        def body(x):
            traces.append(1)
            return x * 2

        loop(body)
        first = len(traces)
        loop(body)
        return first, len(traces)

    @pytest.mark.parametrize(
        "loop",
        [
            lambda body: fw.for_loop(body, jnp.ones(3)),
            lambda body: (
                fw.scan(lambda c, x: (c, x), 0, jnp.ones(3)) and fw.for_loop(body, (jnp.ones(3),))
            ),
        ],
    )
    def test_function(self, loop):
        first, second = self.count(loop)
        assert first == second

    def test_bound_method(self):
        traces = []

        class A(Counter):
            def step(self, x):
                traces.append(1)
                return self(x)

            def below(self):
                traces.append(1)
                return self.count < 100

            def more(self):
                traces.append(1)
                self.count += 10

        a, b = A(), A()
        for net in (a, b):
            fw.for_loop(net.step, jnp.ones(3))
            fw.while_loop(net.more, net.below)
            met = len(traces)
            for _ in range(3):
                fw.for_loop(net.step, jnp.ones(3))
                fw.while_loop(net.more, net.below)
            assert len(traces) == met
            fw.for_loop(net.step, jnp.ones(4))
            assert len(traces) > met
            assert net.total.value[0] == 16

    def test_static_attribute_and_closure(self):
        scale = 2.0
        net = Net()

        def body(x):
            return net(x) * scale if net.layers[0].training else x * scale

        fw.for_loop(body, jnp.ones((2, 3)))
        net.layers[0].training = False
        np.testing.assert_array_equal(fw.for_loop(body, jnp.ones((2, 3))), np.full((2, 3), 2))
        scale = 3.0
        np.testing.assert_array_equal(fw.for_loop(body, jnp.ones((2, 3))), np.full((2, 3), 3))

    def test_attribute_of_a_plain_object(self):
        class Plain:
            dt = 1.0

            def step(self, x):
                return x * self.dt

        plain = Plain()
        plain.dt = 2.0
        assert fw.for_loop(plain.step, jnp.ones(1)) == 2
        plain.dt = 4.0
        assert fw.for_loop(plain.step, jnp.ones(1)) == 4

    def test_nothing_is_kept_alive(self):
        gc.collect()
        before = len(compiled._jits)

        class A(Counter):
            def step(self, x):
                return self(x)

        def use():
            net = A()

            def recursive(x):
                return net(x) if recursive else None

            fw.for_loop(net.step, jnp.ones(2))
            fw.for_loop(recursive, jnp.ones(2))
            return weakref.ref(net), weakref.ref(recursive), weakref.ref(net.total)

        dead = use()
        gc.collect()
        assert [d() for d in dead] == [None, None, None]
        assert len(compiled._jits) == before


class TestDeclaredState:
    @pytest.mark.parametrize("name", ["dyn_vars", "child_objs"])
    def test_warns(self, name):
        declared = {name: fw.Variable(1.0)}
        for run in (
            lambda: fw.cond(True, 1, 2, **declared),
            lambda: fw.ifelse([True], [1, 2], **declared),
            lambda: fw.for_loop(lambda x: x, jnp.ones(1), **declared),
            lambda: fw.while_loop(lambda: None, lambda: False, **declared),
        ):
            with pytest.warns(DeprecationWarning, match=f"{name}.*ignored"):
                run()
