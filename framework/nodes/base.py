"""`BrainPyObject`: the class that users subclass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import jax

from framework.errors import TraceError
from framework.nodes import naming
from framework.nodes.children import children_of
from framework.nodes.collect import collect_nodes, collect_variables
from framework.nodes.collectors import ArrayCollector, Collector
from framework.nodes.copying import CopyMixin
from framework.nodes.frames import current_trace, is_tracer, local
from framework.nodes.graph import Meta, Node, changes
from framework.nodes.kinds import KIND_OF_TYPE, Kind
from framework.nodes.lines import note_line, watch
from framework.nodes.ownership import adopt, full_path
from framework.nodes.pytree import flatten_root, register_node, unflatten_root
from framework.nodes.registration import named_items
from framework.nodes.representation import tree_text
from framework.nodes.signature import Signature
from framework.nodes.state import StateMixin
from framework.nodes.variable import TrainVar, Variable
from framework.nodes.walk import graph_of

__all__ = ["Base", "BrainPyObject"]

_MISSING = object()


class BrainPyObject(StateMixin, CopyMixin, Node):
    """A node of an object graph, and a JAX PyTree.

    Assign Variables, other BrainPyObjects, and lists, tuples and dicts of them to attributes;
    everything else follows. Assigning to an attribute that holds a Variable writes its value.

    Args:
        name: A unique identifier; ``ClassName0``, ``ClassName1``, … if left out.

    Raises:
        BrainPyError: The name is no identifier.
        UniqueNameError: A living object holds the name.

    >>> class Dense(BrainPyObject):
    ...     def __init__(self, n_in, n_out):
    ...         super().__init__()
    ...         self.w = TrainVar((n_in, n_out))
    >>> list(Dense(3, 2).vars("relative"))
    ['w']
    """

    # The signature of an instance without attributes.
    _bare: ClassVar[Signature]

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Make a node that can be assigned to even before ``__init__`` is called."""
        self = super().__new__(cls)
        meta = self.__dict__["_meta"] = Meta(current_trace())
        meta.signature = cls._bare
        return self

    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        self.name = self.unique_name(name)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._slot_names = _slot_names(cls)
        cls._bare = Signature(cls, ("_meta",), (Meta,))
        register_node(cls)

    @property
    def name(self) -> str:
        """The unique name. Assigning renames and frees the old name."""
        meta = self._meta
        if meta.name is None:
            wanted = meta.wanted_name
            free = wanted is not None and naming.is_free(wanted)
            meta.name = wanted if free else self.unique_name()
            naming.check_name_uniqueness(meta.name, self)  # pyright: ignore[reportArgumentType]
        return meta.name  # pyright: ignore[reportReturnType]

    @name.setter
    def name(self, name: str) -> None:
        naming.check_name_uniqueness(name, self)
        meta = self._meta
        if meta.name is not None and meta.name != name:
            naming.release_name(meta.name, self)
        meta.name = name
        changes.note(meta, moved=True)

    def unique_name(self, name: str | None = None, type_: str | None = None) -> str:
        """Check a name, or make one.

        Args:
            name: The name to check. It is not taken.
            type_: The stem of the name to make; the class name if left out.

        Returns:
            A name that no other living object holds.

        Raises:
            BrainPyError: The name is no identifier.
            UniqueNameError: A living object holds the name.
        """
        if name is None:
            return naming.get_unique_name(type_ or type(self).__name__)
        naming.check_name_available(name, self)
        return name

    def __setattr__(self, key: str, value: Any) -> None:
        current = self.__dict__.get(key, _MISSING)
        if current is _MISSING:
            if key in self._slot_names:
                current = getattr(self, key, _MISSING)
            elif hasattr(getattr(type(self), key, None), "__set__"):
                # What a property sets, it sets by way of this method.
                object.__setattr__(self, key, value)
                return
        if current is value:
            return
        if isinstance(current, Variable):
            current.value = value
        else:
            self._set(key, value, current)

    def setattr(self, key: str, value: Any) -> None:
        """Set an attribute, even if it holds a Variable, which is then replaced."""
        self._set(key, value, self.__dict__.get(key, _MISSING))

    def _set(self, key: str, value: Any, current: Any) -> None:
        kind = KIND_OF_TYPE[type(value)]
        if kind != Kind.ATOM:
            self._check_owned_by_trace(key, value, kind, current)
            adopt(self, value, kind)
        elif local.frame is not None and isinstance(current, jax.Array):
            self._check_owned_by_trace(key, value, kind, current)
        if self._meta.serial < watch.up_to:
            note_line(self._meta.serial, key)
        meta = self._meta
        signature = meta.signature
        # Only of a node that nothing was set in behind our back is it known what has not changed.
        moved = (
            kind not in Kind.STAYING
            or signature is None
            or signature.count != len(self.__dict__)
            or (current is not _MISSING and KIND_OF_TYPE[type(current)] not in Kind.STAYING)
        )
        object.__setattr__(self, key, value)
        if signature is not None and type(value) is not type(current):
            meta.signature = signature.after(key, type(value))
        changes.note(meta, moved)

    def __delattr__(self, key: str) -> None:
        object.__delattr__(self, key)
        self._meta.signature = None
        changes.note(self._meta, moved=True)

    def _check_owned_by_trace(self, key: str, value: Any, kind: int, current: Any) -> None:
        """Refuse to hang what belongs to a trace on an object from outside of it."""
        frame = local.frame
        if frame is None:
            if not _holds_tracer(value, kind) or self._meta.home == current_trace():
                return
        elif self._meta.serial > frame.serial or not (
            _holds_tracer(value, kind) or Kind.ARRAY in (kind, KIND_OF_TYPE[type(current)])
        ):
            return
        raise TraceError(
            f"`{full_path(self, key)}` is set inside a JAX transform, but the object was made "
            "outside of it, so the traced array would leak. Hold what changes in a Variable that "
            f"is created outside (in `__init__`: `self.{key} = Variable(...)`) and assign to it, "
            "or return the array from the function."
        )

    @property
    def implicit_vars(self) -> ArrayCollector:
        """The implicitly registered Variables by key."""
        return self._implicit("_implicit_vars", ArrayCollector)

    @property
    def implicit_nodes(self) -> Collector:
        """The implicitly registered nodes by key."""
        return self._implicit("_implicit_nodes", Collector)

    def _implicit(self, key: str, cls: type[Any]) -> Any:
        collector = self.__dict__.get(key)
        if collector is None:
            collector = cls()
            self._set(key, collector, _MISSING)
        return collector

    def register_implicit_vars(
        self, *variables: Any, var_cls: type | tuple[type, ...] | None = None, **named: Any
    ) -> None:
        """Register Variables that are no attributes.

        Args:
            *variables: Variables, or lists, tuples, dicts, VarLists or VarDicts of them.
            var_cls: The class they must have; Variable if left out.
            **named: Variables by key.

        Raises:
            ValueError: Something is not of the class. Nothing is registered then.
        """
        self._register(self.implicit_vars, variables, named, var_cls or Variable, "var")

    def register_implicit_nodes(
        self, *nodes: Any, node_cls: type | tuple[type, ...] | None = None, **named: Any
    ) -> None:
        """Register nodes that are no attributes.

        Args:
            *nodes: Nodes, or lists, tuples, dicts, NodeLists or NodeDicts of them.
            node_cls: The class they must have; BrainPyObject if left out.
            **named: Nodes by key.

        Raises:
            ValueError: Something is not of the class. Nothing is registered then.
        """
        self._register(self.implicit_nodes, nodes, named, node_cls or BrainPyObject, "node")

    def _register(self, collector: Collector, values: Any, named: Any, cls: Any, stem: str) -> None:
        items = named_items(values, named, cls, stem, collector)
        for key, value in items.items():
            self._check_owned_by_trace(
                f"implicit_{stem}s['{key}']", value, KIND_OF_TYPE[type(value)], None
            )
        for key, value in items.items():
            collector[key] = value
            adopt(self, value, KIND_OF_TYPE[type(value)])
        changes.note(self._meta, moved=True)

    def nodes(
        self, method: str = "absolute", level: int = -1, include_self: bool = True
    ) -> Collector:
        """Collect this node and all below it.

        Args:
            method: ``'absolute'`` keys are names; ``'relative'`` keys are paths from here, each
                edge from a node to another once.
            level: How many edges to go from here; all if negative.
            include_self: Whether this node is among them.

        Returns:
            The nodes by key.

        Raises:
            ValueError: There is no such method.
        """
        return collect_nodes(self, method, level, include_self)

    def vars(
        self,
        method: str = "absolute",
        level: int = -1,
        include_self: bool = True,
        exclude_types: tuple[type, ...] | None = None,
    ) -> ArrayCollector:
        """Collect the Variables of this node and of all below it.

        Args:
            method: As in :meth:`nodes`.
            level: As in :meth:`nodes`.
            include_self: Whether this node's own Variables are among them.
            exclude_types: Classes to leave out; VariableViews if None.

        Returns:
            The Variables by ``<key of the node>.<attribute>``; a shared one under each of its
            keys, see :meth:`Collector.unique`.

        Raises:
            ValueError: There is no such method.
        """
        return collect_variables(self, method, level, include_self, exclude_types)

    def train_vars(
        self, method: str = "absolute", level: int = -1, include_self: bool = True
    ) -> ArrayCollector:
        """Collect the trainable Variables, as :meth:`vars` does."""
        return self.vars(method, level, include_self).subset(TrainVar)

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        """Flatten all that is reachable from here, as JAX wants it.

        Returns:
            The distinct Variables, and the arrays that are plain attributes; and the static
            rest: hashable, without arrays, compared by structure and not by name.
        """
        return flatten_root(self)

    @classmethod
    def tree_unflatten(cls, aux: Any, dynamic_values: Sequence[Any]) -> Any:
        """Rebuild an independent graph around other leaves, without any check."""
        return unflatten_root(aux, dynamic_values)

    def __repr__(self) -> str:
        return tree_text(self)


Base = BrainPyObject


def _holds_tracer(value: Any, kind: int) -> bool:
    if kind == Kind.ARRAY:
        return is_tracer(value)
    if kind == Kind.VARIABLE:
        return is_tracer(value._value)
    if kind == Kind.NODE:
        # Only what was made in a trace can hold what belongs to it.
        return value._meta.home is not None and any(
            _holds_tracer(leaf, KIND_OF_TYPE[type(leaf)]) for leaf in graph_of(value).live_leaves()
        )
    if kind in Kind.CONTAINERS:
        _, children = children_of(value, kind)
        return any(_holds_tracer(child, KIND_OF_TYPE[type(child)]) for child in children)
    return False


def _slot_names(cls: type) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for parent in reversed(cls.__mro__):
        slots = parent.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            is_private = name.startswith("__") and not name.endswith("__")
            names[f"_{parent.__name__.lstrip('_')}{name}" if is_private else name] = None
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


BrainPyObject._bare = Signature(BrainPyObject, ("_meta",), (Meta,))
register_node(BrainPyObject)
