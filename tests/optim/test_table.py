"""Every optimizer × every property."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework import optim
from tests.optim import oracles
from tests.optim.table import PLAIN, VARIANTS, Trainer, batches

ROOT = Path(__file__).resolve().parents[2]
each = pytest.mark.parametrize("case", PLAIN, ids=str)
each_variant = pytest.mark.parametrize("case", [*PLAIN, *VARIANTS], ids=str)


def test_every_optimizer_is_in_the_table():
    classes = [x for x in vars(optim).values() if isinstance(x, type)]
    names = {c.__name__ for c in classes if issubclass(c, optim.Optimizer)}
    assert names - {"Optimizer", "OptaxOptimizer"} == {case.name for case in PLAIN}


@pytest.mark.usefixtures("x64")
@each_variant
def test_matches_its_oracle_over_100_steps(case):
    rng = np.random.default_rng(0)
    shapes = {"w": (5, 4), "b": (4,), "s": ()}
    start = {key: rng.normal(size=shape) for key, shape in shapes.items()}
    gradients = {key: rng.normal(size=(100, *shape)) for key, shape in shapes.items()}
    for key in shapes:
        gradients[key][7] = 0
    variables = {key: fw.TrainVar(value) for key, value in start.items()}
    opt = case.make(variables)
    step = fw.jit(opt.update)
    got = {key: [] for key in shapes}
    for t in range(100):
        (opt.update if t == 50 else step)({key: gradients[key][t] for key in shapes})
        for key in shapes:
            got[key].append(np.asarray(variables[key].value))
    assert step.traces == 1
    for key in shapes:
        want = oracles.run(case.oracle, start[key], gradients[key], lr=case.lr, **case.settings)
        np.testing.assert_allclose(got[key], want, rtol=1e-10, atol=1e-12)


class Point(fw.BrainPyObject):
    """A point on a function, and the optimizer that moves it down."""

    def __init__(self, case, start, function):
        super().__init__()
        self.function = function
        self.x = fw.TrainVar(jnp.asarray(start))
        schedule = optim.CosineAnnealingLR(case.lr, T_max=1_000_000)
        self.opt = case.make({"x": self.x}, lr=schedule)

    def step(self):
        self.opt.update({"x": jax.grad(self.function)(self.x.value)})


def rosenbrock(x):
    return jnp.sum((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2)


def quadratic(x):
    return jnp.sum(jnp.logspace(0, 2, x.size) * (x.ravel() - 1) ** 2) / 2


@each
@pytest.mark.parametrize(
    ("function", "start", "share"),
    [(rosenbrock, [-1.2, 1.0], 0.05), (quadratic, [[3.0, -2.0], [2.0, -1.0]], 0.01)],
    ids=["rosenbrock", "quadratic"],
)
def test_converges_in_a_scan(case, function, start, share):
    point = Point(case, start, function)
    before = function(point.x.value)

    def body(point, _):
        point.step()
        return point, function(point.x.value)

    point, values = jax.jit(lambda p: jax.lax.scan(body, p, length=10_000))(point)
    assert int(point.opt.step.value) == 10_000
    assert values[-1] < share * before


@each
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_keeps_dtypes_and_survives_zero_gradients(case, dtype):
    variables = {"w": fw.TrainVar(jnp.ones((4, 3), dtype)), "s": fw.TrainVar(jnp.ones((), dtype))}
    opt = case.make(variables, lr=10.0)
    with jax.numpy_dtype_promotion("strict"):
        for scale in (0.0, 100.0, 0.0):
            opt.update({key: jnp.full(v.shape, scale, dtype) for key, v in variables.items()})
    for variable in (*variables.values(), *opt.vars().values()):
        assert np.all(np.isfinite(np.asarray(variable.value, np.float64)))
    assert {v.dtype for v in variables.values()} == {jnp.dtype(dtype)}
    assert all(v.dtype == jnp.float32 for v in opt.implicit_vars.values())
    assert not np.array_equal(variables["w"].value, jnp.ones((4, 3), dtype))


@each
def test_a_changed_hyperparameter_has_an_effect_and_compiles_nothing(case):
    trainer = Trainer(case)
    step = fw.jit(trainer.step)
    start = {v: v.value for v in trainer.vars().values()}
    ends = []
    settings = [
        key for key in trainer.opt.hyperparameters if (case.name, key) != ("SM3", "momentum")
    ]
    for changed in (None, "lr", *settings):
        for variable, value in start.items():
            variable.value = value
        if changed:
            value = getattr(trainer.opt, changed)
            value = value() if changed == "lr" else value.value
            setattr(trainer.opt, changed, value * 0.5 + 0.015)
        for x in batches(12):
            step(x)
        ends.append(np.concatenate([v.ravel() for v in trainer.values().values()]))
    assert step.traces == 1
    idle = [k for k, end in zip(("lr", *settings), ends[1:], strict=True) if np.all(end == ends[0])]
    assert not idle


@each
def test_a_frozen_group_is_left_alone(case):
    frozen = Trainer(case, groups=[optim.Group("b", frozen=True)])
    other = Trainer(case)
    for x in batches(3):
        frozen.step(x)
        other.step(x)
        # The gradients of both then stay the same.
        other.net.b = frozen.net.b
    assert frozen.values().keys() == other.values().keys()
    np.testing.assert_array_equal(frozen.values()["b"], Trainer(case).values()["b"])
    np.testing.assert_array_equal(frozen.values()["w"], other.values()["w"])
    assert not any(key.startswith("b_") for key in frozen.opt.implicit_vars)


@each
def test_an_ensemble_under_vmap_is_many_runs(case):
    def make(start):
        trainer = Trainer(case)
        trainer.net.b = start
        return trainer

    def step(trainer, x):
        trainer.step(x)
        return trainer

    starts = jnp.arange(6.0).reshape(2, 3)
    ensemble = jax.vmap(make)(starts)
    members = [make(start) for start in starts]
    together, one = jax.jit(jax.vmap(step, (0, None))), jax.jit(step)
    for x in batches(4):
        ensemble = together(ensemble, x)
        members = [one(member, x) for member in members]
    for index, member in enumerate(members):
        alone = member.values()
        for key, value in ensemble.values().items():
            np.testing.assert_allclose(value[index], alone[key], rtol=1e-4, atol=1e-5)


RESUME = """
import sys
import numpy as np
from framework import BrainPyObject, Variable, jit
from tests.optim.table import PLAIN, Trainer, batches
folder, *names = sys.argv[1:]
clutter = [Trainer(PLAIN[0]) for _ in range(3)]
for case in PLAIN:
    trainer = Trainer(case, lr=0.5)
    trainer.load_states(f"{folder}/{case}.msgpack")
    step = jit(trainer.step)
    for x in batches(8)[4:]:
        step(x)
    trainer.save_states(f"{folder}/{case}-resumed.msgpack")
"""


def test_resumes_bit_equal_in_a_fresh_process(tmp_path):
    folder = tmp_path
    for case in PLAIN:
        trainer = Trainer(case)
        step = fw.jit(trainer.step)
        for x in batches(4):
            step(x)
        trainer.save_states(folder / f"{case}.msgpack")
        for x in batches(8)[4:]:
            step(x)
        trainer.save_states(folder / f"{case}-whole.msgpack")
    subprocess.run([sys.executable, "-c", RESUME, str(folder)], cwd=ROOT, check=True)
    for case in PLAIN:
        whole, again = (fw.load(folder / f"{case}-{end}.msgpack") for end in ("whole", "resumed"))
        flat, structure = jax.tree.flatten(whole)
        assert structure == jax.tree.structure(again)
        for a, b in zip(flat, jax.tree.leaves(again), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=str(case))


REFERENCE = Path(__file__).parent / "data" / "optimizer_trajectories.npz"
CLASSES = {"sgd": "SGD", "nadam": "NAdam", "radam": "RAdam", "adamax": "Adamax"}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jitted"])
@pytest.mark.parametrize(
    "name",
    ["adamw_default", "adamw_amsgrad", "adamw_big_eps", "adamw_maximize", "adam", *CLASSES],
)
def test_matches_the_reference_trajectories(name, jitted):
    data = np.load(REFERENCE)
    settings = json.loads(bytes(data["meta"]))[name]
    cls = getattr(optim, CLASSES.get(name, "AdamW" if "adamw" in name else "Adam"))
    variables = {key: fw.TrainVar(data[f"init/{key}"]) for key in "wbs"}
    opt = cls(settings.pop("lr"), variables, **settings)
    step = fw.jit(opt.update) if jitted else opt.update
    got = []
    for t in range(40):
        step({key: data[f"grads/{key}"][t] for key in "wbs"})
        got.append(np.concatenate([np.ravel(v.value) for v in variables.values()]))
    # PyTorch keeps NAdam's product of momenta in float32, also where all else is float64.
    tolerance = 1e-5 if name == "nadam" else 1e-10
    np.testing.assert_allclose(got, data[f"traj/{name}"], rtol=tolerance)


def test_nadam_differs_from_pytorch_by_a_product_in_float32_only():
    data = np.load(REFERENCE)
    for key, columns in {"w": slice(0, 20), "b": slice(20, 24)}.items():
        got = oracles.run(
            oracles.nadam, data[f"init/{key}"], data[f"grads/{key}"], product_dtype=np.float32
        )
        want = data["traj/nadam"][:, columns].reshape(40, *data[f"init/{key}"].shape)
        np.testing.assert_allclose(got, want, rtol=1e-10)
