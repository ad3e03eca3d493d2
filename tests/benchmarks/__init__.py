"""Benchmarks against peers, run by `make bench`; see `docs/benchmarks.md`."""

from tests.benchmarks import files, loops, start, train_step, traversal, update

MODULES = (train_step, update, traversal, loops, files, start)
GROUPS = {module.GROUP.name: module.GROUP for module in MODULES}
