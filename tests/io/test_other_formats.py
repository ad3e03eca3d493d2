"""Other formats keep everything that ours keeps, and files of other programs can be read."""

import contextlib
import os
import random
import sys

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest

import framework as fw
from framework.errors import CheckpointError
from framework.io.other_formats import OTHER_FORMATS
from framework.io.states import describe, load, load_states, save, verify
from tests.io.comparison import assert_same
from tests.io.models import Dense, Trainer
from tests.io.test_format import META, specimen
from tests.io.test_states import values

LIBRARY = {".safetensors": "safetensors", ".h5": "h5py", ".hdf5": "h5py", ".mat": "scipy"}


@pytest.fixture(params=OTHER_FORMATS)
def path(request, tmp_path):
    if request.param in LIBRARY:
        pytest.importorskip(LIBRARY[request.param])
    return tmp_path / f"model{request.param}"


def test_a_tree_of_every_type_comes_back(path):
    tree = specimen() | {"": 1, "a/b": 2, "x" * 70: np.zeros((3, 0, 2)), "f": np.zeros((2, 3)).T}
    save(path, tree, meta=META)
    assert_same(load(path), tree)
    assert describe(path).meta == META
    verify(path)


def test_an_object_comes_back(path):
    saved, other = Trainer(1), Trainer(2, backwards=True)
    saved.save_states(path)
    assert other.load_states(path).fits
    assert_same(values(other), values(saved))


def test_the_old_file_stays_if_saving_fails(path):
    save(path, {"a": np.zeros(3)})
    with pytest.raises(CheckpointError, match=r"cannot save \"\['b'\]\""):
        save(path, {"a": np.zeros(4), "b": object()})
    assert load(path)["a"].shape == (3,)
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


def test_damage_never_escapes_the_exception_class(path):
    if path.suffix == ".mat":
        pytest.skip("SciPy's own reader can crash on damaged files")
    save(path, {"a": np.arange(20.0), "b": jnp.arange(3, dtype=jnp.bfloat16), "c": "text"})
    good, rng = path.read_bytes(), random.Random(0)
    for _ in range(60):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        with contextlib.suppress(CheckpointError):
            # Our index, if it is found, tells damaged bytes.
            loaded = load(path)
            if set(loaded) == {"a", "b", "c"}:
                assert_same(loaded["a"], np.arange(20.0))


def test_a_missing_file_and_a_missing_library_are_named(path, monkeypatch):
    with pytest.raises(CheckpointError, match="No such file"):
        load(path)
    if path.suffix in LIBRARY:
        save(path, 1)
        name = LIBRARY[path.suffix]
        for module in [name, f"{name}.numpy", f"{name}.io"]:
            monkeypatch.setitem(sys.modules, module, None)
        for use in (load, lambda p: save(p, 1)):
            with pytest.raises(CheckpointError, match=rf"{name}; install it with pip install"):
                use(path)


def test_the_arrays_of_other_programs_are_taken_as_they_are(tmp_path):
    np.savez(tmp_path / "a.npz", **{"w": np.arange(3), "layer.b": np.float32(2)})
    assert_same(load(tmp_path / "a.npz"), {"w": np.arange(3), "layer": {"b": np.array(2, "f4")}})
    np.savez(tmp_path / "b.npz", w=np.array([{}], object))
    with pytest.raises(CheckpointError, match="allow_pickle"):
        load(tmp_path / "b.npz")


class Mlp(fw.BrainPyObject):
    def __init__(self):
        super().__init__()
        self.layers = [Dense(2, 3), Dense(3, 1)]


def test_weights_of_a_torch_model_in_safetensors(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    weights = {
        "net.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "net.0.bias": np.ones(3, np.float32),
        "net.2.weight": np.zeros((3, 1), np.float32),
        "net.2.bias": np.full(1, 7, np.float32),
    }
    library.save_file(weights, tmp_path / "torch.safetensors")
    model = Mlp()
    rename = {
        f"net.{theirs}.{long}": f"layers[{ours}].{short}"
        for theirs, ours in ((0, 0), (2, 1))
        for long, short in (("weight", "w"), ("bias", "b"))
    }
    load_states(tmp_path / "torch.safetensors", model, rename=rename)
    assert_same(model.layers[0].w.value, jnp.asarray(weights["net.0.weight"]))
    assert_same(model.layers[1].b.value, jnp.asarray(weights["net.2.bias"]))


def flax_bytes(tree):
    """Flax's encoding, as its `serialization` module writes it."""

    def encode(value):
        if isinstance(value, complex):
            return msgpack.ExtType(2, msgpack.packb((value.real, value.imag)))
        array = np.asarray(value)
        packed = msgpack.packb((array.shape, array.dtype.name, array.tobytes()))
        return msgpack.ExtType(1 if isinstance(value, np.ndarray) else 3, packed)

    return msgpack.packb(tree, default=encode, strict_types=True)


def flax_tree():
    weights = {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3, "f4")}
    chunked = {
        "__msgpack_chunked_array__": True,
        "shape": {"0": 3, "1": 1},
        "chunks": {"0": np.zeros(2, np.float32), "1": np.ones(1, np.float32)},
    }
    last = {"kernel": chunked, "bias": np.full(1, 7, np.float32)}
    return {"params": {"Dense_0": weights, "Dense_1": last}, "step": 3, "s": np.float32(2)}


FLAX_NAMES = {
    f"params.Dense_{i}.{long}": f"layers[{i}].{short}"
    for i in range(2)
    for long, short in (("kernel", "w"), ("bias", "b"))
}


def test_weights_of_a_flax_model(tmp_path):
    path = tmp_path / "flax.msgpack"
    path.write_bytes(flax_bytes(flax_tree()))
    model = Mlp()
    load_states(path, model, rename=FLAX_NAMES, include="layers")
    assert_same(model.layers[0].w.value, jnp.arange(6.0).reshape(2, 3))
    assert_same(model.layers[1].w.value, jnp.asarray([[0.0], [0.0], [1.0]]))
    loaded = load(path)
    assert_same(loaded["step"], 3)
    assert_same(loaded["s"], np.float32(2))


def test_the_encoding_of_flax_is_what_we_think_it_is():
    flax = pytest.importorskip("flax.serialization")
    tree = flax_tree()
    tree["params"]["Dense_1"]["kernel"] = np.zeros((3, 1))
    tree["c"] = 1j
    theirs, ours = flax.msgpack_serialize(tree), flax_bytes(tree)
    assert msgpack.unpackb(theirs) == msgpack.unpackb(ours)


def test_damaged_flax_files_are_refused(tmp_path):
    path, rng = tmp_path / "flax.msgpack", random.Random(0)
    good = flax_bytes(flax_tree())
    for _ in range(300):
        data = bytearray(good)
        data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        with contextlib.suppress(CheckpointError):
            load(path)
    path.write_bytes(b"\x81\xa1a" + b"\xdd\xff\xff\xff\xf0" * 400)
    with pytest.raises(CheckpointError):
        load(path)


BRAINPY = {"Dense0.w": np.arange(6, dtype=np.float32).reshape(2, 3), "Dense0.b": np.ones(3, "f4")}
BRAINPY |= {"Dense1.w": np.zeros((3, 1), np.float32), "Dense1.b": np.full(1, 7, np.float32)}
SHARED = {"duplicate_keys": np.asarray(["tied.w"]), "duplicate_targets": np.asarray(["Dense0.w"])}


def brainpy_npz(path):
    np.savez(path, **BRAINPY, **SHARED)


def brainpy_h5(path):
    with pytest.importorskip("h5py").File(path, "w") as file:
        for name, array in BRAINPY.items():
            file[name] = array
        for name, texts in SHARED.items():
            file.create_dataset(name, data="+".join(texts))


def brainpy_mat(path):
    arrays = {name: array[None] for name, array in (BRAINPY | SHARED).items()}
    pytest.importorskip("scipy.io").savemat(path, arrays)


def brainpy_msgpack(path):
    nested = {"Dense0": {}, "Dense1": {}, "tied": {}}
    for name, array in BRAINPY.items():
        nested[name.split(".")[0]][name.split(".")[1]] = array
    path.write_bytes(flax_bytes(nested))


@pytest.mark.parametrize("write", [brainpy_npz, brainpy_h5, brainpy_mat, brainpy_msgpack])
@pytest.mark.filterwarnings("ignore:Starting field name with a underscore:Warning")
def test_weights_of_a_brainpy_model(tmp_path, write):
    path = tmp_path / f"model.{write.__name__.removeprefix('brainpy_')}"
    write(path)
    model = Mlp()
    rename = {"Dense0": "layers[0]", "Dense1": "layers[1]"}
    load_states(path, model, rename=rename, include="layers")
    assert_same(model.layers[0].w.value, jnp.asarray(BRAINPY["Dense0.w"]))
    assert_same(model.layers[1].b.value, jnp.asarray(BRAINPY["Dense1.b"]))
    if write is not brainpy_msgpack:
        assert describe(path).aliases == {"tied.w": "Dense0.w"}


def test_keys_survive_other_formats(path):
    key = jax.random.key(3, impl="rbg")
    save(path, {"k": key})
    assert_same(load(path)["k"], key)
