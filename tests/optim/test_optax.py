"""Optax both ways."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import framework as fw
from framework import TrainVar, optim
from framework.optim import Group, OptaxOptimizer, as_optax
from tests.optim.table import PLAIN, VARIANTS, Net, batches

TRANSFORMATIONS = {
    "sgd": lambda: optax.sgd(0.1, momentum=0.9),
    "adamw": lambda: optax.adamw(0.1),
    "injected": lambda: optax.inject_hyperparams(optax.adamw)(learning_rate=0.1),
    "chain": lambda: optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(0.1, 10))
    ),
    "adafactor": lambda: optax.adafactor(0.1),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_an_optax_transformation_as_an_optimizer(name, tmp_path):
    net = Net()
    opt = OptaxOptimizer(TRANSFORMATIONS[name](), net.train_vars("relative"))
    tx = TRANSFORMATIONS[name]()
    params = {key: v.value for key, v in net.train_vars("relative").items()}
    state = tx.init(params)

    @fw.jit
    def step(x):
        opt.update(fw.grad(net.loss, net.train_vars("relative"))(x))

    twin = Net()
    for i, x in enumerate(batches(6)):
        twin.w, twin.b, twin.s = params["w"], params["b"], params["s"]
        grads = fw.grad(twin.loss, twin.train_vars("relative"))(x)
        updates, state = tx.update(dict(grads), state, params)
        params = optax.apply_updates(params, updates)
        step(x)
        if i == 2:
            opt.save_states(tmp_path / "opt.msgpack")
            net.save_states(tmp_path / "net.msgpack")
    assert step.traces == 1
    assert opt.step == 6
    for key, v in net.train_vars("relative").items():
        np.testing.assert_allclose(v.value, params[key], rtol=2e-5, atol=1e-6)

    other = Net(seed=5)
    again = OptaxOptimizer(TRANSFORMATIONS[name](), other.train_vars("relative"))
    other.load_states(tmp_path / "net.msgpack")
    again.load_states(tmp_path / "opt.msgpack")
    for x in batches(6)[3:]:
        again.update(fw.grad(other.loss, other.train_vars("relative"))(x))
    for key, v in other.train_vars("relative").items():
        np.testing.assert_allclose(v.value, params[key], rtol=2e-5, atol=1e-6)


def test_injected_hyperparameters_are_there_to_read_and_to_set():
    w = TrainVar(jnp.zeros(1))
    opt = OptaxOptimizer(optax.inject_hyperparams(optax.sgd)(learning_rate=0.5), {"w": w})
    step = fw.jit(opt.update)
    for change in (lambda: None, lambda: setattr(opt, "learning_rate", 0.25),
                   lambda: opt.lr.set_value(0.125)):  # fmt: skip
        change()
        step({"w": jnp.ones(1)})
    assert w.value[0] == -0.875
    assert (step.traces, opt.lr(), repr(opt)) == (
        1, 0.125, "OptaxOptimizer(learning_rate=0.125, parameters=1)",
    )  # fmt: skip
    assert {"w_trace"} >= {k for k in opt.implicit_vars if k.startswith("w")}


def test_slots_stay_beside_their_parameter_when_others_come_and_go():
    variables = {"a": TrainVar(jnp.zeros(2)), "b": TrainVar(jnp.zeros(3))}
    opt = OptaxOptimizer(optax.adam(0.1), {"a": variables["a"]})
    opt.update({"a": jnp.ones(2)})
    before = {k: np.asarray(v.value) for k, v in opt.implicit_vars.items()}
    opt.register_train_vars({"b": variables["b"]})
    for key, value in before.items():
        np.testing.assert_array_equal(opt.implicit_vars[key].value, value)
    opt.update({k: jnp.ones(v.shape) for k, v in variables.items()})
    opt.remove_train_vars("a")
    opt.update({"b": jnp.ones(3)})
    assert {k for k in opt.implicit_vars if k.startswith(("a_", "b_"))} == {"b_0_mu", "b_0_nu"}
    opt.freeze("b")
    opt.update({})


def test_groups_and_treatment_apply_to_optax_too():
    variables = {"a": TrainVar(jnp.zeros(1)), "b": TrainVar(jnp.zeros(1))}
    opt = OptaxOptimizer(optax.sgd(1.0), variables, clip_norm=5.0, maximize=True,
                         groups=[Group("b", lr_factor=0.5)])  # fmt: skip
    opt.update({"a": jnp.full(1, 6.0), "b": jnp.full(1, 8.0)})
    np.testing.assert_allclose(
        [variables["a"].value[0], variables["b"].value[0]], [3.0, 2.0], rtol=1e-6
    )


def test_what_is_refused():
    with pytest.raises(TypeError, match="takes an Optax transformation"):
        OptaxOptimizer(0.1)
    with pytest.raises(TypeError, match="weight_decay to the Optax"):
        OptaxOptimizer(optax.sgd(0.1), weight_decay=0.1)
    with pytest.raises(ValueError, match="in the place of clip_norm"):
        as_optax(optim.SGD(0.1, clip_norm=1.0))
    with pytest.raises(ValueError, match="need the parameters"):
        as_optax(optim.SGD(0.1)).update({"w": jnp.ones(1)}, None)


def test_optax_is_optional(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optax", None)
    with pytest.raises(ImportError, match=r"pytree-framework\[optax\]"):
        as_optax(optim.SGD(0.1))


@pytest.mark.parametrize("case", [*PLAIN, VARIANTS[7]], ids=str)
def test_our_rules_as_optax_transformations(case):
    net = Net()
    opt = case.make(net.train_vars("relative"))
    params = {key: v.value for key, v in net.train_vars("relative").items()}
    tx = as_optax(case.make())
    state = tx.init(params)

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    ours = fw.jit(opt.update)
    for scale in (1.0, 0.0, -2.0):
        grads = {key: scale * jnp.cos(p + 1) for key, p in params.items()}
        params, state = step(params, state, grads)
        ours(grads)
    assert state.step == 3
    for key, v in net.train_vars("relative").items():
        np.testing.assert_allclose(v.value, params[key], rtol=2e-5, atol=2e-6)


OPTAX = {
    "SGD": optax.sgd,
    "Momentum": functools.partial(optax.sgd, momentum=0.9),
    "MomentumNesterov": functools.partial(optax.sgd, momentum=0.9, nesterov=True),
    "RMSProp": functools.partial(optax.rmsprop, decay=0.9, eps=1e-6),
    "Adadelta": functools.partial(optax.adadelta, rho=0.95, eps=1e-6),
    "AdamW": functools.partial(optax.adamw, weight_decay=0.0),
    "RAdam": optax.radam,
    "LAMB": optax.lamb,
    "Lion": functools.partial(optax.lion, weight_decay=0.0),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", [c for c in PLAIN if c.name in OPTAX], ids=str)
def test_agrees_with_optax_where_the_formula_is_the_same(case):
    rng = np.random.default_rng(0)
    w = TrainVar(jnp.asarray(rng.normal(size=(3, 2))))
    opt, tx = case.make({"w": w}), OPTAX[case.name](case.lr)
    param = w.value
    state = tx.init(param)
    update = jax.jit(tx.update)
    for g in rng.normal(size=(30, 3, 2)):
        opt.update({"w": g})
        updates, state = update(jnp.asarray(g), state, param)
        param = optax.apply_updates(param, updates)
    np.testing.assert_allclose(w.value, param, rtol=1e-8)
