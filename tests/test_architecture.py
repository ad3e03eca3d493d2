"""The layers of the package, and what no module may do, read from the source."""

import ast
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "framework"
ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400

# Layer of each module or folder directly under the package, and what each layer may import.
LAYER_OF = {
    "errors": "errors",
    "nodes": "nodes",
    "transforms": "transforms",
    "random": "transforms",
    "optim": "optim",
    "io": "io",
    "cli": "cli",
    "__main__": "cli",
    "": "facade",
}
MAY_IMPORT = {
    "errors": {"errors"},
    "nodes": {"errors", "nodes"},
    "transforms": {"errors", "nodes", "transforms"},
    "optim": {"errors", "nodes", "transforms", "optim"},
    "io": {"errors", "nodes", "io"},
    "cli": {"errors", "nodes", "io", "cli", "facade"},
    "facade": {"errors", "nodes", "transforms", "optim", "io"},
}
UNSAFE_LOADERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


@dataclass(frozen=True)
class Module:
    """A module's dotted name, its text, and whether it is a package's `__init__`."""

    name: str
    source: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def layer(self) -> str | None:
        return layer_of(self.name)


@dataclass(frozen=True)
class Import:
    """One imported dotted name and where it stands."""

    target: str
    line: int
    in_function: bool
    for_types: bool


def layer_of(name: str) -> str | None:
    return LAYER_OF.get(name.removeprefix(PACKAGE).removeprefix(".").split(".")[0])


def is_ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def read_package() -> dict[str, Module]:
    modules = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        with tokenize.open(path) as file:
            modules[name] = Module(name, file.read(), is_package)
    return modules


def imports(module: Module) -> Iterator[Import]:
    """Every name that the module imports, by statement or by `import_module`."""

    def visit(node: ast.AST, in_function: bool, for_types: bool) -> Iterator[Import]:
        def found(target: str) -> Import:
            return Import(target, node.lineno, in_function, for_types)

        match node:
            case ast.Import():
                yield from (found(alias.name) for alias in node.names)
            case ast.ImportFrom():
                base = absolute(module, node.level, node.module)
                yield from (found(f"{base}.{alias.name}") for alias in node.names)
            case ast.Call(args=[ast.Constant(value=str(name)), *_]) if called(node) in {
                "import_module",
                "__import__",
            }:
                dots = len(name) - len(name.lstrip("."))
                yield found(absolute(module, dots, name[dots:]))
            case ast.If() if ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
                for child in node.body:
                    yield from visit(child, in_function, True)
                for child in node.orelse:
                    yield from visit(child, in_function, for_types)
                return
        in_function |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, in_function, for_types)

    return visit(module.tree, False, False)


def called(call: ast.Call) -> str:
    return ast.unparse(call.func).split(".")[-1]


def absolute(module: Module, dots: int, name: str | None) -> str:
    """The full name of what a module imports with that many leading dots."""
    if not dots:
        return name or ""
    parts = module.name.split(".")
    base = parts[: len(parts) - dots + module.is_package]
    return ".".join([*base, *([name] if name else [])])


def nearest(target: str, modules: dict[str, Module]) -> str:
    """The module that an imported name is, or is an attribute of."""
    while target not in modules and "." in target:
        target = target.rpartition(".")[0]
    return target


def check_private_jax(module: Module) -> Iterator[str]:
    for found in imports(module):
        if found.target.startswith("jax") and "_src" in found.target.split("."):
            yield f"line {found.line}: imports {found.target}"
    for node in ast.walk(module.tree):
        match node:
            case ast.Attribute(attr="_src"):
                yield f"line {node.lineno}: reads {ast.unparse(node)}"
            case ast.Call(args=[_, ast.Constant(value="_src"), *_]) if called(node) == "getattr":
                yield f"line {node.lineno}: reads {ast.unparse(node)}"


def check_local_imports(module: Module) -> Iterator[str]:
    for found in imports(module):
        if is_ours(found.target) and found.in_function and not found.for_types:
            yield f"line {found.line}: imports {found.target} inside a function"


def check_direction(module: Module) -> Iterator[str]:
    if module.layer is None:
        yield f"{module.name} belongs to no layer; give it one in LAYER_OF"
        return
    for found in imports(module):
        if not is_ours(found.target):
            continue
        layer = layer_of(found.target)
        # `from framework import name` is a use of the facade unless the name is a module's.
        if layer is None:
            layer = "facade"
        if layer not in MAY_IMPORT[module.layer]:
            yield f"line {found.line}: {module.layer} imports {found.target}, which is {layer}"


def check_size(module: Module) -> Iterator[str]:
    lines = len(module.source.splitlines())
    if lines > MAX_LINES:
        yield f"{lines} lines, of at most {MAX_LINES}"


def check_docstring(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield "has no docstring"


def check_unsafe_loading(module: Module) -> Iterator[str]:
    if module.layer != "io":
        return
    for found in imports(module):
        if found.target.split(".")[0] in UNSAFE_LOADERS:
            yield f"line {found.line}: imports {found.target}"
    for node in ast.walk(module.tree):
        match node:
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=False)):
                pass
            case ast.keyword(arg="allow_pickle"):
                yield f"line {node.lineno}: allows pickle"


CHECKS = [
    check_private_jax,
    check_local_imports,
    check_direction,
    check_size,
    check_docstring,
    check_unsafe_loading,
]
Check = Callable[[Module], Iterator[str]]


def find_cycle(modules: dict[str, Module]) -> list[str] | None:
    """Modules that import each other at run time, in order, or None."""
    graph = {
        name: {
            nearest(found.target, modules)
            for found in imports(module)
            if is_ours(found.target) and not found.for_types
        }
        for name, module in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


MODULES = read_package()


def test_the_package_is_seen():
    assert PACKAGE in MODULES
    assert any(module.layer == "nodes" for module in MODULES.values())


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_module(check: Check, name: str):
    assert list(check(MODULES[name])) == []


def test_no_import_cycles():
    assert find_cycle(MODULES) is None


IN_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "

BAD = [
    (check_private_jax, "nodes.x", "import jax._src"),
    (check_private_jax, "nodes.x", "import jax._src.core as core"),
    (check_private_jax, "nodes.x", "from jax import _src"),
    (check_private_jax, "nodes.x", "from jax._src import core"),
    (check_private_jax, "nodes.x", "from jax._src.core import Tracer"),
    (check_private_jax, "nodes.x", "def f():\n    import jax._src"),
    (check_private_jax, "nodes.x", "import importlib\nimportlib.import_module('jax._src.core')"),
    (check_private_jax, "nodes.x", "import jax\njax._src.core"),
    (check_private_jax, "nodes.x", "import jax as j\nx = j._src"),
    (check_private_jax, "nodes.x", "import jax\ngetattr(jax, '_src')"),
    (check_local_imports, "nodes.x", "def f():\n    import framework.errors"),
    (check_local_imports, "nodes.x", "def f():\n    from framework import errors"),
    (check_local_imports, "nodes.x", "def f():\n    from . import y"),
    (check_local_imports, "nodes.x", "class C:\n    async def f(self):\n        from .y import z"),
    (check_local_imports, "nodes.x", "def f():\n    if True:\n        from ..errors import E"),
    (check_local_imports, "x", "def f():\n    import_module('framework.nodes')"),
    (check_local_imports, "nodes.x", "f = lambda: __import__('framework.nodes')"),
    (check_direction, "errors", "import framework.nodes"),
    (check_direction, "nodes.x", "from framework.transforms.jit import jit"),
    (check_direction, "nodes.x", "from framework import io"),
    (check_direction, "nodes.x", "from framework import Variable"),
    (check_direction, "nodes.x", "import framework"),
    (check_direction, "nodes.x", "from ..optim import adam"),
    (check_direction, "transforms.x", "from framework.optim import Adam"),
    (check_direction, "nodes.x", "import framework.random"),
    (check_direction, "optim.x", "from framework.io import save"),
    (check_direction, "io.x", "from framework.optim import Optimizer"),
    (check_direction, "io.x", "from framework.transforms import jit"),
    (check_direction, "io.x", "import framework.random"),
    (check_direction, "io.x", IN_TYPES + "from framework.optim import Optimizer"),
    (check_direction, "io.x", "from framework import cli"),
    (check_direction, "stray", ""),
    (check_size, "nodes.x", "x = 1\n" * (MAX_LINES + 1)),
    (check_docstring, "nodes.x", "x = 1"),
    (check_docstring, "nodes.x", '""""""'),
    (check_unsafe_loading, "io.x", "import pickle"),
    (check_unsafe_loading, "io.x", "from pickle import loads"),
    (check_unsafe_loading, "io.x", "def f():\n    import cloudpickle as c"),
    (check_unsafe_loading, "io.x", "import numpy as np\nnp.load('x', allow_pickle=True)"),
    (check_unsafe_loading, "io.x", "import numpy as np\nnp.load('x', allow_pickle=flag)"),
]

GOOD = [
    (check_private_jax, "nodes.x", "import jax\nfrom jax import tree_util\njax.tree.map"),
    (check_local_imports, "nodes.x", "from framework.errors import E\ndef f():\n    import h5py"),
    (check_local_imports, "nodes.x", IN_TYPES + "from framework.errors import E"),
    (check_local_imports, "nodes.x", "def f():\n    import frameworks, framework_x"),
    (check_direction, "nodes.x", "import jax\nfrom framework.errors import E\nfrom . import y"),
    (check_direction, "transforms.x", "from framework.random import split\nimport framework.nodes"),
    (check_direction, "optim.x", "from framework.transforms import jit\nimport framework.nodes"),
    (check_direction, "io.x", "from framework.nodes import walk\nfrom ..errors import E"),
    (check_direction, "cli", "import framework\nfrom framework.io import describe"),
    (check_size, "nodes.x", "x = 1\n" * MAX_LINES),
    (check_docstring, "nodes.x", '"""What it is."""'),
    (check_unsafe_loading, "nodes.x", "import pickle"),
    (check_unsafe_loading, "io.x", "import numpy as np\nnp.load('x', allow_pickle=False)"),
]


@pytest.mark.parametrize(("check", "name", "source"), BAD)
def test_check_rejects(check: Check, name: str, source: str):
    assert list(check(Module(f"{PACKAGE}.{name}", source)))


@pytest.mark.parametrize(("check", "name", "source"), GOOD)
def test_check_accepts(check: Check, name: str, source: str):
    assert list(check(Module(f"{PACKAGE}.{name}", source))) == []


def modules_of(**sources: str) -> dict[str, Module]:
    package = Module(f"{PACKAGE}.nodes", sources.pop("init", ""), is_package=True)
    rest = [Module(f"{package.name}.{name}", source) for name, source in sources.items()]
    return {module.name: module for module in [package, *rest]}


@pytest.mark.parametrize(
    "modules",
    [
        modules_of(a="from . import b", b="from .a import x"),
        modules_of(a="from .b import x", b="import framework.nodes.c", c="from . import a"),
        modules_of(init="from .a import x", a="from framework.nodes import x"),
        modules_of(a="if 1:\n    from .b import x", b="try:\n    from .a import x\nfinally: pass"),
        modules_of(a="def f():\n    from .b import x", b="from .a import x"),
    ],
)
def test_cycle_is_found(modules: dict[str, Module]):
    assert find_cycle(modules)


@pytest.mark.parametrize(
    "modules",
    [
        modules_of(init="from .a import x\nfrom .b import y", a="from . import b", b="import jax"),
        modules_of(a="from .b import x", b=IN_TYPES + "from .a import x"),
        modules_of(a="from framework.errors import E", b="from framework.nodes.a import f"),
    ],
)
def test_order_is_found(modules: dict[str, Module]):
    assert find_cycle(modules) is None
