"""Progress bars advance while the compiled loop runs."""

# ruff: noqa: E731

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework.transforms import progress


@pytest.fixture
def updates(monkeypatch):
    """All bars made, each with the steps and times of its updates."""
    bars = []

    class Bar:
        def __init__(self, total, desc):
            self.total, self.desc, self.n, self.closed = total, desc, 0, False
            self.steps, self.times = [], []
            bars.append(self)

        def update(self, steps):
            self.n += steps
            self.steps.append(self.n)
            self.times.append(time.perf_counter())

        def close(self):
            self.closed = True

    monkeypatch.setattr(progress, "_new_bar", Bar)
    return bars


def settle():
    jax.effects_barrier()


@pytest.mark.parametrize("jit", [None, False])
@pytest.mark.parametrize(
    ("bar", "steps"),
    [
        (25, [0, 25, 50, 75, 100]),
        (fw.ProgressBar(freq=50), [0, 50, 100]),
        (fw.ProgressBar(count=2, desc="x"), [0, 50, 100]),
        (True, [*range(100), 100]),
        (fw.ProgressBar(freq=30), [0, 30, 60, 90, 100]),
    ],
)
def test_updates(updates, bar, steps, jit):
    for _ in range(2):
        out = fw.for_loop(lambda x: x * 2, jnp.arange(100.0), progress_bar=bar, jit=jit)
        settle()
        np.testing.assert_array_equal(out, np.arange(100) * 2)
    assert [b.steps for b in updates] == [steps, steps]
    assert all(b.closed and b.total == 100 for b in updates)


def test_scan_in_jit_and_reverse(updates):
    run = fw.jit(
        lambda: fw.scan(lambda c, x: (c + x, x), 0.0, jnp.arange(10.0), True, progress_bar=5)
    )
    assert run()[0] == 45
    settle()
    assert updates[0].steps == [0, 5, 10]


def test_state_and_gradients(updates):
    w, n = fw.Variable(2.0), fw.Variable(jnp.int32(0))

    def body(x):
        n.value += 1
        return w * x

    f = lambda: fw.for_loop(body, jnp.arange(4.0), progress_bar=2).sum()
    assert fw.jit(fw.grad(f, w))() == 6
    settle()
    assert n.value == 4
    assert updates[0].steps[-1] == 4


def test_advances_while_the_loop_runs(updates):
    heavy = jnp.ones((300, 300))
    run = lambda: fw.for_loop(
        lambda x: (heavy @ heavy * x).sum(), jnp.arange(100.0), progress_bar=10
    )
    run()
    settle()
    run()
    settle()
    times = updates[-1].times
    start, end = times[0], times[-1]
    middle = [t for t in times if start + (end - start) * 0.2 < t < end - (end - start) * 0.2]
    assert len(middle) >= 3


@pytest.mark.parametrize("value", ["yes", 1.5, [1]])
def test_wrong_type(value):
    with pytest.raises(TypeError, match="progress_bar must be bool, int, or ProgressBar"):
        fw.for_loop(lambda x: x, jnp.ones(2), progress_bar=value)


@pytest.mark.parametrize("options", [{"freq": 0}, {"count": -1}, {"freq": 1, "count": 1}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match=r"freq|count"):
        fw.ProgressBar(**options)


def test_plain_text(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "tqdm.auto", None)
    bar = fw.ProgressBar(freq=2, desc="go")
    fw.scan(lambda c, x: (jnp.sin(c + x), c), 0.5, jnp.ones(4), progress_bar=bar)
    settle()
    text = capsys.readouterr().err
    assert "go:  50% 2/4" in text
    assert text.endswith("go: 100% 4/4\n")
