"""Random programs give the same values, derivatives, state and errors under every transform."""

# ruff: noqa: PLW0108

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import framework as fw
from tests.transforms.machines import Loose, Machine, Runner, fresh
from tests.transforms.meaning import Meaning, outcomes, uses
from tests.transforms.programs import DRAWS, ENDLESS, ERRORS, NAMES, programs, without

_PROFILE = settings().max_examples
EXAMPLES = _PROFILE if _PROFILE >= 1000 else _PROFILE // 20

checked = settings(
    # Each program is compiled several times; only the thorough profile is for hours.
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Mode:
    """A way to run a program.

    Attributes:
        run: Takes what runs the program.
        times: How often it does.
        unit: What fails as a whole: a statement, one run of the program, or all runs.
        lacks: Statements that are left out.
    """

    run: Callable[[Callable[[], Any]], Any]
    times: int = 1
    unit: str = "all"
    lacks: set[str] = frozenset()

    def units(self, program):
        whole = program * self.times
        return {
            "statement": [(step,) for step in whole],
            "call": [program] * self.times,
            "all": [whole],
        }[self.unit]


def _disabled(go):
    with jax.disable_jit():
        return go()


MODES = {
    "eager": Mode(lambda go: go(), unit="statement"),
    "eager, twice": Mode(lambda go: [go(), go()], 2, "statement"),
    "disabled": Mode(_disabled, unit="statement"),
    "jit": Mode(lambda go: fw.jit(go)()),
    "jit, called twice": Mode(lambda go: [f() for f in [fw.jit(go)] * 2], 2, "call"),
    "jit, packed": Mode(lambda go: [f() for f in [fw.jit(go, pack_state=True)] * 3], 3, "call"),
    "jit in jit": Mode(lambda go: fw.jit(lambda: fw.jit(go)())()),
    "eager, then jit": Mode(lambda go: [fw.checkpoint(go)(), fw.jit(go)()], 2, "call"),
    "for_loop": Mode(lambda go: fw.for_loop(go, (), length=2), 2),
    "for_loop in Python": Mode(lambda go: fw.for_loop(go, (), length=2, jit=False), 2),
    "for_loop in jit": Mode(
        fw.jit(lambda go: fw.for_loop(go, (), length=2), static_argnums=0), times=2
    ),
    "scan": Mode(lambda go: fw.scan(lambda c, _: (c, go()), 0, None, length=2), 2),
    "while": Mode(lambda go: fw.while_loop(lambda i: go() or i + 1, lambda i: i < 2, 0), 2),
    "cond": Mode(lambda go: fw.jit(lambda p: fw.cond(p, go, lambda: None))(True)),
    "cond in for_loop": Mode(
        lambda go: fw.for_loop(lambda i: fw.cond(i < 2, go, lambda: None), jnp.arange(4)), 2
    ),
    "vmap": Mode(lambda go: fw.vmap(lambda x: go() or x)(jnp.ones(2)), lacks=DRAWS),
    "jit of vmap": Mode(fw.jit(lambda go: fw.vmap(go, axis_size=2)(), 0), lacks=DRAWS),
    "remat": Mode(lambda go: fw.checkpoint(go)()),
    "grad": Mode(lambda go: fw.grad(lambda x: go() or x)(1.0), lacks=ENDLESS),
    "jacfwd": Mode(lambda go: fw.jacfwd(lambda x: go() or x)(1.0)),
}


def check_state(mode, program):
    """The program leaves the right state under a transform, or raises the right error."""
    mode = MODES[mode]
    program = without(mode.lacks, program)
    machine = fresh()
    expected = outcomes(machine.state(), mode.units(program))
    runner = Runner(machine)
    check_outcome(lambda: mode.run(lambda: runner.run(program)), machine.state, expected)


def check_lanes(program):
    """Each lane of mapped objects does what the program does alone."""
    keys = jax.random.split(jax.random.key(3), 2)
    fresh()
    Loose.variable = fw.Variable(jnp.array([0.1, -0.1]))
    machine = fw.vmap(Machine)(keys)
    before = machine.state()
    *defaults, after = jax.random.split(before["default"], 3)
    after = after if uses(program, {"draw default"}) else before["default"]
    lanes = [
        outcomes({k: v[i] for k, v in before.items() if k != "default"} | {"default": key},
                 [program])
        for i, key in enumerate(defaults)
    ]  # fmt: skip
    expected = [(error, before) for lane in lanes for error, _ in lane if error]
    ends = [end for lane in lanes for error, end in lane if error is None]
    if len(ends) == len(lanes):
        stacked = {name: jnp.stack([end[name] for end in ends]) for name in before}
        expected.append((None, stacked | {"default": after}))
    run = fw.vmap(lambda machine: Runner(machine).run(program), state_axes=Loose.variable)
    check_outcome(lambda: run(machine), machine.state, expected)


def check_outcome(run, state, expected):
    """What a run raises, and the state that it leaves, are one of the possible outcomes."""
    try:
        run()
    except tuple(ERRORS.values()) as error:
        raised = type(error)
    else:
        raised = None
    ends = [end for error, end in expected if error == raised]
    assert ends, f"raised {raised}, expected {[error for error, _ in expected]}"
    assert any(same(state(), end) for end in ends[:-1]) or assert_same(state(), ends[-1])


def same(got, expected):
    try:
        return assert_same(got, expected)
    except AssertionError:
        return False


def assert_same(got, expected, rtol=2e-4):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        if name in ("key", "default", "n"):
            assert (got[name] == value).all(), name
        else:
            np.testing.assert_allclose(got[name], value, rtol, 2e-5, err_msg=name)
    return True


# Each takes the function, and the Variables to differentiate by.
DERIVATIVES = {
    "grad": lambda f, v: fw.grad(f, v)(),
    "vector_grad": lambda f, v: fw.vector_grad(f, v)(),
    "jacrev": lambda f, v: fw.jacrev(f, v)(),
    "jacfwd": lambda f, v: fw.jacfwd(f, v)(),
    "jit of grad": lambda f, v: fw.jit(lambda: fw.grad(f, v)())(),
    "grad of jit": lambda f, v: fw.grad(fw.jit(f), v)(),
    "grad of remat": lambda f, v: fw.grad(fw.checkpoint(f), v)(),
    "grad of for_loop": lambda f, v: fw.grad(
        lambda: fw.for_loop(f, (), length=1, remat=True)[0], v
    )(),
    "grad of cond": lambda f, v: fw.jit(lambda p: fw.grad(lambda: fw.cond(p, f, lambda: 0.0), v)())(
        True
    ),
    "grad in for_loop": lambda f, v: jax.tree.map(
        lambda x: x[0], fw.for_loop(fw.grad(f, v), (), length=1)
    ),
    "jacfwd of while": lambda f, v: fw.jacfwd(
        lambda: fw.while_loop(lambda i, _: (i + 1, f()), lambda i, _: i < 1, (0, 0.0))[1], v
    )(),
}
FORWARD = {"jacfwd", "jacfwd of while"}


def check_derivative(mode, program):
    """Derivatives by Variables, and the state that is left, are those of the pure program."""
    program = without({"raise"} if mode in FORWARD else {"raise"} | ENDLESS, program)
    machine = fresh()
    before = machine.state()

    def pure(by):
        after = Meaning().run(before | by, program)
        return after["a"] + 2 * after["b"] * after["c"], after

    expected, after = jax.jacfwd(pure, has_aux=True)({name: before[name] for name in NAMES})
    runner = Runner(machine)

    def loss(_=None):
        runner.run(program)
        return machine.a + 2 * machine.b * machine.c

    got = DERIVATIVES[mode](loss, {name: getattr(machine, name) for name in NAMES})
    assert_same(machine.state(), after)
    assert_same(got, expected, 2e-3)


@pytest.mark.parametrize("mode", MODES)
@checked
@given(program=programs)
def test_state_and_errors(mode, program):
    check_state(mode, program)


@checked
@given(program=programs)
def test_lanes(program):
    check_lanes(program)


@pytest.mark.parametrize("mode", DERIVATIVES)
@checked
@given(program=programs)
def test_derivatives(mode, program):
    check_derivative(mode, program)
