"""Group 3: walking over objects, flattening, copying; cost per node."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from tests.benchmarks.harness import Contest, Group, Row
from tests.benchmarks.libraries import LIBRARIES, array
from tests.benchmarks.models import Dialect
from tests.benchmarks.sessions import Case, Contender, Operation

LIMIT = "containers in C"
OPERATIONS = ("nodes", "vars", "flatten", "unflatten", "state_dict", "clone")

Run = Callable[[], Any]


@dataclass(frozen=True)
class Tree(Case):
    """A tree whose size is its number of leaves: nodes with two parameters each."""

    @property
    def blocks(self) -> int:
        return max(self.size // 10, 1)


def build(case: Tree, dialect: Dialect) -> Any:
    """Nodes in tens below nodes below a root."""
    base, parameter, _, many, _, _ = dialect
    value = np.zeros(1, np.float32)

    class Leaf(base):
        w: Any
        b: Any

        def __init__(self) -> None:
            super().__init__()
            self.w = parameter(value)
            self.b = parameter(value)

    class Block(base):
        leaves: Any

        def __init__(self) -> None:
            super().__init__()
            self.leaves = many([Leaf() for _ in range(case.size // case.blocks)])

    class Root(base):
        blocks: Any
        # Something static to change, so that nothing can be known from before.
        stamp: int

        def __init__(self) -> None:
            super().__init__()
            self.blocks = many([Block() for _ in range(case.blocks)])
            self.stamp = 0

    return Root()


def leaves_in(nodes: Iterable[Any]) -> int:
    """Libraries differ in whether a list is a node, so only the leaves count."""
    return sum(type(node).__name__ == "Leaf" for node in nodes)


def arrays_in(tree: Any) -> int:
    import jax

    return len(jax.tree.leaves(tree))


def ours(case: Tree) -> Mapping[str, Operation]:
    import jax

    net = build(case, dialect_of("framework"))
    changes = count(1)

    def change() -> None:
        net.stamp = next(changes)

    leaves, structure = jax.tree.flatten(net)
    runs: dict[str, tuple[Run, Callable[[Any], int]]] = {
        "nodes": (net.nodes, lambda found: leaves_in(found.values())),
        "vars": (net.vars, len),
        "flatten": (lambda: jax.tree.flatten(net), lambda flat: len(flat[0])),
        "state_dict": (net.state_dict, arrays_in),
        "clone": (net.clone, arrays_in),
    }
    cold = {f"{name}, cold": Operation(*run, before=change) for name, run in runs.items()}
    warm = {f"{name}, warm": Operation(*run) for name, run in runs.items()}
    unflatten = Operation(lambda: jax.tree.unflatten(structure, leaves), arrays_in)
    return cold | warm | {"unflatten": unflatten}


def containers(case: Tree) -> Mapping[str, Operation]:
    """Putting the results into dictionaries, and JAX's own walk over lists and dictionaries."""
    import jax

    value = array(np.zeros(1, np.float32))
    nested = [
        [{"w": value, "b": value} for _ in range(case.size // case.blocks)]
        for _ in range(case.blocks)
    ]
    leaves, structure = jax.tree.flatten(nested)
    nodes = [(f"Leaf{i}", object()) for i in range(case.size)]
    variables = [(f"{name}.{slot}", value) for name, _ in nodes for slot in ("w", "b")]
    return {
        "nodes": Operation(lambda: dict(nodes), len),
        "vars": Operation(lambda: dict(variables), len),
        "flatten": Operation(lambda: jax.tree.flatten(nested), lambda flat: len(flat[0])),
        "unflatten": Operation(lambda: jax.tree.unflatten(structure, leaves), arrays_in),
        "state_dict": Operation(
            lambda: {name: {"w": value, "b": value} for name, _ in nodes}, arrays_in
        ),
        "clone": Operation(lambda: jax.tree.map(lambda leaf: leaf, nested), arrays_in),
    }


def equinox(case: Tree) -> Mapping[str, Operation]:
    import jax

    net = build(case, dialect_of("Equinox"))
    leaves, structure = jax.tree.flatten(net)
    # The stamp is one leaf more.
    return {
        "vars": Operation(lambda: jax.tree.leaves_with_path(net), lambda found: len(found) - 1),
        "flatten": Operation(lambda: jax.tree.flatten(net), lambda flat: len(flat[0]) - 1),
        "unflatten": Operation(
            lambda: jax.tree.unflatten(structure, leaves), lambda net: arrays_in(net) - 1
        ),
        "clone": Operation(
            lambda: jax.tree.map(lambda leaf: leaf, net), lambda net: arrays_in(net) - 1
        ),
    }


def nnx(case: Tree) -> Mapping[str, Operation]:
    from flax import nnx

    net = build(case, dialect_of("NNX jit"))
    graph, state = nnx.split(net)

    def variables(net: Any) -> int:
        return len(nnx.to_flat_state(nnx.state(net)))

    return {
        "nodes": Operation(
            lambda: dict(nnx.iter_modules(net)), lambda found: leaves_in(found.values())
        ),
        "vars": Operation(lambda: nnx.state(net), lambda state: len(nnx.to_flat_state(state))),
        "flatten": Operation(lambda: nnx.split(net), lambda s: len(nnx.to_flat_state(s[1]))),
        "unflatten": Operation(lambda: nnx.merge(graph, state), variables),
        "state_dict": Operation(lambda: nnx.to_pure_dict(nnx.state(net)), arrays_in),
        "clone": Operation(lambda: nnx.clone(net), variables),
    }


def brainstate(case: Tree) -> Mapping[str, Operation]:
    from brainstate import graph

    net = build(case, dialect_of("brainstate"))
    definition, state = graph.treefy_split(net)

    def variables(net: Any) -> int:
        return len(graph.states(net))

    return {
        "nodes": Operation(lambda: graph.nodes(net), lambda found: leaves_in(found.values())),
        "vars": Operation(lambda: graph.states(net), len),
        "flatten": Operation(lambda: graph.treefy_split(net), lambda s: arrays_in(s[1])),
        "unflatten": Operation(lambda: graph.treefy_merge(definition, state), variables),
        "clone": Operation(lambda: graph.clone(net), variables),
    }


def brainpy(case: Tree) -> Mapping[str, Operation]:
    net = build(case, dialect_of("BrainPy"))
    return {
        "nodes": Operation(net.nodes, lambda found: leaves_in(found.values())),
        "vars": Operation(net.vars, len),
        "state_dict": Operation(net.state_dict, arrays_in),
    }


def pytorch(case: Tree) -> Mapping[str, Operation]:
    net = build(case, dialect_of("PyTorch"))
    return {
        "nodes": Operation(
            lambda: dict(net.named_modules()), lambda found: leaves_in(found.values())
        ),
        "vars": Operation(lambda: dict(net.named_parameters()), len),
        "state_dict": Operation(net.state_dict, len),
        "clone": Operation(lambda: copy.deepcopy(net), lambda net: len(net.state_dict())),
    }


def dialect_of(name: str) -> Dialect:
    dialect = LIBRARIES[name].dialect
    assert dialect is not None
    return dialect()


def cases(tiny: bool) -> Iterable[Tree]:
    sizes = (20, 100) if tiny else (100, 1_000, 10_000, 100_000)
    return [Tree(f"{size:,} nodes", size) for size in sizes]


def rows(contest: Contest) -> Iterable[Row]:
    case = contest.case
    for operation in sorted(contest.operations, key=OPERATIONS.index):
        for variant, measured in contest.measure(operation).items():
            targets = dict.fromkeys(measured.times, 1.0) | {LIMIT: np.inf}
            yield Row(case.title, variant, "s", measured.times, targets, case.size, case.size)


GROUP = Group(
    name="traversal",
    title="Traversal",
    text="""\
A tree of nodes in tens, each with two parameters of one float; the time is given per node. Cold
means that an attribute was changed just before; the others remember nothing, so theirs is the
same in both rows. The limit is what cannot be left out: putting the results into dictionaries,
or JAX's own walk in C over plain lists and dictionaries of the same shape. That walk and
Equinox's lose sharing and know no cycles. NNX: `iter_modules`, `state`, `split`, `merge`,
`to_pure_dict`, `clone`; Equinox: `jax.tree`; brainstate: `graph`; PyTorch: `named_modules`,
`named_parameters`, `state_dict`, `deepcopy`.

What holds us off the limit: a node is three objects in memory, which a cold walk fetches one after
the other, and each Variable needs a weak reference, since no cache may keep a model alive; JAX
calls back into Python for each custom node of a PyTree, half a microsecond each. What Equinox
rebuilds as one object are three here, and a quarter of the time is Python's garbage collector,
which looks at all of them while JAX still makes them (`clone` has it wait). Tried and left:
a plan for each class (to make the key of the plan costs more than the look at the node), whole
levels at once with functions in C (a tenth quicker at 10,000 nodes, a third slower below 100),
arrays in the place of Variables as leaves (three times quicker, but then nobody can map over the
Variables of an object).""",
    contenders={
        "framework": Contender(ours, ("framework",)),
        LIMIT: Contender(containers, ("jax",)),
        "Equinox": Contender(equinox, ("equinox",)),
        "NNX": Contender(nnx, ("flax.nnx",), 10_000),
        "brainstate": Contender(brainstate, ("brainstate",), 10_000),
        "BrainPy": Contender(brainpy, ("brainpy",), 10_000),
        "PyTorch": Contender(pytorch, ("torch",)),
    },
    cases=cases,
    rows=rows,
    plots=True,
)
