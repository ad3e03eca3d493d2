"""The example that `make demo` runs: killed between two epochs and resumed, at a small size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from framework import io

DIGITS = Path(__file__).parent.parent / "docs" / "examples" / "digits.py"

KILLED = """
import os, runpy, sys
from framework.nodes.state import StateMixin

save = StateMixin.save_states

def save_and_die(self, *args, **kwargs):
    save(self, *args, **kwargs)
    os._exit(9)

StateMixin.save_states = save_and_die
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def train(out: Path, *options: str, program: tuple[str, ...] = ()) -> int:
    sizes = ["--epochs", "2", "--width", "4", "--blocks", "1", "--quiet", "--out", str(out)]
    command = [sys.executable, *program, str(DIGITS), *sizes, *options]
    return subprocess.run(command, check=False, capture_output=True, timeout=120).returncode


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole) == 0
    assert train(parts, program=("-c", KILLED)) == 9
    half_way = io.load(parts / "checkpoint.msgpack", numpy=True)
    assert int(half_way["epoch"]) == 1
    assert train(parts, "--resume") == 0

    expected, got = (io.load(p / "checkpoint.msgpack", numpy=True) for p in (whole, parts))
    assert int(got["epoch"]) == 2
    assert set(got["net"]) == {"stem", "norm", "blocks", "w", "b"}

    def compare(a: object, b: object) -> int:
        if isinstance(a, dict):
            assert isinstance(b, dict)
            assert a.keys() == b.keys()
            return sum(compare(a[key], b[key]) for key in a)
        if isinstance(a, list):
            assert isinstance(b, list)
            return sum(compare(x, y) for x, y in zip(a, b, strict=True))
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        return 1

    assert compare(expected, got) > 40
    assert (parts / "curves.png").stat().st_size > 1000
