"""Random numbers from states that are tracked, saved and restored like any other Variable.

The functions of this module draw from one default state. ``RandomState`` makes further ones.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp

from framework.nodes.array import raw
from framework.nodes.base import BrainPyObject
from framework.nodes.rebuild import allocate
from framework.nodes.variable import Variable
from framework.transforms.discovery import ambient

__all__ = [
    "DEFAULT",
    "RandomKey",
    "RandomState",
    "bernoulli",
    "beta",
    "categorical",
    "choice",
    "exponential",
    "gamma",
    "gumbel",
    "laplace",
    "logistic",
    "multivariate_normal",
    "normal",
    "permutation",
    "poisson",
    "rand",
    "randint",
    "randn",
    "random",
    "seed",
    "shuffle",
    "split_key",
    "split_keys",
    "truncated_normal",
    "uniform",
]

Shape = int | Sequence[int] | None
"""The shape of what is drawn; None for a scalar, or for the shape of the parameters."""


class RandomKey(Variable):
    """A Variable that holds the key of a random state. Under ``vmap`` each lane gets its own."""

    __slots__ = ()


class RandomState(BrainPyObject):
    """A stream of random numbers.

    Every draw takes a new key from ``key``, so it goes on through loops, branches and compiled
    functions, is saved with the object that holds it, and goes on exactly where it was when
    restored. All methods take ``key=``, to draw from a given key instead.

    Args:
        seed: An int, or a key of `jax.random`; from the operating system if left out.
        name: A unique name.

    Attributes:
        key: The present key.

    >>> rng = RandomState(0)
    >>> bool(rng.normal() != rng.normal())
    True
    >>> rng.seed(0)
    >>> bool(rng.normal() == RandomState(0).normal())
    True
    """

    def __init__(self, seed: int | jax.Array | None = None, name: str | None = None) -> None:
        super().__init__(name)
        self.key = RandomKey(_key_of(seed))

    def seed(self, seed: int | jax.Array | None = None) -> None:
        """Start anew.

        Args:
            seed: An int, or a key; from the operating system if left out.
        """
        self.key.value = _key_of(seed)

    def split_key(self) -> jax.Array:
        """Take a key that nobody else gets.

        Returns:
            A scalar key.
        """
        return self.split_keys(1)[0]

    def split_keys(self, n: int) -> jax.Array:
        """Take keys that nobody else gets.

        Args:
            n: How many.

        Returns:
            Keys, of shape ``(n,)``.
        """
        keys = jax.random.split(self.key.value, n + 1)
        self.key.value = keys[0]
        return keys[1:]

    def _draw(
        self, draw: Callable[..., Any], size: Shape, key: Any, *parameters: Any, **options: Any
    ) -> jax.Array:
        """Draw with parameters that broadcast against the size."""
        parameters = tuple(map(raw, parameters))
        if size is None:
            shape = jnp.broadcast_shapes(*map(jnp.shape, parameters))
        else:
            shape = (size,) if isinstance(size, int) else tuple(size)
        key = self.split_key() if key is None else raw(key)
        return draw(key, *parameters, shape=shape, **options)

    def random(self, size: Shape = None, key: Any = None) -> jax.Array:
        """Draw uniformly from [0, 1)."""
        return self._draw(jax.random.uniform, size, key)

    def rand(self, *shape: int, key: Any = None) -> jax.Array:
        """Draw uniformly from [0, 1), in a shape of these lengths."""
        return self._draw(jax.random.uniform, shape, key)

    def randn(self, *shape: int, key: Any = None) -> jax.Array:
        """Draw from the standard normal distribution, in a shape of these lengths."""
        return self._draw(jax.random.normal, shape, key)

    def uniform(
        self, low: Any = 0.0, high: Any = 1.0, size: Shape = None, key: Any = None
    ) -> jax.Array:
        """Draw uniformly from [low, high)."""
        return self._draw(
            lambda k, low, high, shape: jax.random.uniform(k, shape, minval=low, maxval=high),
            size, key, low, high,
        )  # fmt: skip

    def randint(
        self, low: Any, high: Any = None, size: Shape = None, dtype: Any = int, key: Any = None
    ) -> jax.Array:
        """Draw integers from [low, high), or from [0, low) without high."""
        low, high = (0, low) if high is None else (low, high)
        return self._draw(
            lambda k, low, high, shape: jax.random.randint(k, shape, low, high, dtype),
            size, key, low, high,
        )  # fmt: skip

    def normal(
        self, loc: Any = 0.0, scale: Any = 1.0, size: Shape = None, key: Any = None
    ) -> jax.Array:
        """Draw from the normal distribution of this mean and standard deviation."""
        return self._draw(
            lambda k, loc, scale, shape: loc + scale * jax.random.normal(k, shape),
            size, key, loc, scale,
        )  # fmt: skip

    def truncated_normal(
        self,
        lower: Any,
        upper: Any,
        size: Shape = None,
        loc: Any = 0.0,
        scale: Any = 1.0,
        key: Any = None,
    ) -> jax.Array:
        """Draw from the normal distribution, restricted to [lower, upper]."""

        def draw(k: Any, lower: Any, upper: Any, loc: Any, scale: Any, shape: Any) -> jax.Array:
            bounds = (lower - loc) / scale, (upper - loc) / scale
            return loc + scale * jax.random.truncated_normal(k, *bounds, shape)

        return self._draw(draw, size, key, lower, upper, loc, scale)

    def bernoulli(self, p: Any = 0.5, size: Shape = None, key: Any = None) -> jax.Array:
        """Draw True with probability p."""
        return self._draw(jax.random.bernoulli, size, key, p)

    def poisson(self, lam: Any = 1.0, size: Shape = None, key: Any = None) -> jax.Array:
        """Draw from the Poisson distribution of this rate."""
        # JAX draws Poisson numbers from threefry keys only.
        return self._draw(jax.random.poisson, size, key, lam)

    def exponential(self, scale: Any = 1.0, size: Shape = None, key: Any = None) -> jax.Array:
        """Draw from the exponential distribution of this mean."""
        return self._draw(
            lambda k, scale, shape: scale * jax.random.exponential(k, shape), size, key, scale
        )

    def gamma(self, shape: Any, scale: Any = 1.0, size: Shape = None, key: Any = None) -> jax.Array:
        """Draw from the gamma distribution of this shape parameter and scale."""
        return self._draw(
            lambda k, a, scale, shape: scale * jax.random.gamma(k, a, shape),
            size, key, shape, scale,
        )  # fmt: skip

    def beta(self, a: Any, b: Any, size: Shape = None, key: Any = None) -> jax.Array:
        """Draw from the beta distribution of these parameters."""
        return self._draw(jax.random.beta, size, key, a, b)

    def gumbel(
        self, loc: Any = 0.0, scale: Any = 1.0, size: Shape = None, key: Any = None
    ) -> jax.Array:
        """Draw from the Gumbel distribution of this location and scale."""
        return self._draw(
            lambda k, loc, scale, shape: loc + scale * jax.random.gumbel(k, shape),
            size, key, loc, scale,
        )  # fmt: skip

    def laplace(
        self, loc: Any = 0.0, scale: Any = 1.0, size: Shape = None, key: Any = None
    ) -> jax.Array:
        """Draw from the Laplace distribution of this mean and scale."""
        return self._draw(
            lambda k, loc, scale, shape: loc + scale * jax.random.laplace(k, shape),
            size, key, loc, scale,
        )  # fmt: skip

    def logistic(
        self, loc: Any = 0.0, scale: Any = 1.0, size: Shape = None, key: Any = None
    ) -> jax.Array:
        """Draw from the logistic distribution of this mean and scale."""
        return self._draw(
            lambda k, loc, scale, shape: loc + scale * jax.random.logistic(k, shape),
            size, key, loc, scale,
        )  # fmt: skip

    def multivariate_normal(
        self, mean: Any, cov: Any, size: Shape = (), key: Any = None
    ) -> jax.Array:
        """Draw vectors from the normal distribution of this mean and covariance matrix."""
        mean, cov = raw(mean), raw(cov)
        batch = (size,) if isinstance(size, int) else tuple(size or ())
        return self._draw(
            lambda k, shape: jax.random.multivariate_normal(k, mean, cov, shape), batch, key
        )

    def categorical(
        self, logits: Any, axis: int = -1, size: Shape = None, key: Any = None
    ) -> jax.Array:
        """Draw indices with probabilities that are the softmax of the logits along an axis."""
        logits = raw(logits)
        lengths = list(logits.shape)
        del lengths[axis]
        shape = lengths if size is None else size
        return self._draw(
            lambda k, shape: jax.random.categorical(k, logits, axis, shape), shape, key
        )

    def choice(
        self,
        a: Any,
        size: Shape = (),
        replace: bool = True,
        p: Any = None,
        axis: int = 0,
        key: Any = None,
    ) -> jax.Array:
        """Draw from ``range(a)``, or from the entries of an array, with probabilities p."""
        a, p = raw(a), raw(p)
        return self._draw(
            lambda k, shape: jax.random.choice(k, a, shape, replace, p, axis), size or (), key
        )

    def permutation(
        self, x: Any, axis: int = 0, independent: bool = False, key: Any = None
    ) -> jax.Array:
        """Put ``range(x)``, or the entries of an array along an axis, in random order."""
        x = raw(x)
        return self._draw(
            lambda k, shape: jax.random.permutation(k, x, axis, independent=independent),  # noqa: ARG005
            (),
            key,
        )

    def shuffle(self, x: Variable, axis: int = 0, key: Any = None) -> None:
        """Put the entries of a Variable in random order, in place."""
        x.value = self.permutation(x, axis, key=key)


def _key_of(seed: int | jax.Array | None) -> jax.Array:
    seed = raw(seed)
    if seed is None:
        seed = secrets.randbits(32)
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        return seed
    if jnp.shape(seed):
        # A key of the old kind.
        return jax.random.wrap_key_data(jnp.asarray(seed))
    return jax.random.key(seed)


class _Default(RandomState):
    """The state behind the functions of the module; it makes its key when it is first needed.

    Making a key starts JAX's backend, which an import must not do.
    """

    def __new__(cls) -> Self:
        # Not BrainPyObject's: to ask for the present trace takes a slow import of JAX's.
        return allocate(cls)

    def __init__(self) -> None:
        BrainPyObject.__init__(self, "default_random_state")

    def __getattr__(self, name: str) -> Any:
        if name != "key":
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        # Whatever transform is active, the state is older than that and outside of it.
        with jax.ensure_compile_time_eval():
            key = RandomKey(_key_of(None))
        key._serial, key._home = 0, None
        self.setattr("key", key)
        ambient[key] = None
        return key


DEFAULT = _Default()
"""The default state."""

bernoulli = DEFAULT.bernoulli
beta = DEFAULT.beta
categorical = DEFAULT.categorical
choice = DEFAULT.choice
exponential = DEFAULT.exponential
gamma = DEFAULT.gamma
gumbel = DEFAULT.gumbel
laplace = DEFAULT.laplace
logistic = DEFAULT.logistic
multivariate_normal = DEFAULT.multivariate_normal
normal = DEFAULT.normal
permutation = DEFAULT.permutation
poisson = DEFAULT.poisson
rand = DEFAULT.rand
randint = DEFAULT.randint
randn = DEFAULT.randn
random = DEFAULT.random
seed = DEFAULT.seed
shuffle = DEFAULT.shuffle
split_key = DEFAULT.split_key
split_keys = DEFAULT.split_keys
truncated_normal = DEFAULT.truncated_normal
uniform = DEFAULT.uniform
