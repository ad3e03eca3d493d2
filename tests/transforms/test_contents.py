"""Plain containers that a compiled function finds by name, and that are changed in place."""

# ruff: noqa: E731

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from tests.transforms.models import Dense

layers = []
config = {"n": 2}


class TestContainersByName:
    """Plain lists, dicts and sets that a function names, changed in place."""

    def test_list_of_objects(self):
        held = [Dense(2, 2)]

        @fw.jit
        def run(x):
            for layer in held:
                x = layer(x)
            return x

        x = jnp.ones(2)
        for change in (
            lambda: held.append(Dense(2, 2, jax.random.key(5))),
            held.reverse,
            lambda: held.__setitem__(0, Dense(2, 2, jax.random.key(6))),
            held.pop,
            held.clear,
        ):
            change()
            expected = x
            for layer in held:
                expected = layer(expected)
            np.testing.assert_allclose(run(x), expected, rtol=1e-6)
            assert "`held`" in run.explain() or run.traces == 1
        traces = run.traces
        run(x), run(x)
        assert run.traces == traces == 5

    def test_globals(self):
        layers.clear()

        @fw.jit
        def run(x):
            return x * len(layers) * config["n"]

        config["n"] = 2
        assert run(1.0) == 0
        layers.append(Dense(1, 1))
        assert run(1.0) == 2
        config["n"] = 3
        assert run(1.0) == 3
        assert run.explain().endswith("`config`, a dict, was changed in place.")
        config["n"] = 2
        assert run(1.0) == 2
        assert run.traces == 3, "the trace from before is kept"

    @pytest.mark.parametrize("by", ["default", "keyword default", "partial", "partial keyword"])
    def test_given_with_the_definition(self, by):
        held = [1.0]
        functions = {
            "default": lambda x, held=held: x * len(held),
            "keyword default": lambda x, *, held=held: x * len(held),
            "partial": functools.partial(lambda held, x: x * len(held), held),
            "partial keyword": functools.partial(lambda x, held: x * len(held), held=held),
        }
        run = fw.jit(functions[by])
        assert run(1.0) == 1
        held.append(2.0)
        assert run(1.0) == 2
        assert run.explain().endswith(", a list, was changed in place.")
        run(2.0)
        assert run.traces == 2

    @pytest.mark.parametrize(
        ("held", "change", "before", "after"),
        [
            ({1, 2}, lambda s: s.add(3), 2, 3),
            ({"a": [1.0]}, lambda d: d["a"].append(2.0), 1, 2),
            ({"a": {"b": (1, [2])}}, lambda d: d["a"]["b"][1].append(3), 2, 3),
            (([1], [2]), lambda t: t[1].append(3), 2, 3),
            ([1], lambda x: x.__setitem__(0, 1.0), 1, 1),
            ({"a": 1}, lambda d: d.update(a=True), 1, 1),
            (list(range(5_000)), lambda x: x.append(0), 5_000, 5_001),
        ],
    )
    def test_what_counts_as_changed(self, held, change, before, after):
        count = lambda x: sum(map(count, x.values() if isinstance(x, dict) else x)) if isinstance(
            x, (list, dict, set, tuple)
        ) else 1  # fmt: skip
        run = fw.jit(lambda x: x + count(held))
        assert run(0) == run(0) == before
        assert run.traces == 1
        change(held)
        assert run(0) == run(0) == after
        assert run.traces == 2

    def test_equal_values_and_containers_are_no_change(self):
        held = {"rate": 0.5, "sizes": [1000, 2000]}
        run = fw.jit(lambda x: x * held["rate"] * len(held["sizes"]))
        assert run(1.0) == 1
        held["rate"] = float("0.5")
        held["sizes"] = [int("1000"), int("2000")]
        assert run(1.0) == 1
        assert run.traces == 1

    def test_what_traces_change_themselves(self):
        seen = []
        first, second = (fw.jit(lambda x: seen.append(x.shape) or x) for _ in range(2))
        for n in (1, 2, 3) * 2:
            first(jnp.ones(n)), second(jnp.ones(n))
        assert first.traces == second.traces == 3
        assert len(seen) == 6

    def test_records_of_a_plain_object(self):
        class Trainer:
            def __init__(self):
                self.layers = [Dense(2, 2)]
                self.history = []

            def step(self, x):
                return sum(layer(x) for layer in self.layers)

        trainer = Trainer()
        step = fw.jit(trainer.step)
        for _ in range(3):
            trainer.history.append(step(jnp.ones(2)))
        assert step.traces == 1
        trainer.layers.append(trainer.layers[0])
        np.testing.assert_allclose(step(jnp.ones(2)), 2 * trainer.history[0], rtol=1e-6)

    def test_a_list_in_itself(self):
        held = [1]
        held.append(held)
        run = fw.jit(lambda x: x + len(held))
        assert run(0) == 2
        held.append(3)
        assert run(0) == 3

    def test_loops(self):
        held = [1.0]
        body = lambda x: x * sum(held)
        assert fw.for_loop(body, jnp.ones(2)).sum() == 2
        held.append(1.0)
        assert fw.for_loop(body, jnp.ones(2)).sum() == 4
