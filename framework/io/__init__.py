"""Checkpoints: exact, verified and crash-safe files of objects and PyTrees."""

from framework.errors import CheckpointError
from framework.io.comparing import Difference, Statistics, compare, statistics
from framework.io.manager import Checkpoint, CheckpointManager
from framework.io.matching import LoadReport, Mismatch
from framework.io.objects import load_object, save_object
from framework.io.resume import check_resume
from framework.io.states import describe, load, load_states, save, transfer, verify

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointManager",
    "Difference",
    "LoadReport",
    "Mismatch",
    "Statistics",
    "check_resume",
    "compare",
    "describe",
    "load",
    "load_object",
    "load_states",
    "save",
    "save_object",
    "statistics",
    "transfer",
    "verify",
]
