"""Each benchmark once at a tiny size, in this process: our side against the hand-written one."""

import contextlib
import io
from pathlib import Path

import pytest

from tests.benchmarks import GROUPS, report, start
from tests.benchmarks.harness import Contest, Group, Row, Sample, same
from tests.benchmarks.sessions import Absent, Case, Contender, Local, Operation

TINY = [(group, case) for group in GROUPS.values() for case in group.cases(tiny=True)]


def opened(contender: Contender, case: Case) -> Local:
    for module in contender.needs:
        pytest.importorskip(module)
    return Local(contender, case)


def run_here(code: str) -> str:
    """What `start.run` gives, without the time that a new process takes."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        exec(code, {})
    return text.getvalue()


@pytest.mark.smoke
@pytest.mark.parametrize(("group", "case"), TINY, ids=[f"{g.name}, {c.title}" for g, c in TINY])
def test_we_do_what_the_limit_does(group: Group, case: Case, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(start, "run", run_here)
    ours, limit = (opened(contender, case) for contender in list(group.contenders.values())[:2])
    expected = {name: limit.first(name) for name in limit.names}
    assert expected
    for name in ours.names:
        first = ours.first(name)
        # The limit may know no such thing, or not tell cold and warm apart.
        if wanted := expected.get(name) or expected.get(name.partition(",")[0]):
            checks = min(len(wanted.results), len(first.results))
            assert same(wanted.results[:checks], first.results[:checks]), name


def count_to(size: int) -> dict[str, Operation]:
    return {"count": Operation(lambda: sum(range(size)), checks=2)}


def right(case: Case):
    return count_to(case.size)


def wrong(case: Case):
    return count_to(case.size + 1)


def broken(case: Case):
    raise RuntimeError(case.title)


CONTENDERS = {
    "ours": Contender(right),
    "limit": Contender(right),
    "wrong": Contender(wrong),
    "broken": Contender(broken),
    "missing": Contender(right, ("no_such_module",)),
    "slow": Contender(right, largest=1),
}


@pytest.fixture(scope="module")
def row() -> Row:
    with Contest(CONTENDERS, Case("ten", 10, processes=2), rounds=2) as contest:
        cells = contest.measure("count")["count"].times
    return Row("ten", "count", "s", cells, {"limit": 1.1, "wrong": 1.0}, 10)


def test_a_contest_says_why_there_is_no_figure(row: Row):
    reasons = {name: str(value) for name, value in row.cells.items() if isinstance(value, Absent)}
    assert reasons == {
        "wrong": "another result",
        "broken": "fails: RuntimeError: ten",
        "missing": "not installed",
        "slow": "not run above 1",
    }
    # Two processes, two turns of twenty runs each.
    assert len(row.cells["ours"].values) == 80


def test_the_page_keeps_other_sections(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "PAGE", tmp_path / "page.md")
    first, second = list(GROUPS.values())[1:5:3]
    for group in (first, second, first):
        report.write(group, [row])
    text = report.PAGE.read_text("utf-8")
    assert text.startswith(report.HEAD)
    assert text.count(f"## {first.title}\n") == text.count(f"## {second.title}\n") == 1
    assert "not installed" in text


def test_growth_is_drawn(row: Row, tmp_path: Path):
    pytest.importorskip("matplotlib")
    report.plot([row, row], tmp_path / "pictures" / "growth.png")
    assert (tmp_path / "pictures" / "growth.png").stat().st_size


@pytest.mark.parametrize(
    ("ours", "limit", "expected"),
    [
        ([1.0], [1.0], "holds"),
        ([1.0], [0.5], "misses: 2.00 > 1.10 limit"),
        ([1.1], [1.0], "holds"),
        ([0.0], [0.0], "holds"),
        # Half the distance between the quartiles is 10 % of the median here.
        ([0.96, 1.2, 1.44], [1.0], "misses within the spread: 1.20 > 1.10 limit"),
        ([0.96, 1.2, 1.44], [0.8, 1.0, 1.2], "misses within the spread: 1.20 > 1.10 limit"),
        ([1.04, 1.3, 1.56], [0.8, 1.0, 1.2], "misses: 1.30 > 1.10 limit"),
    ],
)
def test_verdict(ours: list[float], limit: list[float], expected: str):
    cells = {"ours": Sample(ours), "limit": Sample(limit), "peer": Absent("not installed")}
    assert report.verdict(Row("", "", "s", cells, {"limit": 1.1, "peer": 1.0})) == expected


def test_a_verdict_tells_what_is_sure_from_what_is_not():
    cells = {"ours": Sample([0.8, 1.0, 1.2]), "near": Sample([0.95]), "far": Sample([0.5])}
    verdict = report.verdict(Row("", "", "s", cells, dict.fromkeys(cells, 1.0)))
    assert verdict == "misses: 2.00 > 1.00 far; misses within the spread: 1.05 > 1.00 near"


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1.5, "s", "1.50 s"),
        (0.9999, "s", "1.00 s"),
        (0.0123, "s", "12.3 ms"),
        (123.4e-9, "s", "123 ns"),
        (2e6, "B", "2.00 MB"),
        (3, "", "3"),
        (float("nan"), "B", "?"),
    ],
)
def test_quantities(value: float, unit: str, expected: str):
    assert report.quantity(value, unit) == expected
