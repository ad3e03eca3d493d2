"""Comparing trees bit by bit and type by type."""

import jax
import jax.numpy as jnp
import numpy as np


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        assert [type(k) for k in a] == [type(k) for k in b]
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        assert a.dtype == b.dtype
        assert_same(jax.random.key_data(a), jax.random.key_data(b))
    elif isinstance(a, np.ndarray | np.generic | jax.Array):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    elif isinstance(a, float):
        assert np.float64(a).tobytes() == np.float64(b).tobytes()
    elif isinstance(a, complex):
        assert np.complex128(a).tobytes() == np.complex128(b).tobytes()
    else:
        assert a == b
