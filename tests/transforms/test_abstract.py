"""`eval_shape`, `make_jaxpr` and `checkpoint`."""

# ruff: noqa: E731

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from tests.transforms.models import Counter, Net


class TestEvalShape:
    def test_function(self):
        net = Counter()
        out = fw.eval_shape(net, jax.ShapeDtypeStruct((2,), jnp.float32))
        assert (out.shape, out.dtype) == ((2,), jnp.float32)
        assert net.count.value == 0

    def test_object(self):
        net = fw.eval_shape(lambda key: Net(1000, key=key), jax.random.key(0))
        assert isinstance(net.layers[0].w.value, jax.ShapeDtypeStruct)
        assert net.layers[0].w.shape == (1000, 1000)
        assert "f32[1000,1000]" in repr(net)

    def test_nothing_is_allocated(self):
        class Huge(fw.BrainPyObject):
            def __init__(self):
                super().__init__()
                self.w = fw.TrainVar((10**6, 10**6))

        assert fw.eval_shape(Huge).w.shape == (10**6, 10**6)

    def test_objects_by_reference_and_keywords(self):
        net = Counter()
        assert fw.eval_shape(lambda n, *, x: (n, n(x)), net, x=jnp.ones(2))[0] is net
        assert net.count.value == 0


class TestMakeJaxpr:
    def test_state_is_explicit(self):
        net = Counter()
        jaxpr = fw.make_jaxpr(net)(jnp.ones(2))
        shapes = sorted(f"{v.dtype}{list(v.shape)}" for v in jaxpr.in_avals)
        assert shapes == ["float32[2]", "float32[2]", "int32[]"]
        assert len(jaxpr.out_avals) == 3
        assert not jaxpr.consts
        assert net.count.value == 0

    def test_shape_and_static(self):
        jaxpr, shape = fw.make_jaxpr(
            lambda x, n: {"a": x * n}, static_argnums=1, return_shape=True
        )(jnp.ones(2), 3)
        assert shape["a"].shape == (2,)
        assert len(jaxpr.in_avals) == 1


class TestCheckpoint:
    @pytest.mark.parametrize("outer", [lambda f: f, fw.jit])
    def test_grad_and_state(self, outer):
        w, n = fw.Variable(2.0), fw.Variable(jnp.int32(0))

        @fw.checkpoint
        def f(x):
            n.value += 1
            return jnp.sin(w * x)

        assert np.isclose(outer(fw.grad(lambda x: f(f(x)), w))(0.5), _expected())
        assert n.value == 2

    def test_computes_again(self):
        w = fw.Variable(2.0)
        f = lambda x: jnp.sin(jnp.sin(w * x))
        plain = str(fw.make_jaxpr(fw.grad(f))(1.0)).count("sin ")
        again = str(fw.make_jaxpr(fw.grad(fw.remat(f)))(1.0))
        assert "checkpoint" in again or "remat" in again
        everything = fw.checkpoint(f, policy=jax.checkpoint_policies.everything_saveable)
        kept = str(fw.make_jaxpr(fw.grad(everything))(1.0)).count("sin ")
        assert again.count("sin ") > plain
        assert kept <= again.count("sin ")

    def test_static_and_objects(self):
        net = Counter()
        f = fw.checkpoint(lambda net, x, n: (net, net(x) * n), static_argnums=2)
        out, y = f(net, 1.0, 3)
        assert out is net
        np.testing.assert_array_equal(y, [6, 6])
        assert net.count.value == 1

    def test_an_exception(self):
        net = Counter()

        @fw.remat
        def fail(x):
            net(x)
            raise RuntimeError

        with pytest.raises(RuntimeError):
            fail(1.0)
        assert net.count.value == 0


def _expected():
    f = lambda w, x: jnp.sin(w * x)
    return jax.grad(lambda w: f(w, f(w, 0.5)))(2.0)
