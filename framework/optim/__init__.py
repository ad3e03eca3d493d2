"""Optimizers and schedulers: ordinary objects whose state is found like any other."""

from framework.optim.adam import Adam, Adamax, AdamW, Adan, Lion, NAdam, RAdam
from framework.optim.combined import (
    JoinedLR,
    LinearDecayLR,
    LinearWarmupLR,
    OneCycleLR,
    join,
    sequential,
)
from framework.optim.decays import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialDecay,
    ExponentialDecayLR,
    ExponentialLR,
    InverseTimeDecay,
    InverseTimeDecayLR,
    MultiStepLR,
    PiecewiseConstant,
    PiecewiseConstantLR,
    PolynomialDecay,
    PolynomialDecayLR,
    StepLR,
)
from framework.optim.descent import (
    SGD,
    SM3,
    Adadelta,
    Adagrad,
    Momentum,
    MomentumNesterov,
    RMSProp,
)
from framework.optim.ema import EMA
from framework.optim.functional import OptaxOptimizer, as_optax
from framework.optim.groups import Group
from framework.optim.layerwise import LAMB, LARS, Muon
from framework.optim.optimizer import Optimizer
from framework.optim.schedulers import (
    CallBasedScheduler,
    Constant,
    LambdaLR,
    Scheduler,
    make_schedule,
)

__all__ = [
    "EMA",
    "LAMB",
    "LARS",
    "SGD",
    "SM3",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "CallBasedScheduler",
    "Constant",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialDecay",
    "ExponentialDecayLR",
    "ExponentialLR",
    "Group",
    "InverseTimeDecay",
    "InverseTimeDecayLR",
    "JoinedLR",
    "LambdaLR",
    "LinearDecayLR",
    "LinearWarmupLR",
    "Lion",
    "Momentum",
    "MomentumNesterov",
    "MultiStepLR",
    "Muon",
    "NAdam",
    "OneCycleLR",
    "OptaxOptimizer",
    "Optimizer",
    "PiecewiseConstant",
    "PiecewiseConstantLR",
    "PolynomialDecay",
    "PolynomialDecayLR",
    "RAdam",
    "RMSProp",
    "Scheduler",
    "StepLR",
    "as_optax",
    "join",
    "make_schedule",
    "sequential",
]
