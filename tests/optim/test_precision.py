"""Low precision: of parameters, of slots, and what keeps it from doing harm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework import TrainVar, Variable
from framework.optim import SGD, SM3, Adam, AdamW
from framework.optim.precision import stored

LOW = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])


@LOW
@pytest.mark.parametrize("master", [False, True])
def test_master_weights_keep_small_steps(dtype, master):
    w = TrainVar(jnp.ones(3, dtype))
    opt = SGD(1e-5, {"w": w}, master_weights=master)
    step = fw.jit(opt.update)
    for _ in range(2000):
        step({"w": jnp.ones(3, dtype)})
    assert w.dtype == dtype
    np.testing.assert_allclose(np.asarray(w.value, float), 0.98 if master else 1.0, atol=4e-3)
    assert not master or opt.implicit_vars["w_master"].dtype == jnp.float32


@LOW
def test_a_parameter_set_from_outside_replaces_its_master(dtype):
    w = TrainVar(jnp.ones(2, dtype))
    opt = SGD(0.5, {"w": w}, master_weights=True)
    opt.update({"w": jnp.ones(2, dtype)})
    w.value = jnp.full(2, 8.0, dtype)
    opt.update({"w": jnp.ones(2, dtype)})
    np.testing.assert_array_equal(np.asarray(w.value, float), 7.5)
    np.testing.assert_array_equal(opt.implicit_vars["w_master"].value, 7.5)


@LOW
def test_slots_of_low_precision_on_request(dtype):
    w = TrainVar(jnp.ones((3, 2)))
    opt = AdamW(0.1, {"w": w}, slot_dtype=dtype)
    opt.update({"w": jnp.ones((3, 2))})
    assert {v.dtype for v in opt.implicit_vars.values()} == {jnp.dtype(dtype)}
    np.testing.assert_allclose(w.value, 1 - 0.1 - 0.001, rtol=1e-2)
    assert {v.dtype for v in SM3(0.1, {"w": w}, slot_dtype=dtype).implicit_vars.values()} == {
        jnp.dtype("float32")
    }


def test_a_running_mean_in_bfloat16_does_not_stand_still():
    w = TrainVar(jnp.zeros(1000))
    opt = Adam(0.0, {"w": w}, slot_dtype="bfloat16")
    step = fw.jit(opt.update)
    for size in (4.0, 1.0):
        for _ in range(3000):
            step({"w": jnp.full(1000, size)})
    second = np.asarray(opt.implicit_vars["w_v"].value, float)
    exact = 1 + 15 * 0.999**3000 - 16 * 0.999**6000
    # Rounded to nearest, it would stay at 16.
    assert second.mean() == pytest.approx(exact, rel=0.02)


def test_random_rounding_has_the_right_mean_and_keeps_what_is_exact():
    x = jnp.linspace(1.0, 1.01, 50_000)
    rounded = stored(x, jnp.dtype("bfloat16"), jnp.asarray(3)).astype(jnp.float32)
    assert float(jnp.mean(rounded - x)) == pytest.approx(0, abs=5e-5)
    assert set(np.unique(rounded)) <= {1.0, 1.0078125, 1.015625}
    exact = jnp.array([0.0, -0.0, 1.0, -2.5, jnp.inf, -jnp.inf, jnp.nan, 2.0**-133])
    kept = stored(exact, jnp.dtype("bfloat16"), jnp.asarray(1)).astype(jnp.float32)
    np.testing.assert_array_equal(kept, exact)
    again = stored(x, jnp.dtype("bfloat16"), jnp.asarray(3)).astype(jnp.float32)
    np.testing.assert_array_equal(again, rounded)
    other = stored(x, jnp.dtype("bfloat16"), jnp.asarray(4)).astype(jnp.float32)
    assert not np.array_equal(other, rounded)


@pytest.mark.usefixtures("x64")
def test_mixed_dtypes_under_strict_promotion():
    variables = {
        str(dtype): TrainVar(jnp.ones(2, dtype))
        for dtype in ("float64", "float32", "bfloat16", "complex64")
    }
    opt = AdamW(Variable(0.1), variables, clip_norm=1.0, clip_value=0.5, accumulate=2,
                nonfinite="skip", master_weights=True)  # fmt: skip
    step = fw.jit(opt.update)
    with jax.numpy_dtype_promotion("strict"):
        for _ in range(2):
            step({key: jnp.ones(2, v.dtype) for key, v in variables.items()})
    assert {key: str(v.dtype) for key, v in variables.items()} == {k: k for k in variables}
    for variable in variables.values():
        np.testing.assert_allclose(np.asarray(variable.value).astype(complex), 0.899, rtol=0.01)


def test_bias_correction_is_right_to_the_last_digits_in_float32():
    for t, beta in ((1, 0.999), (2, 0.999), (5, 0.9999)):
        w = TrainVar(jnp.zeros(1))
        opt = Adam(1.0, {"w": w}, beta1=0.0, beta2=beta, eps=0.0)
        for _ in range(t):
            before = float(w.value[0])
            opt.update({"w": jnp.full(1, 3.0)})
        assert float(w.value[0]) - before == pytest.approx(-1, rel=5e-7)


OLD_XLA = pytest.mark.skipif(
    jax.__version_info__ < (0, 12), reason="XLA computed with a float32 copy of each such slot"
)


@pytest.mark.parametrize("slot_dtype", [None, pytest.param("bfloat16", marks=OLD_XLA)])
def test_a_step_needs_room_for_parameters_gradients_and_slots_alone(slot_dtype):
    w = TrainVar(jnp.ones(500_000))
    opt = AdamW(0.1, {"w": w}, slot_dtype=slot_dtype)
    step = fw.jit(lambda g: opt.update({"w": g}))
    found = step.lower(jnp.ones(500_000)).compile().memory_analysis()
    held = w.nbytes * (4 if slot_dtype is None else 3)
    assert found.argument_size_in_bytes <= held + 200
    assert found.temp_size_in_bytes <= 0.1 * held
