"""Settings that hold for every test."""

import os
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

# Read when JAX and matplotlib are first imported; a GPU run sets JAX_PLATFORMS itself.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
from hypothesis import settings

# Compiling takes as long as it takes, so no deadlines. CI repeats the same examples on every run.
settings.register_profile("default", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=5_000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
)


@pytest.fixture(autouse=True)
def restored_precision() -> Iterator[None]:
    """Leave JAX's global precision as each test found it."""
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(autouse=True)
def checked_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """With ``CHECK_LEAKS=1``, let JAX look for tracers that outlive their trace, in every test."""
    wanted = os.environ.get("CHECK_LEAKS") and not request.node.get_closest_marker("jax_leaks")
    with jax.checking_leaks() if wanted else nullcontext():
        yield


@pytest.fixture
def x64(restored_precision: None) -> None:
    """Run the test in double precision."""
    jax.config.update("jax_enable_x64", True)
