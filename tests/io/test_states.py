"""Objects in files: named by structure, strict, all or nothing."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework.errors import CheckpointError
from framework.io.states import describe, load, load_states, save
from framework.nodes.leaves import named_leaves
from tests.io.comparison import assert_same
from tests.io.models import Dense, Momentum, Net, Trainer

REMEDIES = (
    "Rename with rename={'old': 'new'}, choose with include= or exclude=, "
    "or take what fits with strict=False."
)


def values(obj):
    leaves = named_leaves(obj).values
    return {p: v.value if isinstance(v, fw.Variable) else v for p, v in sorted(leaves.items())}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.msgpack"


@pytest.mark.parametrize("make", [Net, Trainer])
def test_an_object_gets_back_all_its_leaves(path, make):
    saved, other = make(1), make(2)
    saved.save_states(path)
    report = other.load_states(path)
    assert report.fits
    assert set(report.loaded) == set(values(saved))
    assert_same(values(other), values(saved))


def test_paths_say_where_a_leaf_is(path):
    Trainer().save_states(path)
    header = describe(path)
    assert {leaf.path for leaf in header.leaves} == {
        *("net.tied", "net.layers[0].b", "net.layers[1].w", "net.layers[1].b", "net.key"),
        *("net.table['a b']", "net.table[3]", "net.scale", "net.state", "opt.step"),
        *("opt.m[net.tied]", "opt.m[net.layers[0].b]"),
        *("opt.m[net.layers[1].w]", "opt.m[net.layers[1].b]"),
    }
    assert header.aliases["net.layers[0].w"] == "net.tied"


def test_the_order_of_attributes_and_parameters_does_not_matter(path):
    Trainer(1).save_states(path)
    other = Trainer(2, backwards=True)
    other.load_states(path)
    assert_same(values(other), values(Trainer(1)))


def test_auto_names_do_not_matter(path):
    saved = Trainer(1)
    saved.save_states(path)
    unrelated = [Dense(1, 1) for _ in range(5)]
    other = Trainer(2)
    assert other.net.layers[0].name != saved.net.layers[0].name
    other.load_states(path)
    assert_same(values(other), values(saved))
    del unrelated


def test_another_process_loads_the_file(path):
    Trainer(1).save_states(path)
    code = (
        "from tests.io.models import *; import sys; x = [Dense(1, 1), Net()]; t = Trainer(2);"
        "t.load_states(sys.argv[1]); t.save_states(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    loaded = Trainer(3)
    loaded.load_states(path)
    assert_same(values(loaded), values(Trainer(1)))


def test_an_optimizer_saved_alone_is_keyed_by_its_parameters(path):
    first, second = Trainer(1), Trainer(2, backwards=True)
    first.opt.save_states(path)
    names = {leaf.path for leaf in describe(path).leaves}
    assert names == {
        *("step", "m[net.tied]", "m[net.layers[0].b]"),
        *("m[net.layers[1].w]", "m[net.layers[1].b]"),
    }
    second.opt.load_states(path)
    assert_same(values(second.opt), values(first.opt))


def test_sharing_stays(path):
    Net(1).save_states(path)
    other = Net(2)
    tied = other.tied
    other.load_states(path)
    assert other.layers[0].w is tied is other.tied


def test_a_file_without_sharing_fits_an_object_without_it_only(path):
    apart = Net(1)
    apart.setattr("tied", fw.TrainVar(jnp.zeros((3, 4))))
    apart.save_states(path)
    with pytest.raises(CheckpointError, match=r"only in the file \(1\):\n    layers\[0\]\.w"):
        Net(2).load_states(path)
    Net(1).save_states(path)
    apart.load_states(path)
    assert_same(apart.tied.value, apart.layers[0].w.value)


def test_everything_wrong_is_listed_and_nothing_changed(path):
    saved = Net(1)
    saved.extra = fw.Variable(2)
    saved.setattr("table", {"a b": fw.Variable(5, dtype=jnp.int32)})
    saved.save_states(path)
    other = Net(2)
    other.layers[0].bias = fw.Variable(4)
    other.setattr("key", fw.Variable(jax.random.key(0, impl="rbg")))
    other.scale = other.scale.astype(jnp.float32)
    before = values(other)
    with pytest.raises(CheckpointError) as caught:
        other.load_states(path)
    message = str(caught.value)
    assert message.splitlines() == [
        f"{str(path)!r} does not fit the object; nothing was changed.",
        "  missing in the file (2):",
        "    layers[0].bias",
        "    table[3]",
        "  only in the file (1):",
        "    extra",
        "  of another shape or dtype (3):",
        "    key: the object has key<rbg>[4], the file key<threefry2x32>[2]",
        "    scale: the object has float32[2], the file bfloat16[2]",
        "    table['a b']: the object has int32[2], the file int32[5]",
        REMEDIES,
    ]
    assert_same(values(other), before)


def test_what_fits_can_be_loaded_alone(path):
    saved, other = Net(1), Net(2)
    saved.extra = fw.Variable(2)
    saved.save_states(path)
    other.more = fw.Variable(3)
    other.scale = jnp.zeros(7)
    report = load_states(path, other, strict=False)
    assert (report.missing, report.unexpected) == (["more"], ["extra"])
    assert [m.path for m in report.mismatched] == ["scale"]
    assert_same(other.key.value, saved.key.value)
    assert other.scale.shape == (7,)
    assert "only in the file (1)" in str(report)


def test_the_nearest_match_is_proposed(path):
    class Other(fw.BrainPyObject):
        def __init__(self):
            super().__init__()
            self.encoder = Dense(2, 2)

    class Old(fw.BrainPyObject):
        def __init__(self):
            super().__init__()
            self.enc = Dense(2, 2)

    Old().save_states(path)
    with pytest.raises(CheckpointError, match=r"encoder\.w  \(the file has 'enc\.w'\)"):
        Other().load_states(path)
    load_states(path, Other(), rename={"enc": "encoder"})


def test_renaming_moves_weights_slots_and_aliases_together(path):
    saved = Trainer(1)
    saved.net.alias = saved.net.layers[1]
    saved.save_states(path)

    class Renamed(fw.BrainPyObject):
        def __init__(self, seed):
            super().__init__()
            other = Trainer(seed)
            self.model = other.net
            self.opt = other.opt
            self.model.blocks, self.model.head = other.net.layers, other.net.layers[1]
            del self.model.layers

    other = Renamed(2)
    rename = {"net": "model", "net.layers": "model.blocks", "net.alias": "model.head"}
    load_states(path, other, rename=rename)
    assert_same(other.model.head.w.value, saved.net.layers[1].w.value)
    slots = {p: v for p, v in values(other).items() if p.startswith("opt.m[")}
    assert set(slots) == {
        *("opt.m[model.tied]", "opt.m[model.blocks[0].b]"),
        *("opt.m[model.blocks[1].w]", "opt.m[model.blocks[1].b]"),
    }
    assert_same(sorted(float(v.ravel()[0]) for v in slots.values()), [4.0, 5.0, 13.0, 13.0])


def test_a_rename_that_hits_nothing_or_collides_is_named(path):
    Net(1).save_states(path)
    with pytest.raises(CheckpointError, match=r"starts with 'layer'; the nearest is"):
        load_states(path, Net(2), rename={"layer": "layers"})
    with pytest.raises(CheckpointError, match="the same path"):
        load_states(path, Net(2), rename={"layers[0]": "layers[1]"})


def test_only_selected_paths_are_loaded_and_read(path):
    saved, other = Net(1), Net(2)
    saved.save_states(path)
    before = values(other)
    report = load_states(path, other, include=["layers[1]", "key"], exclude="*.b")
    assert sorted(report.loaded) == ["key", "layers[1].w"]
    after = values(other)
    changed = {p for p in after if not np.array_equal(_plain(after[p]), _plain(before[p]))}
    assert changed == {"key", "layers[1].w"}
    # Damage elsewhere is not even noticed.
    leaves = describe(path).leaves
    (info,) = (leaf for leaf in leaves if leaf.path == "layers[1].b")
    end_of_data = leaves[-1].offset + leaves[-1].nbytes
    data = bytearray(path.read_bytes())
    data[len(data) - end_of_data + info.offset] ^= 1
    path.write_bytes(data)
    load_states(path, other, include=["layers[1]", "key"], exclude="*.b")
    with pytest.raises(CheckpointError, match=r"layers\[1\]\.b"):
        load_states(path, other)


def _plain(value):
    keys = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(value) if keys else value)


def test_a_batch_axis_may_change(path):
    saved, other = Net(4), Net(1)
    saved.save_states(path)
    other.load_states(path)
    assert other.state.shape == (5, 2)


def test_without_the_object_there_are_dicts(path):
    saved = Trainer(1)
    saved.net.again = saved.net.layers[1]
    saved.save_states(path)
    loaded = load(path)
    assert set(loaded) == {"net", "opt"}
    assert_same(loaded["net"]["layers"][0]["b"], saved.net.layers[0].b.value)
    assert loaded["net"]["layers"][1] is loaded["net"]["again"]
    assert set(loaded["net"]["table"]) == {"a b", 3}
    assert loaded["net"]["tied"] is loaded["net"]["layers"][0]["w"]
    assert set(loaded["opt"]["m"]) == {
        *("net.tied", "net.layers[0].b", "net.again.w", "net.again.b"),
    }


def test_containers_of_objects_and_scalars(path):
    net, opt = Net(1), Momentum({}, 3)
    save(path, {"net": net, "opt": [opt], "epoch": 7})
    loaded = load(path)
    assert loaded["epoch"] == 7
    assert_same(loaded["net"]["scale"], net.scale)
    other = {"net": Net(2), "opt": [Momentum({}, 5)]}
    load_states(path, other, exclude="['epoch']")
    assert_same(values(other["net"]), values(net))
    assert other["opt"][0].step.value == 3


def test_containers_of_this_package_load_as_lists_and_dicts(path):
    first, second = fw.Variable(jnp.ones(2)), fw.Variable(jnp.zeros(1))
    save(path, {"l": fw.VarList([first, second]), "d": fw.VarDict(a=first)})
    loaded = load(path)
    assert_same(loaded, {"l": [first.value, second.value], "d": {"a": first.value}})
    assert loaded["l"][0] is loaded["d"]["a"]


def test_a_tree_loads_into_the_containers_of_another(path):
    tree = {"a": jnp.arange(3), "b": (np.zeros(2), [1, 2.5])}
    save(path, tree)
    like = {"b": (np.ones(2), [3, 0.5]), "a": jnp.zeros(3, jnp.int32)}
    assert_same(load(path, like), {"a": tree["a"], "b": tree["b"]})
    with pytest.raises(CheckpointError, match=r"\['a'\]: the object has int32\[4\]"):
        load(path, like | {"a": jnp.zeros(4, jnp.int32)})
    with pytest.raises(CheckpointError, match="load_states"):
        load(path, {"a": Net(1)})


def test_optax_states_load_into_their_classes(path):
    optax = pytest.importorskip("optax")
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    state = optax.chain(optax.clip(1.0), optax.adam(1e-3)).init(params)
    save(path, state)
    assert_same(load(path, state), state)
    assert set(load(path)[1][0]) == {"count", "mu", "nu"}


def test_paths_that_depend_on_addresses_are_refused(path):
    net = fw.BrainPyObject()
    net.table = {object(): fw.Variable(1)}
    with pytest.raises(CheckpointError, match="memory address"):
        net.save_states(path)


def test_a_failing_read_changes_nothing(path):
    saved, other = Net(1), Net(2)
    saved.save_states(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    before = values(other)
    with pytest.raises(CheckpointError):
        other.load_states(path)
    assert_same(values(other), before)


def test_an_unknown_suffix_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"'\.pkl'.*model\.msgpack"):
        Net().save_states(tmp_path / "net.pkl")
