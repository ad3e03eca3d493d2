"""Whole objects in files: rebuilt without code in hand, and without running any."""

import dataclasses
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework.errors import CheckpointError
from framework.io.building import build_object
from framework.io.description import describe_object
from framework.io.names import Resolver
from framework.io.objects import load_object, save_object
from framework.io.states import load, load_states
from framework.io.writer import write_file
from framework.optim import AdamW, CosineAnnealingLR
from tests.io.comparison import assert_same
from tests.io.models import Dense, Net, Trainer
from tests.io.test_states import values


@dataclasses.dataclass(frozen=True)
class Config:
    width: int
    names: tuple


class Point(NamedTuple):
    x: float
    y: float


def swish(x):
    return x * jax.nn.sigmoid(x)


class Guarded(fw.BrainPyObject):
    """Whose code must not run when it is loaded."""

    __slots__ = ("fast",)
    ran = 0

    def __init__(self):
        super().__init__()
        Guarded.ran += 1

    def __setattr__(self, key, value):
        Guarded.ran += 1
        super().__setattr__(key, value)

    @property
    def double(self):
        Guarded.ran += 1
        return 2 * self.size


class Plain(fw.BrainPyObject):
    def __init__(self):
        super().__init__()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.msgpack"


def back(path, obj, **options):
    save_object(path, obj)
    return load_object(path, **options)


def test_a_whole_tree_with_sharing_and_cycles(path):
    saved = Net(1)
    loaded = back(path, saved)
    assert type(loaded) is Net
    assert_same(values(loaded), values(saved))
    assert type(loaded.tied) is fw.TrainVar
    assert loaded.tied is loaded.layers[0].w is not saved.tied
    assert loaded.layers[1].up is loaded
    assert loaded.state.batch_axis == 0
    loaded.tied.value = loaded.tied * 2
    assert_same(saved.tied.value, Net(1).tied.value)


def test_model_and_optimizer_train_on(path):
    def train(both, steps):
        for _ in range(steps):
            params = both["opt"].vars_to_train
            both["opt"].update({key: jnp.cos(param.value) for key, param in params.items()})
        return both

    net = Net(1)
    fresh = {"net": net, "opt": AdamW(CosineAnnealingLR(0.1, 10), net.train_vars().unique())}
    loaded = back(path, train(fresh, 3))
    biases = [loaded["net"].layers[i].b for i in range(2)]
    assert {id(b) for b in biases} <= {id(v) for v in loaded["opt"].vars_to_train.values()}
    train(loaded, 2)
    train(fresh, 2)
    assert_same(values(loaded["net"]), values(fresh["net"]))
    assert_same(values(loaded["opt"]), values(fresh["opt"]))
    assert repr(loaded["opt"]) == repr(fresh["opt"])


STATIC = {
    "numbers": [1, -1.5, True, None, 10**30, 2j, float("inf"), np.float16(0.1), np.int64(3)],
    "texts": ["é", b"\0", ""],
    "containers": {"a": (1, (2,)), 3: [[]], ("t", 1): {}},
    "sets": [{1, 2}, frozenset({"a"})],
    "slices": [slice(1, None, 2), ...],
    "dtypes": [jnp.dtype("bfloat16"), np.dtype("int8"), jnp.float32, int],
    "functions": [jax.nn.relu, jnp.tanh, jax.lax.rsqrt],
    "records": [Config(3, ("a",)), Point(1.0, 2.0)],
    "classes": [Dense, fw.TrainVar],
}


@pytest.mark.parametrize("name", STATIC)
def test_static_values_keep_type_and_value(path, name):
    node = Plain()
    node.static = STATIC[name]
    loaded = back(path, node)
    assert repr(loaded.static) == repr(node.static)
    assert_same(type(loaded.static), type(node.static))


def test_containers_views_methods_and_slots(path):
    node = Plain()
    node.variables = fw.VarList([fw.Variable(2), fw.Variable(3)])
    node.nodes_ = fw.NodeDict(a=Dense(1, 2))
    node.view = fw.VariableView(node.variables[1], slice(1, 3))
    node.method = node.nodes_["a"].train_vars
    node.guarded = Guarded()
    node.guarded.fast = fw.Variable(jnp.ones(2))
    node.guarded.size = 4
    node.arrays = (jnp.arange(3), [np.arange(2)])
    loaded = back(path, node)
    assert type(loaded.variables) is fw.VarList
    assert type(loaded.nodes_) is fw.NodeDict
    loaded.view.value = jnp.ones(2)
    assert loaded.variables[1].value.tolist() == [0, 1, 1]
    assert loaded.method.__self__ is loaded.nodes_["a"]
    assert loaded.guarded.fast.value.tolist() == [1, 1]
    assert_same(loaded.arrays, node.arrays)


def test_no_code_of_the_classes_runs(path):
    node = Guarded()
    node.size = 4
    save_object(path, node)
    before = Guarded.ran
    loaded = load_object(path)
    assert Guarded.ran == before
    assert loaded.double == 8


def test_what_has_no_form_is_named_when_saving(path):
    node = Plain()
    node.inner = [Plain(), Plain()]
    node.inner[1].act = lambda x: x
    with pytest.raises(CheckpointError, match=r"cannot save 'inner\[1\]\.act': it is <function"):
        save_object(path, node)
    node.inner[1].act = {"a": [object()]}
    with pytest.raises(CheckpointError, match=r"cannot save \"inner\[1\]\.act\['a'\]\[0\]\""):
        save_object(path, node)
    trainer = Trainer()
    with pytest.raises(CheckpointError, match=r"'params'.*outside of what is saved"):
        save_object(path, trainer.opt)
    assert not path.exists()


def test_functions_of_users_must_be_allowed(path):
    node = Plain()
    node.act = swish
    save_object(path, node)
    with pytest.raises(CheckpointError, match=r"swish, which is not allowed.*allow=\[swish\]"):
        load_object(path)
    assert load_object(path, allow=[swish]).act is swish
    with pytest.raises(CheckpointError, match="allow"):
        load_object(path, allow=[lambda x: x])


def test_nothing_is_imported(path, tmp_path):
    save_object(path, Net(1))
    code = (
        "import sys, framework; from framework.io import load_object, CheckpointError\n"
        "try: load_object(sys.argv[1])\n"
        "except CheckpointError as error: print(error)\n"
        "assert not any(name.startswith('tests') for name in sys.modules)\n"
        "from tests.io.models import Net\n"
        "print(type(load_object(sys.argv[1])).__name__)"
    )
    run = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert "not defined here; import tests.io.models first" in done.stdout
    assert done.stdout.splitlines()[-1] == "Net"


def test_states_and_trees_can_be_read_from_it_too(path):
    save_object(path, Net(1))
    net = Net(2)
    assert load_states(path, net).fits
    assert_same(load(path)["key"], Net(1).key.value)


def test_a_file_of_states_is_refused(path):
    Net(1).save_states(path)
    with pytest.raises(CheckpointError, match="not written by save_object"):
        load_object(path)


HOSTILE_NAMES = [
    "os:system",
    "builtins:eval",
    "builtins:__import__",
    "jax.numpy:load",
    "jax.numpy:save",
    "jax.numpy:np.load",
    "subprocess:Popen",
    "framework.io.states:save",
    "tests.io.test_objects:swish",
    "nowhere:x",
    ":",
    "",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_dangerous_names_are_refused(name):
    with pytest.raises(CheckpointError):
        Resolver().find(name)
    node = Plain()
    node.x = 1
    description = describe_object(node)
    for form in ({"name": name}, {"record": [name, []]}, {"list_of": [name, [], []]}):
        description["nodes"][0][2]["x"] = form
        with pytest.raises(CheckpointError):
            build_object(description, {}, Resolver())


MALFORMED = [
    {"node": 7},
    {"node": -9},
    {"leaf": "nowhere"},
    {"a": 1, "b": 2},
    {},
    {"unknown": 1},
    {"set": [[]]},
    {"record": ["tests.io.test_objects:Config", [["width", 1]]]},
    {"record": ["tests.io.test_objects:Point", [["x", 1]]]},
    {"record": ["tests.io.models:Net", []]},
    {"list_of": ["tests.io.models:Net", [], []]},
    {"dict_of": ["framework.nodes.containers:NodeList", [], []]},
    {"method": [0, "__class__"]},
    {"method": [0, "nowhere"]},
    {"scalar": ["object", b""]},
    {"scalar": ["float32", b""]},
    {"dtype": "object"},
    {"int": "x" * 10},
    {"slice": [1, 2, 3, 4]},
    {"dict": [[1]]},
]


@pytest.mark.parametrize("form", MALFORMED, ids=str)
def test_malformed_descriptions_are_refused(path, form):
    node = Plain()
    node.x = 1
    description = describe_object(node)
    description["nodes"][0][2]["x"] = form
    write_file(path, {}, structure=description)
    with pytest.raises(CheckpointError, match=r"a\.msgpack"):
        load_object(path)


@pytest.mark.parametrize("key", ["__class__", "__dict__", "_meta", "__init__"])
def test_special_attributes_cannot_be_set(path, key):
    description = describe_object(Plain())
    description["nodes"][0][2][key] = 1
    write_file(path, {}, structure=description)
    with pytest.raises(CheckpointError, match="no attribute is called"):
        load_object(path)
