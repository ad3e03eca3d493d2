"""The format as `docs/format.md` specifies it, read by code that knows nothing of this package."""

import math
import os
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest

from framework.io.states import describe, load, save, verify
from framework.io.writer import write_file
from tests.io.comparison import assert_same

DATA = Path(__file__).parent.parent / "data"
VERSIONS = sorted(DATA.glob("version_*.msgpack"))


def plain_reader(path):
    """Reads a file with msgpack alone; gives metadata, aliases, and each leaf's dtype and bytes."""
    with open(path, "rb") as file:  # noqa: PTH123
        raw = file.read()
    unpacker = msgpack.Unpacker(strict_map_key=False, unicode_errors="surrogatepass")
    unpacker.feed(raw)
    preamble = unpacker.unpack()
    assert preamble["format"] == "pytree-framework"
    assert preamble["version"] == 1
    start = unpacker.tell()
    header = unpacker.unpack()
    data = unpacker.tell()
    assert data == start + preamble["header_bytes"]
    # The checksum of the header covers all that is before it and all that is after it.
    checksum = zlib.crc32(raw[start:data], zlib.crc32(raw[: start - 4]))
    assert checksum == preamble["crc32"]
    leaves = {}
    for i, leaf in enumerate(header["leaves"]):
        content = b""
        while len(content) < leaf["nbytes"] or not content:
            chunk = unpacker.unpack()
            while chunk is None:  # padding
                chunk = unpacker.unpack()
            if not content:
                assert unpacker.tell() - len(chunk) == data + leaf["offset"]
            content += chunk
            if not leaf["nbytes"]:
                break
        assert zlib.crc32(content) == int.from_bytes(header["crc32"][4 * i :][:4], "big")
        assert (data + leaf["offset"]) % 64 == 0
        leaves[leaf["path"]] = (leaf["dtype"], tuple(leaf["shape"]), content)
    assert unpacker.tell() == len(raw)
    return header["meta"], header["aliases"], leaves


@pytest.mark.parametrize("limit", [64, 128, 2**31])
def test_the_plain_reader_reads_what_we_write(tmp_path, limit):
    arrays = {"a": np.arange(100.0), "b": np.zeros((0, 3)), "ü[0]": np.arange(64, dtype=np.uint8)}
    write_file(tmp_path / "a", arrays, {"c": "a"}, {"step": 1}, bin_limit=limit)
    meta, aliases, leaves = plain_reader(tmp_path / "a")
    assert (meta, aliases) == ({"step": 1}, {"c": "a"})
    for path, (dtype, shape, content) in leaves.items():
        assert math.prod(shape) * np.dtype(dtype).itemsize == len(content)
        assert_same(np.frombuffer(content, dtype).reshape(shape), arrays[path])


def specimen():
    """What the files in `tests/data` hold."""
    return {
        "jax": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3),
        "key": jax.random.key(7),
        "numpy": np.arange(3, dtype=np.int16),
        "scalars": [True, -5, 10**30, 0.5, 1j, "é", b"\0", None, np.float32(2)],
        "nested": {1: (np.zeros((0, 2)),), ("a", 2): []},
        "int4": jnp.arange(-3, 3).astype(jnp.int4),
    }


META = {"made by": "version 1 of the format", "step": 3}


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_files_of_every_version_load_for_ever(path):
    verify(path)
    assert_same(load(path), specimen())
    assert describe(path).meta == META


def test_a_file_of_the_present_version_is_kept(tmp_path):
    assert [path.stem for path in VERSIONS] == ["version_1"]
    save(tmp_path / "now.msgpack", specimen(), meta=META)
    assert (tmp_path / "now.msgpack").read_bytes() == VERSIONS[-1].read_bytes()


if __name__ == "__main__" and "FRAMEWORK_WRITE_SPECIMEN" in os.environ:
    save(DATA / "version_1.msgpack", specimen(), meta=META)
