"""Saving objects and trees, and loading them back: `save`, `load`, `load_states`, `describe`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from framework.errors import CheckpointError
from framework.io.layout import Header, LeafInfo
from framework.io.leaf_types import Frozen, Leaf
from framework.io.leaves import decode
from framework.io.matching import LoadReport, check, converted, match
from framework.io.other_formats import OTHER_FORMATS
from framework.io.paths import nearest, nested, renamer, selector
from framework.io.pytree import build, flatten, flatten_like
from framework.io.sources import Source, open_source, write_source
from framework.nodes.formats import register_format
from framework.nodes.leaves import named_leaves
from framework.nodes.state import _replace_at
from framework.nodes.variable import Variable

__all__ = [
    "Contents",
    "assign",
    "describe",
    "load",
    "load_states",
    "read",
    "save",
    "transfer",
    "verify",
]

Names = str | Iterable[str] | None


class Contents(NamedTuple):
    """Leaves of a file under their new names.

    Attributes:
        leaves: What the header says about each selected leaf, by path.
        aliases: Further paths of leaves and subtrees.
        whole: Whether every leaf is there under its own name.
    """

    leaves: dict[str, LeafInfo]
    aliases: dict[str, str]
    whole: bool


def save(path: str | os.PathLike[str], tree: Any, *, meta: Mapping[str, Any] | None = None) -> None:
    """Saves an object, or a tree of containers, arrays, scalars and objects.

    Args:
        path: The file. It is replaced only when the new one is complete and on the disk.
        tree: What to save.
        meta: Anything that JSON could hold, stored in the header.

    Raises:
        CheckpointError: Something cannot be stored, or the file cannot be written.

    Example:
        >>> import tempfile, numpy
        >>> name = tempfile.mkdtemp() + "/a.msgpack"
        >>> save(name, {"w": numpy.arange(3), "steps": [1, 2.5, None]})
        >>> load(name)
        {'w': array([0, 1, 2]), 'steps': [1, 2.5, None]}
    """
    flat = flatten(tree)
    write_source(path, flat.leaves, flat.aliases, meta, flat.structure)


def load(
    path: str | os.PathLike[str],
    like: Any = None,
    *,
    include: Names = None,
    exclude: Names = None,
    rename: Mapping[str, str] | None = None,
    numpy: bool = False,
    mmap: bool = True,
) -> Any:
    """Loads a file.

    Args:
        path: The file.
        like: A tree of the same structure; the result gets its containers, and its devices. Its
            leaves are compared with the file's.
        include: Globs of paths to load; the bytes of others are not read.
        exclude: Globs of paths to leave out.
        rename: Old and new beginning of paths.
        numpy: Give NumPy arrays in the place of JAX arrays; of PRNG keys, their data.
        mmap: Map the file into memory where possible. The arrays stay valid when the file is
            replaced or removed, but not when another program writes into it.

    Returns:
        The tree that was saved. In the place of each object there is a dict with its attributes.
        With `include`, `exclude` or `rename`, and without `like`: dicts in dicts by path.

    Raises:
        CheckpointError: The file is damaged, or does not fit `like`.
    """
    with open_source(path) as file:
        contents = select(file.header, include, exclude, rename)
        if like is not None:
            return _load_like(file, contents, like, mmap)
        leaves = read(file, contents.leaves, numpy=numpy, mmap=mmap)
        structure = file.header.structure
        try:
            if contents.whole and isinstance(structure, list):
                return build(structure, leaves, contents.aliases)
            return nested(leaves, contents.aliases)
        except CheckpointError as error:
            raise CheckpointError(f"{os.fspath(path)!r} {error}") from None


def load_states(
    path: str | os.PathLike[str],
    obj: Any,
    *,
    strict: bool = True,
    include: Names = None,
    exclude: Names = None,
    rename: Mapping[str, str] | None = None,
    mmap: bool = True,
) -> LoadReport:
    """Loads a file into the Variables and arrays of an object; all or nothing.

    Args:
        path: The file.
        obj: An object of this package, or containers of such objects.
        strict: Raise if anything is missing, left over, or of another shape or dtype. Otherwise
            load what fits, and say in the report what does not.
        include: Globs of paths of the object to load; the others keep their values.
        exclude: Globs of paths of the object to leave as they are.
        rename: Old beginning of paths in the file, and the one in the object. It moves weights,
            the optimizer slots that belong to them, and aliases together.
        mmap: Map the file into memory where possible.

    Returns:
        What was loaded, and what did not fit.

    Raises:
        CheckpointError: The file is damaged or, with `strict`, does not fit. Nothing is changed.
    """
    with open_source(path) as file:
        contents = select(file.header, include, exclude, rename)
        named = named_leaves(obj)
        selected = selector(include, exclude)
        targets = {name: leaf for name, leaf in named.values.items() if selected(name)}
        for name, leaf in targets.items():
            if named.places[name][0] is None and not isinstance(leaf, Variable):
                raise CheckpointError(
                    f"{name!r} is an array in a plain container, which cannot be replaced in "
                    "place; write load(path, like=tree)"
                )
        types = {name: info.type for name, info in contents.leaves.items()}
        report = match(targets, named.aliases, types, contents.aliases)
        if strict:
            check(report, repr(os.fspath(path)))
        wanted = {s: contents.leaves[s] for s in dict.fromkeys(report.sources.values())}
        values = read(file, wanted, mmap=mmap)
    assign(obj, report, values)
    return report


def assign(obj: Any, report: LoadReport, values: Mapping[str, Leaf]) -> None:
    """Writes values into the leaves of an object after all of them were checked.

    Args:
        obj: The object.
        report: From `match`; its `loaded` is filled in.
        values: Leaf by path in the file.
    """
    named = named_leaves(obj)
    ready = {
        path: converted(values[source], named.values[path])
        for path, source in report.sources.items()
    }
    for path, value in ready.items():
        leaf = named.values[path]
        if isinstance(leaf, Variable):
            leaf._store(value)
        else:
            _replace_at(*named.places[path], value)
        report.loaded.append(path)


def describe(path: str | os.PathLike[str]) -> Header:
    """Reads what a file holds, without the data.

    Args:
        path: The file.

    Returns:
        Its header: leaves with path, type, place and checksum; aliases; metadata.

    Raises:
        CheckpointError: It is missing, damaged, cut off, or of another kind.
    """
    with open_source(path) as file:
        return file.header


def verify(path: str | os.PathLike[str]) -> None:
    """Reads every byte of a file and compares all checksums.

    Raises:
        CheckpointError: It is missing, damaged, cut off, or of another kind.
    """
    with open_source(path) as file:
        file.verify()


def transfer(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    include: Names = None,
    exclude: Names = None,
    rename: Mapping[str, str] | None = None,
) -> int:
    """Copies leaves from one file to another, whose suffix says the format.

    Args:
        source: The file to read; every checksum is compared.
        target: The file to write; it may be the same.
        include: Globs of new paths to keep.
        exclude: Globs of new paths to leave out.
        rename: Old and new beginning of paths.

    Returns:
        How many leaves were copied.

    Raises:
        CheckpointError: A file cannot be read or written, or a leaf be stored.
    """
    with open_source(source) as file:
        header = file.header
        contents = select(header, include, exclude, rename or None)
        arrays = file.read(contents.leaves.values())
        leaves = {
            name: Frozen(info.type, array)
            for (name, info), array in zip(contents.leaves.items(), arrays, strict=True)
        }
        # The description of the tree names paths, and every leaf.
        structure = header.structure if contents.whole else None
        write_source(target, leaves, contents.aliases, header.meta, structure)
    return len(leaves)


def select(
    header: Header, include: Names, exclude: Names, rename: Mapping[str, str] | None
) -> Contents:
    """Renames and selects leaves.

    Args:
        header: What the file holds.
        include: Globs of new paths to keep.
        exclude: Globs of new paths to leave out.
        rename: Old and new beginning of paths.

    Returns:
        The leaves by new path.

    Raises:
        CheckpointError: Two leaves get the same path, or `rename` names nothing in the file.
    """
    new = renamer(rename)
    leaves: dict[str, LeafInfo] = {}
    for info in header.leaves:
        if leaves.setdefault(new(info.path), info) is not info:
            raise CheckpointError(
                f"rename={rename} gives {info.path!r} and {leaves[new(info.path)].path!r} "
                f"the same path {new(info.path)!r}"
            )
    aliases = {new(alias): new(path) for alias, path in header.aliases.items()}
    _check_all_used(rename or {}, [info.path for info in header.leaves])
    if include is None and exclude is None:
        return Contents(leaves, aliases, whole=not rename)
    selected = selector(include, exclude)
    return Contents(
        {path: info for path, info in leaves.items() if selected(path)}, aliases, whole=False
    )


def read(
    file: Source,
    leaves: Mapping[str, LeafInfo],
    *,
    numpy: bool = False,
    mmap: bool = True,
) -> dict[str, Leaf]:
    """Reads and decodes leaves.

    Args:
        file: The open file.
        leaves: Which, by the paths that the result is to have.
        numpy: Leave JAX arrays and PRNG keys as NumPy arrays.
        mmap: Map the file into memory where possible.

    Returns:
        The leaves by path.
    """
    arrays = file.read(leaves.values(), use_mmap=mmap)
    types = [info.type for info in leaves.values()]
    if numpy:
        plain = {t: t._replace(kind="numpy") for t in set(types) if t.kind in ("jax", "key")}
        types = [plain.get(type_, type_) for type_ in types]
    try:
        return dict(zip(leaves, decode(list(leaves), types, arrays), strict=True))
    except CheckpointError as error:
        raise CheckpointError(f"{str(file.path)!r}: {error}") from error


def _check_all_used(rename: Mapping[str, str], paths: Sequence[str]) -> None:
    new = renamer(rename)
    for old in rename:
        without = renamer({key: value for key, value in rename.items() if key != old})
        if all(new(path) == without(path) for path in paths):
            close = nearest(old, paths)
            raise CheckpointError(
                f"rename: no path in the file starts with {old!r}"
                + (f"; the nearest is {close!r}" if close else "")
            )


def _load_like(file: Source, contents: Contents, like: Any, mmap: bool) -> Any:
    targets, treedef = flatten_like(like)
    types = {name: info.type for name, info in contents.leaves.items()}
    report = match(targets, {}, types, contents.aliases)
    check(report, repr(str(file.path)))
    wanted = {s: contents.leaves[s] for s in dict.fromkeys(report.sources.values())}
    values = read(file, wanted, mmap=mmap)
    return treedef.unflatten(
        converted(values[report.sources[path]], leaf) for path, leaf in targets.items()
    )


class _AnyFormat:
    """What `obj.save_states` and `obj.load_states` do with files of every suffix."""

    def save(self, filename: Path, obj: Any) -> None:
        save(filename, obj)

    def load(self, filename: Path, obj: Any) -> LoadReport:
        return load_states(filename, obj)


for _suffix in (".msgpack", *OTHER_FORMATS):
    register_format(_suffix, _AnyFormat())
