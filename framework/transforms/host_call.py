"""Calls from compiled code to the host, at a tenth of what `jax.debug.callback` costs.

That one makes a `jax.Array` of each argument, which takes ten times as long as the call itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.experimental import io_callback
from jax.interpreters import batching, mlir

__all__ = ["host_call"]


def host_call(host: Callable[[int], int], number: Any, after: Any = ()) -> jax.Array:
    """Let compiled code call a Python function. It has no part in derivatives.

    Args:
        host: The function; hashable.
        number: Its argument, an int32 that is the same in all lanes of a vmap.
        after: Arrays to wait for.

    Returns:
        What the function returns, as an int32.

    >>> jax.jit(lambda n: host_call(lambda n: 2 * n, n))(jnp.int32(21))
    Array(42, dtype=int32)
    """
    return _primitive().bind(number, *map(lax.stop_gradient, after), host=host)


@functools.cache
def _primitive() -> Any:
    """The primitive, made at first need, since the import is slow."""
    from jax.extend.core import Primitive

    # The name tells what looks for callbacks that this is one.
    primitive = Primitive("host_callback")
    primitive.def_impl(lambda *operands, host: jnp.asarray(_called(*operands, host=host)))
    primitive.def_effectful_abstract_eval(_result)
    mlir.register_lowering(primitive, _lower)
    batching.primitive_batchers[primitive] = _batch
    return primitive


@functools.cache
def _effects() -> Any:
    """That of `jax.debug.callback`, which every transform of JAX lets through."""
    return jax.make_jaxpr(lambda: jax.debug.callback(lambda: None))().effects


def _result(_number: Any, *_after: Any, host: Any) -> Any:  # noqa: ARG001
    return ShapedArray((), jnp.dtype(jnp.int32)), _effects()


def _called(number: Any, *_after: Any, host: Callable[[int], int]) -> np.int32:
    return np.int32(host(int(number)))


def _lower(context: Any, *operands: Any, host: Callable[[int], int]) -> Any:
    call = functools.partial(_called, host=host)
    if getattr(context.module_context.axis_context, "num_devices", None) == 1:
        return mlir.emit_python_callback(
            context,
            lambda *values: (call(*values),),
            None,
            operands,
            context.avals_in,
            context.avals_out,
            has_side_effect=True,
        )[0]
    # To say on which of several devices it runs, nothing is public but this.
    usual = functools.partial(io_callback, call, jax.ShapeDtypeStruct((), jnp.int32))
    return mlir.lower_fun(usual, multiple_results=False)(context, *operands)


def _batch(operands: Any, axes: Any, *, host: Any) -> Any:
    first = [
        x if axis is None else lax.index_in_dim(x, 0, axis, keepdims=False)
        for x, axis in zip(operands, axes, strict=True)
    ]
    return _primitive().bind(*first, host=host), None
