"""Between two calls the state is on loan: nobody may be able to tell."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework.nodes.loan import Loan


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


def test_one_look_calls_all_back_and_the_next_call_lends_again(lent: Any) -> None:
    pair, step = lent
    assert pair.b.value == 3
    assert type(pair.a._held) is not Loan
    step(jnp.float32(1))
    assert type(pair.a._held) is Loan
    np.testing.assert_array_equal(pair.a.value, [4, 5, 6])


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
    array = weakref.ref(held.state[0])
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
