"""Tables for people: on the terminal, and as sections of `docs/benchmarks.md` with pictures."""

import importlib.metadata
import math
import os
import platform
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Group, Row, Sample
from tests.benchmarks.sessions import Absent, memory_of_machine

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
PICTURES = PAGE.with_suffix("")
DISTRIBUTION = {
    "flax.nnx": "flax",
    "framework": "pytree-framework",
    "orbax.checkpoint": "orbax-checkpoint",
    "safetensors.flax": "safetensors",
}
HEAD = """\
# Measured

Written by `make bench ARGS=--write`; a group alone by `make bench ARGS="step --write"`.

Every figure is the median of runs in turns with all others of its row, on the same work, the
results compared before. Behind ± is half the distance between the quartiles, in percent of the
median. **In bold our own figure.** In the other columns: *our figure divided by theirs*, so below
1.00 we are ahead, and theirs in brackets. The first of them is the limit. The last column says
whether the row holds what is asked of it, and what it misses: within the spread where both spreads
together, as the root of the sum of their squares, are larger than the miss.
"""


def machine() -> str:
    """What it was measured on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (
        found := re.search(r"model name\s*: (.+)", cpuinfo.read_text("utf-8"))
    ):
        name = found[1]
    memory = memory_of_machine() / 2**30
    return (
        f"{name}, {os.cpu_count()} cores, {memory:.0f} GB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def versions(group: Group) -> str:
    """Of all that took part, as far as it is installed."""
    modules = {"jax": None, "jaxlib": None, "numpy": None}
    for contender in group.contenders.values():
        modules |= dict.fromkeys(contender.needs)
    found = dict[str, str]()
    for module in modules:
        name = DISTRIBUTION.get(module, module.partition(".")[0])
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "from this checkout" if module == "framework" else "not installed"
    return ", ".join(f"{name} {version}" for name, version in found.items())


def quantity(value: float, unit: str) -> str:
    """A figure with three digits and a fitting prefix."""
    if value != value:
        return "?"
    if unit == "":
        return f"{value:,.0f}"
    prefixes = (
        [("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)]
        if unit == "s"
        else [("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)]
    )
    # Rounding must not lead to 1,000 of the smaller.
    name, factor = next((p for p in prefixes if abs(value) >= 0.9995 * p[1]), prefixes[-1])
    scaled = value / factor
    digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
    return f"{scaled:.{digits}f} {name}"


def figure(sample: Sample, row: Row) -> str:
    text = quantity(sample.median / row.per, row.unit)
    return f"{text} ±{sample.spread:.0%}" if len(sample.values) > 2 else text


def cell(row: Row, name: str) -> str:
    value = row.cells[name]
    if isinstance(value, Absent):
        return str(value)
    ratio = row.ratio(name)
    text = figure(value, row)
    if name == next(iter(row.cells)):
        return f"**{text}**"
    return f"({text})" if ratio is None else f"{ratio:.2f} ({text})"


def verdict(row: Row) -> str:
    """Whether the row holds what is asked of it."""
    ours = next(iter(row.cells.values()))
    if isinstance(ours, Absent):
        return "misses: there is none" if str(ours) == "—" else f"misses: {ours}"
    judged, missed, close = 0, list[str](), list[str]()
    for name, target in row.targets.items():
        ratio = row.ratio(name)
        if name == next(iter(row.cells)) or ratio is None or math.isinf(target):
            continue
        judged += 1
        # Judged as it is printed.
        if round(ratio, 2) > target:
            by_chance = ratio <= target * (1 + row.spread(name))
            (close if by_chance else missed).append(f"{ratio:.2f} > {target:.2f} {name}")
    if missed or close:
        found = {"misses: ": missed, "misses within the spread: ": close}
        return "; ".join(head + ", ".join(which) for head, which in found.items() if which)
    return "holds" if judged else "—"


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table, aligned for those who read it as it is."""
    names = list(rows[0].cells)
    lines = [["", "", *names, "verdict"]]
    case = None
    for row in rows:
        cells = [cell(row, name) for name in names]
        what = f"{row.what}, each of {row.per:,}" if row.per > 1 else row.what
        lines.append(["" if row.case == case else row.case, what, *cells, verdict(row)])
        case = row.case
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    padded = ([t.ljust(w) for t, w in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def section(group: Group, rows: list[Row]) -> str:
    """What the page says about a group."""
    picture = f"\n![Growth with size]({PICTURES.name}/{group.name}.png)\n" if group.plots else ""
    return (
        f"## {group.title}\n\n{group.text}\n\n{table(rows)}\n{picture}\n"
        f"{time.strftime('%Y-%m-%d %H:%M')}, {machine()}; {versions(group)}.\n"
    )


def write(group: Group, rows: list[Row]) -> None:
    """Put a group's section into the page in the place of its former one."""
    text = PAGE.read_text("utf-8") if PAGE.exists() else HEAD
    new = section(group, rows)
    heading = re.escape(f"## {group.title}\n")
    old = re.compile(rf"^{heading}.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    text, found = old.subn(lambda _: f"{new}\n", text)
    text = text if found else f"{text.rstrip()}\n\n{new}"
    PAGE.write_text(f"{text.rstrip()}\n", "utf-8")
    if group.plots:
        plot(rows, PICTURES / f"{group.name}.png")


def plot(rows: Iterable[Row], path: Path) -> None:
    """Draw each kind of row against size, with lines of linear growth behind."""
    from matplotlib.figure import Figure

    kinds = dict[str, list[Row]]()
    for row in rows:
        # Compilations and cases without a size do not grow.
        if row.unit and row.size:
            kinds.setdefault(row.what, []).append(row)
    kinds = {what: found for what, found in kinds.items() if len(found) > 1} or kinds
    columns = min(3, len(kinds))
    lines = -(-len(kinds) // columns)
    image = Figure((5 * columns, 4 * lines), layout="constrained")
    grid = image.subplots(lines, columns, squeeze=False, sharex=True)
    for axes, (what, found) in zip(grid.flat, kinds.items(), strict=False):
        for name in found[0].cells:
            points = [
                (row.size, sample.median)
                for row in found
                if isinstance(sample := row.cells[name], Sample)
            ]
            ours = name == next(iter(found[0].cells))
            style = {"color": "black", "linewidth": 2.5, "zorder": 3} if ours else {}
            axes.plot(*zip(*points, strict=True), "o-", label=name, **style) if points else None
        unit = "seconds" if found[0].unit == "s" else "bytes"
        axes.set(title=what, xscale="log", yscale="log", ylabel=unit)
        linear_growth(axes)
    for axes in grid.flat[len(kinds) :]:
        axes.remove()
    grid.flat[0].legend(fontsize="small")
    image.supxlabel("layers, nodes or steps")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.savefig(path, dpi=80)


def linear_growth(axes: Any) -> None:
    """Draw faint lines of slope 1 behind what is there."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    start = low * left / right
    while start < high:
        axes.plot([left, right], [start, start * right / left], color="0.85", zorder=0)
        start *= 10
    axes.set(xlim=(left, right), ylim=(low, high))
