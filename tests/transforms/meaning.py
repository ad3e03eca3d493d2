"""What random programs mean: pure functions of their state, with no transform but JAX's own."""

# ruff: noqa: C901, E731

import jax
import jax.numpy as jnp

from tests.transforms.machines import RAMP, THRESHOLD, evaluate, index_of
from tests.transforms.programs import ERRORS, statements


class Meaning:
    """Runs programs as pure functions.

    Attributes:
        possible: Errors met in branches that are not taken: raised where both are traced.
    """

    def __init__(self):
        self.possible = set()

    def run(self, state, block):
        for step in block:
            state = self.step(state, step, state.__getitem__)
        return state

    def repeated(self, state, step):
        for _ in range(step.count):
            state = self.run(state, step.blocks[0])
        return state

    def branch(self, state, step, taken):
        for block in step.blocks:
            if block is not step.blocks[taken]:
                try:
                    self.run(state, block)
                except tuple(ERRORS.values()) as error:
                    self.possible.add(type(error))
        return self.run(state, step.blocks[taken])

    def step(self, state, step, read):
        value = evaluate(step.expr, read)
        set_to = lambda new, **others: state | others | {step.name: new}
        match step.kind:
            case "set":
                return set_to(jnp.tanh(value))
            case "add":
                return set_to(read(step.name) + 0.1 * value)
            case "alias":
                return set_to(jnp.tanh(value - 1))
            case "loose":
                new = jnp.tanh(read("loose") + value)
                return set_to(new, loose=new)
            case "count":
                return state | {"n": read("n") + 1}
            case "call" | "method":
                own = jnp.tanh(read("own") + value)
                return state | {"own": own, "a": jnp.tanh(read("a") * own)}
            case "bound":
                for x in RAMP[: step.count]:
                    own = jnp.tanh(state["own"] + x)
                    state = state | {"own": own, "a": jnp.tanh(state["a"] * own)}
                return state
            case "make":
                own = jnp.tanh(0.5 + value)
                return state | {"a": jnp.tanh(read("a") * own), "b": own}
            case "lanes":
                lanes = jnp.array(RAMP) + 2 * value
                return set_to(jnp.tanh((lanes * value).sum() + lanes.sum()))
            case "draw":
                key, new = jax.random.split(read("key"))
                return set_to(jnp.tanh(value + jax.random.normal(new)), key=key)
            case "draw default":
                key, new = jax.random.split(read("default"))
                return set_to(jnp.tanh(value * jax.random.uniform(new)), default=key)
            case "raise":
                raise ERRORS[step.name]
            case "if":
                return self.branch(state, step, int(not value > THRESHOLD))
            case "switch":
                return self.branch(state, step, int(jnp.clip(index_of(value), 0, 2)))
            case "for" | "for reversed" | "for remat" | "for in Python" | "while":
                return self.repeated(state, step)
            case "scan":
                total = 0.0
                for _ in range(step.count):
                    state = self.run(state, step.blocks[0])
                    total += state[step.name]
                return state | {step.name: jnp.tanh(total)}
            case "jit" | "remat":
                return self.run(state, step.blocks[0])
            case "vmap":
                state = self.run(state, step.blocks[0])
                return state | {step.name: jnp.tanh(state["b"])}
            case "vmap draw":
                state = self.run(state, step.blocks[0])
                *keys, after = jax.random.split(state["key"], 3)
                drawn = [jax.random.normal(jax.random.split(key)[1]) for key in keys]
                return state | {"key": after, step.name: jnp.tanh(state["b"] + sum(drawn))}
            case "grad" | "jacfwd":
                transform = jax.grad if step.kind == "grad" else jax.jacfwd

                def loss(x):
                    after = self.run(state | {step.name: x}, step.blocks[0])
                    return evaluate(step.expr, after.__getitem__), after

                gradient, after = transform(loss, has_aux=True)(read(step.name))
                return after | {"b": jnp.tanh(gradient)}
        raise AssertionError(step)


def outcomes(state, units):
    """How a run may end: pairs of an error, or None, and the state that is left.

    Args:
        state: The state before.
        units: Parts of the program; of one that fails nothing is left.
    """
    found = []
    for unit in units:
        meaning = Meaning()
        try:
            after = meaning.run(state, unit)
        except tuple(ERRORS.values()) as error:
            return [*found, *((e, state) for e in meaning.possible | {type(error)})]
        found += [(e, state) for e in meaning.possible]
        state = after
    return [*found, (None, state)]


def uses(program, kinds):
    return any(step.kind in kinds for step in statements(program))
