"""Recoding: the graph after static attributes have changed, without a walk."""

from __future__ import annotations

from typing import Any

from framework.nodes.graph import Graph, attributes_of, signature_at
from framework.nodes.kinds import Kind
from framework.nodes.records import Record
from framework.nodes.static import Static

__all__ = ["recoded"]


def recoded(graph: Graph) -> Graph | None:
    """The graph as it is now; None if more than static attributes has changed since."""
    if not graph.watches.hold():
        return None
    nodes = graph.live_nodes()
    try:
        metas = [node._meta for node in nodes]
    except AttributeError:  # A node is gone.
        return None
    if max([meta.moved for meta in metas]) > graph.up_to:
        return None
    records = list(graph.structure.records)
    for position, meta in enumerate(metas):
        if meta.changed > graph.up_to:
            record = _recoded(nodes[position], records[position])
            if record is None:
                return None
            records[position] = record
    return graph.with_structure(graph.structure.with_records(records))


def _recoded(node: Any, record: Record) -> Record | None:
    before, variables, codes = record
    attributes = attributes_of(node)
    head = signature_at(node, attributes)
    if head.has_implicit or node._meta.stand_ins is not None:
        return None
    stayed = dict(zip(before.rest_keys, codes, strict=True))
    now: list[Any] = []
    for key, kind, value in zip(
        head.rest_keys, head.rest_kinds, head.rest(attributes), strict=True
    ):
        if kind == Kind.ATOM:
            now.append(value)
        else:  # What has moved is nothing static.
            now.append(Static(value) if kind == Kind.STATIC else stayed[key])
    return head, variables, tuple(now)
