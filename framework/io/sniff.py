"""Recognising files of other kinds, so that an error can name what was given instead."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

__all__ = ["describe_foreign"]

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x93NUMPY", "is a NumPy .npy file; read it with numpy.load"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file; give it the suffix .h5"),
    (b"MATLAB 5.0 MAT-file", "is a MATLAB file; give it the suffix .mat"),
    (b"\x1f\x8b", "is gzip-compressed; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is zstd-compressed; unpack it first"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (b"%PDF", "is a PDF document"),
    (b"\x89PNG", "is a PNG picture"),
)
_PICKLE_PROTOCOLS = b"\x02\x03\x04\x05"
_START = 512


def describe_foreign(path: Path) -> str:
    """Says what a file is that is not a checkpoint of this package.

    Args:
        path: The file.

    Returns:
        The end of a sentence about it, such as `is a Python pickle …`; empty if its start does
        not tell.

    Example:
        >>> import pickle, tempfile
        >>> wrong = Path(tempfile.mkdtemp()) / "model.msgpack"
        >>> _ = wrong.write_bytes(pickle.dumps({"w": 1.0}))
        >>> describe_foreign(wrong).split(";")[0]
        'is a Python pickle, which can run any code when it is loaded'
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _describe_folder(path)
        if not stat.S_ISREG(mode):
            return "is not a regular file"
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return ""
    return _describe_start(path, start)


def _describe_folder(path: Path) -> str:
    if any((path / name).exists() for name in ("_METADATA", "_CHECKPOINT_METADATA", "d")):
        return "is an Orbax checkpoint folder; restore it with Orbax and save it with save()"
    return "is a folder, expected a file"


def _describe_start(path: Path, start: bytes) -> str:
    if not start:
        return "is empty; the program that should have written it was probably stopped"
    if not start.strip(b"\0"):
        return "starts with zeros only; it was probably cut off by a crash while being copied"
    for signature, description in _SIGNATURES:
        if start.startswith(signature):
            return description
    if start.startswith(b"PK\x03\x04"):
        return _describe_zip(path)
    if start[0] == 0x80 and start[1:2] and start[1] in _PICKLE_PROTOCOLS:
        return (
            "is a Python pickle, which can run any code when it is loaded; load it yourself where "
            "you trust it, and save the arrays with save()"
        )
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "is a safetensors file; give it the suffix .safetensors"
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is an HTML or XML page; the download probably gave an error page"
    if text.startswith((b"{", b"[")):
        return "is JSON or other text, not a checkpoint"
    return ""


def _describe_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return "is a damaged zip archive (.npz or PyTorch)"
    if any(name.endswith("data.pkl") for name in names):
        return (
            "is a PyTorch file, which contains a pickle; export it with "
            "safetensors.torch.save_file and load that"
        )
    if names and all(name.endswith(".npy") for name in names):
        return "is a NumPy .npz file; give it the suffix .npz"
    return "is a zip archive"
