"""Parameter groups, freezing, and parameters that come and go."""

import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework import MathError, TrainVar, optim
from framework.optim import SGD, Adam, AdamW, Group


class Layer(fw.BrainPyObject):
    def __init__(self, n):
        super().__init__()
        self.w = TrainVar(jnp.ones((n, n)))
        self.bias = TrainVar(jnp.ones(n))


class Norm(fw.BrainPyObject):
    def __init__(self):
        super().__init__()
        self.scale = TrainVar(jnp.ones(2))


class Embedding(TrainVar):
    pass


class Model(fw.BrainPyObject):
    def __init__(self):
        super().__init__()
        self.layers = [Layer(2), Layer(3)]
        self.norm = Norm()
        self.table = Embedding(jnp.ones(4))


def gradients(variables, value=1.0):
    return {key: jnp.full(v.shape, value) for key, v in variables.items()}


MODEL_KEYS = {
    "**.bias": {"layers-0.bias", "layers-1.bias"},
    "layers[0].*": {"layers-0.w", "layers-0.bias"},
    "layers-1.w": {"layers-1.w"},
    "**": {"layers-0.w", "layers-0.bias", "layers-1.w", "layers-1.bias", "norm.scale", "table"},
    "*": {"table"},
    "layers[?].w": {"layers-0.w", "layers-1.w"},
    "**.layers.**": {"layers-0.w", "layers-0.bias", "layers-1.w", "layers-1.bias"},
}


@pytest.mark.parametrize("glob", MODEL_KEYS)
@pytest.mark.parametrize("method", ["relative", "absolute"])
def test_globs_go_by_steps_of_the_path_in_any_style(glob, method):
    model = Model()
    variables = model.train_vars(method)
    group = Group(glob, lr_factor=0.5)
    SGD(0.1, variables, groups=[group])
    relative = {id(v): key for key, v in model.train_vars("relative").items()}
    assert {relative[id(variables[key])] for key in group.members} == MODEL_KEYS[glob]


def test_selection_by_type_predicate_and_list():
    model = Model()
    variables = model.train_vars("relative")
    groups = {
        "kind": Group(Embedding), "owner": Group(Norm),
        "predicate": Group(lambda path, v: path.endswith("w") and v.shape == (3, 3)),
        "list": Group([model.table, "**.bias"]),
        "dict": Group(model.norm.train_vars()),
    }  # fmt: skip
    SGD(0.1, variables, groups=groups.values())
    assert {name: set(group.members) for name, group in groups.items()} == {
        "kind": {"table"}, "owner": {"norm.scale"}, "predicate": {"layers-1.w"},
        "list": {"table", "layers-0.bias", "layers-1.bias"}, "dict": {"norm.scale"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("select", "text"),
    [
        ("**.biass", r"'\*\*.biass' matches no parameter. Near matches: .*bias"),
        (fw.Parameter, "'Parameter' selects no parameter. There are: "),
        (lambda *_: False, "selects no parameter"),
    ],
)  # fmt: skip
def test_a_group_without_members_is_an_error_and_registers_nothing(select, text):
    variables = Model().train_vars("relative")
    with pytest.raises(ValueError, match=text):
        SGD(0.1, variables, groups=[Group(select)])
    opt = AdamW(0.1, groups=[Group(select)])
    with pytest.raises(ValueError, match=text):
        opt.register_train_vars(variables)
    assert not opt.vars_to_train
    assert not opt.implicit_vars


def test_a_variable_that_is_not_trained_cannot_be_selected():
    with pytest.raises(ValueError, match="not among the parameters"):
        SGD(0.1, {"w": TrainVar(2)}, groups=[Group([TrainVar(2)])])
    with pytest.raises(TypeError, match="Select parameters by a glob"):
        Group(3)


def test_unknown_settings_and_foreign_groups_are_refused():
    with pytest.raises(ValueError, match=r"sets beta3, but Adam has only beta1, beta2, eps"):
        Adam(0.1, {"w": TrainVar(2)}, groups=[Group("w", beta3=0.1)])
    with pytest.raises(ValueError, match="beta1 must be in"):
        Group("w", beta1=1.0)
    group = Group("w", lr_factor=0.1)
    Adam(0.1, {"w": TrainVar(2)}, groups=[group])
    with pytest.raises(ValueError, match="belongs to an optimizer"):
        Adam(0.1, {"w": TrainVar(2)}, groups=[group])
    with pytest.raises(ValueError, match="Group objects"):
        Adam(0.1, groups=["**.bias"])


def test_settings_of_groups_act_and_the_last_one_wins():
    names = ("a", "b", "c")
    variables = {name: TrainVar(jnp.ones(1)) for name in names}
    groups = [Group("*", weight_decay=0.5), Group(["b", "c"], lr_factor=0.1),
              Group("c", weight_decay=0.0, momentum=0.5)]  # fmt: skip
    opt = optim.Momentum(0.1, variables, momentum=0.0, groups=groups)
    step = fw.jit(opt.update)
    want = dict.fromkeys(names, 1.0)
    velocity = dict.fromkeys(names, 0.0)
    rates = {"a": 0.1, "b": 0.01, "c": 0.01}
    decays, momenta = {"a": 0.5, "b": 0.5, "c": 0.0}, {"a": 0.0, "b": 0.0, "c": 0.5}
    for _ in range(3):
        step(gradients(variables))
        for k in names:
            velocity[k] = momenta[k] * velocity[k] - rates[k]
            want[k] = want[k] * (1 - rates[k] * decays[k]) + velocity[k]
    for k in names:
        assert variables[k].value[0] == pytest.approx(want[k])
    opt.groups[1].lr_factor = 0.0
    before = variables["b"].value
    step(gradients(variables))
    np.testing.assert_array_equal(variables["b"].value, before)
    assert step.traces == 1


def test_a_group_can_have_schedules():
    w = TrainVar(jnp.zeros(1))
    group = Group("w", lr_factor=optim.PiecewiseConstantLR([0], [1.0, 0.5]))
    opt = SGD(1.0, {"w": w}, groups=[group])
    for want in (-1.0, -1.5, -2.0):
        opt.update({"w": jnp.ones(1)})
        assert w.value[0] == want


def test_frozen_parameters_need_no_gradient_and_do_not_count_in_the_norm():
    variables = {"a": TrainVar(jnp.ones(1)), "b": TrainVar(jnp.ones(1))}
    opt = SGD(1.0, variables, clip_norm=1.0, groups=[Group("b", frozen=True)])
    opt.update({"a": jnp.full(1, 0.5), "b": jnp.full(1, 1e6)})
    opt.update({"a": jnp.full(1, 0.25)})
    assert (variables["a"].value[0], variables["b"].value[0]) == (0.25, 1.0)
    assert opt.frozen == ("b",)


def test_unfreezing_keeps_the_slots_of_others_and_starts_anew():
    variables = {"a": TrainVar(jnp.ones(2)), "b": TrainVar(jnp.zeros(2))}
    opt = Adam(0.1, variables, groups=[Group("b", frozen=True)])
    step = fw.jit(opt.update)
    for _ in range(20):
        step(gradients(variables))
    held = opt.implicit_vars["a_m"]
    before = np.asarray(held.value)
    opt.unfreeze("b")
    assert opt.implicit_vars["a_m"] is held
    np.testing.assert_array_equal(held.value, before)
    step(gradients(variables))
    # The first step of Adam is as large as the learning rate, whenever it is made.
    np.testing.assert_allclose(variables["b"].value, -0.1, rtol=1e-5)
    opt.freeze("b")
    assert set(opt.implicit_vars) == {"a_m", "a_v"}
    step(gradients(variables))
    np.testing.assert_allclose(variables["b"].value, -0.1, rtol=1e-5)


def test_parameters_come_and_go_and_slots_stay_with_theirs(tmp_path):
    model = Model()
    first = {k: v for k, v in model.train_vars("relative").items() if k != "norm.scale"}
    opt = Adam(0.1, first)
    step = fw.jit(opt.update)
    step(gradients(first))
    slots = opt.slots_by_parameter()
    opt.register_train_vars({"norm.scale": model.norm.scale})
    everything = model.train_vars("relative")
    step(gradients(everything))
    np.testing.assert_allclose(model.norm.scale.value, 0.9, rtol=1e-5)
    opt.remove_train_vars("layers[0].*")
    rest = {k: v for k, v in everything.items() if not k.startswith("layers-0")}
    assert set(opt.vars_to_train) == set(rest)
    step(gradients(rest))
    for parameter, held in opt.slots_by_parameter().items():
        for slot, variable in held.items():
            assert variable is slots.get(parameter, held)[slot]
    assert not any(key.startswith("layers-0") for key in opt.implicit_vars)
    opt.save_states(tmp_path / "opt.msgpack")

    twin = Model()
    twin.layers.reverse()
    twin.layers.reverse()
    other = Adam(0.1, {"t": twin.table, "b": twin.layers[1].bias, "w": twin.layers[1].w})
    other.register_train_vars({"s": twin.norm.scale}, late=True)
    other.load_states(tmp_path / "opt.msgpack")
    for a, b in ((model.table, twin.table), (model.layers[1].w, twin.layers[1].w)):
        for slot, variable in opt.slots_by_parameter()[a].items():
            np.testing.assert_array_equal(variable.value, other.slots_by_parameter()[b][slot].value)


def test_registering_again_keeps_the_slots_and_another_variable_needs_another_key():
    w = TrainVar(jnp.ones(2))
    opt = Adam(0.1, {"w": w})
    held = dict(opt.implicit_vars)
    opt.register_train_vars({"w": w})
    opt.register_train_vars({"alias": w})
    assert dict(opt.implicit_vars) == held or list(opt.implicit_vars) == ["w_m", "w_v"]
    with pytest.raises(ValueError, match="another TrainVar under the key 'w'"):
        opt.register_train_vars({"new": TrainVar(2), "w": TrainVar(2)})
    assert set(opt.vars_to_train) == {"w", "alias"}
    with pytest.raises(MathError, match="x: a int, not a Variable"):
        opt.register_train_vars({"x": 3})


def test_a_group_can_be_added_later_and_shows_in_repr():
    w = TrainVar(jnp.ones(2))
    opt = SGD(0.1, {"w": w})
    opt.add_group(Group("w", frozen=True))
    opt.update({})
    np.testing.assert_array_equal(w.value, 1)
    assert "Group('w', frozen=True)" in repr(opt)
