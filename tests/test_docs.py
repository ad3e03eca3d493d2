"""What the documentation shows is run: code blocks of the pages and examples in docstrings."""

import doctest
import importlib
import re
import sys
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import framework

ROOT = Path(__file__).resolve().parent.parent
PAGES = [path for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))] if path.exists()]
# `__main__` acts when it is imported.
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(ROOT.glob("framework/**/*.py"))
    if path.stem != "__main__"
]

FENCE = re.compile(
    r"^(?P<indent>[ ]*)```python(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
DOCTEST_OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """First line number and code of each block to run."""
    for match in FENCE.finditer(text):
        if "no-run" not in match["info"].split():
            line = text.count("\n", 0, match.start("code")) + 1
            yield line, textwrap.dedent(match["code"])


def run_page(path: Path, module: ModuleType) -> None:
    """Run the blocks of a page in order, as one module's code."""
    for line, code in blocks(path.read_text("utf-8")):
        # Blank lines before it give the code the page's line numbers, for tracebacks and `inspect`.
        exec(compile("\n" * (line - 1) + code, path, "exec"), module.__dict__)


@pytest.fixture
def page_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> ModuleType:
    """An importable, empty module in an empty folder, with every automatic name still free."""
    monkeypatch.chdir(tmp_path)
    if clear := getattr(framework, "clear_name_cache", None):
        clear(ignore_warn=True)
    module = ModuleType(re.sub(r"\W", "_", request.node.name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page(path: Path, page_module: ModuleType):
    run_page(path, page_module)


@pytest.mark.smoke
@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str, page_module: ModuleType):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=DOCTEST_OPTIONS)
    report: list[str] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)


PAGE = """\
# A page

```python
import os, pickle
class A: pass
print(pickle.loads(pickle.dumps(A())).__class__ is A)
```

```python no-run
raise SystemExit("never run")
```

```sh
not python
```

1. In a list

   ```python
   print(A.__name__, os.listdir())
   ```
"""


def test_blocks_share_a_namespace(
    tmp_path: Path, page_module: ModuleType, capsys: pytest.CaptureFixture[str]
):
    page = tmp_path.with_suffix(".md")
    page.write_text(PAGE, "utf-8")
    run_page(page, page_module)
    assert capsys.readouterr().out == "True\nA []\n"


def test_a_failure_names_its_line(tmp_path: Path, page_module: ModuleType):
    page = tmp_path / "page.md"
    page.write_text(PAGE + "\n```python\nassert A\nassert not A\n```\n", "utf-8")
    with pytest.raises(AssertionError) as failure:
        run_page(page, page_module)
    last = traceback.extract_tb(failure.tb)[-1]
    assert (last.filename, last.line) == (str(page), "assert not A")


def test_package_is_walked():
    assert "framework.nodes" in MODULES
    assert not any(name.endswith("__main__") for name in MODULES)
