"""The text of a path: its steps, renaming, selection by globs, and nearest matches.

A path such as `layers[0].w`, `table['a b']` or `opt.m[net.w]` is a sequence of steps: attribute
names, and keys in brackets. What stands in brackets is an integer, a quoted string, or any other
text, which may be a path itself.
"""

from __future__ import annotations

import ast
import difflib
import fnmatch
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from framework.errors import CheckpointError

__all__ = ["nearest", "nested", "renamer", "resolve", "selector", "split"]

_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_STEP = re.compile(rf"\.?[^.\[\]]+|\[(?:{_QUOTED})\]|\[-?\d{{1,18}}\]", re.DOTALL)
_WILD = re.compile(r"[*?]")
# Where the path of something above a leaf may end.
_ENDS = re.compile(r"[.\[]")
_IN_BRACKETS = re.compile(rf"{_QUOTED}|[\[\]]|[^\[\]'\"]+|['\"]", re.DOTALL)


def split(path: str) -> list[str]:
    """Splits a path into its steps.

    Args:
        path: Text of a path.

    Returns:
        The steps; joined they are the path.

    Raises:
        CheckpointError: Brackets do not match.

    Example:
        >>> split("opt.m[net.layers[0].w]")
        ['opt', '.m', '[net.layers[0].w]']
    """
    steps: list[str] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        end = match.end() if match else _closing(path, position)
        steps.append(path[position:end])
        position = end
    return steps


def key_of(step: str) -> Any:
    """The key that a step stands for, as a nested dict has it.

    Example:
        >>> key_of(".w"), key_of("[0]"), key_of("['a b']"), key_of("[net.w]")
        ('w', 0, 'a b', 'net.w')
    """
    if not step.startswith("["):
        return step.removeprefix(".")
    inner = step[1:-1]
    if re.fullmatch(_QUOTED, inner, re.DOTALL):
        try:
            return ast.literal_eval(inner)
        except (ValueError, SyntaxError):
            return inner
    return int(inner) if re.fullmatch(r"-?\d{1,18}", inner) else inner


def nested(values: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[Any, Any]:
    """Arranges leaves by the steps of their paths.

    Args:
        values: Leaf by path.
        aliases: Further paths of leaves and of subtrees.

    Returns:
        Dictionaries in dictionaries; integer keys are integers. What is shared is the same object
        at each of its places.

    Raises:
        CheckpointError: A path leads through a leaf, or is malformed.

    Example:
        >>> nested({"layers[0].w": 1, "layers[1].w": 2}, {"head": "layers[0]"})
        {'layers': {0: {'w': 1}, 1: {'w': 2}}, 'head': {'w': 1}}
    """
    root: dict[Any, Any] = {}
    for path, value in values.items():
        _insert(root, path, value)
    for alias, path in aliases.items():
        found: Any = root
        for step in split(path):
            found = found.get(key_of(step)) if isinstance(found, dict) else None
        if found is not None:
            _insert(root, alias, found)
    return root


def resolve(path: str, known: Mapping[str, Any], aliases: Mapping[str, str]) -> str | None:
    """Finds the path under which a leaf is stored.

    Args:
        path: Any path of the leaf.
        known: The paths of leaves.
        aliases: Further paths of leaves and of subtrees.

    Returns:
        The one in `known`, or None.

    Example:
        >>> resolve("head.w", {"layers[0].w": 1}, {"head": "layers[0]"})
        'layers[0].w'
    """
    if path in known or not aliases:
        return path if path in known else None
    return next((name for name in _further_names(path, aliases) if name in known), None)


def _further_names(path: str, aliases: Mapping[str, str]) -> Iterator[str]:
    steps = split(path)
    for end in range(len(steps), 0, -1):
        target = aliases.get("".join(steps[:end]))
        if target is not None:
            yield (target + "".join(steps[end:])).removeprefix(".")
    # A slot is named after its parameter, which may go by another name as well.
    if steps and _is_reference(steps[-1]):
        above = "".join(steps[:-1])
        for name in _further_names(steps[-1][1:-1], aliases):
            yield f"{above}[{name}]"


def renamer(rename: Mapping[str, str] | None) -> Callable[[str], str]:
    """A function that renames the beginning of paths.

    Args:
        rename: Old and new beginning, made of whole steps. Paths inside brackets, which name the
            parameter that a slot belongs to, are renamed alike.

    Returns:
        A function from old to new path.

    Example:
        >>> new = renamer({"enc": "encoder"})
        >>> new("enc.w"), new("m[enc.w]"), new("encore")
        ('encoder.w', 'm[encoder.w]', 'encore')
    """
    if not rename:
        return lambda path: path
    old = {tuple(split(key)): value for key, value in rename.items()}
    longest = max(map(len, old))

    @functools.cache
    def renamed(path: str) -> str:
        steps = split(path)
        for end in range(min(len(steps), longest), 0, -1):
            new = old.get(tuple(steps[:end]))
            if new is not None:
                rest = "".join(_inside(step, renamed) for step in steps[end:])
                return (new + rest).removeprefix(".")
        return "".join(_inside(step, renamed) for step in steps)

    return renamed


def selector(
    include: str | Iterable[str] | None, exclude: str | Iterable[str] | None
) -> Callable[[str], bool]:
    """A function that tells whether a path is selected.

    Args:
        include: Globs such as `encoder.*`; `*` and `?` match any characters, brackets mean
            themselves. A glob also selects all that is below what it matches. All if None.
        exclude: Globs of what to leave out although it is included.

    Returns:
        A function from path to bool.

    Example:
        >>> selected = selector("layers[0]", exclude="*.b")
        >>> selected("layers[0].w"), selected("layers[0].b"), selected("layers[10].w")
        (True, False, False)
    """
    wanted, unwanted = _matcher(include), _matcher(exclude)
    return lambda path: (include is None or wanted(path)) and not unwanted(path)


def nearest(path: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like a path, if any is like it at all.

    Example:
        >>> nearest("encoder.w", ["decoder.b", "enc.w"])
        'enc.w'
    """
    pool = list(candidates)
    ending = split(path)[-1:]
    # What has the same last step was probably moved or renamed as a whole.
    for close, cutoff in (([c for c in pool if split(c)[-1:] == ending], 0.4), (pool, 0.6)):
        found = difflib.get_close_matches(path, close, n=1, cutoff=cutoff)
        if found:
            return found[0]
    return None


def _closing(path: str, start: int) -> int:
    if path[start] == "[":
        depth = 0
        for match in _IN_BRACKETS.finditer(path, start):
            depth += {"[": 1, "]": -1}.get(match[0], 0)
            if depth == 0:
                return match.end()
    raise CheckpointError(f"the path {path!r} has brackets that do not match")


def _inside(step: str, renamed: Callable[[str], str]) -> str:
    return f"[{renamed(step[1:-1])}]" if _is_reference(step) else step


def _is_reference(step: str) -> bool:
    return step.startswith("[") and step[1] not in "'\"" and isinstance(key_of(step), str)


def _insert(root: dict[Any, Any], path: str, value: Any) -> None:
    *above, last = [key_of(step) for step in split(path)] or [""]
    place: Any = root
    for key in above:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise CheckpointError(f"the path {path!r} leads through another leaf")
    if place.setdefault(last, value) is not value:
        raise CheckpointError(f"the path {path!r} is also the beginning of another")


def _matcher(globs: str | Iterable[str] | None) -> Callable[[str], bool]:
    given = [globs] if isinstance(globs, str) else list(globs or ())
    # Many names, as those of single leaves are, would make one slow pattern.
    names = {glob for glob in given if not _WILD.search(glob)}
    patterns = [glob for glob in given if glob not in names]
    # Brackets are part of paths, so they are not character classes here.
    escaped = [pattern.replace("[", "[[]") for pattern in patterns]
    expression = "|".join(fnmatch.translate(e + end) for e in escaped for end in ("", ".*", "[[]*"))
    match = re.compile(expression).match if escaped else lambda _: None

    def matches(path: str) -> bool:
        if names and (
            path in names or any(path[: end.start()] in names for end in _ENDS.finditer(path))
        ):
            return True
        return match(path) is not None

    return matches
