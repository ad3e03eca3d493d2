"""Group 5: files of many small and of few large arrays."""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.harness import Cells, Contest, Group, Row
from tests.benchmarks.libraries import array
from tests.benchmarks.sessions import Case, Contender, Operation

Arrays = dict[str, Any]
LIMIT = "plain copy"
SAFE = "safetensors"
STALL = "stall of a save in the background"
WHAT = ("save", STALL, "load", "load a part", "describe")


@dataclass(frozen=True)
class Leaves(Case):
    """`count` arrays of `length` floats."""

    count: int = 3
    length: int = 8

    def arrays(self) -> Arrays:
        random = np.random.default_rng(0)
        return {
            f"layer{i:05}": array(random.standard_normal(self.length, np.float32))
            for i in range(self.count)
        }

    @property
    def part(self) -> list[str]:
        """One of few, a hundredth of many."""
        return [f"layer{i:05}" for i in range(max(1, self.count // 100))]


class Folder:
    """A place on the disk under test, gone with the process."""

    @cached_property
    def path(self) -> Path:
        self.holder = tempfile.TemporaryDirectory(prefix="framework-bench-")
        return Path(self.holder.name)

    def file(self, suffix: str) -> Path:
        return self.path / f"arrays{suffix}"


def operations(
    case: Leaves,
    path: Path,
    save: Callable[[], object],
    load: Callable[[], Arrays],
    part: Callable[[], Arrays] | None = None,
    describe: Callable[[], object] | None = None,
) -> Mapping[str, Operation]:
    """Saving ends when the disk has it, loading when JAX has all arrays."""
    import jax

    def loaded(read: Callable[[], Arrays]) -> Operation:
        # Sums of some, to compare without holding on to all.
        return Operation(
            lambda: jax.block_until_ready(read()),
            lambda arrays: [np.asarray(arrays[key]).sum() for key in case.part],
        )

    found = {"save": Operation(lambda: (save(), sync(path)), result=None), "load": loaded(load)}
    if part is not None:
        found["load a part"] = loaded(part)
    if describe is not None:
        found["describe"] = Operation(describe, result=None)
    return found


class Training:
    """Arrays as after a step: new ones, of which nothing was copied yet."""

    def __init__(self, case: Leaves) -> None:
        self.arrays = case.arrays()

    def step(self) -> None:
        import jax

        self.arrays = jax.block_until_ready(jax.tree.map(lambda a: a + 0, self.arrays))


def stall(case: Leaves, save: Callable[[Arrays], object], wait: Callable[[], object]) -> Operation:
    """How long the caller waits for a save in the background, with the disk at rest."""
    training = Training(case)

    def before() -> None:
        wait()
        training.step()

    return Operation(lambda: save(training.arrays), result=None, before=before)


def sync(path: Path) -> None:
    """Wait until the disk has a file, or all files of a folder, and its name."""
    for place in [path, *(path.rglob("*") if path.is_dir() else ()), path.parent]:
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def ours(case: Leaves) -> Mapping[str, Operation]:
    import framework as fw

    arrays, path = case.arrays(), FOLDER.file(".msgpack")
    include = [f"['{key}']" for key in case.part]
    manager, steps = fw.io.CheckpointManager(FOLDER.file("-steps"), keep=1), count()
    found = operations(
        case,
        path,
        lambda: fw.save(path, arrays),
        lambda: fw.load(path),
        lambda: fw.load(path, include=include),
        lambda: fw.describe(path),
    )
    return {**found, STALL: stall(case, lambda new: manager.save(next(steps), new), manager.wait)}


def plain(case: Leaves) -> Mapping[str, Operation]:
    """One block of as many bytes: no names, shapes, checksums or replacing of an old file.

    In the background it does no more than to copy from the device to the host.
    """
    import jax

    path = FOLDER.file(".bin")
    block = np.concatenate([np.asarray(a) for a in case.arrays().values()])

    def save() -> None:
        with path.open("wb") as file:
            file.write(block.data)

    def load() -> Arrays:
        whole = np.fromfile(path, np.float32)
        return {f"layer{i:05}": whole[i * case.length : (i + 1) * case.length]
                for i in range(case.count)}  # fmt: skip

    def part() -> Arrays:
        whole = np.fromfile(path, np.float32, len(case.part) * case.length)
        return dict(zip(case.part, np.split(whole, len(case.part)), strict=True))

    found = operations(case, path, save, load, part)
    return {**found, STALL: stall(case, jax.device_get, lambda: None)}


def safetensors(case: Leaves) -> Mapping[str, Operation]:
    from safetensors import safe_open
    from safetensors.flax import load_file, save_file

    arrays, path = case.arrays(), FOLDER.file(".safetensors")

    def part() -> Arrays:
        with safe_open(path, "flax") as file:
            return {key: file.get_tensor(key) for key in case.part}

    def describe() -> list[Any]:
        with safe_open(path, "flax") as file:
            return [(key, file.get_slice(key).get_shape()) for key in file.keys()]  # noqa: SIM118

    return operations(
        case, path, lambda: save_file(arrays, path), lambda: load_file(path), part, describe
    )


def orbax(case: Leaves) -> Mapping[str, Operation]:
    import orbax.checkpoint as ocp

    arrays, path = case.arrays(), FOLDER.file("-orbax")
    checkpointer = ocp.StandardCheckpointer()

    def save() -> None:
        checkpointer.save(path, arrays, force=True)
        checkpointer.wait_until_finished()

    found = operations(
        case,
        path,
        save,
        lambda: checkpointer.restore(path, arrays),
        describe=lambda: checkpointer.metadata(path),
    )
    aside = FOLDER.file("-orbax-aside")
    return {
        **found,
        STALL: stall(
            case,
            lambda new: checkpointer.save(aside, new, force=True),
            checkpointer.wait_until_finished,
        ),
    }


def equinox(case: Leaves) -> Mapping[str, Operation]:
    import equinox as eqx

    arrays, path = case.arrays(), FOLDER.file(".eqx")
    return operations(
        case,
        path,
        lambda: eqx.tree_serialise_leaves(path, arrays),
        lambda: eqx.tree_deserialise_leaves(path, arrays),
    )


def flax(case: Leaves) -> Mapping[str, Operation]:
    import jax
    from flax import serialization

    arrays, path = case.arrays(), FOLDER.file(".flax")

    def load() -> Arrays:
        # It gives NumPy arrays.
        return jax.tree.map(array, serialization.msgpack_restore(path.read_bytes()))

    return operations(
        case, path, lambda: path.write_bytes(serialization.msgpack_serialize(arrays)), load
    )


def pytorch(case: Leaves) -> Mapping[str, Operation]:
    import torch

    tensors = {key: torch.tensor(np.asarray(a)) for key, a in case.arrays().items()}
    path = FOLDER.file(".pt")

    def part() -> Arrays:
        found = torch.load(path, mmap=True, weights_only=True)
        return {key: found[key].clone() for key in case.part}

    return operations(
        case,
        path,
        lambda: torch.save(tensors, path),
        lambda: torch.load(path, weights_only=True),
        part,
    )


FOLDER = Folder()


def cases(tiny: bool) -> Iterable[Leaves]:
    if tiny:
        return [Leaves("3 of 8 floats", 3)]
    return [
        Leaves("8 arrays, 200 MB", 8, count=8, length=6_250_000),
        Leaves("10,000 arrays, 40 MB", 10_000, count=10_000, length=1_000),
    ]


def rows(contest: Contest) -> Iterable[Row]:
    case: Any = contest.case
    for name in (name for name in WHAT if name in contest.operations):
        measured = contest.measure(name)[name]
        target = targets(measured.times, case.count)
        if name == STALL:
            target = target | {LIMIT: 1.0, "Orbax": 1.0}
        yield Row(case.title, name, "s", measured.times, target)
        if name in ("save", "load"):
            cells = measured.growth
            yield Row(case.title, f"{name}, memory", "B", cells, dict.fromkeys(cells, np.inf))


def targets(cells: Cells, count: int) -> Mapping[str, float]:
    """Ahead of all but the copy; next to safetensors; with many leaves, far ahead of Orbax."""
    orbax = 0.05 if count > 1_000 else 1.0
    return dict.fromkeys(cells, 1.0) | {LIMIT: np.inf, SAFE: 1.1, "Orbax": orbax}


GROUP = Group(
    name="files",
    title="Files",
    text="""\
Float32 arrays under names. Saving ends after an fsync of the file and its folder, loading when
JAX (or PyTorch) has all arrays; the files are in the system's cache then. The limit is one block
of as many bytes, written in place and read, without names or checksums; we verify a checksum of
all that is loaded. Memory is what the first run added to the process at its peak; a file that is
mapped counts as memory, though the system may drop its pages. A part is one of the large arrays,
or 100 of the small. A save in the background stalls its caller for the time shown, of arrays that
were just computed; the limit is `jax.device_get` there, the copy from the device to the host.

What holds us off the limit: a name, a type and a checksum for each array, and the handing of each
to JAX, 25 µs and more. Thousands of small ones are handed over 16 at a time and parted on the
device, which pays where there are thousands of one type, since it has to be compiled.""",
    contenders={
        "framework": Contender(ours, ("framework",)),
        LIMIT: Contender(plain, ("jax",)),
        SAFE: Contender(safetensors, ("safetensors.flax",)),
        "Orbax": Contender(orbax, ("orbax.checkpoint",)),
        "Equinox": Contender(equinox, ("equinox",)),
        "Flax msgpack": Contender(flax, ("flax.serialization",)),
        "PyTorch": Contender(pytorch, ("torch", "jax")),
    },
    cases=cases,
    rows=rows,
)
