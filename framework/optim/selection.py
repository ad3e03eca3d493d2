"""Selection of parameters: by glob on the path, by type, by predicate, or one by one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from framework.nodes.collectors import References
from framework.nodes.graph import Node
from framework.nodes.ownership import _owner_of, path_from_root
from framework.nodes.variable import Variable

__all__ = ["Selection", "owners_of", "path_of", "selected"]


class Selection:
    """What a user wrote to select parameters, taken apart.

    Args:
        select: A glob on the path or key, in which ``*`` stands for one step and ``**`` for any
            number of them; a class of Variables, or of objects that hold them; a predicate of
            path and Variable; a Variable; or a list, tuple or dict of any of these.

    Attributes:
        tests: The globs, classes and predicates.
        variables: The Variables.

    Raises:
        TypeError: It is something else.
    """

    def __init__(self, select: Any) -> None:
        self.tests: list[Any] = []
        self.variables: list[Variable] = []
        self._add(select)

    def _add(self, select: Any) -> None:
        if isinstance(select, Variable):
            self.variables.append(select)
        elif isinstance(select, (list, tuple, Mapping)):
            for item in select.values() if isinstance(select, Mapping) else select:
                self._add(item)
        elif isinstance(select, str) or callable(select):
            self.tests.append(select)
        else:
            raise TypeError(
                "Select parameters by a glob such as '**.bias', a class, a predicate of path and "
                f"Variable, or a list of Variables, not by a {type(select).__name__}."
            )


def selected(tests: Any, variables: Any, candidates: Mapping[str, Variable]) -> list[str]:
    """The keys of the candidates that are selected.

    Args:
        tests: Globs, classes and predicates.
        variables: Variables.
        candidates: All parameters by key.

    Raises:
        ValueError: A test or Variable selects nothing.
    """
    keys_of: dict[Variable, list[str]] = {}
    for key, variable in candidates.items():
        keys_of.setdefault(variable, []).append(key)
    found: dict[Variable, None] = {}
    for variable in variables:
        if variable not in keys_of:
            raise ValueError(f"{variable._label()} is not among the parameters of this optimizer.")
        found[variable] = None
    for test in tests:
        matches = _test_of(test)
        hits = [v for v, keys in keys_of.items() if matches(v, keys)]
        if not hits:
            raise ValueError(_nothing(test, candidates))
        found |= dict.fromkeys(hits)
    return [key for key, variable in candidates.items() if variable in found]


def _test_of(test: Any) -> Callable[[Variable, list[str]], bool]:
    if isinstance(test, str):
        pattern = re.compile(_regex(test))
        return lambda v, keys: any(pattern.fullmatch(_steps(n)) for n in (*keys, path_of(v)))
    if isinstance(test, type) and issubclass(test, Variable):
        return lambda v, _: isinstance(v, test)
    if isinstance(test, type):
        return lambda v, _: any(isinstance(owner, test) for owner in owners_of(v))
    return lambda v, keys: bool(test(path_of(v) or keys[0], v))


def _steps(path: str) -> str:
    """A path with a dot before each step, whatever style it is in.

    >>> _steps("layers[0].w"), _steps("layers-0.w"), _steps("table['a b']")
    ('.layers.0.w', '.layers.0.w', '.table.a b')
    """
    path = re.sub(r"\[['\"]?(.*?)['\"]?\]", r".\1", path)
    return "." + re.sub(r"-(?=\d+(\.|-|$))", ".", path).removeprefix(".")


def _regex(glob: str) -> str:
    steps = _steps(glob).removeprefix(".").split(".")
    return "".join(
        r"(\.[^.]+)*"
        if step == "**"
        else r"\." + re.escape(step).replace(r"\*", "[^.]*").replace(r"\?", "[^.]")
        for step in steps
    )


def _nothing(test: Any, candidates: Mapping[str, Variable]) -> str:
    names = list(dict.fromkeys(n for k, v in candidates.items() for n in (path_of(v), k) if n))
    if isinstance(test, str):
        near = difflib.get_close_matches(test.replace("*", ""), names, n=4, cutoff=0.3)
        what = f"The pattern {test!r} matches no parameter."
        return f"{what} {'Near matches' if near else 'There are'}: {', '.join(near or names[:8])}."
    return (
        f"{getattr(test, '__name__', test)!r} selects no parameter. There are: "
        f"{', '.join(f'{n} ({type(v).__name__})' for n, v in list(candidates.items())[:8])}."
    )


def path_of(variable: Variable) -> str:
    """The structural path from the topmost owner, such as ``layers[0].w``; empty without one."""
    return path_from_root(variable)[1]


def owners_of(value: Any) -> Iterator[Node]:
    """The owner of a Variable or node, its owner, and so on."""
    met: set[int] = set()
    while (value := _owner_of(value)) is not None and id(value) not in met:
        met.add(id(value))
        yield value


def references(variables: Any) -> References:
    """Hold Variables without owning them."""
    return References({str(i): variable for i, variable in enumerate(variables)})
