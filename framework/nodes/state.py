"""State of objects: dictionaries of arrays, files, devices."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax

from framework.errors import MathError
from framework.nodes.children import child_at, with_child
from framework.nodes.collect import collect_nodes, own_variables
from framework.nodes.devices import device_of, moved
from framework.nodes.formats import format_of
from framework.nodes.graph import Node
from framework.nodes.kinds import Kind
from framework.nodes.variable import Variable
from framework.nodes.walk import graph_of

__all__ = ["StateLoadResult", "StateMixin"]


class StateLoadResult(NamedTuple):
    """What did not match when a state was loaded.

    Attributes:
        missing_keys: Keys of the object that the state lacks.
        unexpected_keys: Keys of the state that the object lacks.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


class StateMixin(Node):
    """Saving, loading and moving of all that is below a node."""

    def __save_state__(self) -> dict[str, Any]:
        return _values(own_variables(self)[0])

    def __load_state__(self, state: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        variables = own_variables(self)[0]
        _write_all([(k, variables[k], value) for k, value in state.items() if k in variables])
        return _mismatch(variables, state)

    def save_state(self) -> dict[str, Any]:
        """This node's own arrays by attribute; without those of its children."""
        return self.__save_state__()

    def load_state(self, state: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Write this node's own Variables.

        Args:
            state: Arrays by attribute, as :meth:`save_state` gives them.

        Returns:
            The missing and the unexpected keys.

        Raises:
            MathError: Shapes or dtypes don't fit. Nothing is changed then.
        """
        return self.__load_state__(state)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """All arrays at and below this node: ``{node name: {attribute: array}}``.

        The names are those of this process; for what must outlive it use :meth:`save_states`.
        """
        nodes = collect_nodes(self, "absolute", -1, True)
        usual = StateMixin.__save_state__, StateMixin.save_state
        return {
            name: _values(own)
            if (type(node).__save_state__, type(node).save_state) == usual
            else node.save_state()
            for (name, node), own in zip(nodes.items(), own_variables(self), strict=True)
        }

    def load_state_dict(
        self, state_dict: Mapping[str, Any], warn: bool = True, compatible: str = "v2"
    ) -> StateLoadResult:
        """Write all Variables at and below this node.

        Args:
            state_dict: Arrays as :meth:`state_dict` gives them.
            warn: Whether a ``UserWarning`` tells of keys that don't match.
            compatible: ``'v2'`` for ``{node name: {attribute: array}}``, ``'v1'`` for
                ``{"<node name>.<attribute>": array}``.

        Returns:
            The missing and the unexpected keys.

        Raises:
            MathError: Shapes or dtypes don't fit. Nothing is changed then.
            ValueError: ``compatible`` is something else.
        """
        if compatible not in ("v1", "v2"):
            raise ValueError(f"compatible must be 'v1' or 'v2', but got {compatible!r}.")
        nodes = collect_nodes(self, "absolute", -1, True)
        variables = {
            (name, key): variable
            for name, own in zip(nodes, own_variables(self), strict=True)
            for key, variable in own.items()
        }
        given: dict[tuple[str, str], Any] = {}
        for name, value in state_dict.items():
            if compatible == "v1":
                node, _, key = name.partition(".")
                given[node, key] = value
            elif isinstance(value, Mapping):
                given |= {(name, key): array for key, array in value.items()}
            else:
                raise ValueError(
                    f"The entry {name!r} is a {type(value).__name__}, not a dict of arrays. "
                    "For a flat state_dict write `compatible='v1'`."
                )
        custom = {
            name
            for name, node in nodes.items()
            if type(node).__load_state__ is not StateMixin.__load_state__
        }
        with _restoring(variables.values()):
            _write_all(
                [
                    (f"{key[0]}.{key[1]}", variables[key], value)
                    for key, value in given.items()
                    if key in variables and key[0] not in custom
                ]
            )
            missing, unexpected = (
                [f"{node}.{key}" for node, key in keys if node not in custom]
                for keys in _mismatch(variables, given)
            )
            for name in custom:
                own = {key: value for (node, key), value in given.items() if node == name}
                found = nodes[name].load_state(own)
                for keys, more in zip((missing, unexpected), found, strict=True):
                    keys += [f"{name}.{key}" for key in more]
        if warn and missing:
            warnings.warn(f"The state lacks {missing}.", UserWarning, stacklevel=2)
        if warn and unexpected:
            warnings.warn(f"The state has unexpected {unexpected}.", UserWarning, stacklevel=2)
        return StateLoadResult(missing, unexpected)

    def save_states(
        self, filename: str | os.PathLike[str], variables: Mapping[str, Variable] | None = None
    ) -> None:
        """Save all that is below this node to a file, keyed by structural paths.

        Args:
            filename: Its suffix chooses the format; ``.msgpack`` is this package's own.
            variables: Save these by their keys instead.

        Raises:
            ValueError: No format has the suffix.
            CheckpointError: The file can't be written. An old file stays as it was.
        """
        format_of(filename).save(Path(filename), self if variables is None else variables)

    def load_states(self, filename: str | os.PathLike[str], verbose: bool = False) -> Any:
        """Load all that is below this node from a file; all or nothing.

        Args:
            filename: Its suffix chooses the format.
            verbose: Whether to print what was loaded.

        Returns:
            A report of what was loaded.

        Raises:
            ValueError: No format has the suffix.
            CheckpointError: The file is damaged, or its paths, shapes or dtypes don't fit.
                Nothing is changed then.
        """
        report = format_of(filename).load(Path(filename), self)
        if verbose:
            print(report)  # noqa: T201 - this is what `verbose` asks for
        return report

    def to(self, device: Any) -> Self:
        """Move all arrays at and below this node.

        Args:
            device: A ``jax.Device``, a ``Sharding``, or a name such as ``"cpu"`` or ``"gpu:0"``.

        Returns:
            This node.

        Raises:
            RuntimeError: This machine has no such device. Nothing is moved then.
        """
        target = device_of(device)
        graph = graph_of(self)
        nodes, places = graph.live_nodes(), graph.structure.places
        for leaf, kind, (holder, keys) in zip(
            graph.live_leaves(), places.leaf_kinds, places.leaves, strict=True
        ):
            if kind == Kind.VARIABLE:
                leaf._store(moved(leaf.value, target))
            elif isinstance(leaf, jax.Array):
                _replace_at(nodes[holder], keys, moved(leaf, target))
        return self

    def cpu(self) -> Self:
        """Move all arrays to the first CPU."""
        return self.to("cpu")

    def cuda(self) -> Self:
        """Move all arrays to the first CUDA GPU."""
        return self.to("cuda")

    def tpu(self) -> Self:
        """Move all arrays to the first TPU."""
        return self.to("tpu")


def _values(variables: Mapping[str, Variable]) -> dict[str, Any]:
    return {key: variable.value for key, variable in variables.items()}


def _mismatch(expected: Mapping[Any, Any], given: Mapping[Any, Any]) -> tuple[list[Any], list[Any]]:
    return [k for k in expected if k not in given], [k for k in given if k not in expected]


def _write_all(entries: list[tuple[str, Variable, Any]]) -> None:
    """Write values into Variables, all or none."""
    checked: list[tuple[Variable, Any]] = []
    problems: list[str] = []
    for key, variable, value in entries:
        try:
            checked.append((variable, variable._checked(value)))
        except MathError as error:
            problems.append(f"  {key}: {error}")
    if problems:
        raise MathError("The state does not fit; nothing was changed.\n" + "\n".join(problems))
    for variable, value in checked:
        variable._store(value)


@contextmanager
def _restoring(variables: Iterable[Variable]) -> Generator[None]:
    """Give Variables their values back if there is an exception."""
    before = [(variable, variable.value) for variable in variables]
    try:
        yield
    except BaseException:
        for variable, value in before:
            variable._store(value)
        raise


def _replace_at(node: Any, keys: Any, value: Any) -> None:
    """Put a value where a node holds another, in place as far down as containers allow it."""
    attribute, *rest = (keys,) if isinstance(keys, str) else keys
    container = getattr(node, attribute)
    for depth in range(len(rest), 0, -1):
        holder = child_at(container, rest[: depth - 1])
        if isinstance(holder, (list, dict)):
            key = rest[depth - 1]
            new = with_child(holder[key], rest[depth:], value)
            # Not the method of a VarList, say, which would write into the item.
            set_item: Any = list.__setitem__ if isinstance(holder, list) else dict.__setitem__
            set_item(holder, key, new)
            return
    node._set(attribute, with_child(container, rest, value), None)
