"""Each of our transforms inside and outside each of JAX's: right, or an error that says what to do.

The table in the documentation is what this test finds. ``UPDATE_DOCS=1`` writes it anew.
"""

# ruff: noqa: ARG005, B023, E731, PT017

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import framework as fw

PAGE = Path(__file__).resolve().parents[2] / "docs" / "transforms_table.md"
X = jnp.float32(3.0)


class Cell(fw.BrainPyObject):
    def __init__(self):
        super().__init__()
        self.v = fw.Variable(2.0)


def shard_mapped(f, *args):
    transform = getattr(jax, "shard_map", None)
    if transform is None:
        from jax.experimental.shard_map import shard_map as transform
    mesh = jax.make_mesh((1,), ("i",))
    specs = PartitionSpec()
    return transform(f, mesh=mesh, in_specs=specs, out_specs=specs)(*args)


OURS = {
    "jit": lambda f, x: fw.jit(f)(x),
    "grad": lambda f, x: fw.grad(f)(x),
    "vmap": lambda f, x: fw.vmap(f, in_axes=None, axis_size=2)(x)[0],
    "for_loop": lambda f, x: fw.for_loop(f, x[None])[0],
    "scan": lambda f, x: fw.scan(lambda c, x: (c, f(x)), 0, x[None])[1][0],
    "while_loop": lambda f, x: fw.while_loop(
        lambda i, y: (i + 1, f(x)), lambda i, y: i < 1, (0, x * 0)
    )[1],
    "cond": lambda f, x: fw.cond(x > 0, f, lambda x: x * 0, (x,)),
    "checkpoint": lambda f, x: fw.checkpoint(f)(x),
}
# Over a function of an array, and over one of an object and an array that returns the object, too.
THEIRS = {
    "jit": (lambda f, x: jax.jit(f)(x), lambda f, o, x: jax.jit(f)(o, x)),
    "vmap": (
        lambda f, x: jax.vmap(f)(x[None])[0],
        lambda f, o, x: jax.tree.map(lambda a: a[0], jax.vmap(f, (None, 0))(o, x[None])),
    ),
    "grad": (
        lambda f, x: jax.grad(f)(x),
        lambda f, o, x: jax.grad(f, argnums=1, has_aux=True)(o, x),
    ),
    "scan": (
        lambda f, x: jax.lax.scan(lambda c, x: (c, f(x)), 0, x[None])[1][0],
        lambda f, o, x: _swapped(jax.lax.scan(lambda o, x: _swapped(f(o, x)), o, x[None])),
    ),
    "cond": (
        lambda f, x: jax.lax.cond(x > 0, f, lambda x: x * 0, x),
        lambda f, o, x: jax.lax.cond(x > 0, f, lambda o, x: (x * 0, o), o, x),
    ),
    "checkpoint": (lambda f, x: jax.checkpoint(f)(x), lambda f, o, x: jax.checkpoint(f)(o, x)),
    "shard_map": (shard_mapped, shard_mapped),
}


def _swapped(pair):
    return pair[1], pair[0]


def check(run, cell, expected, state):
    """What happens: ``✓`` if result and state are right, else the name of the error."""
    before = float(cell.v.value)
    try:
        out, cell = run()
    except fw.TraceError as error:
        assert "cell" in str(error) or ".v" in str(error)
        assert float(cell.v.value) == before
        return "error"
    except ValueError as error:
        assert "everse-mode differentiation does not work" in str(error)
        return "JAX can't"
    np.testing.assert_allclose(np.ravel(out)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(np.ravel(cell.v.value)[0], state, rtol=1e-6)
    return "✓"


def cells(ours, theirs):
    """What happens when ours is inside of theirs, and when it is outside."""
    inner, (outer, outer_of_object) = OURS[ours], THEIRS[theirs]
    power = (ours == "grad") + (theirs == "grad")
    value = lambda v: [9 * v / 2, 3 * v, v][power]

    def reading(cell):
        return lambda x: x * x * cell.v / 2

    def writing(cell):
        def f(x):
            cell.v += 1
            return x * x * cell.v / 2

        return f

    def with_object(cell, x):
        return inner(writing(cell), x), cell

    found = {"inside": {}, "outside": {}}
    for word, make, v in (("read", reading, 2.0), ("write", writing, 3.0)):
        cell = Cell()
        found["inside"][word] = check(
            lambda: (outer(lambda x: inner(make(cell), x), X), cell), cell, value(v), v
        )
        cell = Cell()
        found["outside"][word] = check(
            lambda: (inner(lambda x: outer(make(cell), x), X), cell), cell, value(v), v
        )
    cell = Cell()
    found["inside"]["argument"] = check(
        lambda: outer_of_object(with_object, cell, X), cell, value(3.0), 3.0
    )
    # Plain `jax.grad` passes arguments that it does not differentiate as they are.
    assert cell.v.value == (3 if theirs == "grad" else 2)
    return found


@pytest.fixture(scope="module")
def table():
    return {}


LEAKS = pytest.mark.jax_leaks("an exception inside of jax.grad of jax.shard_map")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(o, t, marks=[LEAKS] * ((o, t) == ("grad", "shard_map")))
        for o in OURS
        for t in THEIRS
    ],
)
def test_cell(table, ours, theirs):
    found = table[ours, theirs] = cells(ours, theirs)
    assert found["inside"]["read"] in ("✓", "JAX can't")
    assert found["outside"]["read"] == "✓"
    assert found["inside"]["argument"] in ("✓", "JAX can't")


@LEAKS
def test_page():
    found = {(o, t): cells(o, t) for o in OURS for t in THEIRS}
    text = page(found)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(text, "utf-8")
    assert PAGE.read_text("utf-8") == text, "Run with UPDATE_DOCS=1 to write the page anew."


def page(found):
    lines = [
        "# Our transforms and JAX's, one inside the other",
        "",
        "This page is written by `tests/transforms/test_table.py`. Each cell was run on a function",
        "that reads, or writes, one Variable:",
        "",
        "* **read** – a Variable from outside is read.",
        "* **write** – a Variable from outside is written.",
        "* **argument** – the object that holds the Variable is an argument of JAX's transform, is",
        "  written inside, and is returned.",
        "",
        "`✓` means that result and state are right. `error` is a `TraceError` at the line of the",
        "write; it names the Variable and where it was created, and says what to write instead.",
        "`JAX can't` is an error of JAX, which has no reverse mode for `while_loop`.",
    ]
    for where, title, words in (
        ("inside", "Ours inside of JAX's", ("read", "write", "argument")),
        ("outside", "JAX's inside of ours", ("read", "write")),
    ):
        lines += ["", f"## {title}", "", f"Each cell: {' / '.join(words)}.", ""]
        lines.append("| ours | " + " | ".join(f"`jax.{t}`" for t in THEIRS) + " |")
        lines.append("|---" * (len(THEIRS) + 1) + "|")
        for ours in OURS:
            texts = [" / ".join(found[ours, t][where][w] for w in words) for t in THEIRS]
            lines.append(f"| `{ours}` | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"
