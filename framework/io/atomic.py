"""Replacing a file so that a crash leaves the old one or the new one, never a mixture.

The new content goes to a temporary file in the same folder, which is flushed to the disk and
renamed over the old one; then the folder is flushed. The writer holds an advisory lock on its
temporary file for as long as it lives, so a later writer can tell a leftover of a killed process
from the work of a living one, whatever happened to process ids in between.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from framework.errors import CheckpointError

try:
    import fcntl
except ImportError:  # Windows: no advisory locks, so leftovers are told by their age
    fcntl = None

__all__ = ["leftovers", "remove_leftovers", "replacing", "start_writeback", "sync_folder"]

_TEMPORARY = re.compile(r"\.(?P<target>.+)\.[0-9a-f]{16}\.tmp", re.DOTALL)
_OLD_AGE_SECONDS = 24 * 3600.0


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[BinaryIO]:
    """Opens a binary file whose content takes the place of `path` when the block ends well.

    Args:
        path: The file to make or to replace. A symbolic link stays one; its target is replaced.

    Yields:
        An empty binary file, open for writing. If the block raises, it is removed and `path` is
        as it was.

    Raises:
        CheckpointError: The folder is missing, the disk is full, or writing is not permitted.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with replacing(target) as file:
        ...     _ = file.write(b"whole or not at all")
        >>> target.read_text()
        'whole or not at all'
    """
    target = Path(os.path.realpath(path))
    temporary: Path | None = None
    try:
        remove_leftovers(target)
        temporary, file = _open_temporary(target)
        with file:
            yield file
            file.flush()
            _sync(file.fileno())
            # Renaming before the lock is released, so that no cleaner can take the file away.
            with _freed_in_background(target):
                temporary.replace(target)
            temporary = None
        sync_folder(target.parent)
    except OSError as error:
        raise CheckpointError(
            f"could not write {os.fspath(path)!r}: {error.strerror or error}. "
            + ("The file that was there before is untouched." if target.exists() else "")
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def start_writeback(file: BinaryIO, start: int, stop: int) -> None:
    """Lets the disk begin with bytes that were written, so that the final flush is short.

    Args:
        file: From `replacing`.
        start: First byte.
        stop: Byte after the last.
    """
    # On Linux this starts writing dirty pages and keeps them cached; elsewhere it is a mere hint.
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), start, stop - start, os.POSIX_FADV_DONTNEED)


def leftovers(target: str | os.PathLike[str]) -> list[Path]:
    """Lists temporary files of writers of `target` that no longer live.

    Args:
        target: The file that the writers were to replace.

    Returns:
        The paths of the abandoned files, in alphabetical order.
    """
    return [path for path in _temporaries(Path(os.path.realpath(target))) if _claim(path)]


def remove_leftovers(target: str | os.PathLike[str]) -> None:
    """Removes what killed writers of `target` left in its folder.

    Args:
        target: The file that they were to replace; `folder/*` for any file in a folder.
    """
    for path in _temporaries(Path(os.path.realpath(target))):
        _claim(path, remove=True)


def sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power failure, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _freed_in_background(path: Path) -> Generator[None]:
    # Giving back the blocks of a large file takes as long as writing them. While somebody holds
    # the old file open, renaming over it is instant.
    try:
        descriptor = None if os.name == "nt" else os.open(path, os.O_RDONLY)
    except OSError:
        descriptor = None
    try:
        yield
    finally:
        if descriptor is not None:
            threading.Thread(target=os.close, args=(descriptor,), name="free old file").start()


def _open_temporary(target: Path) -> tuple[Path, BinaryIO]:
    while True:
        temporary = target.parent / f".{target.name}.{secrets.token_hex(8)}.tmp"
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Another process may have taken it for a leftover before the lock was ours.
            if not _is_same_file(descriptor, temporary):
                os.close(descriptor)
                continue
        with contextlib.suppress(OSError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        return temporary, os.fdopen(descriptor, "w+b", buffering=1 << 20)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _temporaries(target: Path) -> list[Path]:
    try:
        names = sorted(entry.name for entry in target.parent.iterdir())
    except OSError:
        return []
    matches = map(_TEMPORARY.fullmatch, names)
    return [target.parent / m[0] for m in matches if m and target.name in (m["target"], "*")]


def _claim(path: Path, *, remove: bool = False) -> bool:
    """Tells whether a temporary file is abandoned, and removes it if asked."""
    try:
        if fcntl is None:
            abandoned = time.time() - path.stat().st_mtime > _OLD_AGE_SECONDS
            if abandoned and remove:
                path.unlink()
            return abandoned
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # While it is locked, since its writer may be about to lock it for the first time.
        if remove:
            path.unlink()
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    # On macOS fsync only hands the data to the drive's cache.
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if fcntl is not None and full_sync is not None:
        fcntl.fcntl(descriptor, full_sync)
    else:
        os.fsync(descriptor)
