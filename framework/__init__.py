"""An object framework on JAX: mutable models at the speed of plain `jax.jit`."""

from framework.errors import (
    BrainPyError,
    CheckpointError,
    MathError,
    TraceError,
    UniqueNameError,
)
from framework.nodes.base import Base, BrainPyObject
from framework.nodes.collectors import ArrayCollector, Collector, TensorCollector
from framework.nodes.containers import (
    NodeDict,
    NodeList,
    VarDict,
    VarList,
    node_dict,
    node_list,
    var_dict,
    var_list,
)
from framework.nodes.naming import clear_name_cache, get_unique_name
from framework.nodes.values import BATCH_AXIS
from framework.nodes.variable import Parameter, TrainVar, Variable
from framework.nodes.view import VariableView

__version__ = "0.1.0"
