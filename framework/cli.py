"""The command line: `framework ls`, `verify`, `diff`, `stats`, `convert` and `rename`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.errors import CheckpointError
from framework.io.comparing import compare, statistics
from framework.io.layout import Header
from framework.io.paths import split
from framework.io.states import describe, transfer, verify

__all__ = ["main"]

OK, PROBLEM, MISUSE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Words of the command line; those of the process if None.

    Returns:
        The exit code: 0 if all is well, 1 if files are damaged or differ, 2 for a wrong command.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except CheckpointError as error:
        if options.json:
            _print_json({"error": str(error)})
        else:
            print(f"error: {error}", file=sys.stderr)
        return PROBLEM
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="framework",
        description="Look at checkpoint files. No code of yours is imported.",
        epilog="exit codes: 0 all is well, 1 damaged or different, 2 wrong command",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, run: Any, text: str, *files: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        for file in files:
            command.add_argument(file, nargs="+" if file == "files" else None)
        command.add_argument("--json", action="store_true", help="print JSON")
        return command

    add("ls", _ls, "list the leaves of a file as a tree", "file")
    add("verify", _verify, "compare all checksums", "files")
    add("diff", _diff, "list the leaves in which two files differ, and by how much", "a", "b")
    add("stats", _stats, "mean, standard deviation, range and NaNs of each leaf", "file")
    convert = add("convert", _convert, "write a file in another format, by suffix", "a", "b")
    rename = add("rename", _convert, "rename the beginning of paths", "a", "b")
    rename.add_argument("pairs", nargs="+", metavar="old=new")
    for command in (convert, rename):
        command.add_argument("--include", action="append", metavar="GLOB", help="paths to keep")
        command.add_argument("--exclude", action="append", metavar="GLOB", help="paths to drop")
    convert.set_defaults(pairs=[])
    return parser


def _ls(options: argparse.Namespace) -> int:
    header = describe(options.file)
    if options.json:
        content = {
            "leaves": [
                {
                    "path": leaf.path,
                    "kind": leaf.type.kind,
                    "dtype": leaf.type.dtype,
                    "shape": leaf.type.shape,
                    "nbytes": leaf.nbytes,
                    "crc32": f"{leaf.crc32:08x}",
                }
                for leaf in header.leaves
            ],
            "aliases": header.aliases,
            "meta": header.meta,
        }
        _print_json(content)
    else:
        print("\n".join(_tree(header)))
        size = Path(options.file).stat().st_size
        total = sum(leaf.nbytes for leaf in header.leaves)
        print(f"{len(header.leaves):,} leaves, {_size(total)}; the file has {_size(size)}")
        if header.meta:
            print(f"metadata: {header.meta}")
    return OK


def _tree(header: Header) -> list[str]:
    rows: dict[str, str] = {
        leaf.path: f"{leaf.type}  {_size(leaf.nbytes)}" for leaf in header.leaves
    }
    rows |= {alias: f"-> {path}" for alias, path in header.aliases.items()}
    lines: list[str] = []
    above: list[str] = []
    for path in sorted(rows, key=_natural):
        steps = split(path) or ["."]
        shared = 0
        while shared < min(len(above), len(steps) - 1) and above[shared] == steps[shared]:
            shared += 1
        lines += ["  " * i + steps[i].removeprefix(".") for i in range(shared, len(steps) - 1)]
        lines.append("  " * (len(steps) - 1) + f"{steps[-1].removeprefix('.')}  {rows[path]}")
        above = steps[:-1]
    return lines


def _natural(path: str) -> list[tuple[int, int | str]]:
    """Sorts `layers[2]` before `layers[10]`."""
    keys = (step.strip(".[]") for step in split(path))
    return [(0, int(key)) if key.isdecimal() else (1, key) for key in keys]


def _verify(options: argparse.Namespace) -> int:
    results: dict[str, str] = {}
    for file in options.files:
        try:
            verify(file)
            results[file] = "ok"
        except CheckpointError as error:
            results[file] = str(error)
    if options.json:
        _print_json(results)
    else:
        for file, result in results.items():
            print(f"{file}: ok" if result == "ok" else f"DAMAGED {result}")
    return OK if set(results.values()) == {"ok"} else PROBLEM


def _diff(options: argparse.Namespace) -> int:
    found = list(compare(options.a, options.b))
    if options.json:
        _print_json([difference._asdict() for difference in found])
    else:
        print("\n".join(map(str, found)) or "no differences")
    return PROBLEM if found else OK


def _stats(options: argparse.Namespace) -> int:
    found = list(statistics(options.file))
    if options.json:
        _print_json([row._asdict() for row in found])
        return OK
    width = max((len(row.path) for row in found), default=4)
    titles = ("mean", "std", "min", "max", "NaN", "inf")
    print(f"{'path':{width}}" + "".join(f"{title:>12}" for title in titles) + "  type")
    for row in found:
        numbers = "".join(f"{x:12.4g}" for x in row[2:6]) + f"{row.nans:12}{row.infinities:12}"
        print(f"{row.path:{width}}{numbers}  {row.type}")
    return OK


def _convert(options: argparse.Namespace) -> int:
    wrong = [pair for pair in options.pairs if "=" not in pair]
    if wrong:
        print(f"error: expected old=new, got {wrong[0]!r}", file=sys.stderr)
        return MISUSE
    rename = dict(pair.split("=", 1) for pair in options.pairs)
    count = transfer(
        options.a, options.b, include=options.include, exclude=options.exclude, rename=rename
    )
    if options.json:
        _print_json({"leaves": count})
    else:
        print(f"{options.b}: {count:,} leaves")
    return OK


def _print_json(content: Any) -> None:
    print(json.dumps(_finite(content), default=repr, allow_nan=False))


def _finite(content: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _size(nbytes: int) -> str:
    size = float(nbytes)
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
