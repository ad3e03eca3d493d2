"""Checks thousands of random programs: ``python -m tests.transforms.soak [programs] [seed]``.

Goes round all modes in small batches, each with a seed of its own, and says after each how many
programs were checked; so it can be cut off at any time.
"""

import functools
import itertools
import os
import sys
import time
import traceback
import warnings

# Read when JAX is first imported.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.transforms.programs import programs
from tests.transforms.test_programs import (
    DERIVATIVES,
    MODES,
    check_derivative,
    check_lanes,
    check_state,
)

BATCH = 25
CHECKS = (
    {f"state, {mode}": functools.partial(check_state, mode) for mode in MODES}
    | {f"derivative, {mode}": functools.partial(check_derivative, mode) for mode in DERIVATIVES}
    | {"lanes": check_lanes}
)
_SETTINGS = settings(
    max_examples=BATCH,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def batch(check, number):
    """Check programs that the number determines; gives how many."""
    count = 0

    @seed(number)
    @_SETTINGS
    @given(programs)
    def run(program):
        nonlocal count
        count += 1
        check(program)

    run()
    return count


def main(wanted, number):
    total, failed, start = 0, 0, time.monotonic()
    # It is tracing that is checked, and compiling takes most of the time.
    jax.config.update("jax_disable_most_optimizations", True)
    for turn, (name, check) in enumerate(itertools.cycle(CHECKS.items()), 1):
        if total >= wanted:
            break
        if turn % len(CHECKS) == 0:
            # What was compiled for programs that never come back would fill the memory.
            jax.clear_caches()
        try:
            total += batch(check, number)
        except Exception:  # noqa: BLE001 - what was found is printed, and the search goes on
            failed += 1
            traceback.print_exc()
        print(  # noqa: T201
            f"{time.monotonic() - start:6.0f} s  {total:6} programs, {failed} batches failed;"
            f" last: {name}, seed {number}",
            flush=True,
        )
        number += 1
    return failed


if __name__ == "__main__":
    warnings.simplefilter("error")
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(bool(main(*numbers, *(10_000, 0)[len(numbers) :])))
