"""Derivatives: results against JAX's own, their shape, and the state that is left."""

# ruff: noqa: E731, PLW0108

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from tests.transforms.models import Counter, Net


def assert_trees_close(a, b, **kw):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6, **kw)


def poly(w, b, x):
    return jnp.sin(w) * x + b**2


W, B, X = jnp.array([1.0, 2.0]), jnp.array([0.5, -1.0]), jnp.array([3.0, 4.0])

TRANSFORMS = {
    "grad": (fw.grad, lambda f, n: jax.grad(lambda *a: f(*a).sum(), n)),
    "vector_grad": (fw.vector_grad, lambda f, n: jax.grad(lambda *a: f(*a).sum(), n)),
    "jacrev": (fw.jacrev, jax.jacrev),
    "jacfwd": (fw.jacfwd, jax.jacfwd),
    "jacobian": (fw.jacobian, jax.jacobian),
    "hessian": (fw.hessian, jax.hessian),
}


@pytest.fixture(params=TRANSFORMS)
def pair(request):
    ours, theirs = TRANSFORMS[request.param]
    total = (lambda y: y.sum()) if request.param == "grad" else (lambda y: y)
    return ours, theirs, total


class TestAgainstJax:
    def test_variable(self, pair):
        ours, theirs, total = pair
        w = fw.Variable(W)
        assert_trees_close(
            ours(lambda x: total(poly(w.value, B, x)), w)(X), theirs(poly, 0)(W, B, X)
        )

    def test_argument(self, pair):
        ours, theirs, total = pair
        w = fw.Variable(W)
        assert_trees_close(
            ours(lambda b, x: total(poly(w.value, b, x)))(B, X), theirs(poly, 1)(W, B, X)
        )
        assert_trees_close(
            ours(lambda b, x: total(poly(w.value, b, x)), argnums=(1, 0))(B, X),
            theirs(lambda b, x: poly(W, b, x), (1, 0))(B, X),
        )

    @pytest.mark.parametrize("container", [list, tuple, dict])
    def test_containers(self, pair, container):
        ours, theirs, total = pair
        w, b = fw.Variable(W), fw.TrainVar(B)
        make = (
            (lambda w, b: {"w": w, "b": b}) if container is dict else lambda w, b: container([w, b])
        )
        out = ours(lambda x: total(poly(w.value, b.value, x)), make(w, b))(X)

        def pure(tree):
            w, b = (tree["w"], tree["b"]) if container is dict else tree
            return poly(w, b, X)

        assert_trees_close(out, theirs(pure, 0)(make(W, B)))

    def test_variables_and_arguments(self, pair):
        ours, theirs, total = pair
        w = fw.Variable(W)
        out = ours(lambda b, x: total(poly(w.value, b, x)), w, argnums=1)(B, X)
        expected = theirs(lambda w, x: poly(w, B, x), (0, 1))(W, X)
        assert_trees_close(out, expected)

    def test_inside_jit(self, pair):
        ours, theirs, total = pair
        w = fw.Variable(W)
        derivative = fw.jit(ours(lambda x: total(poly(w.value, B, x)), w))
        for _ in range(2):
            assert_trees_close(derivative(X), theirs(poly, 0)(W, B, X))
        assert derivative.traces == 1

    def test_state_is_kept(self, pair):
        ours, theirs, total = pair
        w, n, key = fw.Variable(W), fw.Variable(jnp.int32(0)), fw.Variable(jax.random.key(0))
        seen = fw.Variable(jnp.zeros(2))

        def f(x):
            n.value += 1
            key.value = jax.random.split(key.value)[1]
            seen.value = w * x
            return total(poly(w.value, B, x))

        for run in (ours(f, w), fw.jit(ours(f, w))):
            assert_trees_close(run(X), theirs(poly, 0)(W, B, X))
        assert n.value == 2
        expected = jax.random.split(jax.random.split(jax.random.key(0))[1])[1]
        assert (jax.random.key_data(key.value) == jax.random.key_data(expected)).all()
        np.testing.assert_array_equal(seen.value, W * X)

    def test_value_and_aux(self, pair):
        ours, theirs, total = pair
        w = fw.Variable(W)
        f = lambda x: (total(poly(w.value, B, x)), {"x": x})
        derivative, value, aux = ours(f, w, has_aux=True, return_value=True)(X)
        assert_trees_close(derivative, theirs(poly, 0)(W, B, X))
        np.testing.assert_allclose(value, total(poly(W, B, X)), rtol=1e-6)
        np.testing.assert_array_equal(aux["x"], X)
        assert len(ours(f, w, has_aux=True)(X)) == 2

    def test_decorator(self, pair):
        ours, theirs, total = pair

        @ours(argnums=1)
        def f(w, b):
            """Doc."""
            return total(poly(w, b, X))

        assert_trees_close(f(W, B), theirs(poly, 1)(W, B, X))
        assert f.__doc__ == "Doc."

    @pytest.mark.usefixtures("x64")
    def test_x64(self, pair):
        ours, theirs, total = pair
        w64, b64, x64 = (jnp.asarray(np.asarray(a), jnp.float64) for a in (W, B, X))
        w = fw.Variable(w64)
        out = ours(lambda x: total(poly(w.value, b64, x)), w)(x64)
        assert out.dtype == jnp.float64
        np.testing.assert_allclose(out, theirs(poly, 0)(w64, b64, x64), rtol=1e-15)

    def test_exception(self, pair):
        ours, *_ = pair
        counter = Counter()

        def f(x):
            counter(x)
            raise RuntimeError("boom")

        with pytest.raises(RuntimeError, match="boom"):
            ours(f)(X)
        assert counter.count.value == 0


class TestTrees:
    @pytest.mark.parametrize("name", ["jacrev", "jacfwd", "hessian"])
    def test_tree_of_outputs(self, name):
        ours, theirs = TRANSFORMS[name]
        w, b = fw.Variable(W), fw.Variable(B)
        f = lambda w, b: {"a": w * b, "b": (jnp.sin(w).sum(), b)}
        out = ours(lambda: f(w.value, b.value), [w, b])()
        assert_trees_close(out, theirs(lambda t: f(*t))([W, B]))

    def test_vector_grad_of_a_tree(self):
        w = fw.Variable(W)
        out = fw.vector_grad(lambda: (w * 2, {"n": jnp.int32(1), "b": w.sum()}), w)()
        np.testing.assert_allclose(out, [3, 3])

    def test_object(self):
        net = Net()
        loss = lambda x: net(x).sum()
        of_object = fw.grad(loss, net)(jnp.ones(3))
        of_list = fw.grad(loss, [v for layer in net.layers for v in (layer.w, layer.b)])(
            jnp.ones(3)
        )
        assert isinstance(of_object, Net)
        of_leaves = [g for layer in of_object.layers for g in (layer.w.value, layer.b.value)]
        assert_trees_close(of_leaves, of_list)
        assert of_object.layers[0].calls.value.dtype == jax.dtypes.float0
        assert net.layers[0].calls.value == 2

    def test_object_argument(self):
        net = Net()
        of_argument = fw.grad(lambda net, x: net(x).sum())(net, jnp.ones(3))
        of_object = fw.grad(lambda x: net(x).sum(), net)(jnp.ones(3))
        np.testing.assert_allclose(of_argument.layers[0].w.value, of_object.layers[0].w.value)

    def test_shared_variable(self):
        w = fw.Variable(2.0)
        out = fw.grad(lambda: w * w * 3, {"a": w, "b": [w]})()
        assert_trees_close(out, {"a": jnp.float32(12), "b": [jnp.float32(12)]})

    def test_collector(self):
        net = Net(depth=1)
        grads = fw.grad(lambda x: net(x).sum(), net.train_vars())(jnp.ones(3))
        assert sorted(grads) == sorted(net.train_vars())

    def test_target_that_is_written(self):
        w = fw.Variable(3.0)

        def f():
            w.value = w * w
            return w.value

        assert fw.grad(f, w)() == 6
        assert w.value == 9


class TestNesting:
    def test_grad_of_grad(self):
        w = fw.Variable(3.0)
        count = fw.Variable(jnp.int32(0))

        def f():
            count.value += 1
            return w**3

        assert fw.grad(fw.grad(f, w), w)() == 18
        assert count.value == 1

    def test_jit_inside(self):
        w, n = fw.Variable(3.0), fw.Variable(jnp.int32(0))

        @fw.jit
        def inner(x):
            n.value += 1
            return w * w * x

        assert fw.grad(lambda x: inner(x), w)(2.0) == 12
        assert n.value == 1
        old = n.value
        with pytest.raises(RuntimeError):
            fw.grad(lambda x: [inner(x), exec("raise RuntimeError")], w)(2.0)
        assert old == 1
        assert n.value == 1

    def test_holomorphic(self):
        w = fw.Variable(jnp.complex64(1 + 2j))
        assert fw.grad(lambda: w * w, w, holomorphic=True)() == 2 + 4j
        np.testing.assert_allclose(fw.jacrev(lambda: w * w, w, holomorphic=True)(), 2 + 4j)
        np.testing.assert_allclose(fw.jacfwd(lambda: w * w, w, holomorphic=True)(), 2 + 4j)

    def test_allow_int(self):
        n = fw.Variable(jnp.int32(2))
        assert fw.grad(lambda: n * 1.5, n, allow_int=True)().dtype == jax.dtypes.float0


class TestErrors:
    def test_tuple_output(self):
        with pytest.raises(TypeError, match=r"scalar.*tuple.*has_aux=True"):
            fw.grad(lambda x: (x, x))(1.0)

    def test_vector_output(self):
        with pytest.raises(TypeError, match="scalar"):
            fw.grad(lambda x: x)(X)

    def test_integer_target(self):
        n = fw.Variable(jnp.int32(2))
        with pytest.raises(TypeError, match=r"int32.*allow_int=True"):
            fw.grad(lambda: n * 1.5, n)()

    def test_no_pair(self):
        with pytest.raises(TypeError, match=r"pair \(value, aux\)"):
            fw.grad(lambda x: x, has_aux=True)(1.0)

    def test_wrong_grad_vars(self):
        with pytest.raises(fw.MathError, match=r"grad_vars takes Variables.*float"):
            fw.grad(lambda: 1.0, 3.0)()

    def test_wrong_argnums(self):
        with pytest.raises(ValueError, match="asks for argument 2"):
            fw.grad(lambda x: x, argnums=2)(1.0)
