"""Checkpoint folders: retention, damage, and saving in the background."""

import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework.io.manager as manager_module
from framework.errors import CheckpointError
from framework.io.background import BackgroundWriter
from framework.io.manager import CheckpointManager
from framework.io.states import load
from tests.io.comparison import assert_same
from tests.io.models import Net, Trainer
from tests.io.test_states import values

BOTH = pytest.mark.parametrize("background", [False, True])


def damage(checkpoint):
    data = bytearray(checkpoint.path.read_bytes())
    data[-1] ^= 1
    checkpoint.path.write_bytes(data)


@BOTH
def test_the_latest_stay(tmp_path, background):
    manager = CheckpointManager(tmp_path, keep=2, every=5, background=background)
    due = [step for step in range(23) if manager.save(step, {"step": step})]
    assert due == [0, 5, 10, 15, 20]
    assert manager.steps() == [15, 20]
    assert manager.save(22, {"step": 22}, force=True)
    assert manager.latest().step == 22
    assert manager.load(20) == {"step": 20}


@BOTH
@pytest.mark.parametrize(("mode", "best"), [("min", [4, 2]), ("max", [1, 5])])
def test_the_best_stay_too(tmp_path, background, mode, best):
    losses = [np.nan, 5.0, 2.0, 3.0, 1.0, 4.0, np.nan]
    manager = CheckpointManager(
        tmp_path, keep=1, keep_best=2, metric="val", mode=mode, background=background
    )
    for step, loss in enumerate(losses):
        manager.save(step, {}, metrics={"val": jnp.asarray(loss)})
    assert manager.steps() == sorted([*best, 6])
    assert manager.best().step == best[0]
    assert manager.best().metrics() == {"val": losses[best[0]]}
    again = CheckpointManager(tmp_path, keep=1, keep_best=2, metric="val", mode=mode)
    again.save(7, {}, metrics={"val": 3.5})
    assert again.steps() == sorted([*best, 7])


def test_all_stay_if_keep_is_none(tmp_path):
    manager = CheckpointManager(tmp_path, keep=None)
    for step in range(5):
        manager.save(step, step)
    assert manager.steps() == [0, 1, 2, 3, 4]


def test_what_was_just_written_stays_even_below_later_steps(tmp_path):
    manager = CheckpointManager(tmp_path, keep=1)
    manager.save(100, "old run")
    manager.save(3, "new run")
    assert manager.steps() == [3, 100]


def test_damaged_files_are_skipped(tmp_path):
    manager = CheckpointManager(tmp_path)
    assert manager.latest() is manager.latest_valid() is manager.best() is None
    assert manager.restore(Net()) is None
    with pytest.raises(CheckpointError, match="no valid checkpoint"):
        manager.load()
    for step in range(3):
        manager.save(step, Net(step))
    damage(manager.latest())
    manager.path(1).write_bytes(b"")
    assert manager.latest().step == 2
    assert manager.latest_valid().step == 0
    net = Net(7)
    assert manager.restore(net).fits
    assert_same(values(net), values(Net(0)))
    with pytest.raises(CheckpointError, match="damaged"):
        manager.restore(net, step=2)


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    leftover = tmp_path / ".step_000000004.msgpack.0123456789abcdef.tmp"
    leftover.touch()
    (tmp_path / "notes.txt").touch()
    CheckpointManager(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.fixture
def slow(monkeypatch):
    """Writing waits until the event is set."""
    event, write = threading.Event(), manager_module.write_file

    def wait_and_write(*args):
        assert event.wait(20)
        write(*args)

    monkeypatch.setattr(manager_module, "write_file", wait_and_write)
    return event


def test_later_changes_do_not_leak_in(tmp_path, slow):
    trainer, array = Trainer(1), np.arange(5)
    donated = jnp.arange(100_000.0)
    tree = {"t": trainer, "a": array, "d": donated, "x": [1]}
    expected = values(Trainer(1))
    manager = CheckpointManager(tmp_path)
    manager.save(0, tree)
    array[:] = 7
    tree["x"].append(2)
    trainer.net.key.value = jax.random.key(9)
    trainer.opt.step.value = jnp.asarray(99)
    for _ in range(3):
        donated = jax.jit(lambda x: x + 1, donate_argnums=0)(donated)
    slow.set()
    loaded = manager.load(0)
    assert_same(loaded["a"], np.arange(5))
    assert_same(loaded["d"], jnp.arange(100_000.0))
    assert loaded["x"] == [1]
    assert_same(loaded["t"]["net"]["key"], expected["net.key"])
    assert_same(loaded["t"]["opt"]["step"], expected["opt.step"])


def test_there_are_never_two_writers(tmp_path, monkeypatch):
    running, most = [], []
    write = manager_module.write_file

    def counted(*args):
        running.append(1)
        most.append(len(running))
        write(*args)
        running.pop()

    monkeypatch.setattr(manager_module, "write_file", counted)
    manager = CheckpointManager(tmp_path, keep=None)
    for step in range(20):
        manager.save(step, np.zeros(10_000))
    manager.wait()
    assert most == [1] * 20


def test_errors_are_raised_by_the_next_call(tmp_path):
    folder = tmp_path / "run"
    manager = CheckpointManager(folder)
    for call in (manager.wait, manager.steps, lambda: manager.save(2, 2), manager.latest):
        folder.rename(tmp_path / "gone")
        manager.save(1, 1)
        while manager._writer.busy():
            pass
        (tmp_path / "gone").rename(folder)
        with pytest.raises(CheckpointError, match="No such file"):
            call()
    assert manager.steps() == []
    with pytest.raises(CheckpointError, match=r"'\[0\]'"):
        manager.save(3, [object()])


def test_the_block_waits_and_raises(tmp_path):
    folder = tmp_path / "run"
    with CheckpointManager(folder) as manager:
        manager.save(1, 1)
    assert load(manager.path(1)) == 1

    def lost():
        with manager:
            folder.rename(tmp_path / "gone")
            manager.save(2, 2)

    with pytest.raises(CheckpointError):
        lost()


SCRIPT = """
import sys, time, numpy as np
import framework.io.manager as m
write = m.write_file
def late(path, *args):
    time.sleep(0.5)
    write({path}, *args)
m.write_file = late
m.CheckpointManager(sys.argv[1]).save(1, np.arange(3))
"""


def test_the_interpreter_waits_at_exit(tmp_path):
    run = [sys.executable, "-c", SCRIPT.format(path="path"), str(tmp_path)]
    subprocess.run(run, check=True)
    assert load(tmp_path / "step_000000001.msgpack").tolist() == [0, 1, 2]


def test_an_error_at_exit_is_reported(tmp_path):
    run = [sys.executable, "-c", SCRIPT.format(path="'/nowhere/a'"), str(tmp_path)]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    assert "CheckpointError: could not write '/nowhere/a'" in done.stderr


@pytest.mark.parametrize("options", [{"keep": 0}, {"keep_best": -1}, {"every": 0}, {"mode": "up"}])
def test_wrong_options_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        CheckpointManager(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="-1"):
        CheckpointManager(tmp_path).save(-1, 0)


def test_a_background_writer_forgets_an_error_once_raised():
    writer = BackgroundWriter()
    writer.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.wait()
    writer.wait()
