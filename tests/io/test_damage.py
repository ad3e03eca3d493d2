"""Damaged, cut off, hostile and foreign files are refused with one exception class."""

import json
import os
import pickle
import random
import resource
import struct
import zipfile
import zlib

import jax.numpy as jnp
import msgpack
import numpy as np
import pytest

from framework.errors import CheckpointError
from framework.io.layout import PREAMBLE_SIZE, seal
from framework.io.states import describe, load, save, verify
from framework.io.writer import write_file

FUZZ_INPUTS = int(os.environ.get("FRAMEWORK_FUZZ", "2000"))
THOROUGH = FUZZ_INPUTS >= 100_000


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "a.msgpack"
    tree = {"w": jnp.arange(3.0), "k": [np.int8(3), True, "text"], "e": np.zeros((0, 2))}
    save(path, tree, meta={"step": 3})
    return path.read_bytes()


def refused(path, data):
    path.write_bytes(data)
    for read in (load, verify, lambda p: load(p, mmap=False)):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert repr(str(path)) in str(caught.value)
    return str(caught.value)


def test_every_flipped_bit_of_a_small_file_is_detected(tmp_path, small):
    path = tmp_path / "flipped.msgpack"
    # One bit of every byte by default, each of them in the thorough run.
    step = 1 if THOROUGH else 9
    for place in range(0, 8 * len(small), step):
        damaged = bytearray(small)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="flipped"):
            verify(path)
    path.write_bytes(small)
    verify(path)


def test_flipped_bits_of_a_large_file_are_detected_and_located(tmp_path):
    path = tmp_path / "large.msgpack"
    save(path, {"a": np.zeros(1_500_000), "b": np.ones(100_000, np.float32)})
    size, rng = path.stat().st_size, random.Random(0)
    with path.open("r+b") as file:
        for _ in range(1000 if THOROUGH else 40):
            position, bit = rng.randrange(size), rng.randrange(8)
            file.seek(position)
            byte = file.read(1)[0]
            for value in (byte ^ 1 << bit, byte):
                file.seek(position)
                file.write(bytes([value]))
                file.flush()
                if value != byte:
                    with pytest.raises(CheckpointError):
                        verify(path)
    verify(path)
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\1")
    with pytest.raises(CheckpointError, match=r"bytes of \"\['b'\]\" are not those saved"):
        load(path)
    assert load(path, include="['a']")["a"].shape == (1_500_000,)


def test_every_truncation_is_detected(tmp_path, small):
    for length in range(len(small)):
        (tmp_path / "cut.msgpack").write_bytes(small[:length])
        with pytest.raises(CheckpointError, match="cut"):
            describe(tmp_path / "cut.msgpack")
    refused(tmp_path / "cut.msgpack", small + b"\0")


def header(small):
    size = int.from_bytes(small[PREAMBLE_SIZE - 4 - 7 - 4 :][:4], "big")
    packed = small[PREAMBLE_SIZE : PREAMBLE_SIZE + size]
    return msgpack.unpackb(packed, strict_map_key=False), small[PREAMBLE_SIZE + size :]


def sealed(content, data):
    """A file with a header of any content whose checksums are right."""
    packed = content if isinstance(content, bytes) else msgpack.packb(content)
    return seal(packed, []) + data


def changed(change):
    def apply(content):
        change(content)
        return content

    return apply


HOSTILE = {
    "no map": lambda _: [1, 2],
    "empty map": lambda _: {},
    "leaves no list": changed(lambda h: h.update(leaves=7)),
    "leaf no map": changed(lambda h: h.update(leaves=[3], crc32=b"1234")),
    "checksums short": changed(lambda h: h.update(crc32=b"")),
    "path no text": changed(lambda h: h["leaves"][0].update(path=[1])),
    "path twice": changed(lambda h: h["leaves"][1].update(path=h["leaves"][0]["path"])),
    "kind unknown": changed(lambda h: h["leaves"][0].update(kind="object")),
    "kind unhashable": changed(lambda h: h["leaves"][0].update(kind=[1])),
    "dtype unknown": changed(lambda h: h["leaves"][0].update(dtype="object")),
    "dtype of other kind": changed(lambda h: h["leaves"][1].update(kind="str")),
    "shape huge": changed(lambda h: h["leaves"][0].update(shape=[2**62, 2**62])),
    "shape huge and empty": changed(lambda h: h["leaves"][-1].update(shape=[0, 2**63 - 1, 2**60])),
    "shape negative": changed(lambda h: h["leaves"][0].update(shape=[-3])),
    "shape of floats": changed(lambda h: h["leaves"][0].update(shape=[3.0])),
    "shape no list": changed(lambda h: h["leaves"][0].update(shape=None)),
    "dimensions many": changed(lambda h: h["leaves"][0].update(shape=[1] * 1000 + [3])),
    "size wrong": changed(lambda h: h["leaves"][0].update(nbytes=8)),
    "offset wrong": changed(lambda h: h["leaves"][0].update(offset=128)),
    "offset negative": changed(lambda h: h["leaves"][0].update(offset=-64)),
    "offset text": changed(lambda h: h["leaves"][0].update(offset="64")),
    "limit zero": changed(lambda h: h.update(bin_limit=0)),
    "limit text": changed(lambda h: h.update(bin_limit="1")),
    "aliases no map": changed(lambda h: h.update(aliases=[1])),
    "aliases no text": changed(lambda h: h.update(aliases={"a": 3})),
    "metadata no map": changed(lambda h: h.update(meta=3)),
    "structure wrong": changed(lambda h: h.update(structure=[["list", 9], ["none", 0]])),
    "structure count huge": changed(lambda h: h.update(structure=[["list", 2**60]])),
    "structure text": changed(lambda h: h.update(structure="abc")),
    "structure unknown": changed(lambda h: h.update(structure=[["module", "os"]])),
    "structure keys wild": changed(lambda h: h.update(structure=[["dict", [[1]]], ["none", 0]])),
    "structure leaf wild": changed(lambda h: h.update(structure=[["leaf", "nowhere"]])),
    "counts nested": lambda _: b"\xdd\xff\xff\xff\xf0" * 400,
    "counts of a map": lambda _: b"\xdf\xff\xff\xff\xff",
    "length of text": lambda _: b"\xdb\xff\xff\xff\xff",
    "depth": lambda _: b"\x91" * 1_000_000 + b"\xc0",
    "extension": lambda _: b"\xc7\x0c\xff" + bytes(12),
    "never used code": lambda _: b"\xc1",
    "trailing": lambda h: msgpack.packb(h) + b"\xc0",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_with_right_checksums_is_refused(tmp_path, small, name):
    content, data = header(small)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tmp_path / "hostile.msgpack"
    path.write_bytes(sealed(HOSTILE[name](content), data))
    with pytest.raises(CheckpointError, match=r"hostile\.msgpack"):
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_the_unchanged_header_is_accepted(tmp_path, small):
    content, data = header(small)
    (tmp_path / "a.msgpack").write_bytes(sealed(content, data))
    assert set(load(tmp_path / "a.msgpack")) == {"w", "k", "e"}


def test_a_header_larger_than_the_file_is_not_read(tmp_path, small):
    for size in (len(small), 2**27, 2**32 - 1):
        start = bytearray(small)
        start[PREAMBLE_SIZE - 15 : PREAMBLE_SIZE - 11] = size.to_bytes(4, "big")
        message = refused(tmp_path / "a.msgpack", start)
        assert "header" in message


def test_a_newer_version_says_so(tmp_path, small):
    newer = small.replace(b"version\x01", b"version\x02", 1)
    assert "version 2" in refused(tmp_path / "a.msgpack", newer)


def mutated(data, rng):
    data = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0:
                data[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[place : place + rng.randrange(1, 20)]
            case 2:
                data[place:place] = rng.randbytes(rng.randrange(1, 20))
            case _:
                other = rng.randrange(len(data) + 1)
                data[place : place + 8] = data[other : other + 8]
        data = data or bytearray(b"\0")
    return bytes(data)


def test_fuzzed_files_are_read_or_refused(tmp_path, small):
    """Whole files, and headers that carry right checksums, with random damage."""
    rng = random.Random(int(os.environ.get("FRAMEWORK_FUZZ_SEED", "0")))
    content, data = header(small)
    packed = msgpack.packb(content)
    path = tmp_path / "fuzz.msgpack"
    accepted = 0
    for i in range(FUZZ_INPUTS):
        whole = mutated(small, rng) if i % 3 == 0 else sealed(mutated(packed, rng), data)
        path.write_bytes(whole)
        try:
            load(path)
            accepted += 1
        except CheckpointError:
            pass
    # Renaming a leaf consistently is a valid change; most others are not.
    assert accepted < FUZZ_INPUTS / 5


def zipped(names):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return write


FOREIGN = {
    "pickle": (lambda p: p.write_bytes(pickle.dumps({"w": np.zeros(3)})), "is a Python pickle"),
    "npz": (lambda p: np.savez(p.open("wb"), w=np.zeros(3)), r"NumPy \.npz"),
    "npy": (lambda p: np.save(p.open("wb"), np.zeros(3)), r"NumPy \.npy"),
    "torch": (zipped(["archive/data.pkl", "archive/data/0"]), "is a PyTorch file"),
    "zip": (zipped(["a.txt"]), "is a zip archive"),
    "html": (lambda p: p.write_text("<!DOCTYPE html><html>404"), "is an HTML"),
    "empty": (lambda p: p.write_bytes(b""), "is empty"),
    "zeros": (lambda p: p.write_bytes(bytes(100)), "zeros only"),
    "json": (lambda p: p.write_text(json.dumps({"w": [1.0]})), "is JSON"),
    "hdf5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40)), "is an HDF5 file"),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b\x08" + bytes(40)), "is gzip-compressed"),
    "lfs": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1"), "Git LFS"),
    "safetensors": (
        lambda p: p.write_bytes(struct.pack("<Q", 10) + b'{"w":{}}  ' + bytes(20)),
        "is a safetensors file",
    ),
    "folder": (lambda p: p.mkdir(), "is a folder"),
    "orbax": (lambda p: (p.mkdir(), (p / "_METADATA").touch()), "is an Orbax"),
    "pipe": (os.mkfifo, "is not a regular file"),
    "missing": (lambda _: None, "No such file"),
    "noise": (lambda p: p.write_bytes(b"\x17\x99abc"), "does not start like a checkpoint"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_kinds_are_named(tmp_path, name):
    make, words = FOREIGN[name]
    path = tmp_path / "wrong.msgpack"
    make(path)
    for read in (load, describe, verify):
        with pytest.raises(CheckpointError, match=words) as caught:
            read(path)
        assert "wrong.msgpack" in str(caught.value)


def test_checksums_are_the_standard_ones(tmp_path):
    write_file(tmp_path / "a.msgpack", {"x": b"123456789"})
    (leaf,) = describe(tmp_path / "a.msgpack").leaves
    assert leaf.crc32 == zlib.crc32(b"123456789") == 0xCBF43926
