"""What happens to gradients before the rule: clipping, skipping, accumulating."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework import MathError, TrainVar, optim
from framework.optim import SGD, Adam
from tests.optim.table import Net, batches


def moved(grads, **options):
    """How far each parameter moves with a learning rate of 1."""
    variables = {key: TrainVar(jnp.zeros(np.shape(g))) for key, g in grads.items()}
    opt = SGD(1.0, variables, **options)
    fw.jit(opt.update)({key: jnp.asarray(g) for key, g in grads.items()})
    return {key: -np.asarray(v.value) for key, v in variables.items()}


GRADS = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0, 12.0]])}


def test_clipping():
    scaled = moved(GRADS, clip_norm=1.3)
    np.testing.assert_allclose(scaled["a"], GRADS["a"] / 10, rtol=1e-6)
    np.testing.assert_allclose(scaled["b"], GRADS["b"] / 10, rtol=1e-6)
    each = moved(GRADS, clip_param_norm=4.0)
    np.testing.assert_allclose(each["a"], GRADS["a"])
    np.testing.assert_allclose(each["b"], GRADS["b"] * 4 / np.sqrt(160), rtol=1e-6)
    value = moved(GRADS, clip_value=3.5)
    np.testing.assert_allclose(value["b"], [[3.5, 3.5]])
    all_three = moved(GRADS, clip_value=4.0, clip_param_norm=4.0, clip_norm=5.0)
    np.testing.assert_allclose(np.linalg.norm(all_three["b"]), 4.0, rtol=1e-6)
    np.testing.assert_allclose(moved(GRADS, clip_norm=100.0)["b"], GRADS["b"])
    np.testing.assert_array_equal(moved({"a": np.zeros(2)}, clip_norm=1.0)["a"], 0)


def test_the_norm_of_half_precision_gradients_does_not_overflow():
    w = TrainVar(jnp.zeros(4, jnp.float16))
    opt = SGD(1.0, {"w": w}, clip_norm=2.0)
    opt.update({"w": jnp.full(4, 60000.0, jnp.float16)})
    np.testing.assert_allclose(w.value, -1.0)


def test_a_clip_limit_can_change_without_a_new_trace():
    w = TrainVar(jnp.zeros(1))
    opt = SGD(1.0, {"w": w}, clip_norm=1.0)
    step = fw.jit(opt.update)
    for limit in (1.0, 2.0):
        opt.clip_norm = limit
        step({"w": jnp.full(1, 9.0)})
    assert w.value[0] == -3.0
    assert step.traces == 1


BAD = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jitted"])
@pytest.mark.parametrize("mode", ["skip", "raise"])
def test_steps_with_nonfinite_gradients(bad, jitted, mode):
    net = Net()
    variables = net.train_vars("relative")
    opt = Adam(optim.LinearDecayLR(0.1, 10), variables, nonfinite=mode)
    step = fw.jit(opt.update) if jitted else opt.update
    grads = {key: jnp.ones(v.shape) for key, v in variables.items()}
    step(grads)
    before = {v: np.asarray(v.value) for o in (net, opt) for v in o.vars().values()}
    if mode == "raise" and not jitted:
        with pytest.raises(MathError, match="nothing was changed: b"):
            step({**grads, "b": grads["b"].at[1].set(bad)})
        assert opt.skipped == 0
    else:
        step({**grads, "b": grads["b"].at[1].set(bad)})
        assert opt.skipped == 1
        with pytest.raises(MathError, match="skipped 1 of its steps"):
            opt.raise_if_skipped()
    for variable, value in before.items():
        if variable is not opt.skipped:
            np.testing.assert_array_equal(variable.value, value)
    step(grads)
    assert opt.step == 2
    opt.skipped = 0
    opt.raise_if_skipped()


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jitted"])
def test_accumulated_micro_batches_are_one_large_batch(jitted):
    x = batches(6)
    small, large = Net(), Net()
    schedule = {"lr": 0.1, "decay_steps": 10, "decay_rate": 0.5}
    opts = [
        Adam(
            optim.ExponentialDecayLR(**schedule),
            n.train_vars("relative"),
            accumulate=k,
            clip_norm=1.0,
        )
        for n, k in ((small, 3), (large, 1))
    ]

    def step(opt, net, loss):
        opt.update(fw.grad(loss, net.train_vars("relative"))())

    micro = (fw.jit if jitted else lambda f: f)(
        lambda x: step(opts[0], small, lambda: small.loss(x))
    )
    for i in range(6):
        kept = np.asarray(small.w.value)
        micro(x[i])
        assert (i % 3 == 2) == (not np.array_equal(kept, small.w.value))
        if i % 3 == 2:
            three = x[i - 2 : i + 1]
            step(opts[1], large, lambda: sum(large.loss(y) for y in three) / 3)  # noqa: B023
    for key, v in small.train_vars("relative").items():
        np.testing.assert_allclose(v.value, large.train_vars("relative")[key].value, rtol=1e-5)
    assert opts[0].step == opts[1].step == 2
    assert opts[0].lr.last_call == 1
    if jitted:
        assert micro.traces == 1


def test_accumulation_is_saved_half_way(tmp_path):
    def make():
        w = TrainVar(jnp.zeros(1))
        return w, SGD(1.0, {"w": w}, accumulate=2)

    _, opt = make()
    opt.update({"w": jnp.full(1, 2.0)})
    opt.save_states(tmp_path / "half.msgpack")
    other_w, other = make()
    other.load_states(tmp_path / "half.msgpack")
    other.update({"w": jnp.full(1, 4.0)})
    assert other_w.value[0] == -3.0


def test_a_bad_micro_batch_spoils_its_large_batch_only():
    w = TrainVar(jnp.zeros(1))
    opt = SGD(1.0, {"w": w}, accumulate=2, nonfinite="skip")
    step = fw.jit(opt.update)
    for value in (np.nan, 1.0, 1.0, 3.0):
        step({"w": jnp.full(1, value)})
    assert (opt.skipped, opt.step, w.value[0]) == (1, 1, -2.0)


def test_maximize_goes_up():
    w = TrainVar(jnp.zeros(1))
    SGD(0.5, {"w": w}, maximize=True, weight_decay=0.1).update({"w": jnp.ones(1)})
    assert w.value[0] == 0.5


def test_treatment_works_without_jit():
    w = TrainVar(jnp.zeros(2))
    opt = Adam(0.1, {"w": w}, accumulate=2, nonfinite="skip", clip_norm=1.0)
    with jax.disable_jit():
        for _ in range(4):
            fw.jit(opt.update)({"w": jnp.ones(2)})
    np.testing.assert_allclose(w.value, -0.2, rtol=1e-5)
