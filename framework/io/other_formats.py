"""Files of other formats, by suffix, read and written by the libraries that own them."""

from __future__ import annotations

import base64
import importlib
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from framework.errors import CheckpointError
from framework.io.leaf_types import Array, Frozen, dtype_named, leaf_type
from framework.io.payload import INDEX, Payload, pack, unpack

__all__ = ["OTHER_FORMATS", "OtherFormat"]

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_FLOATS = ("float32", "float64")
_COMPLEX = ("complex64", "complex128")


class OtherFormat(Protocol):
    """A way to keep leaves in a file."""

    def read(self, path: Path) -> Payload:
        """Reads a file."""
        ...

    def write(self, file: BinaryIO, payload: Payload) -> None:
        """Writes a file."""
        ...


class Npz:
    """NumPy's archive of arrays."""

    def read(self, path: Path) -> Payload:
        """Reads a file."""
        # NumPy leaves a file open that it could not read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return unpack({name: archive[name] for name in archive.files})

    def write(self, file: BinaryIO, payload: Payload) -> None:
        """Writes a file."""
        native = (*_INTEGERS, *_FLOATS, *_COMPLEX, "bool", "float16")
        arrays: dict[str, Any] = pack(payload, native)
        np.savez(file, **arrays)


class Safetensors:
    """The format of Hugging Face, in which PyTorch models are exchanged."""

    _DTYPES = {  # noqa: RUF012 - constant
        **{f"I{name[3:]}": name for name in _INTEGERS if name[0] == "i"},
        **{f"U{name[4:]}": name for name in _INTEGERS if name[0] == "u"},
        "F16": "float16",
        "F32": "float32",
        "F64": "float64",
        "BF16": "bfloat16",
        "BOOL": "bool",
        "F8_E4M3": "float8_e4m3fn",
        "F8_E5M2": "float8_e5m2",
    }

    def read(self, path: Path) -> Payload:
        """Reads a file."""
        library = _library("safetensors", "safetensors")
        with library.safe_open(path, "np") as file:
            metadata: dict[str, str] = file.metadata() or {}
        leaves: dict[str, Frozen] = {}
        arrays: dict[str, Array] = {}
        for name, tensor in library.deserialize(path.read_bytes()):
            dtype = self._DTYPES.get(tensor["dtype"])
            if dtype is None:
                raise CheckpointError(f"holds {name!r} of the unknown dtype {tensor['dtype']}")
            array = np.frombuffer(tensor["data"], dtype_named(dtype)).reshape(tensor["shape"])
            arrays[name] = array
            leaves[name] = Frozen(leaf_type(array), array)
        if INDEX in metadata:
            arrays[INDEX] = np.frombuffer(base64.b64decode(metadata[INDEX]), np.uint8)
        return unpack(arrays)

    def write(self, file: BinaryIO, payload: Payload) -> None:
        """Writes a file."""
        library = _library("safetensors.numpy", "safetensors")
        arrays = pack(payload, tuple(self._DTYPES.values()))
        index = base64.b64encode(arrays.pop(INDEX).tobytes()).decode()
        file.write(library.save(arrays, metadata={INDEX: index}))


class Hdf5:
    """HDF5, by way of h5py."""

    def read(self, path: Path) -> Payload:
        """Reads a file."""
        arrays: dict[str, Array] = {}

        def visit(name: str, item: Any) -> None:
            if hasattr(item, "shape"):
                arrays[name.replace("/", ".")] = np.asarray(item[()])

        with _library("h5py", "hdf5").File(path, "r") as file:
            file.visititems(visit)
        return unpack(arrays)

    def write(self, file: BinaryIO, payload: Payload) -> None:
        """Writes a file."""
        native = (*_INTEGERS, *_FLOATS, *_COMPLEX, "float16")
        with _library("h5py", "hdf5").File(file, "w") as target:
            for name, array in pack(payload, native).items():
                target[name] = array


class Mat:
    """MATLAB's format before 7.3, by way of SciPy."""

    def read(self, path: Path) -> Payload:
        """Reads a file."""
        found: dict[str, Any] = _library("scipy.io", "mat").loadmat(path)
        arrays = {name: array for name, array in found.items() if not name.startswith("__")}
        if any("." in name for name in arrays):
            # Only BrainPy writes such names, and it puts an axis before all others.
            arrays = {name: array[0] for name, array in arrays.items()}
        return unpack(arrays)

    def write(self, file: BinaryIO, payload: Payload) -> None:
        """Writes a file."""
        arrays = pack(payload, (*_INTEGERS, *_FLOATS, *_COMPLEX), r"[A-Za-z]\w{0,30}")
        _library("scipy.io", "mat").savemat(file, arrays)


OTHER_FORMATS: dict[str, OtherFormat] = {
    ".npz": Npz(),
    ".safetensors": Safetensors(),
    ".h5": Hdf5(),
    ".hdf5": Hdf5(),
    ".mat": Mat(),
}
"""Format by suffix; every other file is in this package's own."""


def _library(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CheckpointError(
            f"needs the library {module.split('.', maxsplit=1)[0]}; install it with "
            f"pip install 'pytree-framework[{extra}]'"
        ) from error
