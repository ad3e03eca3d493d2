"""A crash at any moment leaves the old or the new file, whole."""

import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from framework.errors import CheckpointError
from framework.io.atomic import leftovers, replacing
from framework.io.states import load, save, verify

KILLS = int(os.environ.get("FRAMEWORK_KILLS", "5"))

WRITER = """
import sys, numpy as np
from framework.io.writer import write_file
for i in range(int(sys.argv[2]), 1_000_000):
    write_file(sys.argv[1], {"i": i, "a": np.full(500_000, i), "b": np.full(1000, i)})
    print(i, flush=True)
"""


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def test_killed_writers_leave_a_whole_file(tmp_path):
    """The writer is killed at random moments; the file stays whole and the next save works."""
    path, rng = tmp_path / "a.msgpack", random.Random(0)
    save(path, {"i": -1, "a": np.full(500_000, -1), "b": np.full(1000, -1)})
    seen, left = set(), 0
    for kill in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(path), str(1000 * kill)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            start = time.perf_counter()
            writer.stdout.readline()
            time.sleep(rng.uniform(0, 2) * (time.perf_counter() - start))
            writer.send_signal(signal.SIGKILL)
        verify(path)
        loaded = load(path)
        assert (loaded["a"] == loaded["i"]).all()
        assert (loaded["b"] == loaded["i"]).all()
        seen.add(loaded["i"])
        left += len(leftovers(path))
        save(path, loaded)
        assert files(tmp_path) == ["a.msgpack"]
    assert len(seen) > 1
    assert left > 0


LIMITED = """
import resource, signal, sys, numpy as np
from framework.errors import CheckpointError
from framework.io.states import save
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = open(sys.argv[1], "rb").read()
for allowed in (0, 100, 4096, 7_999_000, 8_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, resource.RLIM_INFINITY))
    try:
        save(sys.argv[1], {"a": np.ones(1_000_000)})
    except CheckpointError as error:
        message = str(error)
    assert "could not write" in message and "File too large" in message, message
    assert "untouched" in message, message
    assert open(sys.argv[1], "rb").read() == before
    message = ""
"""


def test_when_the_disk_is_full_the_old_file_stays(tmp_path):
    path = tmp_path / "a.msgpack"
    save(path, {"a": np.zeros(3)})
    subprocess.run([sys.executable, "-c", LIMITED, str(path)], check=True)
    assert load(path)["a"].size == 3
    assert files(tmp_path) == ["a.msgpack"]
    save(path, {"a": np.ones(1_000_000)})
    verify(path)


def test_an_error_while_writing_removes_the_temporary_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def interrupted():
        with replacing(path) as file:
            file.write(b"half")
            assert len(files(tmp_path)) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["a.bin"]


def test_living_writers_are_left_alone_and_dead_ones_cleaned(tmp_path):
    path = tmp_path / "a.bin"
    dead = tmp_path / ".a.bin.0123456789abcdef.tmp"
    other = tmp_path / ".b.bin.0123456789abcdef.tmp"
    dead.write_bytes(b"half")
    other.write_bytes(b"half")
    with replacing(path) as first:
        assert not dead.exists()
        with replacing(path) as second:
            second.write(b"second")
        first.write(b"first")
    assert path.read_bytes() == b"first"
    assert files(tmp_path) == [other.name, "a.bin"]


def test_many_writers_at_once(tmp_path):
    path = tmp_path / "a.msgpack"

    def write(i):
        for _ in range(10):
            save(path, {"i": i, "a": np.full(1000, i)})

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loaded = load(path)
    assert (loaded["a"] == loaded["i"]).all()
    assert files(tmp_path) == ["a.msgpack"]


def test_mode_and_symbolic_links_are_kept(tmp_path):
    target, link = tmp_path / "target.msgpack", tmp_path / "link.msgpack"
    save(target, 1)
    target.chmod(0o640)
    link.symlink_to(target)
    save(link, 2)
    assert link.is_symlink()
    assert load(target) == 2
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere/a\.msgpack.*No such file"):
        save(tmp_path / "nowhere" / "a.msgpack", 1)
