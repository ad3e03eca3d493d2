"""Runs the benchmarks: `python -m tests.benchmarks [names] [--tiny] [--long] [--write]`."""

import argparse
import os
import sys
import time

# Before JAX is imported, here and in the processes of the contenders.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from tests.benchmarks import GROUPS
from tests.benchmarks.harness import ROUNDS, Contest, Group, Row
from tests.benchmarks.report import table, write


def measure(group: Group, tiny: bool, patient: bool) -> list[Row]:
    """Run one group, telling of its progress."""
    rows = list[Row]()
    for case in group.cases(tiny):
        sys.stderr.write(f"  {case.title} … ")
        sys.stderr.flush()
        start = time.perf_counter()
        with Contest(group.contenders, case, 1 if tiny else ROUNDS, patient=patient) as contest:
            rows += group.rows(contest)
        sys.stderr.write(f"{time.perf_counter() - start:.0f} s\n")
    return rows


def main() -> None:
    """Read the command line and do as it says."""
    parser = argparse.ArgumentParser("tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*GROUPS, []], help="groups; all by default")
    parser.add_argument("--tiny", action="store_true", help="small sizes, only to see it work")
    parser.add_argument("--long", action="store_true", help="what takes peers many minutes, too")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args()
    for name in options.names or GROUPS:
        group = GROUPS[name]
        sys.stderr.write(f"{group.title}\n")
        rows = measure(group, options.tiny, options.long)
        sys.stdout.write(f"\n## {group.title}\n\n{table(rows)}\n\n")
        sys.stdout.flush()
        if options.write:
            write(group, rows)


if __name__ == "__main__":
    main()
