"""Models that the tests save and load."""

import jax
import jax.numpy as jnp
import numpy as np

import framework as fw
from framework.nodes.collectors import References

ORDER = ("layers", "tied", "table", "scale")


class Dense(fw.BrainPyObject):
    def __init__(self, n_in, n_out, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.w = fw.TrainVar(jnp.asarray(rng.normal(size=(n_in, n_out)).astype(np.float32)))
        self.b = fw.TrainVar(jnp.asarray(rng.normal(size=n_out).astype(np.float32)))


class Net(fw.BrainPyObject):
    """Variables in attributes, lists and dicts, shared and cyclic, and raw arrays."""

    def __init__(self, seed=0, order=ORDER):
        super().__init__()
        made = {"layers": [Dense(3, 4, seed), Dense(4, 3, seed + 1)]}
        made["tied"] = made["layers"][0].w
        made["table"] = {"a b": fw.Variable(jnp.full(2, seed, jnp.int32)), 3: fw.Variable(1)}
        made["scale"] = jnp.full((2,), seed, jnp.bfloat16)
        for name in order:
            setattr(self, name, made[name])
        self.key = fw.Variable(jax.random.key(seed))
        self.layers[1].up = self
        self.state = fw.Variable(jnp.full((seed + 1, 2), seed), batch_axis=0)


class Momentum(fw.BrainPyObject):
    """An optimizer, as far as files are concerned: one slot for each parameter, and a counter."""

    def __init__(self, params, seed=0):
        super().__init__()
        self.params = References(params)
        self.step = fw.Variable(jnp.asarray(seed))
        slots = {}
        for i, (name, param) in enumerate(params.items()):
            slots[f"{name}_m"] = slot = fw.Variable(jnp.full(param.shape, seed + i / 8))
            slot._accompany(param, "m")
        self.register_implicit_vars(slots)


class Trainer(fw.BrainPyObject):
    def __init__(self, seed=0, backwards=False):
        super().__init__()
        self.net = Net(seed, ORDER[::-1] if backwards else ORDER)
        params = dict(self.net.train_vars("relative").unique())
        if backwards:
            params = dict(reversed(params.items()))
        opt = Momentum(params, seed)
        for path, variable in opt.implicit_vars.items():
            # Equal parameters have equal slots, in whichever order they were registered.
            size = float(np.size(params[path.removesuffix("_m")].value))
            variable.value = jnp.full(variable.shape, seed + size)
        self.opt = opt
