"""Schedules: values against formulas in NumPy, and what advances each clock."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework import MathError, TrainVar, Variable, optim
from framework.optim import SGD

EPOCHS = {
    "StepLR": (optim.StepLR, {"step_size": 3, "gamma": 0.5}, lambda i: 0.5 ** (i // 3)),
    "MultiStepLR": (
        optim.MultiStepLR, {"milestones": [2, 5, 6], "gamma": 0.5},
        lambda i: 0.5 ** sum(i >= m for m in (2, 5, 6)),
    ),
    "CosineAnnealingLR": (
        optim.CosineAnnealingLR, {"T_max": 5, "eta_min": 0.1},
        lambda i: 0.1 + 0.9 * (1 + math.cos(math.pi * i / 5)) / 2,
    ),
    "ExponentialLR": (optim.ExponentialLR, {"gamma": 0.9}, lambda i: 0.9**i),
    "Constant": (optim.Constant, {}, lambda _: 1.0),
}  # fmt: skip


def restarts(i, period=4, growth=2):
    start = 0
    while i >= start + period:
        start, period = start + period, period * growth
    return 0.1 + 0.9 * (1 + math.cos(math.pi * (i - start) / period)) / 2


def one_cycle(i, total=10, share=0.3):
    top, end = share * total - 1, total - 1
    wave = lambda a, b, t: b + (a - b) * (1 + math.cos(math.pi * t)) / 2  # noqa: E731
    if i <= top:
        return wave(1 / 25, 1, i / top)
    return wave(1, 1 / 25 / 1e4, (min(i, end) - top) / (end - top))


CALLS = {
    "CosineAnnealingWarmRestarts": (
        optim.CosineAnnealingWarmRestarts,
        {"num_call_per_epoch": 2, "T_0": 2, "T_mult": 2, "eta_min": 0.1}, restarts,
    ),
    "equal restarts": (
        optim.CosineAnnealingWarmRestarts, {"num_call_per_epoch": 2, "T_0": 2, "eta_min": 0.1},
        lambda i: restarts(i, growth=1),
    ),
    "ExponentialDecayLR": (
        optim.ExponentialDecayLR, {"decay_steps": 3, "decay_rate": 0.5}, lambda i: 0.5 ** (i / 3),
    ),
    "InverseTimeDecayLR": (
        optim.InverseTimeDecayLR, {"decay_steps": 3, "decay_rate": 2.0},
        lambda i: 1 / (1 + 2 * i / 3),
    ),
    "staircase": (
        optim.InverseTimeDecayLR, {"decay_steps": 3, "decay_rate": 2.0, "staircase": True},
        lambda i: 1 / (1 + 2 * (i // 3)),
    ),
    "PolynomialDecayLR": (
        optim.PolynomialDecayLR, {"decay_steps": 5, "final_lr": 0.2, "power": 2.0},
        lambda i: 0.8 * (1 - min(i, 5) / 5) ** 2 + 0.2,
    ),
    "LinearWarmupLR": (
        optim.LinearWarmupLR, {"warmup_steps": 5, "start_lr": 0.5},
        lambda i: 0.5 + 0.5 * min(i, 5) / 5,
    ),
    "LinearDecayLR": (optim.LinearDecayLR, {"decay_steps": 5}, lambda i: 1 - min(i, 5) / 5),
    "OneCycleLR": (optim.OneCycleLR, {"total_steps": 10}, one_cycle),
    "LambdaLR": (optim.LambdaLR, {"function": lambda i: 1 / (1 + i)}, lambda i: 1 / (1 + i)),
}  # fmt: skip

ALL = {**EPOCHS, **CALLS}
TIMES = range(30)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ALL)
def test_values(name):
    cls, settings, oracle = ALL[name]
    want = [0.3 * oracle(i) if name not in SHIFTED else oracle(i) for i in TIMES]
    schedule = cls(0.3 if name not in SHIFTED else 1.0, **settings)
    np.testing.assert_allclose([float(schedule(i)) for i in TIMES], want, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(schedule(jnp.array(TIMES)), want, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(jax.jit(schedule)(jnp.asarray(7)), want[7], rtol=1e-12)


# Their other constants are not proportional to the learning rate.
SHIFTED = {"CosineAnnealingLR", "CosineAnnealingWarmRestarts", "equal restarts",
           "PolynomialDecayLR", "LinearWarmupLR"}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("last", [-1, 4])
def test_clocks(name, last):
    cls, settings, _ = ALL[name]
    by_call = issubclass(cls, optim.CallBasedScheduler)
    schedule = cls(1.0, **settings, **{"last_call" if by_call else "last_epoch": last})
    advance, idle = schedule.step_epoch, schedule.step_call
    if by_call:
        advance, idle = idle, advance
    for i in range(last + 1, last + 12):
        assert schedule() == schedule(i)
        idle()
        assert schedule() == schedule(i)
        advance()


def test_an_update_advances_the_call_clock_and_no_other():
    schedule = optim.ExponentialDecayLR(1.0, 1, 0.5)
    w = TrainVar(jnp.zeros(1))
    opt = SGD(schedule, {"w": w})
    step = fw.jit(opt.update)
    for want in (-1.0, -1.5, -1.75):
        step({"w": jnp.ones(1)})
        assert w.value[0] == want
    assert (schedule.last_call, schedule.last_epoch, step.traces) == (2, -1, 1)


def test_epochs_advance_by_hand():
    schedule = optim.StepLR(1.0, 1, 0.5)
    w = TrainVar(jnp.zeros(1))
    opt = SGD(schedule, {"w": w})
    for want in (-1.0, -2.0, -2.5):
        opt.update({"w": jnp.ones(1)})
        assert w.value[0] == want
        if want == -2.0:
            schedule.step_epoch()


def test_two_optimizers_may_share_a_schedule_but_each_advances_it():
    schedule = optim.LambdaLR(1.0, lambda i: i)
    opts = [SGD(schedule, {"w": TrainVar(1)}) for _ in range(2)]
    for opt in opts:
        opt.update({"w": jnp.ones(1)})
    assert schedule() == 2


def test_piecewise_constant():
    schedule = optim.PiecewiseConstantLR([2, 4], [1.0, 0.5, 0.1])
    np.testing.assert_allclose([schedule(i) for i in range(6)], [1, 1, 1, 0.5, 0.5, 0.1])
    schedule.set_value(2.0)
    assert schedule(0) == 2.0
    with pytest.raises(MathError, match="values one longer"):
        optim.PiecewiseConstantLR([2], [1.0])
    with pytest.raises(MathError, match="must be sequences"):
        optim.PiecewiseConstantLR(2, [1.0])


def test_the_old_names():
    for name in ("ExponentialDecay", "InverseTimeDecay", "PolynomialDecay", "PiecewiseConstant"):
        assert getattr(optim, name) is getattr(optim, f"{name}LR")


def test_restarts_are_exact_far_out():
    schedule = optim.CosineAnnealingWarmRestarts(1.0, 10, 1, T_mult=3)
    starts = [10 * (3**n - 1) // 2 for n in range(12)]
    assert [float(schedule(i)) for i in starts] == [1.0] * 12
    assert [float(schedule.current_epoch(i)) for i in (0, 9, 10, 25)] == [0, 0, 1, 2]
    assert schedule.current_epoch() == 0


def test_join_and_sequential():
    parts = [optim.LinearWarmupLR(1.0, 3), optim.CosineAnnealingLR(1.0, 4), 0.25]
    joined = optim.join(parts, [3, 7])
    want = [0, 1 / 3, 2 / 3, *((1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)), 0.25, 0.25]
    np.testing.assert_allclose([float(joined(i)) for i in range(9)], want, atol=1e-6)
    np.testing.assert_allclose(joined(jnp.arange(9)), want, atol=1e-6)
    again = optim.sequential((optim.LinearWarmupLR(1.0, 3), 3), (parts[1].clone(), 4), 0.25)
    np.testing.assert_allclose(again(jnp.arange(9)), want, atol=1e-6)
    joined.step_call()
    assert joined() == joined(1)
    by_epoch = optim.join([1.0, 2.0], [1], clock="epoch")
    by_epoch.step_call()
    assert by_epoch() == 1.0
    by_epoch.step_epoch()
    assert by_epoch() == 2.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.join([1.0, 2.0], [3, 4]), lambda: optim.join([1.0, 2.0, 3.0], [4, 4]),
        lambda: optim.join([1.0], [], clock="day"), lambda: optim.sequential(1.0, (2.0, 3)),
        lambda: optim.StepLR(0.1, 0), lambda: optim.StepLR(0.1, 1.5),
        lambda: optim.StepLR(0.1, 2, last_epoch=-2), lambda: optim.CosineAnnealingLR(0.1, 0),
        lambda: optim.OneCycleLR(0.1, 10, pct_start=0.05), lambda: optim.LinearWarmupLR(0.1, 0),
        lambda: optim.CosineAnnealingWarmRestarts(0.1, 1, 0),
    ],
)  # fmt: skip
def test_bad_settings(make):
    with pytest.raises(ValueError):  # noqa: PT011
        make()


@pytest.mark.parametrize("lr", ["fast", None, [0.1, 0.2], jnp.ones(2)])
def test_what_is_no_learning_rate(lr):
    with pytest.raises(TypeError, match="learning rate"):
        optim.make_schedule(lr)


def test_a_shared_variable_is_a_learning_rate():
    lr = Variable(0.5)
    opt = SGD(lr)
    lr.value = 0.25
    assert opt.lr() == 0.25
    assert isinstance(opt.lr, optim.Constant)


def test_a_scheduler_must_define_its_values():
    with pytest.raises(NotImplementedError, match="must define `at"):
        optim.Scheduler(0.1)()


def test_plot_draws_the_values():
    schedule = optim.join([optim.LinearWarmupLR(1.0, 3), 0.5], [3])
    ax = schedule.plot(6)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0, 1 / 3, 2 / 3, 0.5, 0.5, 0.5], rtol=1e-6)
    assert schedule.plot(6, ax=ax) is ax
    assert len(ax.lines) == 2
    from matplotlib import pyplot as plt

    plt.close("all")


def test_plot_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pytree-framework\[plot\]"):
        optim.Constant(0.1).plot(3)


def test_a_root_at_the_end_of_a_polynomial_is_a_number():
    for end in range(3, 40):
        schedule = optim.PolynomialDecayLR(1.0, end, 0.0, power=0.5)
        np.testing.assert_array_equal(jax.jit(schedule)(jnp.array([end, end + 1])), 0)
