"""Gradients: which belongs to which parameter, whether they fit, and how they are limited."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from framework.errors import MathError
from framework.nodes.array import raw
from framework.nodes.frames import by_value, is_tracer
from framework.nodes.graph import Node
from framework.nodes.variable import Variable
from framework.nodes.walk import graph_of
from framework.optim.precision import computation_dtype
from framework.optim.selection import owners_of, path_of
from framework.transforms.functionalize import functionalize

__all__ = ["Gradients", "clipped", "matched", "nonfinite", "only_if"]

Gradients = dict[Variable, Any]


def matched(parameters: Mapping[str, Variable], frozen: Collection[str], grads: Any) -> Gradients:
    """Find the gradient of each parameter.

    Args:
        parameters: Parameters by key; one that is there several times needs one gradient only.
        frozen: Keys of parameters that need none.
        grads: A mapping by the same keys, or an object of gradients.

    Returns:
        One gradient for each parameter that is not frozen.

    Raises:
        MathError: Gradients are missing, unexpected or don't fit; all are named.
    """
    by_key = _of_object(parameters, grads) if isinstance(grads, Node) else grads
    if not isinstance(by_key, Mapping):
        raise MathError(
            "Gradients are a dict by the keys of the parameters, or an object of gradients, but "
            f"got a {type(grads).__name__}."
        )
    found: Gradients = {}
    problems: list[str] = []
    for key, gradient in by_key.items():
        parameter = parameters.get(key)
        if parameter is None:
            problems.append(f"  {key}: no such parameter is trained")
        elif key not in frozen and parameter not in found:
            found[parameter] = raw(gradient)
            if problem := _problem(parameter, found[parameter]):
                problems.append(f"  {_name(key, parameter)}: {problem}")
    problems += [
        f"  {_name(key, parameter)}: missing"
        for key, parameter in parameters.items()
        if parameter not in found and key not in frozen
    ]
    if problems:
        raise MathError(
            f"The {len(by_key)} gradients don't fit the {len(parameters)} parameters of this "
            "optimizer; nothing was changed.\n" + "\n".join(problems)
        )
    return {p: found[p] for key, p in parameters.items() if key not in frozen}


def _name(key: str, parameter: Variable) -> str:
    path = path_of(parameter)
    return key if path in ("", key) else f"{key} ({path})"


def _problem(parameter: Variable, gradient: Any) -> str | None:
    if not isinstance(gradient, (jax.Array, np.ndarray, np.generic, float, complex)):
        return f"a {type(gradient).__name__}, not an array"
    dtype = gradient.dtype if isinstance(gradient, jax.Array) else np.asarray(gradient).dtype
    if jnp.shape(gradient) != parameter.shape:
        return f"shape {jnp.shape(gradient)} for a parameter of {parameter.shape}"
    is_complex = jnp.issubdtype(parameter.dtype, jnp.complexfloating)
    fits = jnp.complexfloating if is_complex else jnp.floating
    if dtype == jax.dtypes.float0 or not jnp.issubdtype(dtype, fits):
        return f"dtype {np.dtype(dtype).name} for a parameter of {parameter.dtype}"
    return None


def _of_object(parameters: Mapping[str, Variable], grads: Node) -> dict[str, Any]:
    """The gradients in an object that has the structure of the one that holds the parameters."""
    at: dict[int, Any] = {}
    with by_value():
        graph = graph_of(grads)
        # One object only: a twin of it that is trained, too, has gradients of its own.
        for owner in (o for p in parameters.values() for o in owners_of(p)):
            if type(owner) is type(grads) and graph_of(owner).structure == graph.structure:
                leaves = zip(graph_of(owner).live_leaves(), graph.live_leaves(), strict=True)
                at = {id(leaf): gradient for leaf, gradient in leaves}
                break
    if not at:
        raise MathError(
            f"Got an object of gradients of class {type(grads).__name__}, but no object that holds "
            "parameters of this optimizer has the same structure. Pass gradients with respect to "
            "the whole object, as `jax.grad(loss)(net)` gives them, or a dict by key."
        )
    return {key: raw(at[id(p)]) for key, p in parameters.items() if id(p) in at}


def _computed(gradient: Any) -> jax.Array:
    gradient = jnp.asarray(gradient)
    is_complex = jnp.issubdtype(gradient.dtype, jnp.complexfloating)
    return gradient if is_complex else gradient.astype(computation_dtype(gradient.dtype))


@jax.jit
def _square(gradient: Any) -> jax.Array:
    gradient = _computed(gradient)
    return jnp.sum(gradient.real**2) + jnp.sum(gradient.imag**2)


@jax.jit
def _shortened(gradient: Any, norm: jax.Array, limit: jax.Array) -> jax.Array:
    gradient = _computed(gradient)
    return gradient * jnp.minimum(limit / norm, 1).astype(gradient.dtype)


@jax.jit
def _within(gradient: Any, limit: jax.Array) -> jax.Array:
    gradient = _computed(gradient)
    limit = limit.astype(gradient.real.dtype)
    if jnp.issubdtype(gradient.dtype, jnp.complexfloating):
        parts = (jnp.clip(part, -limit, limit) for part in (gradient.real, gradient.imag))
        return jax.lax.complex(*parts)
    return jnp.clip(gradient, -limit, limit)


def clipped(
    gradients: Gradients,
    value: jax.Array | None,
    parameter_norm: jax.Array | None,
    norm: jax.Array | None,
) -> Gradients:
    """Limit gradients: each element, then each gradient's norm, then the norm of all together.

    Args:
        gradients: Gradients by parameter.
        value: The largest absolute value of an element.
        parameter_norm: The largest norm of one gradient.
        norm: The largest norm of all gradients together.
    """
    if value is not None:
        gradients = {p: _within(g, value) for p, g in gradients.items()}
    if parameter_norm is not None:
        limit = parameter_norm
        gradients = {p: _shortened(g, _norm([g], limit), limit) for p, g in gradients.items()}
    if norm is not None and gradients:
        total = _norm(list(gradients.values()), norm)
        gradients = {p: _shortened(g, total, norm) for p, g in gradients.items()}
    return gradients


def _norm(gradients: list[Any], limit: jax.Array) -> jax.Array:
    return jnp.sqrt(sum((_square(g).astype(limit.dtype) for g in gradients), jnp.zeros_like(limit)))


@jax.jit
def _has_only_finite(gradient: Any) -> jax.Array:
    return jnp.all(jnp.isfinite(gradient))


def nonfinite(gradients: Gradients) -> tuple[jax.Array, Callable[[], list[str]]]:
    """Look for infinities and NaNs.

    Returns:
        Whether there are any; and a function that lists where, outside of a trace.
    """
    finite = {p: _has_only_finite(g) for p, g in gradients.items()}
    any_bad = ~jnp.all(jnp.stack(list(finite.values()))) if finite else jnp.asarray(False)
    return any_bad, lambda: [path_of(p) or p._label() for p, ok in finite.items() if not ok]


def only_if(condition: jax.Array, action: Callable[[], None], variables: list[Variable]) -> None:
    """Do something under a condition that may be known only when the program runs.

    Args:
        condition: A scalar of bools.
        action: What to do.
        variables: All Variables that it may write.
    """
    if not is_tracer(condition):
        if condition:
            action()
        return

    def act(values: list[Any]) -> list[Any]:
        _, frame = functionalize(action, dict(zip(variables, values, strict=True)))
        return [frame.values[variable] for variable in variables]

    values = [variable.value for variable in variables]
    for variable, new in zip(variables, jax.lax.cond(condition, act, list, values), strict=True):
        variable.value = new
