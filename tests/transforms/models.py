"""Small objects that the tests of transforms share."""

import jax
import jax.numpy as jnp

import framework as fw


class Counter(fw.BrainPyObject):
    """Counts its calls, and adds what it is given."""

    def __init__(self):
        super().__init__()
        self.count = fw.Variable(jnp.zeros((), jnp.int32))
        self.total = fw.Variable(jnp.zeros(2))

    def __call__(self, x):
        self.count += 1
        self.total += x
        return self.total * 2


class Dense(fw.BrainPyObject):
    def __init__(self, n_in, n_out, key=None):
        super().__init__()
        key = jax.random.key(0) if key is None else key
        self.w = fw.TrainVar(jax.random.normal(key, (n_in, n_out)))
        self.b = fw.TrainVar(jnp.zeros(n_out))
        self.calls = fw.Variable(jnp.zeros((), jnp.int32))
        self.training = True

    def __call__(self, x):
        self.calls += 1
        y = x @ self.w + self.b
        return jnp.tanh(y) if self.training else y


class Net(fw.BrainPyObject):
    def __init__(self, width=3, depth=2, key=None):
        super().__init__()
        keys = jax.random.split(jax.random.key(1) if key is None else key, depth)
        self.layers = [Dense(width, width, k) for k in keys]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def state_of(obj):
    """The values of all Variables by path."""
    return {path: jnp.copy(v.value) for path, v in obj.vars("relative").items()}
