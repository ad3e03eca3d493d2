"""Moving averages of parameters."""

import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework import MathError, TrainVar
from framework.optim import EMA, LambdaLR
from tests.optim.table import Net


def test_the_average_and_swapping():
    net = Net()
    ema = EMA(net.train_vars("relative"), decay=0.9)
    step = fw.jit(ema.update)
    want = np.asarray(net.w.value, np.float64)
    for i in range(5):
        net.w.value = net.w.value + i
        want = 0.9 * want + 0.1 * np.asarray(net.w.value)
        step()
    assert step.traces == 1
    trained = np.asarray(net.w.value)
    with ema.swap():
        np.testing.assert_allclose(net.w.value, want, rtol=1e-6)
        with pytest.raises(MathError, match="averages now"):
            ema.update()
    np.testing.assert_array_equal(net.w.value, trained)
    ema.swap()
    np.testing.assert_allclose(net.w.value, want, rtol=1e-6)
    ema.swap()
    np.testing.assert_array_equal(net.w.value, trained)


def test_an_exception_swaps_back():
    w = TrainVar(jnp.zeros(1))
    ema = EMA({"w": w}, 0.5)
    w.value = jnp.ones(1)
    with pytest.raises(RuntimeError), ema.swap():
        raise RuntimeError
    assert (w.value[0], ema.swapped) == (1, False)


def test_averages_of_half_precision_are_not_rounded():
    w = TrainVar(jnp.zeros(1, jnp.bfloat16))
    ema = EMA({"w": w}, 0.999)
    w.value = jnp.ones(1, jnp.bfloat16)
    for _ in range(100):
        ema.update()
    average = float(ema.implicit_vars["w_average"].value[0])
    assert average == pytest.approx(1 - 0.999**100, rel=1e-4)
    for _ in range(2):
        with ema.swap():
            assert w.dtype == jnp.bfloat16
            assert float(w.value[0]) == pytest.approx(average, rel=0.01)
        assert w.value[0] == 1
    assert float(ema.implicit_vars["w_average"].value[0]) == average


def test_decay_may_be_scheduled_and_is_checked():
    w = TrainVar(jnp.zeros(1))
    ema = EMA({"w": w}, LambdaLR(1.0, lambda i: i / (1 + i)))
    for value in (4.0, 2.0, 0.0):
        w.value = jnp.full(1, value)
        ema.update()
    assert ema.implicit_vars["w_average"].value[0] == pytest.approx(2.0)
    with pytest.raises(ValueError, match="decay"):
        EMA({"w": w}, 1.0)
    assert repr(EMA({"w": w}, 0.5)) == "EMA(decay=0.5, parameters=1)"


def test_averages_are_saved_beside_their_parameter(tmp_path):
    net = Net()
    ema = EMA(net.train_vars(), 0.5)
    net.w.value = net.w.value + 1
    ema.update()
    ema.save_states(tmp_path / "ema.msgpack")
    other = Net(seed=3)
    again = EMA(other.train_vars("relative"), 0.5)
    again.load_states(tmp_path / "ema.msgpack")
    with ema.swap(), again.swap():
        np.testing.assert_array_equal(net.w.value, other.w.value)


def test_tied_parameters_have_one_average_and_swap_once():
    w = TrainVar(jnp.zeros(1))
    ema = EMA({"a": w, "b": w}, 0.5)
    w.value = jnp.ones(1)
    ema.update()
    with ema.swap():
        assert w.value[0] == 0.5
    assert list(ema.implicit_vars) == ["a_average"]
