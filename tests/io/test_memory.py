"""Memory stays within one leaf above the data."""

import os
import subprocess
import sys

import pytest

MEGABYTES = os.environ.get("FRAMEWORK_MEMORY_MB", "160")


@pytest.mark.parametrize("how", ["copy", "map"])
def test_saving_and_loading_need_one_leaf_above_the_data(tmp_path, how):
    command = [sys.executable, "-m", "tests.io.memory", str(tmp_path), MEGABYTES, "8", how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    data, saving, loading, count = map(float, done.stdout.split())
    assert data > 0.5 * int(MEGABYTES)
    assert count == 8
    assert saving < 1.2
    # The peak of saving was the data and one leaf, and loading does not go above it.
    assert loading < 0.2
