"""A folder of checkpoints: steps, metrics, retention, and saving in the background."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from framework.errors import CheckpointError
from framework.io.atomic import remove_leftovers
from framework.io.background import BackgroundWriter
from framework.io.leaves import freeze_all
from framework.io.matching import LoadReport
from framework.io.pytree import flatten
from framework.io.states import describe, load, load_states, verify
from framework.io.writer import write_file
from framework.nodes.collection import no_garbage_collection

__all__ = ["Checkpoint", "CheckpointManager"]

_NAME = re.compile(r"step_(\d{9,})\.msgpack")


class Checkpoint(NamedTuple):
    """One file of a folder.

    Attributes:
        step: The step at which it was saved.
        path: The file.
    """

    step: int
    path: Path

    def metrics(self) -> dict[str, float]:
        """The metrics that were given when it was saved; none if it is damaged."""
        try:
            found = describe(self.path).meta.get("metrics")
        except CheckpointError:
            return {}
        return found if isinstance(found, dict) else {}


class CheckpointManager:
    """Keeps the checkpoints of one training run in a folder.

    Args:
        folder: Where; it is made if it is missing. Files are called `step_000000100.msgpack`.
        keep: How many of the latest checkpoints stay; all if None.
        keep_best: How many of the best, by `metric`, stay besides.
        metric: Name of the metric that tells which are best.
        mode: Whether a low (`min`) or a high (`max`) metric is good.
        every: Save at multiples of this number of steps only.
        background: Save in a thread. The state is taken before `save` returns, so whatever happens
            to it later does not get into the file. An error is raised by the next call.

    Raises:
        ValueError: A number is out of range.

    Example:
        >>> import tempfile
        >>> with CheckpointManager(tempfile.mkdtemp(), keep=2, every=10) as manager:
        ...     saved = [manager.save(step, {"step": step}) for step in range(31)]
        >>> manager.steps(), manager.load()
        ([20, 30], {'step': 30})
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep: int | None = 3,
        keep_best: int = 0,
        metric: str = "loss",
        mode: Literal["min", "max"] = "min",
        every: int = 1,
        background: bool = True,
    ) -> None:
        if keep is not None and keep < 1:
            raise ValueError(f"keep must be at least 1, or None for all, but got {keep}")
        if keep_best < 0 or every < 1 or mode not in ("min", "max"):
            raise ValueError(
                "keep_best must be at least 0, every at least 1 and mode 'min' or 'max', but got "
                f"{keep_best}, {every} and {mode!r}"
            )
        self.folder = Path(folder)
        self.keep = keep
        self.keep_best = keep_best
        self.metric = metric
        self.mode = mode
        self.every = every
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder / "*")
        self._writer = BackgroundWriter() if background else None
        self._metrics: dict[int, dict[str, float]] = {}

    def save(
        self,
        step: int,
        tree: Any,
        *,
        metrics: Mapping[str, float] | None = None,
        meta: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> bool:
        """Saves a checkpoint if it is due.

        Args:
            step: The number of the step, 0 or more.
            tree: An object or tree, as for `framework.io.save`.
            metrics: Numbers that describe how good the state is.
            meta: Anything that JSON could hold.
            force: Save even if the step is no multiple of `every`.

        Returns:
            Whether it was due.

        Raises:
            CheckpointError: The state cannot be stored, or writing failed, now or in the
                background since the last call.
        """
        if step < 0:
            raise ValueError(f"step must be 0 or more, but got {step}")
        self.wait()
        if step % self.every and not force:
            return False
        with no_garbage_collection():
            flat = flatten(tree)
            leaves: Mapping[str, Any] = flat.leaves
            if self._writer is not None:
                leaves = freeze_all(leaves)
        numbers = {name: float(value) for name, value in (metrics or {}).items()}
        content = {**(meta or {}), "step": step, "metrics": numbers}

        def write() -> None:
            write_file(self.path(step), leaves, flat.aliases, content, flat.structure)
            self._metrics[step] = numbers
            self._remove_old(written=step)

        if self._writer is None:
            write()
        else:
            self._writer.submit(write)
        return True

    def path(self, step: int) -> Path:
        """The file of a step, whether it exists or not."""
        return self.folder / f"step_{step:09d}.msgpack"

    def steps(self) -> list[int]:
        """The steps that have a file, in ascending order."""
        self.wait()
        return self._steps()

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints, oldest first."""
        return [Checkpoint(step, self.path(step)) for step in self.steps()]

    def latest(self) -> Checkpoint | None:
        """The checkpoint of the highest step, None if there is none."""
        found = self.checkpoints()
        return found[-1] if found else None

    def latest_valid(self) -> Checkpoint | None:
        """The checkpoint of the highest step that is undamaged, None if there is none."""
        for checkpoint in reversed(self.checkpoints()):
            try:
                verify(checkpoint.path)
            except CheckpointError:
                continue
            return checkpoint
        return None

    def best(self) -> Checkpoint | None:
        """The checkpoint with the best metric, None if none has it."""
        self.wait()
        best = self._best_steps(1)
        return Checkpoint(best[0], self.path(best[0])) if best else None

    def restore(self, obj: Any, step: int | None = None, **options: Any) -> LoadReport | None:
        """Loads a checkpoint into an object; all or nothing.

        Args:
            obj: The object, or containers of objects.
            step: Which one; the latest valid one if None.
            **options: As for `framework.io.load_states`.

        Returns:
            The report, None if there is no checkpoint yet.

        Raises:
            CheckpointError: The file does not fit, or that of `step` is missing or damaged.
        """
        path = self._choose(step)
        return None if path is None else load_states(path, obj, **options)

    def load(self, step: int | None = None, **options: Any) -> Any:
        """Loads a checkpoint as a tree.

        Args:
            step: Which one; the latest valid one if None.
            **options: As for `framework.io.load`.

        Returns:
            The tree.

        Raises:
            CheckpointError: There is none, or that of `step` is missing or damaged.
        """
        path = self._choose(step)
        if path is None:
            raise CheckpointError(f"{str(self.folder)!r} holds no valid checkpoint")
        return load(path, **options)

    def wait(self) -> None:
        """Waits until the last save is on the disk.

        Raises:
            CheckpointError: It failed.
        """
        if self._writer is not None:
            self._writer.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def _choose(self, step: int | None) -> Path | None:
        if step is not None:
            self.wait()
            return self.path(step)
        found = self.latest_valid()
        return None if found is None else found.path

    def _steps(self) -> list[int]:
        matches = (_NAME.fullmatch(entry.name) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def _metric_of(self, step: int) -> float:
        if step not in self._metrics:
            self._metrics[step] = Checkpoint(step, self.path(step)).metrics()
        value = self._metrics[step].get(self.metric, math.nan)
        return value if self.mode == "min" else -value

    def _best_steps(self, count: int) -> list[int]:
        # A diverged run reports NaN, which is never best. Among equals, the latest is.
        ranked = sorted(
            (value, -step)
            for step in self._steps()
            if not math.isnan(value := self._metric_of(step))
        )
        return [-step for _, step in ranked[:count]]

    def _remove_old(self, written: int) -> None:
        if self.keep is None:
            return
        # A run that was set back to an earlier step writes below the steps that are there.
        kept = {written, *self._steps()[-self.keep :], *self._best_steps(self.keep_best)}
        for step in self._steps():
            if step not in kept:
                self.path(step).unlink(missing_ok=True)
                self._metrics.pop(step, None)
