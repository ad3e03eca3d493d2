"""Contests: the same work done by several contenders, in turns, and checked to be the same.

Each contender works in a process of its own, so that neither a first call nor peak memory nor the
garbage collector knows of the others. The processes live side by side and take turns of some
milliseconds, so that whatever else the machine does befalls all of them.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from tests.benchmarks.sessions import Absent, Case, Contender, First, Remote

TURN = 0.02
"""Seconds of one contender's turn, unless a single run takes longer."""

ROUNDS = 15

TOLERANCE = 1e-4
"""Of the largest entry: float32 after a few steps, summed in another order."""


@dataclass
class Sample:
    """Several measurements of one thing."""

    values: list[float] = field(default_factory=list[float])

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a part of the median."""
        if len(self.values) < 3 or not self.median:
            return 0.0
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return (high - low) / 2 / self.median


Cells = dict[str, Sample | Absent]


@dataclass(frozen=True)
class Row:
    """A line of a table: one figure of each contender.

    Attributes:
        case: The case's title.
        what: What was measured.
        unit: Of the figures: `"s"`, `"B"` or `""` for a count.
        cells: Figure by contender, ourselves first.
        targets: By contender, the highest ratio of our figure to theirs that is good enough.
        size: Of the case.
        per: Number of things that the figure is for, where the table gives it for one.
    """

    case: str
    what: str
    unit: str
    cells: Cells
    targets: Mapping[str, float]
    size: int = 1
    per: int = 1

    def ratio(self, name: str) -> float | None:
        """Our figure divided by theirs; None where one of them is missing or theirs is 0."""
        ours, theirs = next(iter(self.cells.values())), self.cells[name]
        if isinstance(ours, Absent) or isinstance(theirs, Absent):
            return None
        if ours.median == theirs.median:
            return 1.0
        return ours.median / theirs.median if theirs.median else None

    def spread(self, name: str) -> float:
        """By what part the ratio may be another one, going by the spread of both figures."""
        both = next(iter(self.cells.values())), self.cells[name]
        return math.hypot(*(cell.spread for cell in both if isinstance(cell, Sample)))


@dataclass(frozen=True)
class Group:
    """A table of `docs/benchmarks.md`.

    Attributes:
        name: What the command line calls it.
        title: Its heading.
        text: What is measured, what the limit is, and what holds us off it.
        contenders: By name: first ourselves, then the limit, then peers.
        cases: The sizes, and one that takes no time at all.
        rows: From a contest, its rows.
        plots: Whether growth with size is worth a picture.
    """

    name: str
    title: str
    text: str
    contenders: Mapping[str, Contender]
    cases: Callable[[bool], Iterable[Case]]
    rows: Callable[["Contest"], Iterable[Row]]
    plots: bool = False


class Measured(NamedTuple):
    """What an operation took.

    Attributes:
        first: Seconds of the first run in a process.
        times: Seconds of later runs.
        growth: Bytes by which the first run raised the process's memory.
        compilations: In all runs.
    """

    first: Cells
    times: Cells
    growth: Cells
    compilations: Cells


@dataclass
class _Entrant:
    name: str
    session: Remote
    operation: str
    first: First | None = None
    runs: int = 1
    rounds: int = 0
    times: list[float] = field(default_factory=list[float])


class Contest:
    """All contenders at one case.

    Args:
        contenders: By name: first ourselves, then the limit, then peers.
        case: The work.
        rounds: How many turns each gets at most.
        patient: Whether to run also those for whom the case is too large.
    """

    def __init__(
        self,
        contenders: Mapping[str, Contender],
        case: Case,
        rounds: int = ROUNDS,
        *,
        patient: bool = False,
    ) -> None:
        self.case, self.rounds, self.contenders = case, rounds, contenders
        self.absent: Cells = {}
        self.sessions: list[tuple[str, Remote]] = []
        for name, contender in contenders.items():
            if case.size > contender.largest and not patient:
                self.absent[name] = Absent(f"not run above {contender.largest:,}")
        names = [name for name in contenders if name not in self.absent]
        for round_ in range(case.processes):
            # First calls go by this order, and nobody's is always the first.
            start = round_ * len(names) // case.processes
            for name in names[start:] + names[:start]:
                self.sessions.append((name, Remote(contenders[name], case)))
        for name, session in list(self.sessions):
            try:
                session.open()
            except Absent as reason:
                self.absent[name] = reason
                self.sessions.remove((name, session))
                session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for _, session in self.sessions:
            session.close()

    @property
    def operations(self) -> list[str]:
        """What there is to measure, variants such as cold and warm together."""
        names = (_base(name) for _, session in self.sessions for name in session.names)
        return list(dict.fromkeys(names))

    def measure(self, operation: str) -> dict[str, Measured]:
        """Let all contenders who know an operation do it.

        Returns:
            The figures, by variant of the operation.
        """
        entrants = [
            _Entrant(name, session, variant)
            for name, session in self.sessions
            for variant in session.names
            if _base(variant) == operation
        ]
        failed: dict[int, Absent] = {}
        for entrant in entrants:
            try:
                entrant.first = entrant.session.first(entrant.operation)
            except Absent as reason:
                failed[id(entrant)] = reason
        self._compare(entrants, failed)
        able = [entrant for entrant in entrants if id(entrant) not in failed]
        self._take_turns(able, failed)
        variants = [e.operation for e in entrants if e.operation != operation] or [operation]
        kinds: tuple[Callable[[Any], Sequence[float]], ...] = (
            lambda entrant: [entrant.first.seconds],
            lambda entrant: entrant.times,
            lambda entrant: [entrant.first.growth],
            # PyTorch compiles nothing.
            lambda entrant: [
                count
                for name, count in entrant.session.totals().compilations.items()
                if name == entrant.operation
            ],
        )
        return {
            variant: Measured(*(self._cells(entrants, failed, variant, kind) for kind in kinds))
            for variant in dict.fromkeys(variants)
        }

    def _compare(self, entrants: list[_Entrant], failed: dict[int, Absent]) -> None:
        rank = list(self.contenders)
        # The limit is the simplest code, hence the one to be believed.
        order = sorted(entrants, key=lambda e: abs(rank.index(e.name) - 1))
        able = [entrant for entrant in order if entrant.first and id(entrant) not in failed]
        for entrant in able[1:]:
            reference, found = able[0].first, entrant.first
            assert reference is not None
            assert found is not None
            checks = min(len(reference.results), len(found.results))
            if not same(reference.results[:checks], found.results[:checks]):
                failed[id(entrant)] = Absent("another result")

    def _take_turns(self, entrants: list[_Entrant], failed: dict[int, Absent]) -> None:
        for entrant in entrants:
            assert entrant.first
            seconds = max(entrant.first.later, 1e-7)
            entrant.runs = max(1, min(20, round(TURN / seconds)))
            share = self.case.share
            fitting = int(share / (entrant.runs * seconds))
            entrant.rounds = min(self.rounds, max(fitting, min(3, int(4 * share / seconds))))
            if not entrant.rounds:
                # One run is all that there is time for.
                entrant.times = [seconds]
        for round_ in range(self.rounds):
            # Whoever has few turns has them spread over the whole.
            due = [e for e in entrants if (round_ + 1) * e.rounds // self.rounds
                   > round_ * e.rounds // self.rounds]  # fmt: skip
            start = round_ % max(len(due), 1)
            for entrant in due[start:] + due[:start]:
                try:
                    entrant.times += entrant.session.turn(entrant.operation, entrant.runs)
                except Absent as reason:
                    entrant.rounds = 0
                    failed[id(entrant)] = reason

    def _cells(
        self,
        entrants: list[_Entrant],
        failed: Mapping[int, Absent],
        variant: str,
        figures: Callable[[Any], Sequence[float]],
    ) -> Cells:
        cells: Cells = {}
        for name in self.contenders:
            own = [e for e in entrants if e.name == name]
            own = [e for e in own if e.operation == variant] or [
                e for e in own if e.operation == _base(variant)
            ]
            reasons = [failed[id(e)] for e in own if id(e) in failed]
            if name in self.absent or reasons or not own:
                cells[name] = self.absent.get(name) or next(iter(reasons), Absent("—"))
                continue
            found = [figure for e in own for figure in figures(e)]
            cells[name] = Sample(found) if found else Absent("—")
        return cells

    def peak(self) -> Cells:
        """Bytes of memory that each contender took at most so far."""
        peaks = [(name, session.totals().peak) for name, session in self.sessions]
        return {
            name: self.absent.get(name) or Sample([peak for n, peak in peaks if n == name])
            for name in self.contenders
        }


def same(expected: Any, found: Any) -> bool:
    """Whether two results are equal but for rounding."""
    # Here, because the processes of PyTorch and of mere copies do without JAX.
    import jax

    wanted, structure = jax.tree.flatten(expected)
    given, other = jax.tree.flatten(found)
    return structure == other and all(
        np.allclose(a, b, rtol=0, atol=TOLERANCE * float(np.max(np.abs(a), initial=0)))
        for a, b in zip(wanted, given, strict=True)
    )


def _base(name: str) -> str:
    return name.partition(",")[0]
