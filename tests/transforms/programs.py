"""Random programs, run two ways: over mutable objects, and as pure functions of their state."""

# ruff: noqa: ARG005, B023, C901, E731

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from hypothesis import strategies as st

import framework as fw

NAMES = ["a", "b", "c"]


class ProgramError(Exception):
    """What programs raise."""


class Part(fw.BrainPyObject):
    """A sub-object that shares a Variable with its owner."""

    def __init__(self, shared):
        super().__init__()
        self.shared = shared
        self.own = fw.Variable(0.5)

    def __call__(self, x):
        self.own.value = jnp.tanh(self.own + x)
        self.shared.value = jnp.tanh(self.shared * self.own)
        return self.own.value


class Machine(fw.BrainPyObject):
    """The state of a program; ``a`` is reached in two ways."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = fw.TrainVar(0.3), fw.Variable(-0.2), fw.Variable(0.8)
        self.n = fw.Variable(jnp.int32(0))
        self.part = Part(self.a)

    def state(self):
        own = {"own": self.part.own.value, "n": self.n.value}
        return {name: getattr(self, name).value for name in NAMES} | own

    def restore(self, state):
        for name in NAMES:
            getattr(self, name).value = state[name]
        self.part.own.value, self.n.value = state["own"], state["n"]


@dataclass(frozen=True)
class Step:
    """One statement: what it does, the Variable it is about, expressions and blocks inside."""

    kind: str
    name: str = "a"
    expr: tuple = ("const", 1.0)
    blocks: tuple = ()
    count: int = 0


def evaluate(expr, read):
    match expr:
        case ("const", value):
            return jnp.float32(value)
        case ("read", name):
            return read(name)
        case ("add", left, right):
            return evaluate(left, read) + evaluate(right, read)
        case ("mul", left, right):
            return evaluate(left, read) * evaluate(right, read)
        case ("sin", inner):
            return jnp.sin(evaluate(inner, read))
    raise AssertionError(expr)


def run(machine, block):
    """Run over mutable objects, with our transforms."""
    read = lambda name: getattr(machine, name).value
    for step in block:
        match step.kind:
            case "set":
                setattr(machine, step.name, jnp.tanh(evaluate(step.expr, read)))
            case "add":
                variable = getattr(machine, step.name)
                variable += 0.1 * evaluate(step.expr, read)
            case "count":
                machine.n += 1
            case "call":
                machine.part(evaluate(step.expr, read))
            case "raise":
                raise ProgramError
            case "if":
                then, other = (lambda block=block: run(machine, block) for block in step.blocks)
                fw.cond(evaluate(step.expr, read) > 0, then, other)
            case "for":
                fw.for_loop(lambda i: run(machine, step.blocks[0]), jnp.arange(step.count))
            case "scan":
                total, _ = fw.scan(
                    lambda c, i: (run(machine, step.blocks[0]) or c + read(step.name), i),
                    jnp.float32(0),
                    jnp.arange(step.count),
                )
                setattr(machine, step.name, jnp.tanh(total))
            case "while":
                fw.while_loop(
                    lambda i: run(machine, step.blocks[0]) or i + 1,
                    lambda i: i < step.count,
                    jnp.int32(0),
                )
            case "jit":
                fw.jit(lambda: run(machine, step.blocks[0]))()
            case "remat":
                fw.checkpoint(lambda: run(machine, step.blocks[0]))()
            case "vmap":
                out = fw.vmap(lambda x: run(machine, step.blocks[0]) or x * read("b"))(
                    jnp.array([1.0, 2.0])
                )
                setattr(machine, step.name, jnp.tanh(out.sum()))
            case "grad":

                def loss():
                    run(machine, step.blocks[0])
                    return evaluate(step.expr, read)

                gradient = fw.grad(loss, getattr(machine, step.name))()
                machine.b.value = jnp.tanh(gradient)


def pure(state, block):
    """Run as a pure function, with no transform but `jax.grad`."""
    read = lambda name: state[name]
    for step in block:
        match step.kind:
            case "set":
                state = state | {step.name: jnp.tanh(evaluate(step.expr, read))}
            case "add":
                state = state | {step.name: read(step.name) + 0.1 * evaluate(step.expr, read)}
            case "count":
                state = state | {"n": state["n"] + 1}
            case "call":
                own = jnp.tanh(state["own"] + evaluate(step.expr, read))
                state = state | {"own": own, "a": jnp.tanh(state["a"] * own)}
            case "raise":
                raise ProgramError
            case "if":
                taken, left = (pure(state, block) for block in step.blocks)
                holds = evaluate(step.expr, read) > 0
                state = {key: jnp.where(holds, taken[key], left[key]) for key in state}
            case "for" | "while":
                for _ in range(step.count):
                    state = pure(state, step.blocks[0])
            case "scan":
                total = 0.0
                for _ in range(step.count):
                    state = pure(state, step.blocks[0])
                    total += state[step.name]
                state = state | {step.name: jnp.tanh(total)}
            case "jit" | "remat":
                state = pure(state, step.blocks[0])
            case "vmap":
                state = pure(state, step.blocks[0])
                state = state | {step.name: jnp.tanh(3.0 * state["b"])}
            case "grad":
                before = state

                def loss(x):
                    after = pure(before | {step.name: x}, step.blocks[0])
                    return evaluate(step.expr, after.__getitem__), after

                gradient, state = jax.grad(loss, has_aux=True)(before[step.name])
                state = state | {"b": jnp.tanh(gradient)}
        read = state.__getitem__
    return state


names = st.sampled_from(NAMES)
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
    st.builds(Step, kind=st.sampled_from(["set", "add"]), name=names, expr=expressions),
    st.builds(Step, kind=st.just("count")),
    st.builds(Step, kind=st.just("call"), expr=expressions),
)


def _nested(steps):
    block = st.lists(steps, max_size=3).map(tuple)
    return st.one_of(
        simple,
        st.builds(Step, kind=st.just("if"), expr=expressions, blocks=st.tuples(block, block)),
        st.builds(
            Step,
            # Derivatives of loops with a traced bound exist in forward mode only.
            kind=st.sampled_from(["for", "scan"]),
            name=names,
            blocks=st.tuples(block),
            count=st.integers(1, 3),
        ),
        st.builds(
            Step,
            kind=st.sampled_from(["jit", "remat", "vmap", "grad"]),
            name=names,
            expr=expressions,
            blocks=st.tuples(block),
        ),
    )


blocks = st.lists(st.recursive(simple, _nested, max_leaves=6), min_size=1, max_size=4).map(tuple)
loops = st.builds(Step, kind=st.just("while"), blocks=st.tuples(blocks), count=st.integers(1, 3))
failing = st.sampled_from([(), (), (), (Step("raise"),)])
programs = st.builds(
    lambda start, loop, end, fail: (*start, *loop, *end, *fail),
    blocks,
    st.lists(loops, max_size=1),
    st.lists(simple, max_size=2),
    failing,
)
