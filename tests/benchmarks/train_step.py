"""Group 1: one step of training, from the batch on the device to the loss."""

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tests.benchmarks.harness import Contest, Group, Row
from tests.benchmarks.libraries import LIBRARIES, PACKED, Library
from tests.benchmarks.models import Net
from tests.benchmarks.sessions import Contender, Operation

TARGET = 1.10
"""Of the limit; every peer must be slower."""


@dataclass(frozen=True)
class Training:
    """Makes the operation `step` in one library; a class because processes are sent it."""

    library: str

    def __call__(self, case: Net) -> Mapping[str, Operation]:
        step = LIBRARIES[self.library].step(case)
        if "PyTorch" in self.library:
            return {"step": Operation(step, checks=3)}
        import jax

        return {"step": Operation(lambda: jax.block_until_ready(step()), checks=3)}


def cases(tiny: bool) -> Iterable[Net]:
    if tiny:
        yield Net("2 layers", 2, depth=2)
        yield Net("transformer", 0, depth=1, width=8, batch=2, vocabulary=8, tied=True, length=4)
        return
    yield Net("1 layer", 1, depth=1, processes=3)
    yield Net("10 layers", 10, depth=10, processes=3)
    yield Net("100 layers", 100, depth=100, processes=2)
    yield Net("1,000 layers", 1000, depth=1000)
    yield Net("10 layers, each used 10 times", 0, depth=10, repeats=10)
    yield Net("10 layers of width 1,024", 0, depth=10, width=1024, batch=64, processes=2)
    transformer = Net("transformer, 4 blocks of width 128", 0, depth=4, width=128, vocabulary=64)
    yield transformer
    yield replace(transformer, title="the same, first and last layer shared", tied=True)


def rows(contest: Contest) -> Iterable[Row]:
    measured = contest.measure("step")["step"]
    for what, unit, cells in (
        ("step", "s", measured.times),
        ("first call", "s", measured.first),
        ("compilations", "", measured.compilations),
        ("peak memory", "B", contest.peak()),
    ):
        targets = dict.fromkeys(cells, 1.0) | {"JAX + Optax": TARGET, PACKED: math.inf}
        yield Row(contest.case.title, what, unit, cells, targets, contest.case.size)


def contender(name: str, library: Library) -> Contender:
    # XLA takes minutes for 1,000 layers, once for each library.
    quick = name in ("framework", PACKED, "JAX + Optax", "PyTorch", "PyTorch fused")
    return Contender(Training(name), library.needs, sys.maxsize if quick else 100)


GROUP = Group(
    name="step",
    title="Train step",
    text="""\
Layers are `tanh(x @ w + b)` of width 16 with a batch of 8 unless it says otherwise; AdamW;
losses of the first three steps compared. The limit is hand-written JAX and Optax: one `jax.jit`
over dictionaries, parameters and moments donated. The first call traces and compiles, in a fresh
process. The last column but one is ourselves with `jit(pack_state=True)`, which keeps small arrays
together: no peer, but the way below the limit. Compilations are those of the first call and of all
later ones. Peak memory is that of the process from before the model was built, above what the
imports took.

What holds us off the limit: a call costs 7 µs of Python (guards that nothing has changed, weak
references to what is read), which shows where a step takes less than 100 µs; a first call
finds out what state there is. PyTorch, which is ahead there, compiles nothing. Below the limit
leads what takes work from JAX itself: state stays in the list in which the next call takes it, and
with `pack_state` eight small arrays share a buffer. Tried and left: all arrays in one buffer (half
the step, too, but 17 times the time to compile), state flat inside of the optimizer (0.6 of the
step, but then every optimizer has to know).""",
    contenders={name: contender(name, library) for name, library in LIBRARIES.items()},
    cases=cases,
    rows=rows,
    plots=True,
)
