"""Group 4: a loop over a spiking network, compiled once and called again and again."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.harness import Contest, Group, Row
from tests.benchmarks.libraries import array
from tests.benchmarks.sessions import Case, Contender, Operation

TARGET = 1.10
COMPARED = 100
"""First steps whose spikes are compared; a spike more or less changes all that follow."""


@dataclass(frozen=True)
class Simulation(Case):
    """Leaky integrate-and-fire neurons that inhibit each other; `size` is the number of steps."""

    neurons: int = 1_000


def drives(case: Simulation) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 1.5, case.size).astype(np.float32)


def thresholds(case: Simulation) -> np.ndarray:
    return np.linspace(0.8, 1.2, case.neurons, dtype=np.float32)


def start(case: Simulation) -> np.ndarray:
    return np.zeros(case.neurons, np.float32)


def advance(xp: Any, v: Any, current: Any, threshold: Any, drive: Any) -> tuple[Any, Any, Any]:
    """One step: new potential and current, and how many neurons fired."""
    v = v + 0.1 * (current - v)
    fired = v > threshold
    spikes = xp.sum(fired)
    return xp.where(fired, 0.0, v), 0.9 * current + 0.3 * drive - 1e-4 * spikes, spikes


class Dialect(NamedTuple):
    """How a library writes a class with state, see `models.Dialect`."""

    base: Any
    state: Callable[[Any], Any]
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None]


def build(case: Simulation, dialect: Dialect) -> Any:
    """The network as an object; `step(drive)` changes it."""
    import jax.numpy as jnp

    base, state, read, write = dialect
    threshold = array(thresholds(case))

    class Network(base):
        def __init__(self) -> None:
            super().__init__()
            self.v = state(array(start(case)))
            self.current = state(array(start(case)))

        def step(self, drive: Any) -> Any:
            v, current, spikes = advance(jnp, read(self.v), read(self.current), threshold, drive)
            write(self.v, v)
            write(self.current, current)
            return spikes

    return Network()


def operation(run: Callable[[], Any]) -> Operation:
    """Spikes of the second run, too: it goes on where the first ended."""
    return Operation(run, lambda spikes: np.array(spikes)[:COMPARED], checks=2)


def awaited(run: Callable[[], Any]) -> Operation:
    """Let a run end when JAX has its result."""
    import jax

    return operation(lambda: jax.block_until_ready(run()))


def by_value(variable: Any) -> Any:
    return variable.value


def set_value(variable: Any, value: Any) -> None:
    variable.value = value


def ours(case: Simulation) -> Mapping[str, Operation]:
    import framework as fw

    dialect = Dialect(fw.BrainPyObject, fw.Variable, by_value, set_value)
    net, inner, inputs = build(case, dialect), build(case, dialect), array(drives(case))
    compiled = fw.jit(lambda inputs: fw.for_loop(inner.step, inputs))
    return {
        "loop, by itself": awaited(lambda: fw.for_loop(net.step, inputs)),
        "loop, inside jit": awaited(lambda: compiled(inputs)),
    }


def bare(case: Simulation) -> Mapping[str, Operation]:
    import jax
    import jax.numpy as jnp

    inputs, threshold = array(drives(case)), array(thresholds(case))
    carry = [(array(start(case)), array(start(case)))]

    def body(carry: Any, drive: Any) -> Any:
        v, current, spikes = advance(jnp, carry[0], carry[1], threshold, drive)
        return (v, current), spikes

    def loop(carry: Any, inputs: Any) -> Any:
        return jax.lax.scan(body, carry, inputs)

    compiled = jax.jit(loop, donate_argnums=0)

    def run() -> Any:
        carry[0], spikes = compiled(carry[0], inputs)
        return spikes

    return {"loop": awaited(run)}


def equinox(case: Simulation) -> Mapping[str, Operation]:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    inputs, threshold = array(drives(case)), array(thresholds(case))

    class Network(eqx.Module):
        v: Any
        current: Any

        def step(self, drive: Any) -> Any:
            v, current, spikes = advance(jnp, self.v, self.current, threshold, drive)
            return Network(v, current), spikes

    nets = [Network(array(start(case)), array(start(case)))]

    @eqx.filter_jit(donate="all-except-first")
    def loop(inputs: Any, net: Any) -> Any:
        return jax.lax.scan(Network.step, net, inputs)

    def run() -> Any:
        nets[0], spikes = loop(inputs, nets[0])
        return spikes

    return {"loop": awaited(run)}


def nnx(case: Simulation) -> Mapping[str, Operation]:
    from flax import nnx

    def write(variable: Any, value: Any) -> None:
        variable[...] = value

    net = build(case, Dialect(nnx.Module, nnx.Variable, lambda variable: variable[...], write))
    inputs = array(drives(case))

    def loop(net: Any, inputs: Any) -> Any:
        scan = nnx.scan(
            lambda net, drive: (net, net.step(drive)),
            in_axes=(nnx.Carry, 0),
            out_axes=(nnx.Carry, 0),
        )
        return scan(net, inputs)[1]

    compiled = nnx.cached_partial(nnx.jit(loop, donate_argnums=0), net)
    return {"loop": awaited(lambda: compiled(inputs))}


def brainstate(case: Simulation) -> Mapping[str, Operation]:
    import brainstate

    dialect = Dialect(brainstate.nn.Module, brainstate.HiddenState, by_value, set_value)
    net, inputs = build(case, dialect), array(drives(case))
    loop = brainstate.transform.jit(lambda inputs: brainstate.transform.for_loop(net.step, inputs))
    return {"loop": awaited(lambda: loop(inputs))}


def brainpy(case: Simulation) -> Mapping[str, Operation]:
    import brainpy as bp
    import brainpy.math as bm

    base: Any = bp.BrainPyObject  # pyright: ignore[reportPrivateImportUsage]
    dialect = Dialect(base, bm.Variable, by_value, set_value)
    net = build(case, dialect)
    inner = build(case, dialect)
    inputs = array(drives(case))
    compiled = bm.jit(lambda inputs: bm.for_loop(inner.step, inputs))
    return {
        "loop, by itself": awaited(lambda: bm.for_loop(net.step, inputs)),
        "loop, inside jit": awaited(lambda: compiled(inputs)),
    }


def pytorch(case: Simulation) -> Mapping[str, Operation]:
    import torch

    threshold = torch.tensor(thresholds(case))
    state = [torch.tensor(start(case)), torch.tensor(start(case))]
    inputs = torch.tensor(drives(case))

    @torch.no_grad()
    def run() -> Any:
        counts = list[Any]()
        for drive in inputs:
            state[0], state[1], spikes = advance(torch, state[0], state[1], threshold, drive)
            counts.append(spikes)
        return torch.stack(counts)

    return {"loop": operation(run)}


def cases(tiny: bool) -> Iterable[Simulation]:
    if tiny:
        return [Simulation("20 steps of 5 neurons", 20, neurons=5)]
    return [
        Simulation("10 steps", 10, 3),
        Simulation("100 steps", 100, 3),
        Simulation("1,000 steps", 1_000, 3),
        Simulation("10,000 steps", 10_000, 3),
    ]


def rows(contest: Contest) -> Iterable[Row]:
    case = contest.case
    for variant, measured in contest.measure("loop").items():
        for what, unit, cells in (
            (variant, "s", measured.times),
            (f"{variant}, first call", "s", measured.first),
            (f"{variant}, compilations", "", measured.compilations),
        ):
            targets = dict.fromkeys(cells, 1.0) | {"lax.scan": TARGET}
            yield Row(case.title, what, unit, cells, targets, case.size)


GROUP = Group(
    name="loops",
    title="Loops",
    text="""\
A network of 1,000 leaky integrate-and-fire neurons that inhibit each other, 10 to 10,000 steps,
called again and again; spike counts of the first steps of two calls compared. The limit is a
jitted `jax.lax.scan` with a donated carry. BrainPy's and our `for_loop` are measured by
themselves and inside a `jit`, the others inside the `jit` that they need. PyTorch runs a Python
loop.

What holds us off the limit: the call, some 10 µs inside of `jit` and 20 by itself (which loop is
it, has anything changed that it took for granted), which shows in loops shorter than 1,000 steps;
the compiled loop is the same. A PyTorch loop has no first call that compiles.""",
    contenders={
        "framework": Contender(ours, ("framework",)),
        "lax.scan": Contender(bare, ("jax",)),
        "Equinox": Contender(equinox, ("equinox",)),
        "NNX cached_partial": Contender(nnx, ("flax.nnx",)),
        "brainstate": Contender(brainstate, ("brainstate",)),
        "BrainPy": Contender(brainpy, ("brainpy",)),
        "PyTorch": Contender(pytorch, ("torch",)),
    },
    cases=cases,
    rows=rows,
    plots=True,
)
