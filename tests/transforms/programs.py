"""Random programs: their statements, and strategies that generate them."""

from dataclasses import dataclass

from hypothesis import strategies as st

import framework as fw

NAMES = ["a", "b", "c"]


class ProgramError(Exception):
    """What programs raise."""


class Interrupt(BaseException):
    """Not an Exception, as KeyboardInterrupt is."""


# How a statement can fail; those of the package come from a write that a Variable refuses.
ERRORS = {
    "own": ProgramError,
    "interrupt": Interrupt,
    "shape": fw.MathError,
    "dtype": fw.MathError,
    "attribute": AttributeError,
    "key": KeyError,
    "value": ValueError,
    "reference": ReferenceError,
    "stop": StopIteration,
}


@dataclass(frozen=True)
class Step:
    """One statement: what it does, the Variable it is about, expressions and blocks inside."""

    kind: str
    name: str = "a"
    expr: tuple = ("const", 1.0)
    blocks: tuple = ()
    count: int = 0


def statements(program):
    """All statements, those in blocks included."""
    for step in program:
        yield step
        for block in step.blocks:
            yield from statements(block)


def without(kinds, program):
    """The program without statements of some kinds, wherever they are."""
    return tuple(
        Step(s.kind, s.name, s.expr, tuple(without(kinds, b) for b in s.blocks), s.count)
        for s in program
        if s.kind not in kinds
    )


DRAWS = {"draw", "draw default", "vmap draw"}
# Derivatives of loops with a traced bound exist in forward mode only.
ENDLESS = {"while"}

names = st.sampled_from(NAMES)
counts = st.integers(1, 3)
expressions = st.recursive(
    st.one_of(
        st.tuples(st.just("const"), st.floats(-1, 1, width=16)), st.tuples(st.just("read"), names)
    ),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["add", "mul"]), inner, inner),
        st.tuples(st.just("sin"), inner),
    ),
    max_leaves=4,
)
simple = st.one_of(
    st.builds(
        Step,
        kind=st.sampled_from([
            "set", "add", "alias", "loose", "call", "method", "make", "lanes",
            "draw", "draw default",
        ]),
        name=names,
        expr=expressions,
    ),
    st.builds(Step, kind=st.just("count")),
    st.builds(Step, kind=st.just("bound"), count=counts),
)  # fmt: skip
failing = st.builds(Step, kind=st.just("raise"), name=st.sampled_from(list(ERRORS)))


def _nested(steps):
    block = st.lists(steps, max_size=3).map(tuple)
    quiet = block.map(lambda block: without(DRAWS, block))
    reversible = block.map(lambda block: without(ENDLESS, block))

    def step(kinds, *blocks):
        return st.builds(
            Step,
            kind=st.sampled_from(kinds),
            name=names,
            expr=expressions,
            blocks=st.tuples(*blocks),
            count=counts,
        )

    return st.one_of(
        simple,
        step(["for", "for reversed", "for remat", "for in Python", "scan", "while"], block),
        step(["jit", "remat", "jacfwd"], block),
        step(["if"], block, block),
        step(["switch"], block, block, block),
        # What is one for all lanes can't take numbers that each lane draws.
        step(["vmap", "vmap draw"], quiet),
        step(["grad"], reversible),
    )


def _with_failure(program, failure, path):
    """The program with a statement put into it, at a place that the numbers lead to."""
    place, *rest = path
    position = place % (len(program) + 1)
    if rest and position < len(program) and program[position].blocks:
        outer = program[position]
        blocks = list(outer.blocks)
        chosen = rest[0] % len(blocks)
        blocks[chosen] = _with_failure(blocks[chosen], failure, rest)
        program = list(program)
        program[position] = Step(outer.kind, outer.name, outer.expr, tuple(blocks), outer.count)
        return tuple(program)
    return (*program[:position], failure, *program[position:])


_block = st.lists(st.recursive(simple, _nested, max_leaves=6), min_size=1, max_size=5).map(tuple)
_paths = st.lists(st.integers(0, 5), min_size=1, max_size=3)
programs = st.one_of(_block, _block, st.builds(_with_failure, _block, failing, _paths))
