"""What `import framework` may not do."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.smoke
def test_the_import_is_lean() -> None:
    """No optional dependency, and none of JAX's slow extensions."""
    program = """
import sys
import jax
before = set(sys.modules)
import framework
slow = ("jax.extend", "jax.experimental", "optax", "matplotlib", "scipy", "tqdm", "h5py")
print(sorted(name for name in set(sys.modules) - before if name.startswith(slow)))
"""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
