"""Progress bars advance while the compiled loop runs."""

# ruff: noqa: E731

import os
import subprocess
import sys
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
    monkeypatch.setattr(progress, "INTERVAL", 0)  # However quick, none is left out.
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


@pytest.mark.jax_leaks("jax.grad of a jax.lax.scan with a jax.debug.callback")
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


@pytest.mark.parametrize("jit", [True, False])
def test_updates_too_fast_for_the_eye_are_left_out(updates, monkeypatch, jit):
    monkeypatch.setattr(progress, "INTERVAL", 60)
    run = lambda: fw.for_loop(lambda x: x, jnp.arange(1000.0), progress_bar=True)
    (fw.jit(run) if jit else run)()
    settle()
    assert updates[0].steps[-1] == 1000
    assert len(updates[0].steps) < 12


class Net(fw.BrainPyObject):
    def __init__(self):
        super().__init__()
        self.v = fw.Variable(jnp.linspace(0.0, 1.0, 50))

    def step(self, x):
        fired = self.v > 0.9
        self.v.value = jnp.where(fired, 0.0, self.v + 0.1 * (x - self.v) + 0.01 * fired.sum())
        return {"v": self.v, "fired": fired, "noise": fw.random.normal()}


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_results_are_those_without_a_bar_bit_by_bit(updates, inside, reverse):
    xs = np.random.default_rng(0).normal(size=1003).astype(np.float32)
    found = []
    for bar in (False, True):
        fw.random.seed(0)
        net = Net()
        run = lambda net=net, bar=bar: fw.for_loop(net.step, xs, reverse, progress_bar=bar)
        run = fw.jit(run) if inside else run
        found.append((run(), run(), net.v.value, fw.random.normal()))
    assert updates
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_the_second_loop_traces_nothing(updates):
    traces = []

    def body(total, x):
        traces.append(1)
        return total + x, x

    for _ in range(2):
        # The weak type of the first total gives way to that of the others.
        assert fw.scan(body, 0.0, jnp.arange(90.0), progress_bar=7)[0] == 89 * 45
        assert len(traces) == 3


@pytest.mark.parametrize("fails_at", [0, 250, 1003])
def test_an_error_leaves_the_state_as_it_was(updates, monkeypatch, fails_at):
    net = Net()
    before = net.v.value
    kept = np.asarray(before)
    update = progress.Display.update

    def interrupted(self, done):
        if done >= fails_at:
            raise KeyboardInterrupt
        return update(self, done)

    with monkeypatch.context() as patch:
        patch.setattr(progress.Display, "update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fw.for_loop(net.step, jnp.arange(1003.0), progress_bar=100)
    np.testing.assert_array_equal(net.v, kept)
    np.testing.assert_array_equal(before, kept)
    assert all(bar.closed for bar in updates)
    out = fw.for_loop(net.step, jnp.arange(1003.0), progress_bar=100)
    assert out["v"].shape == (1003, 50)


def test_an_error_in_a_callback_of_the_body_leaves_the_state_as_it_was(updates):
    n = fw.Variable(jnp.int32(0))

    def refuse(x):
        if x == 30:
            raise RuntimeError("enough")

    def body(x):
        n.value += 1
        jax.debug.callback(refuse, x)

    with pytest.raises(Exception, match="enough"):
        fw.for_loop(body, jnp.arange(100), progress_bar=5)
    assert n == 0


def test_what_a_scan_carries(updates):
    def body(carry, x):
        key, total, count = carry
        key, use = jax.random.split(key)
        return (key, total + x, count + 1), (use, None, 2.0)

    init = (jax.random.key(0), jnp.zeros(2), np.int8(0))
    run = lambda bar: fw.scan(body, init, np.ones((50, 2)), progress_bar=bar)
    data = lambda out: (jax.random.key_data(out[0][0]), jax.random.key_data(out[1][0]))
    shown, plain = run(7), run(False)
    jax.tree.map(np.testing.assert_array_equal, data(shown), data(plain))
    jax.tree.map(np.testing.assert_array_equal, shown[0][1:], plain[0][1:])
    np.testing.assert_array_equal(shown[1][2], plain[1][2])
    assert jax.tree.map(lambda x: x.dtype, shown) == jax.tree.map(lambda x: x.dtype, plain)


@pytest.mark.parametrize("options", [{"unroll": 3}, {"remat": True}, {"length": 12}])
def test_options(updates, options):
    xs = None if "length" in options else jnp.arange(12.0)
    run = lambda bar: fw.scan(
        lambda c, x: (c + 1, c if x is None else x), 0, xs, progress_bar=bar, **options
    )
    jax.tree.map(np.testing.assert_array_equal, run(5), run(False))
    assert updates[0].steps[-1] == 12


def test_wrong_lengths(updates):
    with pytest.raises(ValueError, match="one leading length"):
        fw.for_loop(lambda *x: x, (jnp.ones(2), jnp.ones(3)), progress_bar=True)


def test_no_steps(updates):
    out = fw.for_loop(lambda x: x, jnp.ones((0, 2)), progress_bar=True)
    assert out.shape == (0, 2)


def test_several_devices():
    """What is spread over devices can't call the host as cheaply, but shows progress."""
    code = """
import jax, jax.numpy as jnp, framework as fw
mesh = jax.sharding.Mesh(jax.devices(), "i")
x = jax.device_put(jnp.ones(4), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("i")))
total = fw.Variable(x)
def body(y):
    total.value += y * x
    return total.sum()
for wrap in (lambda f: f, fw.jit):
    out = wrap(lambda: fw.for_loop(body, jnp.arange(10.0), progress_bar=3))()
assert out[-1] == 4 * 91, out
"""
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env=os.environ | environment,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "10/10" in run.stderr


def test_lanes(updates):
    run = lambda x: fw.for_loop(lambda y: x * y, jnp.arange(7.0), progress_bar=3)
    out = fw.vmap(run)(jnp.arange(2.0))
    np.testing.assert_array_equal(out, np.outer([0, 1], np.arange(7.0)))
    settle()
    assert updates[0].steps == [0, 3, 6, 7]


@pytest.mark.parametrize("value", ["yes", 1.5, [1]])
def test_wrong_type(value):
    with pytest.raises(TypeError, match="progress_bar must be bool, int, or ProgressBar"):
        fw.for_loop(lambda x: x, jnp.ones(2), progress_bar=value)


@pytest.mark.parametrize("options", [{"freq": 0}, {"count": -1}, {"freq": 1, "count": 1}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match=r"freq|count"):
        fw.ProgressBar(**options)


def test_plain_text(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_bar_class", lambda: progress._PlainBar)
    monkeypatch.setattr(progress, "INTERVAL", 0)
    bar = fw.ProgressBar(freq=2, desc="go")
    fw.scan(lambda c, x: (jnp.sin(c + x), c), 0.5, jnp.ones(4), progress_bar=bar)
    settle()
    text = capsys.readouterr().err
    assert "go:  50% 2/4" in text
    assert text.endswith("go: 100% 4/4\n")
