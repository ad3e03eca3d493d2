"""One background writer: jobs run one after the other, and their errors are not lost."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["BackgroundWriter"]


class BackgroundWriter:
    """Runs one job at a time in a thread.

    The interpreter waits for a running job when it exits. An error of a job is raised by the next
    call of any method, or reported at exit if there is none.

    Example:
        >>> writer = BackgroundWriter()
        >>> written = []
        >>> writer.submit(lambda: written.append("a file"))
        >>> writer.wait()
        >>> written
        ['a file']
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._job: Future[None] | None = None
        atexit.register(_raise_at_exit, weakref.ref(self))

    def submit(self, job: Callable[[], None]) -> None:
        """Waits for the job before, then starts this one.

        Args:
            job: What to run.

        Raises:
            Exception: Whatever the job before raised; the new one is not started then.
        """
        self.wait()
        self._job = self._pool.submit(job)

    def wait(self) -> None:
        """Waits until nothing is running.

        Raises:
            Exception: Whatever the last job raised, once.
        """
        job, self._job = self._job, None
        if job is not None:
            job.result()

    def busy(self) -> bool:
        """Tells whether a job is running."""
        return self._job is not None and not self._job.done()


def _raise_at_exit(reference: weakref.ref[BackgroundWriter]) -> None:
    writer = reference()
    if writer is not None:
        writer.wait()
