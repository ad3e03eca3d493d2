"""One contender at work on one case, in this process or in one of its own."""

import contextlib
import gc
import importlib
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclass(frozen=True)
class Case:
    """One size of the work. Groups add fields of their own.

    Attributes:
        title: What the table calls it.
        size: How big it is: abscissa of the plots.
        processes: How many processes of each contender take part; their times are pooled, for two
            processes with the same code differ by a few percent, and each has one first call.
        share: Seconds for all timed turns of one contender at one operation.
    """

    title: str
    size: int = 1
    processes: int = 1
    share: float = 3.0


@dataclass(frozen=True)
class Operation:
    """Something that a contender can do over and over.

    Attributes:
        run: Does it, and returns when it is done.
        result: From what `run` returned, what all contenders must agree on; None where there is
            nothing to compare.
        before: Called before each run, outside the clock.
        checks: How many first runs are compared.
    """

    run: Callable[[], Any]
    result: Callable[[Any], Any] | None = np.asarray
    before: Callable[[], object] = lambda: None
    checks: int = 1


@dataclass(frozen=True)
class Contender:
    """A library, or a bare way of doing the same.

    Attributes:
        make: From a case, its operations by name. `"vars, cold"` and `"vars, warm"` of a contender
            that caches compete both with the `"vars"` of one that does not.
        needs: Modules to import before the clock starts.
        largest: Cases of greater size take too long.
    """

    make: Callable[[Any], Mapping[str, Operation]]
    needs: tuple[str, ...] = ()
    largest: int = sys.maxsize


class First(NamedTuple):
    """What a first run cost.

    Attributes:
        seconds: Its time.
        later: Time of the last checked run; the same where there is one only.
        results: Of the checked runs.
        growth: Bytes by which memory grew above what the process held before.
    """

    seconds: float
    later: float
    results: list[Any]
    growth: float


class Totals(NamedTuple):
    """What a process cost so far.

    Attributes:
        compilations: During all runs of each operation.
        peak: Bytes above those of the imports.
    """

    compilations: Mapping[str, int]
    peak: float


class Absent(Exception):
    """Why there is no figure."""


class Local:
    """A session in this process."""

    def __init__(self, contender: Contender, case: Case) -> None:
        try:
            for module in contender.needs:
                importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise Absent("not installed") from error
        except Exception as error:
            raise Absent(f"does not import: {_short(error)}") from error
        # What building compiles is eager and nobody's operation.
        self.compilations, self.operation = Counter[str](), ""
        if "jax" in sys.modules:
            self._start_jax()
        self.base, self.high = _memory("VmRSS"), 0.0
        _reset_peak()
        try:
            self.operations = contender.make(case)
        except Exception as error:
            raise Absent(f"fails: {_short(error)}") from error
        self.names = list(self.operations)

    def _start_jax(self) -> None:
        jax = importlib.import_module("jax")
        monitoring = importlib.import_module("jax.monitoring")
        monitoring.register_event_duration_secs_listener(self._on_event)
        # The compiler's own start belongs to no contender, and some compile while they build.
        jax.jit(lambda x: x + 1)(1.0)

    def _on_event(self, event: str, *_: Any, **__: Any) -> None:
        if event == COMPILED:
            self.compilations[self.operation] += 1

    def first(self, name: str) -> First:
        operation, self.operation = self.operations[name], name
        operation.before()
        gc.collect()
        self._note_peak()
        before = _memory("VmRSS")
        seconds, result = self._timed(operation)
        growth = self._note_peak() - before
        results, later = [*result], seconds
        for _ in range(operation.checks - 1):
            operation.before()
            later, result = self._timed(operation)
            results += result
        # What was built so far lives as long as the process: the collector need not look again.
        gc.collect()
        gc.freeze()
        return First(seconds, later, results, growth)

    def _timed(self, operation: Operation) -> tuple[float, list[Any]]:
        start = time.perf_counter()
        out = operation.run()
        seconds = time.perf_counter() - start
        return seconds, [] if operation.result is None else [operation.result(out)]

    def turn(self, name: str, runs: int) -> list[float]:
        operation, self.operation, times = self.operations[name], name, list[float]()
        run, before, clock = operation.run, operation.before, time.perf_counter
        # The switch between processes has emptied the caches, which a user's loop finds warm.
        for _ in range(runs + (runs > 1)):
            before()
            start = clock()
            out = run()
            times.append(clock() - start)
            # Not inside the next run's time.
            del out
        return times[runs > 1 :]

    def totals(self) -> Totals:
        self._note_peak()
        return Totals(self.compilations, self.high - self.base)

    def _note_peak(self) -> float:
        peak = _memory("VmHWM")
        self.high = max(self.high, peak)
        _reset_peak()
        return peak

    def close(self) -> None:
        """Nothing to end."""


class Remote:
    """A session in a process of its own."""

    def __init__(self, contender: Contender, case: Case) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, contender, case), daemon=True)
        self.process.start()
        theirs.close()
        self.names: list[str] = []

    def open(self) -> None:
        """Wait until everything is built."""
        self.names = self._receive()

    def _receive(self) -> Any:
        try:
            answer = self.pipe.recv()
        except (EOFError, ConnectionError):
            raise self._ended() from None
        if isinstance(answer, Absent):
            raise answer
        return answer

    def _ask(self, *question: Any) -> Any:
        try:
            self.pipe.send(question)
        except ConnectionError:
            raise self._ended() from None
        return self._receive()

    def _ended(self) -> Absent:
        self.process.join(10)
        return Absent(f"ended with exit code {self.process.exitcode}")

    def first(self, name: str) -> First:
        return self._ask("first", name)

    def turn(self, name: str, runs: int) -> list[float]:
        return self._ask("turn", name, runs)

    def totals(self) -> Totals:
        return self._ask("totals")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(10)
        self.process.kill()


def _serve(pipe: Connection, contender: Contender, case: Case) -> None:
    try:
        session = Local(contender, case)
    except Absent as reason:
        pipe.send(reason)
        return
    pipe.send(session.names)
    while (question := pipe.recv()) is not None:
        try:
            pipe.send(getattr(session, question[0])(*question[1:]))
        except Exception as error:  # noqa: BLE001 - the table shows it
            pipe.send(Absent(f"fails: {_short(error)}"))


def _short(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _memory(key: str) -> float:
    """Bytes from Linux's account of this process; NaN elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith(key):
                return float(line.split()[1]) * 1024
    return float("nan")


def memory_of_machine() -> float:
    """Bytes of memory that there are; NaN where Linux does not say."""
    with contextlib.suppress(OSError):
        return float(Path("/proc/meminfo").read_text("ascii").split()[1]) * 1024
    return float("nan")


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
