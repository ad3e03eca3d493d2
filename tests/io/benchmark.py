"""Saving and loading against safetensors, interleaved in one process; both flush to the disk.

Run as `python -m tests.io.benchmark folder [rounds]` on a machine that does nothing else.
"""

import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import flax as peer

from framework.io import CheckpointManager, load, save


def sync(path):
    for name in (path, path.parent):
        descriptor = os.open(name, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def trees():
    rng = np.random.default_rng(0)
    yield "200 MB in 8", {str(i): jnp.asarray(rng.random(6_250_000, np.float32)) for i in range(8)}
    yield (
        "40 MB in 10,000",
        {str(i): jnp.asarray(rng.random(1000, np.float32)) for i in range(10000)},
    )


def medians(actions, rounds):
    times = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            start = time.perf_counter()
            jax.block_until_ready(action())
            times[name].append(time.perf_counter() - start)
    return {name: sorted(values)[rounds // 2] for name, values in times.items()}


def main(folder, rounds):
    ours, theirs = Path(folder) / "a.msgpack", Path(folder) / "a.safetensors"
    for title, tree in trees():
        for what, actions in {
            "save": {
                "safetensors": lambda tree=tree: (peer.save_file(tree, theirs), sync(theirs))[:0],
                "framework": lambda tree=tree: save(ours, tree),
            },
            "load": {
                "safetensors": lambda: peer.load_file(theirs),
                "framework": lambda: load(ours),
            },
        }.items():
            base, own = medians(actions, rounds).values()
            sys.stdout.write(
                f"{title:16} {what}: safetensors {base:.3f} s, framework {own:.3f} s, "
            )
            sys.stdout.write(f"{own / base:.2f} times\n")
        manager, step = CheckpointManager(Path(folder) / "runs", keep=1), iter(range(rounds))
        actions = {
            "copy": lambda tree=tree: [np.array(leaf) for leaf in tree.values()][:0],
            "save": lambda tree=tree, manager=manager, step=step: manager.save(next(step), tree),
        }
        actions["wait"] = manager.wait
        copy, stall, _ = medians(actions, rounds).values()
        sys.stdout.write(f"{title:16} background save: {stall:.4f} s, a host copy {copy:.4f} s\n")
        manager.wait()
    ours.unlink()
    theirs.unlink()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 9)
