"""A train step in each library, as its documentation writes one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.models import (
    LEARNING_RATE,
    WEIGHT_DECAY,
    Dialect,
    Net,
    batch_of,
    build,
    pure,
)

Step = Callable[[], Any]

PACKED = "framework, packed"
"""Ourselves with the option `pack_state`."""


class Library(NamedTuple):
    """A library.

    Attributes:
        needs: The modules to import.
        step: From a case, a train step: it changes the state and returns the loss, not awaited.
        dialect: How it writes classes; None where there are none.
    """

    needs: tuple[str, ...]
    step: Callable[[Net], Step]
    dialect: Callable[[], Dialect] | None = None


def our_dialect() -> Dialect:
    import framework as fw

    return Dialect(fw.BrainPyObject, lambda value: fw.TrainVar(array(value)))


def our_step(case: Net, *, pack_state: bool = False) -> Step:
    import framework as fw
    from framework.optim import AdamW

    net, batch = build(case, our_dialect()), on_device(case)
    optimizer = AdamW(LEARNING_RATE, net.train_vars().unique(), weight_decay=WEIGHT_DECAY)
    gradients = fw.grad(net.loss, optimizer.vars_to_train, return_value=True)

    @fw.jit(pack_state=pack_state)
    def step(*batch: Any) -> Any:
        grads, loss = gradients(*batch)
        optimizer.update(grads)
        return loss

    return lambda: step(*batch)


def our_packed_step(case: Net) -> Step:
    return our_step(case, pack_state=True)


def bare_step(case: Net) -> Step:
    import jax
    import optax

    weights, loss_of = pure(case)
    optimizer, batch = adamw(), on_device(case)
    weights = jax.tree.map(array, weights)
    state = [weights, optimizer.init(weights)]

    def step(weights: Any, slots: Any, *batch: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(weights, *batch)
        updates, slots = optimizer.update(grads, slots, weights)
        return optax.apply_updates(weights, updates), slots, loss

    compiled = jax.jit(step, donate_argnums=(0, 1))

    def run() -> Any:
        state[0], state[1], loss = compiled(*state, *batch)
        return loss

    return run


def equinox_dialect() -> Dialect:
    import equinox as eqx

    return Dialect(eqx.Module, array, shares=False)


def equinox_step(case: Net) -> Step:
    import equinox as eqx

    net, optimizer, batch = build(case, equinox_dialect()), adamw(), on_device(case)
    state = [net, optimizer.init(eqx.filter(net, eqx.is_array))]

    @eqx.filter_jit(donate="all-except-first")
    def step(batch: Any, net: Any, slots: Any) -> Any:
        loss, grads = eqx.filter_value_and_grad(lambda net: net.loss(*batch))(net)
        updates, slots = optimizer.update(grads, slots, net)
        return eqx.apply_updates(net, updates), slots, loss

    def run() -> Any:
        state[0], state[1], loss = step(batch, *state)
        return loss

    return run


def nnx_dialect() -> Dialect:
    from flax import nnx

    return Dialect(nnx.Module, lambda v: nnx.Param(array(v)), lambda p: p[...], nnx.List)


def nnx_step(case: Net) -> Step:
    from flax import nnx

    net, optimizer, step = _nnx_parts(case)
    compiled, batch = nnx.jit(step, donate_argnums=(0, 1)), on_device(case)
    return lambda: compiled(net, optimizer, *batch)


def nnx_cached_step(case: Net) -> Step:
    from flax import nnx

    net, optimizer, step = _nnx_parts(case)
    compiled = nnx.cached_partial(nnx.jit(step, donate_argnums=(0, 1)), net, optimizer)
    batch = on_device(case)
    return lambda: compiled(*batch)


def _nnx_parts(case: Net) -> tuple[Any, Any, Callable[..., Any]]:
    from flax import nnx

    net = build(case, nnx_dialect())

    def step(net: Any, optimizer: Any, *batch: Any) -> Any:
        loss, grads = nnx.value_and_grad(lambda net: net.loss(*batch))(net)
        optimizer.update(net, grads)
        return loss

    return net, nnx.Optimizer(net, adamw(), wrt=nnx.Param), step


def brainpy_dialect() -> Dialect:
    import brainpy as bp
    import brainpy.math as bm

    return Dialect(
        bp.BrainPyObject,  # pyright: ignore[reportPrivateImportUsage]
        lambda value: bm.TrainVar(array(value)),
        lambda variable: variable.value,
        bm.NodeList,
    )


def brainpy_step(case: Net) -> Step:
    import brainpy as bp
    import brainpy.math as bm

    net, batch = build(case, brainpy_dialect()), on_device(case)
    parameters = net.train_vars().unique()
    optimizer = bp.optim.AdamW(LEARNING_RATE, parameters, weight_decay=WEIGHT_DECAY)
    gradients: Any = bm.grad(net.loss, parameters, return_value=True)

    @bm.jit
    def step(*batch: Any) -> Any:
        grads, loss = gradients(*batch)
        optimizer.update(grads)
        return loss

    return lambda: step(*batch)


def brainstate_dialect() -> Dialect:
    import brainstate

    return Dialect(
        brainstate.nn.Module,
        lambda value: brainstate.ParamState(array(value)),
        lambda state: state.value,
    )


def brainstate_step(case: Net) -> Step:
    import brainstate
    import braintools

    net, batch = build(case, brainstate_dialect()), on_device(case)
    parameters = net.states(brainstate.ParamState)
    optimizer = braintools.optim.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    optimizer.register_trainable_weights(parameters)

    @brainstate.transform.jit
    def step(*batch: Any) -> Any:
        loss_of: Any = brainstate.transform.grad(net.loss, parameters, return_value=True)
        grads, loss = loss_of(*batch)
        optimizer.update(grads)
        return loss

    return lambda: step(*batch)


def torch_dialect() -> Dialect:
    import torch

    def parameter(value: np.ndarray) -> Any:
        return torch.nn.Parameter(torch.tensor(value))

    return Dialect(torch.nn.Module, parameter, many=torch.nn.ModuleList, xp=torch)


def torch_step(case: Net, *, fused: bool = False) -> Step:
    import torch

    net = build(case, torch_dialect())
    batch = [torch.tensor(part) for part in batch_of(case)]
    optimizer = torch.optim.AdamW(
        net.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=fused or None
    )

    def step() -> Any:
        optimizer.zero_grad()
        loss = net.loss(*batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def torch_fused_step(case: Net) -> Step:
    return torch_step(case, fused=True)


def adamw() -> Any:
    import optax

    return optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)


def array(value: np.ndarray) -> Any:
    # PyTorch's time to the first step does not include an import of JAX.
    import jax.numpy as jnp

    return jnp.asarray(value)


def on_device(case: Net) -> list[Any]:
    return [array(part) for part in batch_of(case)]


LIBRARIES = {
    "framework": Library(("framework",), our_step, our_dialect),
    "JAX + Optax": Library(("jax", "optax"), bare_step),
    "Equinox": Library(("equinox", "optax"), equinox_step, equinox_dialect),
    "NNX cached_partial": Library(("flax.nnx", "optax"), nnx_cached_step, nnx_dialect),
    "NNX jit": Library(("flax.nnx", "optax"), nnx_step, nnx_dialect),
    "brainstate": Library(("brainstate", "braintools"), brainstate_step, brainstate_dialect),
    "BrainPy": Library(("brainpy",), brainpy_step, brainpy_dialect),
    "PyTorch": Library(("torch",), torch_step, torch_dialect),
    "PyTorch fused": Library(("torch",), torch_fused_step, torch_dialect),
    PACKED: Library(("framework",), our_packed_step, our_dialect),
}
