"""Checking that a training run can be interrupted and resumed without a trace."""

from __future__ import annotations

import importlib
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framework.errors import CheckpointError
from framework.io.comparing import Difference, compare
from framework.io.names import import_name
from framework.io.states import load_states, save

__all__ = ["check_resume"]

_CHILD = """
import sys
from framework.io.resume import run_child
run_child(*sys.argv[1:])
"""


def check_resume(
    make: Callable[[], Any], step: Callable[[Any, int], Any], n: int, k: int
) -> Difference | None:
    """Compares n + k steps with n steps, save, a fresh process, load, k steps.

    Args:
        make: Makes the state: an object, or containers of objects. It must be a function of a
            module or script, since the fresh process has to find it.
        step: Takes the state and the number of the step, and changes the state.
        n: Steps before the interruption.
        k: Steps after it.

    Returns:
        The first leaf that differs in a single bit, None if none does.

    Raises:
        CheckpointError: A function cannot be found by name, or the fresh process failed.

    Example:
        >>> check_resume(make_trainer, train_step, n=3, k=2)  # doctest: +SKIP
    """
    for function in (make, step):
        if import_name(function) is None:
            raise CheckpointError(
                f"{function!r} cannot be found by a fresh process; make it a function at the top "
                "level of a module or script"
            )
    with tempfile.TemporaryDirectory() as folder:
        interrupted, resumed, whole = (
            Path(folder) / f"{name}.msgpack" for name in ("interrupted", "resumed", "whole")
        )
        state = make()
        for i in range(n):
            step(state, i)
        save(interrupted, state)
        for i in range(n, n + k):
            step(state, i)
        save(whole, state)
        words = [*_address(make), *_address(step), str(n), str(k), str(interrupted), str(resumed)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", _CHILD, *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CheckpointError(f"the fresh process failed:\n{done.stderr[-4000:]}")
        return next(compare(whole, resumed), None)


def run_child(
    make_module: str,
    make_name: str,
    step_module: str,
    step_name: str,
    n: str,
    k: str,
    source: str,
    target: str,
) -> None:
    """What the fresh process does: load, k steps, save.

    Args:
        make_module: Where `make` is: the name of a module, or the path of a script.
        make_name: Its qualified name.
        step_module: Where `step` is.
        step_name: Its qualified name.
        n: Steps before the interruption.
        k: Steps after it.
        source: The file to load.
        target: The file to save.
    """
    namespaces = {place: _namespace(place) for place in {make_module, step_module}}
    make = _attribute(namespaces[make_module], make_name)
    step = _attribute(namespaces[step_module], step_name)
    state = make()
    load_states(source, state)
    for i in range(int(n), int(n) + int(k)):
        step(state, i)
    save(target, state)


def _address(function: Any) -> tuple[str, str]:
    module = function.__module__
    if module == "__main__":
        script = getattr(sys.modules["__main__"], "__file__", None)
        if script is None:
            raise CheckpointError(
                f"{function!r} was typed into an interpreter; put it into a file, so that a fresh "
                "process can find it"
            )
        return str(Path(script).resolve()), function.__qualname__
    return module, function.__qualname__


def _namespace(place: str) -> Any:
    if place.endswith(".py"):
        return runpy.run_path(place, run_name="__resumed__")
    return vars(importlib.import_module(place))


def _attribute(namespace: dict[str, Any], name: str) -> Any:
    first, *rest = name.split(".")
    found = namespace[first]
    for part in rest:
        found = getattr(found, part)
    return found
