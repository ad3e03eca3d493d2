"""Peak memory of saving and loading, printed as multiples of the largest leaf.

Run as `python -m tests.io.memory folder megabytes leaves`.
"""

import resource
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from framework.io import load, save


def peak():
    """Most memory that the process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike ru_maxrss, this does not start at what the parent process held at the fork.
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(folder, megabytes, count):
    path = Path(folder) / "memory.msgpack"
    size = megabytes * 1_000_000 // count
    save(path, {"warm": jnp.ones(3), "up": np.ones(1_000_000)})
    load(path, mmap=False)
    before = peak()
    tree = {str(i): jnp.full(size // 4, i, jnp.float32) for i in range(count - 1)}
    # One leaf that is not contiguous, and so has to be copied.
    tree["t"] = np.ones((1000, size // 8000)).T
    jax.block_until_ready(tree)
    data = peak() - before
    save(path, tree)
    saving = peak() - before - data
    del tree
    start = peak()
    loaded = load(path, mmap="map" in sys.argv)
    loading = peak() - start
    sys.stdout.write(f"{data / 1e6:.0f} {saving / size:.2f} {loading / size:.2f} {len(loaded)}")
    path.unlink()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
