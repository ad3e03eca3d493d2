"""State: save_state, state_dict, load_state_dict, devices."""

import subprocess
import sys
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from framework import BrainPyObject, MathError, TrainVar, Variable, VariableView, clear_name_cache


class Dense(BrainPyObject):
    def __init__(self, name=None):
        super().__init__(name)
        self.w = TrainVar(jnp.ones(2))
        self.b = Variable(0.0)


class Net(BrainPyObject):
    def __init__(self):
        super().__init__("net")
        self.count = Variable(jnp.int32(0))
        self.first, self.second = Dense("first"), Dense("second")
        self.items = [Variable(1.0), {"k": Variable(2.0)}]
        self.view = VariableView(self.first.w, 0)
        self.register_implicit_vars(m=Variable(3.0))


@pytest.fixture
def net():
    clear_name_cache()
    return Net()


KEYS = {
    "net": {"count", "items-0", "items-1-k", "m"},
    "first": {"w", "b"},
    "second": {"w", "b"},
}


def values(net):
    return {key: v.value.tolist() for key, v in net.vars("relative").items()}


class TestOwn:
    def test_save_state_is_of_this_node(self, net):
        state = net.save_state()
        assert set(state) == KEYS["net"]
        assert all(isinstance(array, jax.Array) for array in state.values())

    def test_load_state(self, net):
        missing, unexpected = net.load_state({"count": 3, "m": jnp.float32(9), "z": 1})
        assert (set(missing), unexpected) == ({"items-0", "items-1-k"}, ["z"])
        assert (int(net.count), float(net.implicit_vars["m"])) == (3, 9)

    def test_load_state_is_all_or_nothing(self, net):
        with pytest.raises(MathError, match="items-0"):
            net.load_state({"count": 3, "items-0": jnp.ones(3)})
        assert int(net.count) == 0


class TestStateDict:
    def test_layout(self, net):
        state = net.state_dict()
        assert {name: set(own) for name, own in state.items()} == KEYS

    def test_round_trip(self, net):
        state, before = net.state_dict(), values(net)
        net.first.w += 1
        net.count += 1
        net.items[1]["k"].value = 7
        result = net.load_state_dict(state)
        assert values(net) == before
        assert (result.missing_keys, result.unexpected_keys) == ([], [])
        assert tuple(result) == ([], [])

    def test_v1_is_flat(self, net):
        state = {f"{n}.{k}": x for n, own in net.state_dict().items() for k, x in own.items()}
        state["first.w"] = jnp.full(2, 5.0)
        assert net.load_state_dict(state, compatible="v1").missing_keys == []
        assert net.first.w.value.tolist() == [5, 5]

    def test_numpy_arrays(self, net):
        state = jax.tree.map(np.asarray, net.state_dict())
        net.load_state_dict(state)
        assert isinstance(net.first.w.value, jax.Array)

    @pytest.mark.parametrize("compatible", ["v3", "", None, 2])
    def test_other_versions(self, net, compatible):
        with pytest.raises(ValueError, match="'v1' or 'v2'"):
            net.load_state_dict({}, compatible=compatible)

    def test_a_flat_dict_for_v2(self, net):
        with pytest.raises(ValueError, match="compatible='v1'"):
            net.load_state_dict({"first.w": jnp.ones(2)})

    def test_mismatches_warn(self, net):
        state = net.state_dict()
        del state["first"]["w"]
        state["stranger"] = {"x": jnp.ones(1)}
        state["second"]["y"] = jnp.ones(1)
        state["first"]["b"] = jnp.float32(4)
        with pytest.warns(UserWarning, match="lacks|unexpected") as caught:
            result = net.load_state_dict(state)
        assert result.missing_keys == ["first.w"]
        assert set(result.unexpected_keys) == {"stranger.x", "second.y"}
        assert len(caught) == 2
        assert caught[0].filename == __file__
        assert float(net.first.b) == 4
        assert net.load_state_dict(state, warn=False) == result

    @pytest.mark.parametrize("bad", [jnp.ones(3), jnp.ones(2, int), [1.0, 2.0], "ab", 1.0])
    def test_all_or_nothing(self, net, bad):
        state = net.state_dict()
        state["net"]["count"] = jnp.int32(5)
        state["second"]["w"] = bad
        before = values(net)
        with pytest.raises(MathError, match=r"nothing was changed[\s\S]*second\.w"):
            net.load_state_dict(state)
        assert values(net) == before

    def test_all_problems_are_named(self, net):
        state = net.state_dict()
        state["first"]["w"] = state["second"]["b"] = jnp.ones(9)
        with pytest.raises(MathError, match=r"first\.w[\s\S]*second\.b"):
            net.load_state_dict(state)

    def test_shared_variables(self, net):
        net.second.setattr("w", net.first.w)
        state = net.state_dict()
        assert state["first"]["w"] is state["second"]["w"]
        net.first.w += 1
        net.load_state_dict(state)
        assert net.second.w.value.sum() == 2


class Custom(BrainPyObject):
    def __init__(self):
        super().__init__("custom")
        self.w = Variable(1.0)
        self.epoch = 0
        self.fails = False

    def __save_state__(self):
        return {"w": self.w.value, "epoch": self.epoch}

    def __load_state__(self, state):
        self.w.value = state["w"]
        self.epoch = int(state["epoch"])
        if self.fails:
            raise KeyError("late failure")
        return [], []


class TestOverriding:
    def test_is_used(self, net):
        net.custom = Custom()
        state = net.state_dict()
        assert state["custom"] == {"w": 1.0, "epoch": 0}
        state["custom"] = {"w": jnp.float32(5), "epoch": 3}
        assert net.load_state_dict(state) == ([], [])
        assert (float(net.custom.w), net.custom.epoch) == (5, 3)
        v1 = {f"{n}.{k}": x for n, own in state.items() for k, x in own.items()}
        net.custom.epoch = 0
        net.load_state_dict(v1, compatible="v1")
        assert net.custom.epoch == 3

    def test_its_failure_restores_all_variables(self, net):
        net.custom = Custom()
        state = net.state_dict()
        state["custom"]["w"], state["net"]["count"] = jnp.float32(5), jnp.int32(5)
        net.custom.fails = True
        before = values(net)
        with pytest.raises(KeyError, match="late failure"):
            net.load_state_dict(state)
        assert values(net) == before


Point = namedtuple("Point", ["x", "y"])


class TestDevices:
    def test_return_self(self, net):
        assert net.to("cpu") is net
        assert net.cpu() is net
        assert net.to(jax.devices()[0]) is net

    @pytest.mark.parametrize("move", ["cuda", "tpu"])
    def test_absent(self, net, move):
        with pytest.raises(RuntimeError):
            getattr(net, move)()

    @pytest.mark.parametrize("device", ["nonsense", "cpu:99", "cpu:x"])
    def test_absent_by_name(self, net, device):
        with pytest.raises(RuntimeError, match=device.partition(":")[0]):
            net.to(device)

    def test_other_types(self, net):
        with pytest.raises(TypeError, match="int"):
            net.to(0)

    def test_what_is_there_stays_the_same_array(self, net):
        array = net.first.w.value
        net.to("cpu")
        assert net.first.w.value is array


ON_TWO_DEVICES = """
import collections, jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from framework import BrainPyObject, Variable
Point = collections.namedtuple("Point", ["x", "y"])
net = BrainPyObject()
net.child = BrainPyObject()
net.child.w = net.tied = Variable(jnp.ones(4))
net.key = Variable(jax.random.key(0))
net.raw, net.host = jnp.ones(2), np.ones(2)
net.table = {"a": [jnp.ones(2), (jnp.ones(3), 1)], "p": Point(jnp.ones(1), 2)}
net.point = Point(jnp.ones(1), {"z": jnp.ones(2)})
inner, items = net.table["a"], net.table
second = jax.devices()[1]
assert net.to("cpu:1") is net
arrays = [net.child.w.value, net.key.value, net.raw, net.table["a"][0], net.table["a"][1][0],
          net.table["p"].x, net.point.x, net.point.y["z"]]
assert all(a.devices() == {second} for a in arrays), [a.devices() for a in arrays]
assert net.tied is net.child.w and net.table is items and net.table["a"] is inner
assert type(net.point) is Point and net.table["a"][1][1] == 1
assert isinstance(net.host, np.ndarray)
assert all(a.devices() == {second} for a in jax.tree.leaves(net) if isinstance(a, jax.Array))
net.cpu()
assert net.raw.devices() == {jax.devices()[0]}
mesh = Mesh(np.array(jax.devices()), ("d",))
net.child.to(NamedSharding(mesh, PartitionSpec("d")))
assert len(net.tied.value.devices()) == 2
"""


def test_two_devices():
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        check=False,
        text=True,
    )
    assert run.returncode == 0, run.stderr
