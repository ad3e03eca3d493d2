"""Every exception of the package."""

from __future__ import annotations

__all__ = ["BrainPyError", "CheckpointError", "MathError", "TraceError", "UniqueNameError"]


class BrainPyError(Exception):
    """Base class of all errors that this package defines."""


class MathError(BrainPyError):
    """A value does not fit: wrong shape, dtype or type of array."""


class UniqueNameError(BrainPyError):
    """A name is already held by another living object."""


class TraceError(BrainPyError):
    """State was changed in a JAX trace that does not own it."""


class CheckpointError(BrainPyError):
    """A checkpoint can't be written, read, or applied to an object."""
