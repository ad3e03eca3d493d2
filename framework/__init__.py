"""An object framework on JAX: mutable models at the speed of plain `jax.jit`."""

from framework import random
from framework.errors import (
    BrainPyError,
    CheckpointError,
    MathError,
    TraceError,
    UniqueNameError,
)
from framework.io import (
    CheckpointManager,
    check_resume,
    describe,
    load,
    load_object,
    load_states,
    save,
    save_object,
    verify,
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
from framework.nodes.function import FunAsObject, ObjectTransform, Partial, function, to_object
from framework.nodes.naming import clear_name_cache, get_unique_name
from framework.nodes.values import BATCH_AXIS
from framework.nodes.variable import Parameter, TrainVar, Variable
from framework.nodes.view import VariableView
from framework.transforms.abstract import checkpoint, eval_shape, make_jaxpr, remat
from framework.transforms.autodiff import (
    grad,
    hessian,
    jacfwd,
    jacobian,
    jacrev,
    vector_grad,
)
from framework.transforms.batching import vmap
from framework.transforms.branches import cond, ifelse, switch
from framework.transforms.jit import cls_jit, jit
from framework.transforms.loops import for_loop, scan
from framework.transforms.progress import ProgressBar
from framework.transforms.while_loops import while_loop

__all__ = [
    "BATCH_AXIS",
    "ArrayCollector",
    "Base",
    "BrainPyError",
    "BrainPyObject",
    "CheckpointError",
    "CheckpointManager",
    "Collector",
    "FunAsObject",
    "MathError",
    "NodeDict",
    "NodeList",
    "ObjectTransform",
    "Parameter",
    "Partial",
    "ProgressBar",
    "TensorCollector",
    "TraceError",
    "TrainVar",
    "UniqueNameError",
    "VarDict",
    "VarList",
    "Variable",
    "VariableView",
    "check_resume",
    "checkpoint",
    "clear_name_cache",
    "cls_jit",
    "cond",
    "describe",
    "eval_shape",
    "for_loop",
    "function",
    "get_unique_name",
    "grad",
    "hessian",
    "ifelse",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "load",
    "load_object",
    "load_states",
    "make_jaxpr",
    "node_dict",
    "node_list",
    "random",
    "remat",
    "save",
    "save_object",
    "scan",
    "switch",
    "to_object",
    "var_dict",
    "var_list",
    "vector_grad",
    "verify",
    "vmap",
    "while_loop",
]

__version__ = "0.1.0"
