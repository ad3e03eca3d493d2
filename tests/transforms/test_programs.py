"""Random programs give the same values, state and errors under every transform."""

# ruff: noqa: PLW0108

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import framework as fw
from tests.transforms.programs import Machine, ProgramError, programs, pure, run

_PROFILE = settings().max_examples
EXAMPLES = _PROFILE if _PROFILE >= 1000 else _PROFILE // 10

# Each takes what runs the program, and how often that is.
MODES = {
    "eager": (lambda go: go(), 1),
    "jit": (lambda go: fw.jit(go)(), 1),
    "jit, called twice": (lambda go: [f() for f in [fw.jit(go)] * 2], 2),
    "disabled": (lambda go: _disabled(go), 1),
    "for_loop": (lambda go: fw.for_loop(go, (), length=2), 2),
    "for_loop in Python": (lambda go: fw.for_loop(go, (), length=2, jit=False), 2),
    "for_loop in jit": (fw.jit(lambda go: fw.for_loop(go, (), length=2), static_argnums=0), 2),
    "scan": (lambda go: fw.scan(lambda c, _: (c, go()), 0, None, length=2), 2),
    "while": (lambda go: fw.while_loop(lambda i: go() or i + 1, lambda i: i < 2, 0), 2),
    "cond": (lambda go: fw.jit(lambda p: fw.cond(p, go, lambda: None))(True), 1),
    "vmap": (lambda go: fw.vmap(lambda x: go() or x)(jnp.ones(2)), 1),
    "remat": (lambda go: fw.checkpoint(go)(), 1),
    "grad": (lambda go: fw.grad(lambda x: go() or x)(1.0), 1),
}


def _disabled(go):
    with jax.disable_jit():
        return go()


@pytest.mark.parametrize("mode", MODES)
@settings(
    # Each program is compiled several times; only the thorough profile is for hours.
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(program=programs)
def test_same_as_the_pure_program(mode, program):
    transform, times = MODES[mode]
    if mode == "grad" and any(step.kind == "while" for step in program):
        program = tuple(step for step in program if step.kind != "while")
    machine = Machine()
    before = expected = machine.state()
    try:
        for _ in range(times):
            expected = pure(expected, program)
    except ProgramError:
        expected = None
    if expected is None:
        with pytest.raises(ProgramError):
            # A program outside of all transforms is as far as it came.
            transform(lambda: run(machine, program))
        if mode not in ("eager", "disabled"):
            assert_same(machine.state(), before)
        return
    transform(lambda: run(machine, program))
    assert_same(machine.state(), expected)


def assert_same(got, expected):
    assert got["n"] == expected["n"]
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=2e-4, atol=2e-5, err_msg=name)
