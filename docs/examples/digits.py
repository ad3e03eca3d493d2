"""Train a small residual network on scikit-learn's handwritten digits.

    python docs/examples/digits.py                  # train
    python docs/examples/digits.py --resume         # go on after the last finished epoch

Every epoch ends with a checkpoint that holds everything: parameters, moments, running statistics,
clocks, the state of the shuffling, the curves. A run that was interrupted and resumed ends with
the same bits as one that was not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import framework as fw
from framework.optim import AdamW, CosineAnnealingLR

N_CLASSES = 10


class Conv(fw.BrainPyObject):
    """A 3x3 convolution over images of shape (batch, height, width, channels)."""

    def __init__(self, n_in: int, n_out: int, key: jax.Array) -> None:
        super().__init__()
        scale = (2 / (9 * n_in)) ** 0.5
        self.w = fw.TrainVar(scale * jax.random.normal(key, (3, 3, n_in, n_out)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, self.w.value, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


class BatchNorm(fw.BrainPyObject):
    """Batch normalisation; the running statistics are Variables that are not trained."""

    def __init__(self, n: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.scale, self.shift = fw.TrainVar(jnp.ones(n)), fw.TrainVar(jnp.zeros(n))
        self.mean, self.var = fw.Variable(jnp.zeros(n)), fw.Variable(jnp.ones(n))
        self.momentum = momentum
        self.training = True

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.training:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            self.mean.value = self.momentum * self.mean + (1 - self.momentum) * mean
            self.var.value = self.momentum * self.var + (1 - self.momentum) * var
        else:
            mean, var = self.mean.value, self.var.value
        return (x - mean) * jax.lax.rsqrt(var + 1e-5) * self.scale + self.shift


class Block(fw.BrainPyObject):
    """Two convolutions around which the input goes on unchanged."""

    def __init__(self, n: int, key: jax.Array) -> None:
        super().__init__()
        key_1, key_2 = jax.random.split(key)
        self.conv_1, self.norm_1 = Conv(n, n, key_1), BatchNorm(n)
        self.conv_2, self.norm_2 = Conv(n, n, key_2), BatchNorm(n)

    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = jax.nn.relu(self.norm_1(self.conv_1(x)))
        return jax.nn.relu(x + self.norm_2(self.conv_2(hidden)))


class ResNet(fw.BrainPyObject):
    """Images of shape (batch, 8, 8, 1) to logits of shape (batch, 10)."""

    def __init__(self, width: int, n_blocks: int, key: jax.Array) -> None:
        super().__init__()
        first, last, *keys = jax.random.split(key, n_blocks + 2)
        self.stem = Conv(1, width, first)
        self.norm = BatchNorm(width)
        self.blocks = [Block(width, key) for key in keys]
        n_features = 4 * width
        self.w = fw.TrainVar(jax.random.normal(last, (n_features, N_CLASSES)) / n_features**0.5)
        self.b = fw.TrainVar(jnp.zeros(N_CLASSES))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        n, height, width, channels = x.shape
        quarters = x.reshape(n, 2, height // 2, 2, width // 2, channels).mean((2, 4))
        return quarters.reshape(n, -1) @ self.w + self.b

    def train(self, mode: bool = True) -> None:
        for norm in self.nodes().subset(BatchNorm).values():
            norm.training = mode


class Trainer(fw.BrainPyObject):
    """The network with all that its training needs. Saving it saves everything."""

    def __init__(self, epochs: int, width: int, n_blocks: int, lr: float, seed: int) -> None:
        super().__init__()
        key, shuffle_key = jax.random.split(jax.random.key(seed))
        self.net = ResNet(width, n_blocks, key)
        self.opt = AdamW(
            CosineAnnealingLR(lr, T_max=epochs),
            self.net.train_vars().unique(),
            weight_decay=0.05,
        )
        self.shuffle_key = fw.Variable(shuffle_key)
        self.epoch = fw.Variable(jnp.zeros((), jnp.int32))
        self.losses, self.accuracies = fw.Variable(epochs), fw.Variable(epochs)

    def loss(self, x: jax.Array, y: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(self.net(x))
        return -jnp.take_along_axis(log_p, y[:, None], 1).mean()

    @fw.jit
    def step(self, x: jax.Array, y: jax.Array) -> jax.Array:
        gradient = fw.grad(self.loss, self.opt.vars_to_train, return_value=True)
        grads, loss = gradient(x, y)
        self.opt.update(grads)
        return loss

    @fw.jit
    def predict(self, x: jax.Array) -> jax.Array:
        return self.net(x).argmax(-1)

    def shuffled(self, n: int) -> np.ndarray:
        self.shuffle_key.value, key = jax.random.split(self.shuffle_key.value)
        return np.asarray(jax.random.permutation(key, n))


def load_data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """1,797 images of 8x8 pixels, 20 % of them held out, always the same."""
    digits = load_digits()
    images = (digits.images[..., None] / 8 - 1).astype("float32")
    x, x_test, y, y_test = train_test_split(
        images, digits.target, test_size=0.2, random_state=0, stratify=digits.target
    )
    return x, y, x_test, y_test


def draw_curves(trainer: Trainer, path: Path) -> None:
    """Draw loss and accuracy over the epochs."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    done = int(trainer.epoch)
    epochs = np.arange(1, done + 1)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    axes[0].semilogy(epochs, trainer.losses.value[:done])
    axes[0].set(xlabel="epoch", ylabel="training loss")
    axes[1].plot(epochs, 100 * trainer.accuracies.value[:done])
    axes[1].set(xlabel="epoch", ylabel="test accuracy (%)")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--quiet", action="store_true", help="print no summary of the model")
    return parser.parse_args()


def main() -> None:
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / "checkpoint.msgpack"
    x, y, x_test, y_test = load_data()
    trainer = Trainer(args.epochs, args.width, args.blocks, args.lr, args.seed)
    if args.resume:
        trainer.load_states(checkpoint)
        print(f"resumed after epoch {int(trainer.epoch)} from {checkpoint}")
    if not args.quiet:
        print(trainer.net)
        count = sum(v.size for v in trainer.net.train_vars().unique().values())
        print(f"{count:,} trainable parameters, {len(x)} training and {len(x_test)} test images")

    n_batches = len(x) // args.batch
    for epoch in range(int(trainer.epoch), args.epochs):
        trainer.net.train()
        order = trainer.shuffled(len(x))[: n_batches * args.batch].reshape(n_batches, -1)
        total = 0.0
        with tqdm(order, f"epoch {epoch + 1:2}/{args.epochs}", ncols=88, leave=True) as bar:
            for count, batch in enumerate(bar, 1):
                total += float(trainer.step(x[batch], y[batch]))
                bar.set_postfix(loss=f"{total / count:.4f}", refresh=False)
            trainer.net.train(False)
            accuracy = float(np.mean(np.asarray(trainer.predict(x_test)) == y_test))
            bar.set_postfix(loss=f"{total / n_batches:.4f}", acc=f"{accuracy:.2%}")
        trainer.losses[epoch] = total / n_batches
        trainer.accuracies[epoch] = accuracy
        trainer.opt.lr.step_epoch()
        trainer.epoch += 1
        trainer.save_states(checkpoint)

    draw_curves(trainer, args.out / "curves.png")
    print(f"test accuracy {float(trainer.accuracies[-1]):.2%}")
    print(f"checkpoint {checkpoint}, curves {args.out / 'curves.png'}")


if __name__ == "__main__":
    main()
