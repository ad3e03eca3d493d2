"""Interrupting and resuming leaves no trace, and a trace is found."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import framework as fw
from framework.errors import CheckpointError
from framework.io.resume import check_resume
from tests.io.models import Dense, Momentum


class Run(fw.BrainPyObject):
    def __init__(self):
        super().__init__()
        self.net = Dense(3, 2)
        self.opt = Momentum(self.net.train_vars())
        self.key = fw.Variable(jax.random.key(0))


def make():
    return Run()


def step(run, _):
    run.key.value, now = jax.random.split(run.key.value)
    noise = jax.random.normal(now)
    for slot in run.opt.implicit_vars.values():
        param, _ = slot._companion
        slot.value = 0.9 * slot + jnp.cos(param.value) + noise
        param.value = param - 0.1 * slot


hidden = {"count": 0}


def forgetful_step(run, i):
    """Depends on what is in no file."""
    hidden["count"] += 1
    step(run, i)
    run.net.b.value = run.net.b + hidden["count"] * 1e-3


def step_of_this_process(run, i):
    if not hidden["count"]:
        raise RuntimeError("the process is a fresh one")
    step(run, i)


def test_a_run_whose_state_is_complete_resumes_bit_for_bit():
    assert check_resume(make, step, n=3, k=2) is None


def test_what_is_not_in_the_file_is_found():
    hidden["count"] = 0
    found = check_resume(make, forgetful_step, n=3, k=2)
    assert found.path == "net.b"
    assert found.kind == "value"
    assert found.largest > 0


def test_a_failing_process_and_local_functions_are_named():
    with pytest.raises(CheckpointError, match="top level of a module"):
        check_resume(make, lambda *_: None, 1, 1)

    def only_here(run, i):
        raise AssertionError

    with pytest.raises(CheckpointError, match="only_here"):
        check_resume(make, only_here, 1, 1)

    hidden["count"] = 1
    with pytest.raises(CheckpointError, match=r"(?s)process failed.*process is a fresh one"):
        check_resume(make, step_of_this_process, 1, 1)


SCRIPT = """
import framework as fw
from framework.io import check_resume

def make():
    node = fw.BrainPyObject()
    node.x = fw.Variable(1)
    return node

def step(node, i):
    node.x += i

if __name__ == "__main__":
    print(check_resume(make, step, 2, 2))
"""


def test_functions_of_a_script_are_found(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    run, environment = [sys.executable, str(script)], os.environ | {"PYTHONPATH": path}
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "None\n"
