"""Optimizers and schedulers: ordinary objects whose state is found like any other."""

from framework.optim.algorithms import AdamW
from framework.optim.optimizer import Optimizer
from framework.optim.schedulers import (
    CallBasedScheduler,
    Constant,
    CosineAnnealingLR,
    Scheduler,
    make_schedule,
)

__all__ = [
    "AdamW",
    "CallBasedScheduler",
    "Constant",
    "CosineAnnealingLR",
    "Optimizer",
    "Scheduler",
    "make_schedule",
]
