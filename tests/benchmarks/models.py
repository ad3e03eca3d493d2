"""The networks that are trained: numbers once for all, classes in the dialect of each library."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.sessions import Case

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
HEADS = 4
BLOCK = ("wq", "wk", "wv", "wo", "w1", "w2", "g1", "g2")

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Net(Case):
    """A network and its batch.

    Attributes:
        depth: Layers that are distinct.
        repeats: How often the whole stack is applied, each time with the same weights.
        width: Of the layers.
        batch: Number of samples.
        vocabulary: If not 0, a transformer with as many tokens; otherwise an MLP.
        tied: The transformer's last layer uses the weights of its first.
        length: Tokens of one sample.
    """

    depth: int = 1
    repeats: int = 1
    width: int = 16
    batch: int = 8
    vocabulary: int = 0
    tied: bool = False
    length: int = 64


class Dialect(NamedTuple):
    """How a library writes a class.

    Attributes:
        base: What models derive from.
        parameter: Makes one from an array.
        read: The array of a parameter.
        many: What holds children.
        xp: `torch`; None stands for `jax.numpy`, which is imported by who needs it.
        shares: Whether one child may stand in several places.
    """

    base: Any
    parameter: Callable[[np.ndarray], Any]
    read: Callable[[Any], Any] = lambda parameter: parameter
    many: Callable[[list[Any]], Any] = list
    xp: Any = None
    shares: bool = True


def mlp_weights(case: Net) -> list[Arrays]:
    """The layers of an MLP."""
    random, width = np.random.default_rng(0), case.width
    return [
        {"w": _normal(random, width, width), "b": np.zeros(width, np.float32)}
        for _ in range(case.depth)
    ]


def transformer_weights(case: Net) -> Arrays:
    """Embedding, blocks, and the last layer unless that is the embedding again."""
    random, width = np.random.default_rng(0), case.width
    shapes = dict.fromkeys(BLOCK, (width, width))
    shapes |= {"w1": (width, 4 * width), "w2": (4 * width, width), "g1": (width,), "g2": (width,)}
    blocks = [
        {
            name: _normal(random, *shape) if len(shape) == 2 else np.ones(shape, np.float32)
            for name, shape in shapes.items()
        }
        for _ in range(case.depth)
    ]
    embedding = _normal(random, case.vocabulary, width)
    weights: Arrays = {"embedding": embedding, "blocks": blocks}
    return weights if case.tied else weights | {"last": _normal(random, case.vocabulary, width)}


def batch_of(case: Net) -> tuple[np.ndarray, ...]:
    """What one step learns from."""
    random = np.random.default_rng(1)
    if not case.vocabulary:
        inputs, targets = random.standard_normal((2, case.batch, case.width), np.float32)
        return inputs, targets
    tokens = random.integers(0, case.vocabulary, (case.batch, case.length + 1))
    targets = np.eye(case.vocabulary, dtype=np.float32)[tokens[:, 1:]]
    mask = np.triu(np.full((case.length, case.length), -1e9, np.float32), 1)
    return tokens[:, :-1].astype(np.int32), targets, mask


def _normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32) / np.sqrt(np.float32(shape[-1]))


def dense(xp: Any, x: Any, w: Any, b: Any) -> Any:
    """A layer."""
    return xp.tanh(x @ w + b)


def squared_error(y: Any, target: Any) -> Any:
    """Its mean."""
    return ((y - target) ** 2).mean()


def block(xp: Any, x: Any, mask: Any, w: Any) -> Any:
    """Attention and two layers, each behind a norm; `w` has the arrays as attributes."""
    h = _norm(xp, x) * w.g1
    heads = (*h.shape[:-1], HEADS, -1)
    q, k, v = ((h @ part).reshape(heads) for part in (w.wq, w.wk, w.wv))
    scores = xp.exp(xp.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5 + mask)
    attention = scores / scores.sum(-1, keepdims=True)
    x = x + xp.einsum("bhqk,bkhd->bqhd", attention, v).reshape(x.shape) @ w.wo
    return x + xp.tanh(_norm(xp, x) * w.g2 @ w.w1) @ w.w2


def cross_entropy(xp: Any, x: Any, last: Any, targets: Any) -> Any:
    """Of the predicted tokens, from the output of the last block."""
    logits = _norm(xp, x) @ last.T
    return (xp.log(xp.exp(logits).sum(-1)) - (logits * targets).sum(-1)).mean()


def _norm(xp: Any, x: Any) -> Any:
    return x / xp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def pure(case: Net) -> tuple[Any, Callable[..., Any]]:
    """The network without any library: parameters, and the loss as a function of them."""
    import jax.numpy as jnp

    def mlp_loss(layers: list[Arrays], x: Any, y: Any) -> Any:
        for layer in layers * case.repeats:
            x = dense(jnp, x, layer["w"], layer["b"])
        return squared_error(x, y)

    def transformer_loss(weights: Arrays, tokens: Any, targets: Any, mask: Any) -> Any:
        x = weights["embedding"][tokens]
        for layer in weights["blocks"]:
            x = block(jnp, x, mask, SimpleNamespace(**layer))
        return cross_entropy(jnp, x, weights.get("last", weights["embedding"]), targets)

    if case.vocabulary:
        return transformer_weights(case), transformer_loss
    return mlp_weights(case), mlp_loss


def build(case: Net, dialect: Dialect) -> Any:
    """The network as an object with a method `loss(*batch)`.

    The classes are written as a user of any of these libraries writes them.
    """
    if case.vocabulary:
        return _transformer(case, dialect)
    base, parameter, read, many, _, shares = dialect
    xp = dialect.xp or importlib.import_module("jax.numpy")

    class Dense(base):
        w: Any  # Equinox asks for fields
        b: Any

        def __init__(self, w: Any, b: Any) -> None:
            super().__init__()
            self.w = parameter(w)
            self.b = parameter(b)

        def __call__(self, x: Any) -> Any:
            return dense(xp, x, read(self.w), read(self.b))

    class MLP(base):
        layers: Any
        repeats: int

        def __init__(self, layers: list[Any], repeats: int) -> None:
            super().__init__()
            self.layers = many(layers)
            self.repeats = repeats

        def __call__(self, x: Any) -> Any:
            for _ in range(self.repeats):
                for layer in self.layers:
                    x = layer(x)
            return x

        def loss(self, x: Any, y: Any) -> Any:
            return squared_error(self(x), y)

    layers = [Dense(**weights) for weights in mlp_weights(case)]
    return MLP(layers * case.repeats, 1) if shares else MLP(layers, case.repeats)


def _transformer(case: Net, dialect: Dialect) -> Any:
    base, parameter, read, many, _, shares = dialect
    xp = dialect.xp or importlib.import_module("jax.numpy")

    class Block(base):
        wq: Any
        wk: Any
        wv: Any
        wo: Any
        w1: Any
        w2: Any
        g1: Any
        g2: Any

        def __init__(self, **weights: Any) -> None:
            super().__init__()
            for name, value in weights.items():
                setattr(self, name, parameter(value))

        def __call__(self, x: Any, mask: Any) -> Any:
            arrays = {name: read(getattr(self, name)) for name in BLOCK}
            return block(xp, x, mask, SimpleNamespace(**arrays))

    class Transformer(base):
        embedding: Any
        blocks: Any
        last: Any

        def __init__(self, embedding: Any, blocks: Any, last: Any = None) -> None:
            super().__init__()
            self.embedding = parameter(embedding)
            self.blocks = many([Block(**weights) for weights in blocks])
            if last is not None:
                self.last = parameter(last)
            else:
                self.last = self.embedding if shares else None

        def loss(self, tokens: Any, targets: Any, mask: Any) -> Any:
            x = read(self.embedding)[tokens]
            for layer in self.blocks:
                x = layer(x, mask)
            last = self.embedding if self.last is None else self.last
            return cross_entropy(xp, x, read(last), targets)

    return Transformer(**transformer_weights(case))
