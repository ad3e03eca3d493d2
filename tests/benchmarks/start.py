"""Group 6: how long it takes until the work begins."""

import math
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.benchmarks.harness import Contest, Group, Row
from tests.benchmarks.libraries import LIBRARIES, PACKED
from tests.benchmarks.sessions import Case, Contender, Operation

IMPORT, STEP = "import", "first step"
LIMIT = "JAX + Optax"


@dataclass(frozen=True)
class Start(Case):
    """A network of `size` layers."""


@dataclass(frozen=True)
class Starting:
    """Starts processes that import a library, or make one step with it."""

    library: str

    def __call__(self, case: Case) -> Mapping[str, Operation]:
        needs = ("jax",) if self.library == LIMIT else LIBRARIES[self.library].needs
        imports = f"import {', '.join(needs)}"
        step = (
            "from tests.benchmarks.libraries import LIBRARIES\n"
            "from tests.benchmarks.models import Net\n"
            f"print(float(LIBRARIES[{self.library!r}].step(Net('', depth={case.size}))()))"
        )
        return {
            IMPORT: Operation(lambda: run(imports), result=None),
            STEP: Operation(lambda: run(step), float),
        }


def run(code: str) -> str:
    """What a new interpreter prints when it runs this."""
    return subprocess.run(
        [sys.executable, "-c", code], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def cases(tiny: bool) -> Iterable[Case]:
    return [Start("2 layers", 2) if tiny else Start("10 layers", 10, share=15)]


def rows(contest: Contest) -> Iterable[Row]:
    for name, title in ((IMPORT, "new process"), (STEP, f"MLP of {contest.case.title}")):
        cells = contest.measure(name)[name].times
        yield Row(title, name, "s", cells, dict.fromkeys(cells, 1.0) | {LIMIT: math.inf})


GROUP = Group(
    name="start",
    title="Start",
    text="""\
From the start of an interpreter to its end: one that imports the library (with Optax where it
trains with it), and one that builds an MLP and an optimizer, makes one step and prints the loss.
The limit is `import jax` for the one, hand-written JAX for the other.

What holds us off the limit: 50 to 75 ms of imports. What is not needed at once, such as msgpack and
JAX's extensions, is imported when it is first used.""",
    contenders={
        name: Contender(Starting(name), library.needs)
        for name, library in LIBRARIES.items()
        if name not in ("NNX cached_partial", "PyTorch fused", PACKED)
    },
    cases=cases,
    rows=rows,
)
