"""Random programs over mutable objects, run with our transforms."""

# ruff: noqa: C901

import jax.numpy as jnp

import framework as fw
from tests.transforms.programs import ERRORS, NAMES

# Conditions and indices are off the round numbers, where a rounding error would decide.
THRESHOLD = 0.0137
RAMP = (0.1, -0.2, 0.3)


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

    @fw.cls_jit
    def method(self, x):
        return self(x)


class Lane(fw.BrainPyObject):
    def __init__(self, x):
        super().__init__()
        self.x = fw.Variable(x)

    def __call__(self, y):
        self.x += y
        return self.x * y


class Loose:
    """Holds a Variable where no search finds it: at the class."""

    variable = None


class Machine(fw.BrainPyObject):
    """The state of a program; its Variables are reached in several ways."""

    def __init__(self, key=None):
        super().__init__()
        self.a, self.b, self.c = fw.TrainVar(0.3), fw.Variable(-0.2), fw.Variable(0.8)
        self.n = fw.Variable(jnp.int32(0))
        self.part = Part(self.a)
        self.rng = fw.random.RandomState(1 if key is None else key)
        self.aliases = {"a": self.a, "bc": [self.b, self.c]}

    def alias(self, name):
        return self.aliases["a"] if name == "a" else self.aliases["bc"][name == "c"]

    def variables(self):
        """All state of a program by name."""
        return {name: getattr(self, name) for name in NAMES} | {
            "own": self.part.own,
            "n": self.n,
            "loose": Loose.variable,
            "key": self.rng.key,
            "default": fw.random.DEFAULT.key,
        }

    def state(self):
        return {name: variable.value for name, variable in self.variables().items()}


def fresh(key=None):
    """A machine, with the state outside of it as at the start."""
    Loose.variable = fw.Variable(0.1)
    fw.random.seed(2)
    return Machine(key)


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


def index_of(value):
    return jnp.floor(3 * value + THRESHOLD).astype(jnp.int32)


class Runner:
    """Runs programs on a machine. One block is one function, however often it is run."""

    def __init__(self, machine):
        self.machine = machine
        self.functions = {}

    def function(self, block, transform=lambda fun: fun):
        key = block, transform
        if key not in self.functions:
            self.functions[key] = transform(lambda *_: self.run(block))
        return self.functions[key]

    def read(self, name):
        return getattr(self.machine, name).value

    def run(self, block):
        for step in block:
            self.step(step)

    def step(self, step):
        machine, read = self.machine, self.read
        value = evaluate(step.expr, read)
        bodies = [self.function(block) for block in step.blocks]
        match step.kind:
            case "set":
                setattr(machine, step.name, jnp.tanh(value))
            case "add":
                variable = getattr(machine, step.name)
                variable += 0.1 * value
            case "alias":
                machine.alias(step.name).value = jnp.tanh(value - 1)
            case "loose":
                Loose.variable.value = jnp.tanh(Loose.variable + value)
                setattr(machine, step.name, Loose.variable * 1)
            case "count":
                machine.n += 1
            case "call":
                machine.part(value)
            case "method":
                machine.part.method(value)
            case "bound":
                fw.for_loop(machine.part, jnp.array(RAMP[: step.count]))
            case "make":
                part = Part(machine.a)
                machine.b = part(value)
            case "lanes":
                lanes = fw.vmap(Lane)(jnp.array(RAMP) + value)
                out = fw.vmap(lambda lane: lane(value))(lanes)
                setattr(machine, step.name, jnp.tanh(out.sum() + lanes.x.sum()))
            case "draw":
                setattr(machine, step.name, jnp.tanh(value + machine.rng.normal()))
            case "draw default":
                setattr(machine, step.name, jnp.tanh(value * fw.random.uniform()))
            case "raise":
                self.fail(step.name)
            case "if":
                fw.cond(value > THRESHOLD, *bodies)
            case "switch":
                fw.switch(index_of(value), bodies)
            case "for":
                fw.for_loop(bodies[0], jnp.arange(step.count))
            case "for reversed":
                fw.for_loop(bodies[0], jnp.arange(step.count), reverse=True, unroll=2)
            case "for remat":
                fw.for_loop(bodies[0], jnp.arange(step.count), remat=True)
            case "for in Python":
                fw.for_loop(bodies[0], jnp.arange(step.count), jit=False)
            case "scan":
                total, _ = fw.scan(
                    lambda c, i: (bodies[0]() or c + read(step.name), i),
                    jnp.float32(0),
                    jnp.arange(step.count),
                )
                setattr(machine, step.name, jnp.tanh(total))
            case "while":
                fw.while_loop(
                    lambda i: bodies[0]() or i + 1, lambda i: i < step.count, jnp.int32(0)
                )
            case "jit":
                self.function(step.blocks[0], fw.jit)()
            case "remat":
                self.function(step.blocks[0], fw.checkpoint)()
            case "vmap" | "vmap draw":
                draw = machine.rng.normal if step.kind == "vmap draw" else lambda: 0.0
                out = fw.vmap(lambda x: bodies[0]() or x * read("b") + draw())(jnp.arange(2.0))
                setattr(machine, step.name, jnp.tanh(out.sum()))
            case "grad" | "jacfwd":
                transform = fw.grad if step.kind == "grad" else fw.jacfwd

                def loss():
                    bodies[0]()
                    return evaluate(step.expr, read)

                machine.b = jnp.tanh(transform(loss, getattr(machine, step.name))())
            case _:
                raise AssertionError(step)

    def fail(self, name):
        match name:
            case "shape":
                self.machine.a = jnp.zeros(3)
            case "dtype":
                self.machine.n = jnp.float32(1.5)
            case "attribute":
                _ = self.machine.part.missing
        raise ERRORS[name]
