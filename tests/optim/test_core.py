"""What the base gives to every optimizer, shown with a few of them."""

import ast
import inspect
import re
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework import MathError, TrainVar, Variable, optim
from framework.optim import SGD, SM3, Adam, AdamW, Adan, Group, Momentum, Optimizer
from tests.optim.table import PLAIN, Net, batches


def pair(**options):
    variables = {"w": TrainVar(jnp.ones((2, 3))), "b": TrainVar(jnp.ones(3))}
    return variables, AdamW(0.1, variables, **options)


def ones(variables):
    return {key: jnp.ones(v.shape, v.dtype) for key, v in variables.items()}


def snapshot(*objects):
    return [np.asarray(v.value) for o in objects for v in o.values()]


# The contract of API.md.


def test_adamw_signature_is_that_of_the_contract():
    parameters = list(inspect.signature(AdamW).parameters.values())
    positional = [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [
        ("lr", inspect.Parameter.empty), ("train_vars", None), ("beta1", 0.9), ("beta2", 0.999),
        ("eps", 1e-8), ("weight_decay", 0.01), ("amsgrad", False), ("name", None),
    ]  # fmt: skip
    keyword_only = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert keyword_only["maximize"] is False
    opt = AdamW(0.1, {"w": TrainVar(2)}, 0.8, 0.9, 1e-6, 0.1, True, "by_position")
    assert (float(opt.beta1), opt.amsgrad, opt.name) == (pytest.approx(0.8), True, "by_position")


def test_adamw_is_at_most_fifteen_lines_beyond_its_docstring():
    tree = ast.parse(inspect.getsource(AdamW)).body[0]
    del tree.body[0]
    lines = ast.unparse(tree).splitlines()
    assert len([line for line in lines if line]) <= 15
    assert not re.search("save|load|implicit|register|device|collect", "\n".join(lines))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"eps": -1e-9}, "eps"), ({"beta1": 1.0}, "beta1"), ({"beta1": -0.1}, "beta1"),
        ({"beta2": 1.0}, "beta2"), ({"weight_decay": -0.1}, "weight_decay"),
        ({"beta2": float("nan")}, "beta2"), ({"lr": -0.1}, "lr"), ({"clip_norm": -1.0}, "clip"),
        ({"accumulate": 0}, "accumulate"), ({"nonfinite": "hope"}, "nonfinite"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(settings, word):
    with pytest.raises(ValueError, match=word):
        AdamW(**{"lr": 0.1, **settings})


def test_bad_settings_are_refused_later_too():
    _, opt = pair()
    with pytest.raises(ValueError, match=r"beta1 must be in \[0, 1\)"):
        opt.beta1 = 1.5
    assert float(opt.beta1) == pytest.approx(0.9)


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="betta1"):
        AdamW(0.1, betta1=0.9)
    with pytest.raises(TypeError, match="lr"):
        AdamW()


@pytest.mark.parametrize("train_vars", [[1], (TrainVar(2),), {"w": 1.0}, 3])
def test_train_vars_that_are_no_dict_of_variables(train_vars):
    with pytest.raises(MathError, match="train_vars"):
        AdamW(0.1, train_vars)


def test_integers_are_not_trained():
    with pytest.raises(MathError, match="n: dtype int32, which has no gradient"):
        AdamW(0.1, {"n": Variable(jnp.arange(3))})


def test_the_base_class_does_nothing():
    with pytest.raises(NotImplementedError):
        Optimizer(0.1)

    class NoRule(Optimizer):
        pass

    variables = {"w": TrainVar(2)}
    with pytest.raises(NotImplementedError, match="rule"):
        NoRule(0.1, variables).update(ones(variables))


def test_reading_and_setting_the_learning_rate():
    variables, opt = pair()
    step = fw.jit(opt.update)
    moves = []
    for change in (lambda: None, lambda: opt.lr.set_value(0.2), lambda: setattr(opt.lr, "lr", 0.3),
                   lambda: setattr(opt, "lr", 0.4)):  # fmt: skip
        change()
        before = variables["b"].value
        step(ones(variables))
        moves.append(float((before - variables["b"].value)[0] / (1 + 0.01 * before[0])))
        assert opt.lr() == pytest.approx(0.1 * len(moves))
    np.testing.assert_allclose(moves, [0.1, 0.2, 0.3, 0.4], rtol=1e-5)
    assert step.traces == 1
    assert opt.step.value == 4


def test_slots_are_implicit_variables_named_after_their_parameter():
    _, opt = pair(amsgrad=True)
    names = {f"{key}_{slot}" for key in ("w", "b") for slot in ("m", "v", "vmax")}
    assert set(opt.implicit_vars) == names
    assert names <= set(opt.vars("relative"))


def test_repr_shows_class_and_hyperparameters():
    _, opt = pair()
    assert repr(opt) == (
        "AdamW(lr=0.1, weight_decay=0.01, beta1=0.9, beta2=0.999, eps=1e-08, amsgrad=False, "
        "parameters=2)"
    )
    assert "groups" not in repr(opt)
    assert repr(Adan(optim.StepLR(0.5, 3), betas=(0.1, 0.2, 0.3))).startswith(
        "Adan(lr=StepLR(lr=0.5), weight_decay=0.02, betas=(0.1, 0.2, 0.3)"
    )

    texts = []

    @fw.jit
    def traced():
        opt.beta1 = opt.beta1 * 0.5
        texts.append(repr(opt))

    traced()
    assert "beta1=traced" in texts[-1]


def test_the_old_name_of_registration_warns():
    opt = SGD(0.1)
    with pytest.warns(UserWarning, match="register_train_vars"):
        opt.register_vars({"w": TrainVar(2)})
    assert list(opt.vars_to_train) == ["w"]


def test_every_method_of_the_contract_is_there():
    text = (
        "check_grads cpu cuda tpu to load_state_dict load_states nodes register_implicit_nodes "
        "register_implicit_vars register_train_vars register_vars save_states state_dict "
        "train_vars tree_flatten tree_unflatten unique_name update vars"
    )
    assert all(callable(getattr(AdamW, name)) for name in text.split())


# What BrainPy users know of single optimizers.


def test_nesterov_from_rest():
    w = TrainVar(jnp.zeros(1))
    optim.MomentumNesterov(0.1, {"w": w}, momentum=0.5).update({"w": jnp.full(1, 3.0)})
    assert w.value[0] == pytest.approx(-(1 + 0.5) * 0.1 * 3)


def test_adadelta_has_a_learning_rate_of_one_which_scales():
    moves = []
    for settings in ({}, {"lr": 0.5}):
        w = TrainVar(jnp.zeros(1))
        optim.Adadelta(train_vars={"w": w}, **settings).update({"w": jnp.ones(1)})
        moves.append(float(w.value[0]))
    assert moves[1] == pytest.approx(moves[0] / 2)


@pytest.mark.parametrize(("start", "gradient"), [(0.0, 2.0), (2.0, 0.0)])
def test_lars_trusts_what_has_no_norm(start, gradient):
    w = TrainVar(jnp.full(1, start))
    optim.LARS(0.1, {"w": w}, weight_decay=0.5).update({"w": jnp.full(1, gradient)})
    assert w.value[0] == pytest.approx(start - 0.1 * (gradient + 0.5 * start))


def test_adan_knows_no_difference_after_one_update():
    w = TrainVar(jnp.zeros(2))
    opt = Adan(0.1, {"w": w})
    opt.update({"w": jnp.array([3.0, -4.0])})
    np.testing.assert_array_equal(opt.implicit_vars["w_v"].value, [0, 0])
    opt.update({"w": jnp.array([4.0, -4.0])})
    np.testing.assert_allclose(opt.implicit_vars["w_v"].value, [0.08, 0], rtol=1e-6)


def test_adan_takes_three_betas():
    with pytest.raises(AssertionError, match="three betas"):
        Adan(0.1, betas=(0.1, 0.2))
    with pytest.raises(ValueError, match="betas"):
        Adan(0.1, betas=(0.1, 0.2, 1.0))


def test_sm3_moves_a_scalar_by_exactly_the_learning_rate():
    w = TrainVar(jnp.zeros(()))
    SM3(0.1, {"w": w}).update({"w": jnp.ones(())})
    assert np.asarray(w.value) == np.float32(-0.1)


def test_sm3_without_momentum_cannot_get_one_later():
    opt = SM3(0.1, {"w": TrainVar(2)})
    with pytest.raises(ValueError, match="without momentum"):
        opt.momentum = 0.9
    SM3(0.1, momentum=0.5).momentum = 0.9


# Gradients that don't fit.


def test_all_offenders_are_listed_by_path_and_nothing_changes():
    net = Net()
    opt = AdamW(0.1, net.train_vars("relative"), accumulate=2)
    before = snapshot(net.vars(), opt.vars())
    grads = {"w": jnp.ones((3, 4)), "b": jnp.ones(3, jnp.int32), "extra": jnp.ones(2)}
    for call in (opt.update, opt.check_grads, fw.jit(opt.update)):
        with pytest.raises(MathError) as error:
            call(grads)
        text = str(error.value)
        for part in (
            "3 gradients don't fit the 3 parameters", "w: shape (3, 4) for a parameter of (4, 3)",
            "b: dtype int32 for a parameter of float32", "extra: no such parameter", "s: missing",
        ):  # fmt: skip
            assert part in text
    for a, b in zip(before, snapshot(net.vars(), opt.vars()), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bad", ["text", None, [1.0], jnp.ones(2) * 1j, True])
def test_a_gradient_must_be_a_real_array(bad):
    opt = SGD(0.1, {"w": TrainVar(2)})
    with pytest.raises(MathError, match=r"  w: "):
        opt.update({"w": bad})


def test_gradients_must_be_a_mapping():
    opt = SGD(0.1, {"w": TrainVar(2)})
    with pytest.raises(MathError, match="got a list"):
        opt.update([jnp.ones(2)])


def test_an_exception_half_way_changes_nothing():
    class Fails(Momentum):
        @staticmethod
        def rule(p, g, s, h):
            if p.ndim == 1:
                raise RuntimeError("half way")
            return Momentum.rule(p, g, s, h)

    variables = {"w": TrainVar(jnp.ones((2, 3))), "b": TrainVar(jnp.ones(3))}
    opt = Fails(0.1, variables, accumulate=1)
    before = snapshot(variables, opt.vars())
    with pytest.raises(RuntimeError, match="half way"):
        opt.update(ones(variables))
    for a, b in zip(before, snapshot(variables, opt.vars()), strict=True):
        np.testing.assert_array_equal(a, b)


# Forms of gradients.


@pytest.mark.parametrize(
    "form", ["dict", "collector", "variables", "numpy", "object", "our object"]
)
def test_gradients_come_in_many_forms(form):
    x = batches(2)[0]
    net, want = Net(), Net()
    opt, plain = (Adam(0.1, n.train_vars("relative")) for n in (net, want))
    grads = fw.grad(want.loss, want.train_vars("relative"))(x)
    plain.update(dict(grads))
    given = {
        "dict": lambda: dict(grads),
        "collector": lambda: fw.Collector(grads),
        "variables": lambda: {k: Variable(g) for k, g in grads.items()},
        "numpy": lambda: {k: np.asarray(g, np.float64) for k, g in grads.items()},
        "object": lambda: jax.grad(Net.loss)(net, x),
        "our object": lambda: fw.grad(net.loss, net)(x),
    }[form]()
    opt.update(given)
    for key, value in net.train_vars("relative").items():
        np.testing.assert_array_equal(value.value, want.train_vars("relative")[key].value)


def test_an_object_of_gradients_inside_of_jit_and_below_another_object():
    class Pair(fw.BrainPyObject):
        def __init__(self):
            super().__init__()
            self.nets = [Net(), Net()]

    both = Pair()
    opt = SGD(0.1, both.nets[0].train_vars("relative"))
    before = snapshot(both.nets[0].vars(), both.nets[1].vars())

    @fw.jit
    def step(x):
        opt.update(jax.grad(lambda net: net.loss(x))(both.nets[0]))

    step(batches(2)[0])
    after = snapshot(both.nets[0].vars(), both.nets[1].vars())
    changed = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert changed == [True] * 3 + [False] * 3


def test_an_object_of_gradients_that_does_not_cover_all_parameters():
    first, second = Net(), Net()
    opt = SGD(0.1, {f"{i}.{k}": v for i, n in enumerate((first, second))
                    for k, v in n.train_vars("relative").items()})  # fmt: skip
    with pytest.raises(MathError, match=r"1\.w.*missing"):
        opt.update(jax.grad(lambda net: net.loss(batches(2)[0]))(first))
    with pytest.raises(MathError, match="no object that holds"):
        opt.update(fw.node_dict({"net": Net()}) and SGD(0.1, {"w": TrainVar(2)}))


# Tied parameters.


class Tied(fw.BrainPyObject):
    def __init__(self):
        super().__init__()
        self.first = TrainVar(jnp.array([1.0, 2.0]))
        self.second = self.first

    def loss(self):
        return jnp.sum(self.first.value**2) + jnp.sum(3 * self.second.value)


def test_tied_parameters_have_one_summed_gradient_and_one_set_of_slots():
    net = Tied()
    variables = net.train_vars("relative")
    assert len(variables) == 2
    opt = Momentum(0.1, variables)
    grads = fw.grad(net.loss, variables)()
    opt.update(grads)
    np.testing.assert_allclose(net.first.value, [1 - 0.1 * 5, 2 - 0.1 * 7])
    assert list(opt.implicit_vars) == ["first_v"]
    opt.update({"second": grads["second"]})
    assert net.first is net.second
    np.testing.assert_allclose(net.second.value, [1 - 0.1 * 5 * 2.9, 2 - 0.1 * 7 * 2.9], rtol=1e-6)


# Hyperparameters as numbers, Variables and schedules.


def test_a_hyperparameter_can_be_shared_or_scheduled():
    beta = Variable(0.5)
    w = TrainVar(jnp.zeros(1))
    opt = Momentum(
        0.1, {"w": w}, momentum=beta, weight_decay=optim.LambdaLR(1.0, lambda i: 0.1 * i)
    )
    step = fw.jit(opt.update)
    values = []
    for factor in (0.5, 0.0, 0.9):
        beta.value = factor
        step({"w": jnp.ones(1)})
        values.append(float(w.value[0]))
    x, v = 0.0, 0.0
    for t, (factor, got) in enumerate(zip((0.5, 0.0, 0.9), values, strict=True)):
        v = factor * v - 0.1
        x = x * (1 - 0.1 * 0.1 * t) + v
        assert got == pytest.approx(x)
    assert step.traces == 1


def test_a_number_becomes_a_schedule_and_the_reverse():
    _, opt = pair()
    opt.beta1 = optim.LambdaLR(1.0, lambda i: 0.5 + 0 * i)
    assert "LambdaLR" in repr(opt)
    opt.beta1 = 0.25
    assert opt.beta1() == pytest.approx(0.125)
    opt.lr = optim.StepLR(0.5, 1)
    assert isinstance(opt.lr, optim.StepLR)


def test_an_optax_style_function_is_a_learning_rate():
    w = TrainVar(jnp.zeros(1))
    opt = SGD(lambda count: 1.0 / (1 + count), {"w": w})
    for _ in range(3):
        opt.update({"w": jnp.ones(1)})
    assert w.value[0] == pytest.approx(-(1 + 1 / 2 + 1 / 3))


def test_settings_are_saved_and_restored(tmp_path):
    variables, opt = pair(groups=[Group("b", lr_factor=0.5)])
    opt.lr, opt.beta1, opt.groups[0].lr_factor = 0.7, 0.3, 0.1
    opt.update(ones(variables))
    opt.save_states(tmp_path / "opt.msgpack")
    _, other = pair(groups=[Group("b", lr_factor=0.5)])
    other.load_states(tmp_path / "opt.msgpack")
    assert (other.lr(), other.beta1, other.groups[0].lr_factor, other.step) == (
        pytest.approx(0.7), pytest.approx(0.3), pytest.approx(0.1), 1,
    )  # fmt: skip


def test_step_counts_across_state_dicts():
    variables, opt = pair()
    opt.update(ones(variables))
    state = opt.state_dict()
    opt.update(ones(variables))
    after = snapshot(opt.vars())
    opt.load_state_dict(state)
    assert opt.step == 1
    assert len(after) == len(snapshot(opt.vars()))


def test_a_slot_cannot_have_the_name_of_an_attribute():
    class Clash(Optimizer):
        defaults = MappingProxyType({"momentum": 0.9})
        slots = ("momentum",)

    with pytest.raises(ValueError, match="attribute 'momentum'"):
        Clash(0.1, {"w": TrainVar(2)})


def test_equal_shapes_are_traced_once():
    count = 0

    class Counts(Optimizer):
        @staticmethod
        def rule(p, g, s, h):  # noqa: ARG004
            nonlocal count
            count += 1
            return h.lr * g + 0 * p

    variables = {f"w{i}": TrainVar(jnp.ones(3)) for i in range(20)}
    fw.jit(Counts(0.1, variables).update)(ones(variables))
    assert count == 1


def test_complex_parameters_follow_the_steepest_descent():
    target = jnp.array([1 + 2j, -3j])
    z = TrainVar(jnp.zeros(2, complex))
    opt = Adam(0.1, {"z": z})
    step = fw.jit(lambda: opt.update({"z": jax.grad(lambda z: jnp.sum(jnp.abs(z - target) ** 2))(
        z.value)}))  # fmt: skip
    for _ in range(400):
        step()
    np.testing.assert_allclose(z.value, target, atol=0.02)
    assert z.dtype == jnp.complex64


def test_the_page_lists_every_optimizer_with_its_slots():
    page = (Path(__file__).parents[2] / "docs" / "optimizers.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|.*?\|(.*?)\|", page, re.MULTILINE))
    assert set(rows) == {case.name for case in PLAIN}
    for case in PLAIN:
        slots = set(re.findall(r"`(\w+)`", rows[case.name]))
        held = case.make({"w": TrainVar(jnp.ones(2))}).implicit_vars
        assert {key.removeprefix("w_") for key in held} <= slots
