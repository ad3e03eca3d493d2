"""Between two calls the state is on loan: nobody may be able to tell."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework.nodes.loan import Loan
from framework.transforms.donation import gather_for_donation


class Pair(fw.BrainPyObject):
    def __init__(self) -> None:
        super().__init__()
        self.a = fw.Variable(jnp.arange(3.0))
        self.b = fw.Variable(jnp.zeros(()))
        self.more = [fw.Variable(jnp.zeros(3)), fw.Variable(jnp.zeros(3))]


def stepper(pair: Pair, pack_state: bool = False) -> Callable[[Any], Any]:
    @fw.jit(pack_state=pack_state)
    def step(x: Any) -> Any:
        pair.a.value = pair.a + x
        pair.b.value = pair.b + 1
        pair.more[0].value = pair.more[1] + x
        pair.more[1].value = pair.a.value
        return pair.a.sum()

    return step


@pytest.fixture(params=[False, True], ids=["plain", "packed"])
def pack_state(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def lent(pack_state: bool) -> tuple[Pair, Callable[[Any], Any]]:
    pair = Pair()
    step = stepper(pair, pack_state)
    for _ in range(3):
        step(jnp.float32(1))
    assert type(pair.a._held) is Loan
    assert type(pair.b._held) is Loan
    return pair, step


LOOKS: dict[str, Callable[[Pair], Any]] = {
    "value": lambda pair: pair.a.value,
    "numpy": lambda pair: np.asarray(pair.a),
    "arithmetic": lambda pair: pair.a + 0,
    "view": lambda pair: fw.VariableView(pair.a, slice(None)).value,
    "leaves": lambda pair: jax.tree.leaves(pair)[0],
    "Variable leaves": lambda pair: jax.tree.leaves(pair.a)[0],
    "clone": lambda pair: pair.clone().a.value,
    "deepcopy": lambda pair: copy.deepcopy(pair).a.value,
    "pickle": lambda pair: pickle.loads(pickle.dumps(pair)).a.value,
    "state_dict": lambda pair: pair.state_dict()[pair.name]["a"],
    "collector": lambda pair: pair.vars("relative").dict()["a"],
    "another jit": lambda pair: fw.jit(lambda: pair.a.value)(),
    "grad": lambda pair: fw.grad(lambda: (pair.a**2).sum() / 2, pair.a)(),
    "plain jit by value": jax.jit(lambda p: p.a.value),
    "device": lambda pair: pair.to("cpu").a.value,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_every_look_sees_the_state(look: Callable[[Pair], Any], lent: Any) -> None:
    pair, step = lent
    seen = look(pair)
    np.testing.assert_array_equal(seen, [3, 4, 5])
    step(jnp.float32(1))
    np.testing.assert_array_equal(seen, [3, 4, 5], "what was seen must not change")
    np.testing.assert_array_equal(look(pair), [4, 5, 6])
    assert pair.b.value == 4


def test_the_description_reads_no_contents_and_is_right(lent: Any) -> None:
    pair, step = lent
    assert "f32[3]" in repr(pair)
    step(jnp.float32(1))
    np.testing.assert_array_equal(pair.a.value, [4, 5, 6])


def test_a_write_between_calls_counts(lent: Any) -> None:
    pair, step = lent
    pair.a = jnp.zeros(3)
    step(jnp.float32(1))
    np.testing.assert_array_equal(pair.a.value, [1, 1, 1])
    assert pair.b.value == 4


def test_a_look_has_one_array_put_back(lent: Any, pack_state: bool) -> None:
    pair, step = lent
    assert pair.b.value == 3
    assert type(pair.b._held) is not Loan
    assert (type(pair.a._held) is Loan) is not pack_state, "what is packed comes as a whole"
    step(jnp.float32(1))
    assert type(pair.a._held) is type(pair.b._held) is Loan
    np.testing.assert_array_equal(pair.a.value, [4, 5, 6])
    assert pair.b.value == 4


def test_many_looks_have_all_put_back(pack_state: bool) -> None:
    many = [fw.Variable(jnp.full(3, float(i))) for i in range(20)]

    @fw.jit(pack_state=pack_state)
    def step() -> None:
        for variable in many:
            variable.value = variable + 1

    for repetition in range(3):
        step()
        step()
        loan = many[-1]._held
        assert type(loan) is Loan
        for i, variable in enumerate(many):
            np.testing.assert_array_equal(variable.value, i + 2 * (repetition + 1))
            if i == 10:
                assert type(many[-1]._held) is not Loan, "by now, all are wanted"
        assert loan.state is None


def test_what_was_put_back_may_be_held_written_or_both(pack_state: bool) -> None:
    pair = Pair()
    step = stepper(pair, pack_state)
    held = []
    for i in range(4):
        step(jnp.float32(1))
        held.append(pair.a.value)
        if i % 2:
            pair.b = 10.0 * i
            pair.more[0] = pair.a
    for i, array in enumerate(held):
        np.testing.assert_array_equal(array, np.arange(3.0) + i + 1)
    assert pair.b.value == 30
    np.testing.assert_array_equal(pair.more[0].value, held[-1])
    step(jnp.float32(1))
    assert pair.b.value == 31
    np.testing.assert_array_equal(pair.more[0].value, np.arange(3.0) + 5)


def test_a_state_that_was_taken_stays_whole() -> None:
    variables = [fw.Variable(jnp.full(2, float(i))) for i in range(3)]
    loan = Loan([weakref.ref(v) for v in variables], [v.value for v in variables])
    loan.lend()
    variables[0].value = jnp.full(2, 7.0)
    assert variables[1].value[0] == 1
    taken = loan.state_to_take(gather_for_donation)
    assert taken is not None
    assert all(type(v._held) is Loan for v in variables)
    # Somebody looks and somebody writes while the call is under way.
    assert variables[2].value[0] == 2
    variables[0].value = jnp.zeros(2)
    assert [float(x[0]) for x in taken] == [7, 1, 2]
    assert not loan.renew(taken, taken), "the cells that were looked at hold the loan no more"


def test_other_threads_may_look_while_it_runs(pack_state: bool) -> None:
    """What they see is a state of some step, or gone; the steps go on undisturbed."""
    pair = Pair()
    step = stepper(pair, pack_state)
    stop = threading.Event()
    seen: list[float] = []

    def look() -> None:
        while not stop.is_set():
            with contextlib.suppress(RuntimeError, ValueError):  # Deleted meanwhile.
                seen.append(float(pair.b.value))
            time.sleep(0.0003)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(500):
            step(jnp.float32(1))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert pair.b.value == 500
    np.testing.assert_array_equal(pair.a.value, np.arange(3.0) + 500)
    assert len(seen) > 3
    assert set(seen) <= set(map(float, range(501)))


def test_a_variable_that_was_looked_at_dies(pack_state: bool) -> None:
    pair = Pair()
    step = stepper(pair, pack_state)
    step(jnp.float32(1))
    assert pair.b.value == 1
    old = weakref.ref(pair.b)
    pair.b = fw.Variable(jnp.full((), 5.0))
    del pair.__dict__["b"]
    pair.b = fw.Variable(jnp.full((), 5.0))
    gc.collect()
    step(jnp.float32(1))
    assert old() is None
    assert pair.b.value == 6
    np.testing.assert_array_equal(pair.a.value, [2, 3, 4])


def test_two_functions_take_turns(lent: Any, pack_state: bool) -> None:
    pair, step = lent
    other = stepper(pair, pack_state)
    for turn in range(3):
        other(jnp.float32(10))
        step(jnp.float32(1))
        np.testing.assert_array_equal(pair.a.value[0], 3 + 11 * (turn + 1))
    other(jnp.float32(10))
    step(jnp.float32(1))
    other(jnp.float32(10))
    np.testing.assert_array_equal(pair.a.value[0], 3 + 33 + 21)


def test_an_exception_leaves_the_state(lent: Any, pack_state: bool) -> None:
    pair, _ = lent
    fail = False

    @fw.jit(pack_state=pack_state)
    def step(x: Any) -> Any:
        pair.a.value = pair.a + x
        if fail:
            raise ValueError("no")

    step(jnp.float32(1))
    step(jnp.float32(1))
    fail = True
    with pytest.raises(ValueError, match="no"):
        step(jnp.ones(3))  # Another shape: traced again.
    np.testing.assert_array_equal(pair.a.value, [5, 6, 7])


def test_a_dropped_object_dies_with_its_arrays(pack_state: bool) -> None:
    pair = Pair()

    @fw.jit(pack_state=pack_state)
    def step(p: Pair) -> None:
        p.a.value = p.a + 1
        p.more[0].value = p.more[0] + 1

    step(pair)
    step(pair)
    variable = weakref.ref(pair.a)
    array = weakref.ref(pair.a.value)
    step(pair)
    held = pair.a._held
    assert type(held) is Loan
    assert held.state is not None
    array = weakref.ref(next(x for x in held.state if x is not None))
    del pair, held
    gc.collect()
    assert variable() is None
    assert array() is None


def test_a_key_is_not_lent_but_all_else_is(pack_state: bool) -> None:
    pair, random = Pair(), fw.random.RandomState(0)

    @fw.jit(pack_state=pack_state)
    def step() -> Any:
        pair.a.value = pair.a + 1
        return random.uniform()

    drawn = [step() for _ in range(3)]
    assert type(pair.a._held) is Loan
    assert type(random.key._held) is not Loan
    np.testing.assert_array_equal(pair.a.value, [3, 4, 5])
    again = fw.random.RandomState(0)
    np.testing.assert_allclose(drawn, [again.uniform() for _ in range(3)])


def test_a_dropped_function_leaves_the_state(lent: Any, pack_state: bool) -> None:
    pair, _ = lent
    step = stepper(pair, pack_state)
    step(jnp.float32(1))
    step(jnp.float32(1))
    del step
    gc.collect()
    np.testing.assert_array_equal(pair.a.value, [5, 6, 7])
