"""Checkpoints: exact, verified and crash-safe files of objects and PyTrees."""

from framework.io.matching import LoadReport, Mismatch
from framework.io.states import describe, load, load_states, save, verify

__all__ = ["LoadReport", "Mismatch", "describe", "load", "load_states", "save", "verify"]
