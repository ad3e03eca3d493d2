"""Group 2: what an optimizer does with given gradients, alone."""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks.harness import Contest, Group, Row
from tests.benchmarks.sessions import Case, Contender, Operation

RATE = 1e-3
LIMIT, FUSED, COPY = "JAX + Optax", "PyTorch fused", "copy of as many bytes"

# Keyword arguments that give one formula in all libraries.
OURS: dict[str, dict[str, Any]] = {
    "AdamW": {"weight_decay": 0.01},
    "Adam": {},
    "SGD": {},
    "Momentum": {"momentum": 0.9},
    "RMSProp": {"epsilon": 1e-6, "rho": 0.9},
    "Adagrad": {"epsilon": 1e-6},
    "RAdam": {},
    "Adamax": {},
    "Lion": {"weight_decay": 0.0},
}
OPTAX: dict[str, tuple[str, dict[str, Any]]] = {
    "AdamW": ("adamw", {"weight_decay": 0.01}),
    "Adam": ("adam", {}),
    "SGD": ("sgd", {}),
    "Momentum": ("sgd", {"momentum": 0.9}),
    "RMSProp": ("rmsprop", {"eps": 1e-6, "decay": 0.9}),
    "Adagrad": ("adagrad", {"eps": 1e-6, "initial_accumulator_value": 0.0}),
    "RAdam": ("radam", {}),
    "Adamax": ("adamax", {}),
    "Lion": ("lion", {"weight_decay": 0.0}),
}
TORCH: dict[str, tuple[str, dict[str, Any]]] = {
    "AdamW": ("AdamW", {"weight_decay": 0.01}),
    "Adam": ("Adam", {}),
    "SGD": ("SGD", {}),
    "Momentum": ("SGD", {"momentum": 0.9}),
    "RMSProp": ("RMSprop", {"eps": 1e-6, "alpha": 0.9}),
    "Adagrad": ("Adagrad", {"eps": 1e-6}),
}
HAS_FUSED = ("AdamW", "Adam", "SGD", "Momentum", "Adagrad")
BRAINPY = ("AdamW", "Adam", "SGD", "Momentum", "RMSProp", "Adagrad")


@dataclass(frozen=True)
class Parameters(Case):
    """Some parameters of one length, and the optimizers to try on them."""

    count: int = 2
    length: int = 4
    algorithms: tuple[str, ...] = ("AdamW",)


def gradients_of(case: Parameters) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.standard_normal(case.length, np.float32) for _ in range(case.count)]


def operation(update: Callable[[], object], first: Callable[[], Any]) -> Operation:
    """Two updates are compared by what has become of one parameter, which starts at zero."""
    return Operation(update, lambda _: np.array(first()[:1000]), checks=2)


def ours(case: Parameters) -> Mapping[str, Operation]:
    import jax
    import jax.numpy as jnp

    import framework as fw
    from framework import optim

    gradients = {f"p{i}": jnp.asarray(g) for i, g in enumerate(gradients_of(case))}

    def make(name: str) -> Operation:
        parameters = {key: fw.TrainVar(jnp.zeros_like(g)) for key, g in gradients.items()}
        optimizer = getattr(optim, name)(RATE, parameters, **OURS[name])
        update: Any = fw.jit(optimizer.update)

        def run() -> None:
            update(gradients)
            jax.block_until_ready(parameters["p0"].value)

        return operation(run, lambda: parameters["p0"].value)

    return {name: make(name) for name in case.algorithms if hasattr(optim, name)}


def bare(case: Parameters) -> Mapping[str, Operation]:
    import jax
    import jax.numpy as jnp
    import optax

    gradients = [jnp.asarray(g) for g in gradients_of(case)]

    def make(name: str) -> Operation:
        constructor, options = OPTAX[name]
        optimizer = getattr(optax, constructor)(RATE, **options)
        parameters = [jnp.zeros_like(g) for g in gradients]
        state = [parameters, optimizer.init(parameters)]
        del parameters

        def update(gradients: Any, parameters: Any, slots: Any) -> Any:
            updates, slots = optimizer.update(gradients, slots, parameters)
            return optax.apply_updates(parameters, updates), slots

        compiled = jax.jit(update, donate_argnums=(1, 2))

        def run() -> None:
            state[:] = compiled(gradients, *state)
            jax.block_until_ready(state[0][0])

        return operation(run, lambda: state[0][0])

    return {name: make(name) for name in case.algorithms}


def nnx(case: Parameters) -> Mapping[str, Operation]:
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    gradients = [jnp.asarray(g) for g in gradients_of(case)]

    class Holder(nnx.Module):
        def __init__(self) -> None:
            self.p = nnx.List([nnx.Param(jnp.zeros_like(g)) for g in gradients])

    def make(name: str) -> Operation:
        constructor, options = OPTAX[name]
        net = Holder()
        optimizer = nnx.Optimizer(net, getattr(optax, constructor)(RATE, **options), wrt=nnx.Param)
        grads = jax.tree.unflatten(jax.tree.structure(nnx.state(net)), gradients)

        def update(net: Any, optimizer: Any, grads: Any) -> None:
            optimizer.update(net, grads)

        compiled = nnx.jit(update, donate_argnums=(0, 1))
        cached = nnx.cached_partial(compiled, net, optimizer)

        def run() -> None:
            cached(grads)
            jax.block_until_ready(net.p[0][...])

        return operation(run, lambda: net.p[0][...])

    return {name: make(name) for name in case.algorithms}


def brainpy(case: Parameters) -> Mapping[str, Operation]:
    import brainpy as bp
    import brainpy.math as bm
    import jax
    import jax.numpy as jnp

    gradients = {f"p{i}": jnp.asarray(g) for i, g in enumerate(gradients_of(case))}

    def make(name: str) -> Operation:
        parameters = {key: bm.TrainVar(jnp.zeros_like(g)) for key, g in gradients.items()}
        update = bm.jit(getattr(bp.optim, name)(RATE, parameters, **OURS[name]).update)

        def run() -> None:
            update(gradients)
            jax.block_until_ready(parameters["p0"].value)

        return operation(run, lambda: parameters["p0"].value)

    return {name: make(name) for name in case.algorithms if name in BRAINPY}


def pytorch(case: Parameters, *, fused: bool = False) -> Mapping[str, Operation]:
    import torch

    gradients = [torch.tensor(g) for g in gradients_of(case)]

    def make(name: str) -> Operation:
        parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        constructor, options = TORCH[name]
        optimizer = getattr(torch.optim, constructor)(
            parameters, RATE, **options, **({"fused": True} if fused else {})
        )
        return operation(optimizer.step, parameters[0].detach)

    known = HAS_FUSED if fused else TORCH
    return {name: make(name) for name in case.algorithms if name in known}


def pytorch_fused(case: Parameters) -> Mapping[str, Operation]:
    return pytorch(case, fused=True)


def copy(case: Parameters) -> Mapping[str, Operation]:
    """AdamW reads four words and writes three; a copy moves two."""
    source = np.ones(case.count * case.length, np.float32)
    target = np.zeros_like(source)
    workers = os.cpu_count() or 1
    pool = ThreadPoolExecutor(workers)
    parts = list(zip(np.array_split(target, workers), np.array_split(source, workers), strict=True))

    def work(part: tuple[np.ndarray, np.ndarray]) -> None:
        for _ in range(3):
            np.copyto(*part)
        half = len(part[0]) // 2
        np.copyto(part[0][:half], part[1][:half])

    return {"AdamW": Operation(lambda: list(pool.map(work, parts)), result=None)}


def cases(tiny: bool) -> Iterable[Parameters]:
    if tiny:
        yield Parameters("2 of 4 floats", algorithms=tuple(OURS))
        return
    yield Parameters("1,000 of 256 floats", processes=2, count=1_000, length=256)
    # Each algorithm is compiled in each process, so fewer of them.
    others = tuple(name for name in OURS if name != "AdamW")
    yield Parameters("100 of 256 floats", count=100, length=256, algorithms=others)
    yield Parameters("10 of 1 million", count=10, length=1_000_000)
    yield Parameters("1 of 50 million", count=1, length=50_000_000)


def rows(contest: Contest) -> Iterable[Row]:
    case: Any = contest.case
    for name in case.algorithms:
        if name in contest.operations:
            cells = contest.measure(name)[name].times
            targets = dict.fromkeys(cells, 1.0) | {COPY: np.inf}
            if case.count == 1:
                targets[FUSED] = 1.2
            yield Row(case.title, name, "s", cells, targets)
    if len(case.algorithms) == 1:
        peak = contest.peak()
        yield Row(case.title, "peak memory", "B", peak, dict.fromkeys(peak, 1.0) | {COPY: np.inf})


GROUP = Group(
    name="update",
    title="Optimizer update alone",
    text="""\
Gradients are there, parameters and slots change; two updates compared. The limit is a jitted
Optax update, parameters and state donated. For AdamW there is the memory itself, too: a copy, on
all cores, that moves the seven words per parameter which AdamW has to read and write.

What holds us off the limit with one large array: XLA makes three loops of the update, which
together move ten words; see `docs/optimizers.md` for what was tried.""",
    contenders={
        "framework": Contender(ours, ("framework",)),
        LIMIT: Contender(bare, ("jax", "optax")),
        "NNX cached_partial": Contender(nnx, ("flax.nnx", "optax")),
        "BrainPy": Contender(brainpy, ("brainpy",)),
        "PyTorch": Contender(pytorch, ("torch",)),
        FUSED: Contender(pytorch_fused, ("torch",)),
        COPY: Contender(copy),
    },
    cases=cases,
    rows=rows,
)
