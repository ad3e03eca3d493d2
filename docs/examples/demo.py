"""The main job: train, end the process half way, resume in a new one, compare bit for bit.

Runs `digits.py` three times: once through, once ended by a kill in the middle of an epoch, once
resumed. Exits with an error if the two results differ or the accuracy is below 97.5 %.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from framework import io

HERE = Path(__file__).parent
OUT = Path("runs/demo")
EPOCHS = 12
REQUIRED_ACCURACY = 0.975


def start(out: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(HERE / "digits.py"), "--epochs", str(EPOCHS), "--out", str(out)]
    return subprocess.Popen([*command, *options])


def finish(process: subprocess.Popen[bytes]) -> None:
    if process.wait() != 0:
        sys.exit(f"training ended with exit code {process.returncode}")


def epochs_done(checkpoint: Path) -> int:
    return int(io.load(checkpoint, numpy=True)["epoch"]) if checkpoint.exists() else 0


def kill_half_way(process: subprocess.Popen[bytes], checkpoint: Path) -> None:
    """End the process, without any warning, some batches after half of the epochs."""
    while epochs_done(checkpoint) < EPOCHS // 2:
        if process.poll() is not None:
            sys.exit("training ended before it could be interrupted")
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()


def arrays(checkpoint: Path) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint by path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(io.load(checkpoint, numpy=True))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def differences(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> list[str]:
    """The paths at which two checkpoints differ in a single bit."""
    if a.keys() != b.keys():
        return sorted(a.keys() ^ b.keys())
    return [path for path in a if a[path].tobytes() != b[path].tobytes()]


def print_contents(checkpoint: Path) -> None:
    """One line for each array, but for the moments, which are named after their parameters."""
    leaves = io.describe(checkpoint).leaves
    moments = [leaf for leaf in leaves if leaf.path.startswith(("opt.m[", "opt.v["))]
    for leaf in leaves:
        if leaf not in moments:
            print(f"  {leaf.path:28} {leaf.type.dtype}{list(leaf.type.shape)}")
    names = f"{moments[0].path}, {moments[1].path}, ..."
    print(f"  and {len(moments)} moments of AdamW: {names}")
    print(f"  {len(leaves)} arrays, {sum(leaf.nbytes for leaf in leaves):,} bytes of data")


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    began = time.perf_counter()
    whole, parts = OUT / "uninterrupted", OUT / "interrupted"

    print("1. Train without interruption", flush=True)
    finish(start(whole))

    print("\n2. Train again, and end the process half way", flush=True)
    kill_half_way(start(parts, "--quiet"), parts / "checkpoint.msgpack")
    done = epochs_done(parts / "checkpoint.msgpack")
    print(f"\nkilled; the checkpoint holds {done} of {EPOCHS} epochs", flush=True)

    print("\n3. Resume in a new process", flush=True)
    finish(start(parts, "--quiet", "--resume"))

    print("\n4. Compare")
    checkpoint = parts / "checkpoint.msgpack"
    leaves = arrays(checkpoint)
    found = differences(arrays(whole / "checkpoint.msgpack"), leaves)
    if found:
        sys.exit(f"the resumed run differs from the uninterrupted one at {found}")
    print(f"all {len(leaves)} arrays of the two final checkpoints are equal bit for bit")
    accuracy = float(leaves["['accuracies']"][-1])
    print(f"test accuracy {accuracy:.2%}")
    print(f"\nwhat is in {checkpoint}:")
    print_contents(checkpoint)
    print(f"\ncheckpoint: {checkpoint}\ncurves:     {parts / 'curves.png'}")
    print(f"{time.perf_counter() - began:.0f} seconds")
    if accuracy < REQUIRED_ACCURACY:
        sys.exit(f"the accuracy is below {REQUIRED_ACCURACY:.1%}")


if __name__ == "__main__":
    main()
