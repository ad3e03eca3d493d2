"""`vmap`: axes for arguments and state, ensembles, random states, errors."""

# ruff: noqa: ARG005, E731, PLW0108

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework.random import RandomState
from tests.transforms.models import Counter, Net

KEYS = jax.random.split(jax.random.key(3), 4)


def both():
    return pytest.mark.parametrize("outer", [lambda f: f, fw.jit], ids=["eager", "jit"])


class TestArguments:
    @both()
    @pytest.mark.parametrize(
        ("in_axes", "out_axes"),
        [(0, 0), ((0, None), 0), ((1, 0), 1), ([1, None], -1), ((None, 0), 0)],
    )
    def test_against_jax(self, outer, in_axes, out_axes):
        def f(x, y):
            return {"a": x[:, None] * y, "b": (x + 1,)}

        x, y = jnp.arange(9.0).reshape(3, 3), jnp.arange(3.0)
        theirs_in = tuple(in_axes) if isinstance(in_axes, list) else in_axes
        ours = outer(fw.vmap(f, in_axes, out_axes))(x, y)
        theirs = jax.vmap(f, theirs_in, out_axes)(x, y)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_trees_of_axes(self):
        def f(tree, *, k):
            return tree["x"] + tree["y"] + k

        tree = {"x": jnp.arange(6.0).reshape(2, 3), "y": jnp.ones(3)}
        out = fw.vmap(f, in_axes=({"x": 0, "y": None},))(tree, k=jnp.array([[0.0], [10.0]]))
        np.testing.assert_array_equal(out, [[1, 2, 3], [14, 15, 16]])

    def test_out_axes_of_parts(self):
        out = fw.vmap(lambda x: (x, x[0]), out_axes=(1, 0))(jnp.ones((2, 3)))
        assert [o.shape for o in out] == [(3, 2), (2,)]

    def test_axis_name_and_size(self):
        out = fw.vmap(lambda x: x - jax.lax.pmean(x, "i"), axis_name="i")(jnp.arange(3.0))
        np.testing.assert_array_equal(out, [-1, 0, 1])
        np.testing.assert_array_equal(fw.vmap(lambda: 1.0, axis_size=3)(), [1, 1, 1])

    def test_no_size(self):
        with pytest.raises(ValueError, match=r"number of lanes.*axis_size="):
            fw.vmap(lambda: 1.0)()

    def test_decorator(self):
        @fw.vmap(in_axes=1)
        def f(x):
            """Doc."""
            return x.sum()

        assert f(jnp.ones((2, 3))).shape == (3,)
        assert f.__doc__ == "Doc."


class TestState:
    @both()
    def test_shared_reads(self, outer):
        v = fw.Variable(2.0)
        np.testing.assert_array_equal(outer(fw.vmap(lambda x: x * v))(jnp.arange(3.0)), [0, 2, 4])

    @both()
    def test_shared_write(self, outer):
        v = fw.Variable(jnp.int32(0))

        def f(x):
            v.value += 1
            return x * v

        np.testing.assert_array_equal(outer(fw.vmap(f))(jnp.arange(3.0)), [0, 1, 2])
        assert v.value == 1

    @both()
    def test_a_value_that_differs_between_lanes(self, outer):
        net = Counter()
        with pytest.raises(fw.MathError, match=rf"{net.name}\.total.*models\.py.*state_axes"):
            outer(fw.vmap(net))(jnp.ones(3))
        assert net.count.value == 0

    def test_only_the_batched_one_is_named(self):
        a, b = Counter(), Counter()

        def f(x):
            a.total.value = a.total * 2
            b.total.value = b.total * x

        with pytest.raises(fw.MathError, match=rf"{b.name}\.total"):
            fw.vmap(f)(jnp.ones(3))

    def test_mean_over_lanes(self):
        v = fw.Variable(0.0)

        def f(x):
            v.value = jax.lax.pmean(x, "i")

        fw.vmap(f, axis_name="i")(jnp.arange(3.0))
        assert v.value == 1

    @both()
    @pytest.mark.parametrize(
        "axes",
        [
            lambda v, n: v,
            lambda v, n: [v],
            lambda v, n: n,
            lambda v, n: {v: 0},
            lambda v, n: {n: 0},
            lambda v, n: {fw.TrainVar: 0},
            lambda v, n: fw.TrainVar,
            lambda v, n: lambda x: x.ndim == 1,
            lambda v, n: {"any name": v},
        ],
    )
    def test_selectors(self, outer, axes):
        node = fw.BrainPyObject()
        node.v = fw.TrainVar(jnp.zeros(3))

        def f(x):
            assert node.v.shape == ()
            node.v += x
            return node.v * 2

        out = outer(fw.vmap(f, state_axes=axes(node.v, node)))(jnp.arange(3.0))
        np.testing.assert_array_equal(node.v.value, [0, 1, 2])
        np.testing.assert_array_equal(out, [0, 2, 4])

    def test_a_branch_that_is_not_taken(self):
        v, n = fw.Variable(-1.0), fw.Variable(jnp.int32(0))

        def count():
            n.value += 1

        fw.vmap(lambda x: fw.cond(v > 0, count, lambda: None) or x)(jnp.ones(2))
        assert n.value == 0

    def test_another_axis(self):
        v = fw.Variable(jnp.zeros((2, 3)))

        def f(x):
            v.value = v + x

        fw.vmap(f, state_axes={v: 1})(jnp.arange(3.0))
        np.testing.assert_array_equal(v.value, [[0, 1, 2], [0, 1, 2]])

    def test_wrong_selector(self):
        with pytest.raises(TypeError, match="state_axes takes Variables"):
            fw.vmap(lambda x: x, state_axes=3)(jnp.ones(2))


class TestEnsembles:
    @both()
    def test_life_of_an_ensemble(self, outer):
        nets = [Net(key=key) for key in KEYS]
        ensemble = outer(fw.vmap(lambda key: Net(key=key)))(KEYS)
        assert isinstance(ensemble, Net)
        xs = jnp.arange(12.0).reshape(4, 3) / 10
        out = outer(fw.vmap(lambda net, x: net(x)))(ensemble, xs)
        for i, net in enumerate(nets):
            np.testing.assert_allclose(out[i], net(xs[i]), rtol=1e-5)
        np.testing.assert_array_equal(ensemble.layers[0].calls.value, [1] * 4)

    def test_training(self):
        ensemble = fw.vmap(lambda key: Net(key=key))(KEYS)
        before = ensemble.layers[0].w.value
        loss = lambda net, x: (net(x) ** 2).sum()
        x = jnp.ones(3)

        @fw.jit
        @fw.vmap(in_axes=(0, None))
        def step(net, x):
            params = net.train_vars().unique()
            grads, value = fw.grad(lambda: loss(net, x), params, return_value=True)()
            for key, g in grads.items():
                params[key].value -= 0.1 * g
            return value

        first = step(ensemble, x)
        second = step(ensemble, x)
        assert (second < first).all()
        single = Net(key=KEYS[2])
        g = fw.grad(lambda: loss(single, x), single.layers[0].w)()
        expected = before[2] - 0.1 * g
        ensemble_after_one = fw.vmap(lambda key: Net(key=key))(KEYS)
        step(ensemble_after_one, x)
        np.testing.assert_allclose(ensemble_after_one.layers[0].w.value[2], expected, rtol=1e-5)

    def test_plain_arrays(self):
        class Masked(Counter):
            def __init__(self, key):
                super().__init__()
                self.mask = jax.random.uniform(key, (2,))

            def __call__(self, x):
                return super().__call__(x * self.mask)

        ensemble = fw.vmap(Masked)(KEYS)
        assert ensemble.mask.shape == (4, 2)
        out = fw.vmap(lambda net, x: net(x))(ensemble, jnp.ones(4))
        np.testing.assert_allclose(out, ensemble.mask * 2, rtol=1e-6)
        np.testing.assert_allclose(ensemble.total.value, ensemble.mask, rtol=1e-6)
        fw.jit(fw.vmap(lambda net, x: net(x)))(ensemble, jnp.ones(4))
        np.testing.assert_allclose(ensemble.total.value, 2 * ensemble.mask, rtol=1e-6)
        ensemble.total.value = ensemble.total.value + 1

    def test_variables_as_arguments(self):
        v = fw.Variable(jnp.arange(3.0))

        def f(v, x):
            v.value = v * x

        fw.vmap(f)(v, jnp.full(3, 2.0))
        np.testing.assert_array_equal(v.value, [0, 2, 4])

    def test_unmapped_object(self):
        net = Net()
        net_x = fw.vmap(lambda n, x: n(x), in_axes=(None, 0))(net, jnp.ones((4, 3)))
        assert net_x.shape == (4, 3)
        assert net.layers[0].calls.value == 1


class TestNesting:
    def test_twice(self):
        v = fw.Variable(jnp.zeros((2, 3)))

        def f(x, y):
            v.value = v + x * y

        inner = fw.vmap(f, in_axes=(None, 0), state_axes=v)
        fw.vmap(inner, in_axes=(0, None), state_axes=v)(jnp.arange(2.0), jnp.arange(3.0))
        np.testing.assert_array_equal(v.value, [[0, 0, 0], [0, 1, 2]])

    @both()
    def test_control_flow_and_grad_inside(self, outer):
        w = fw.Variable(2.0)
        n = fw.Variable(jnp.zeros(3))

        def f(x):
            def body(y):
                n.value += y
                return fw.cond(y > x, lambda: w * y, lambda: 0.0)

            return fw.grad(lambda: fw.for_loop(body, jnp.arange(3.0)).sum(), w)()

        out = outer(fw.vmap(f, state_axes=n))(jnp.array([-1.0, 0.5, 5.0]))
        np.testing.assert_array_equal(out, [3, 3, 0])
        np.testing.assert_array_equal(n.value, [3, 3, 3])

    def test_grad_outside(self):
        w = fw.Variable(2.0)
        assert fw.grad(lambda: fw.vmap(lambda x: w * x)(jnp.arange(4.0)).sum(), w)() == 6

    @pytest.mark.parametrize("derivative", [fw.grad, fw.jacrev, fw.jacfwd])
    def test_a_derivative_of_what_is_written_inside(self, derivative):
        w, v = fw.Variable(2.0), fw.Variable(0.0)

        def f(x):
            v.value = w * w
            return x * v

        assert derivative(lambda: fw.vmap(f)(jnp.arange(4.0)).sum(), w)() == 24
        assert v.value == 4

    @pytest.mark.parametrize("transform", ["vmap", "jit", "grad"])
    def test_the_first_variable_of_a_process(self, transform):
        """Made in a trace, it must not let that pass for the outside."""
        code = f"""
import framework as fw, jax, jax.numpy as jnp
from framework.nodes.frames import in_trace
argument = jnp.ones(2) if {transform!r} == "vmap" else 1.0
jax.{transform}(lambda x: x * fw.Variable(1.0))(argument)
assert not in_trace()
"""
        subprocess.run([sys.executable, "-c", code], check=True)

    @both()
    def test_what_an_inner_trace_reads_first(self, outer):
        v, rng = fw.Variable(jnp.arange(2.0)), fw.vmap(RandomState)(jnp.arange(2))

        def lane():
            total = fw.vmap(lambda x: x * v + 0 * rng.normal())(jnp.ones(3)).sum()
            return total + v + 0 * rng.normal()

        with jax.checking_leaks():
            out = outer(fw.vmap(lane, state_axes=[v, rng], axis_size=2))()
        np.testing.assert_array_equal(out, [0, 4])

    @both()
    def test_a_jitted_function_meets_mapped_variables_first(self, outer):
        v = fw.Variable(jnp.zeros((2, 3)))

        @fw.jit
        def step():
            v.value = jnp.ones(())

        inner = fw.vmap(step, state_axes=v, axis_size=3)
        outer(fw.vmap(inner, state_axes=v, axis_size=2))()
        np.testing.assert_array_equal(v.value, jnp.ones((2, 3)))

    def test_nested_with_a_value_that_differs_only_outside(self):
        v = fw.Variable(jnp.zeros(2))

        def f(x):
            v.value = x
            return x

        inner = fw.vmap(lambda x, _: f(x), in_axes=(None, 0))
        fw.vmap(lambda x: inner(x, jnp.zeros(3)), state_axes=v)(jnp.arange(2.0))
        np.testing.assert_array_equal(v.value, [0, 1])
        with pytest.raises(fw.MathError, match="differs between lanes"):
            fw.vmap(lambda x: fw.vmap(f)(x * jnp.ones(3)), state_axes=v)(jnp.arange(2.0))

    def test_no_leaks(self):
        net = fw.vmap(lambda key: Net(key=key))(KEYS)
        with jax.checking_leaks():
            out = fw.jit(fw.vmap(lambda net, x: net(x)))(net, jnp.ones((4, 3)))
            drawn = fw.vmap(lambda: fw.random.normal(), axis_size=2)()
        assert out.shape[0] == 4
        assert drawn.shape == (2,)


class TestRandom:
    @both()
    def test_lanes_differ_and_state_goes_on(self, outer):
        rng = RandomState(0)
        draw = outer(fw.vmap(lambda _: rng.normal(), axis_size=4))
        first, second = draw(jnp.zeros(4)), draw(jnp.zeros(4))
        assert len({float(x) for x in [*first, *second]}) == 8
        assert rng.key.shape == ()
        rng.seed(0)
        np.testing.assert_array_equal(draw(jnp.zeros(4)), first)

    def test_a_stream_per_lane_that_is_mapped(self):
        rngs = fw.vmap(RandomState)(jnp.arange(4))
        assert rngs.key.shape == (4,)
        out = fw.vmap(lambda rng: rng.normal())(rngs)
        np.testing.assert_array_equal(out, [RandomState(i).normal() for i in range(4)])
        assert rngs.key.shape == (4,)

    def test_nested(self):
        rng = RandomState(0)
        inner = fw.vmap(lambda _: rng.uniform(), axis_size=3)
        out = fw.vmap(inner)(jnp.zeros((2, 3)))
        assert len({float(x) for x in out.ravel()}) == 6


def test_an_ensemble_made_under_a_gradient_may_be_written():
    class Lane(fw.BrainPyObject):
        def __init__(self, x):
            super().__init__()
            self.x = fw.Variable(x)

    def loss(w):
        lanes = fw.vmap(Lane)(jnp.arange(3.0))
        lanes.x.value = lanes.x * w
        return lanes.x.value.sum()

    assert fw.grad(loss)(2.0) == 3.0
