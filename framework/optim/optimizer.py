"""The base of all optimizers: their hyperparameters, and one update of all parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from framework.errors import MathError
from framework.nodes.frames import is_tracer
from framework.nodes.variable import Variable
from framework.optim.gradients import Gradients, clipped, matched, nonfinite, only_if
from framework.optim.groups import Group
from framework.optim.hyperparameters import check, held, present, signature_of
from framework.optim.precision import computation_dtype, real_shape
from framework.optim.registry import Registry
from framework.optim.schedulers import Scheduler, count, make_schedule, text_of
from framework.optim.step import ACCUMULATED, MASTER, How, step
from framework.transforms.functionalize import run_as_one

__all__ = ["Optimizer"]


class Optimizer(Registry):
    """The base class of optimizers.

    A subclass names its hyperparameters with their ``defaults``, and its ``slots``, the arrays it
    keeps for each parameter, and defines :meth:`rule`, pure maths for one array. All else is
    inherited. Its constructor takes ``lr``, ``train_vars``, then what is in ``defaults``, then
    ``name``, by position or keyword, and the options below by keyword.

    Args:
        lr: Learning rate: a number, a Variable, a Scheduler, or a function of the count of updates.
        train_vars: The parameters to train, by key.
        name: A unique name.
        weight_decay: Decoupled weight decay: before the rule, each parameter loses
            ``lr * weight_decay`` times itself. None for none.
        maximize: Whether to go up the gradient.
        groups: Parameters with other hyperparameters, or frozen.
        clip_value: The largest absolute value of an element of a gradient.
        clip_param_norm: The largest norm of the gradient of one parameter, after ``clip_value``.
        clip_norm: The largest norm of all gradients together, after the other two.
        nonfinite: What to do with an infinite or NaN gradient: ``"ignore"``; ``"skip"`` the step
            and count it in ``skipped``; or ``"raise"``, which skips inside of a trace, where
            nothing can be raised, see :meth:`raise_if_skipped`.
        accumulate: The number of calls of ``update`` that make one step, with the mean of their
            gradients.
        slot_dtype: The dtype to keep slots in; at least float32, if left out.
        master_weights: Whether to keep a float32 copy of parameters of lower precision.

    Attributes:
        step: The number of steps made so far.
        vars_to_train: The parameters by key.
        frozen: The keys of those that are frozen.
        skipped: The number of steps that were skipped; unless ``nonfinite`` is ``"ignore"``.

    Raises:
        MathError: ``train_vars`` is no dict of Variables that can be trained.
        ValueError: A hyperparameter is out of its range, or a group selects nothing.

    >>> class SignDescent(Optimizer):
    ...     @staticmethod
    ...     def rule(p, g, s, h):
    ...         return h.lr * jnp.sign(g)
    >>> w = Variable(jnp.ones(2))
    >>> SignDescent(0.5, {"w": w}).update({"w": jnp.array([3.0, -2.0])})
    >>> print(w.value)
    [0.5 1.5]
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    """Hyperparameters in order. Those whose default is a bool or a string are static."""
    static: ClassVar[Sequence[str]] = ()
    """Further static ones: each new value is a new trace."""
    slots: ClassVar[Sequence[str]] = ()
    """Slots of the shape of the parameter."""
    decoupled: ClassVar[bool] = True
    """Whether weight decay is applied before the rule; otherwise it is the rule's business."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if type(self) is Optimizer:
            raise NotImplementedError(
                "Optimizer is a base class: use one of its subclasses, such as AdamW, or define "
                "`rule` in a subclass of your own."
            )
        given = self._signature.bind(*args, **kwargs)
        given.apply_defaults()
        own = {key: given.arguments.pop(key) for key in self.defaults if key != "lr"}
        self._configure(hyperparameters=own, **given.arguments)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._signature = signature_of(cls.defaults, inspect.signature(Optimizer._configure))
        if "__init__" not in cls.__dict__:
            cls.__signature__ = cls._signature

    _signature: ClassVar[inspect.Signature]
    __signature__: ClassVar[inspect.Signature]

    def _configure(
        self,
        lr: Any,
        train_vars: Mapping[str, Variable] | None = None,
        name: str | None = None,
        *,
        hyperparameters: Mapping[str, Any],
        weight_decay: Any = None,
        maximize: bool = False,
        groups: Iterable[Group] = (),
        clip_value: Any = None,
        clip_param_norm: Any = None,
        clip_norm: Any = None,
        nonfinite: str = "ignore",
        accumulate: int = 1,
        slot_dtype: Any = None,
        master_weights: bool = False,
    ) -> None:
        if nonfinite not in ("ignore", "skip", "raise"):
            raise ValueError(f"nonfinite is 'ignore', 'skip' or 'raise', not {nonfinite!r}.")
        clips = {"value": clip_value, "param_norm": clip_param_norm, "norm": clip_norm}
        settings = {"weight_decay": weight_decay, **hyperparameters}
        settings |= {f"clip_{kind}": limit for kind, limit in clips.items()}
        static = {k for k, d in self.defaults.items() if k in self.static or type(d) in (bool, str)}
        for key, value in {"lr": lr, **settings}.items():
            if value is not None and key not in static:
                check(key, value)
        self.hyperparameters = tuple(
            k for k, value in settings.items() if value is not None and k not in static
        )
        self.static_settings = tuple(k for k in self.defaults if k in static)
        super().__init__(groups, name)
        self.lr: Any = make_schedule(lr)
        for key, value in settings.items():
            self.setattr(key, held(value) if key in self.hyperparameters else value)
        self.maximize = maximize
        self.nonfinite = nonfinite
        if nonfinite != "ignore":
            self.skipped = Variable(jnp.zeros((), jnp.int32))
        self.accumulate = count("accumulate", accumulate, 1)
        if self.accumulate > 1:
            self.micro_step = Variable(jnp.zeros((), jnp.int32))
        self.slot_dtype = None if slot_dtype is None else jnp.dtype(slot_dtype).name
        self.master_weights = master_weights
        self.register_train_vars(train_vars, late=False)

    def __setattr__(self, key: str, value: Any) -> None:
        current = self.__dict__.get(key)
        if not isinstance(current, (Variable, Scheduler)) or current is value:
            super().__setattr__(key, value)
        elif isinstance(value, Scheduler):
            self.setattr(key, value)
        else:
            check(key, value)
            if isinstance(current, Scheduler):
                current.set_value(value)
            else:
                current.value = value

    @staticmethod
    def rule(p: jax.Array, g: jax.Array, s: Any, h: Any) -> jax.Array:
        """The maths of one step for one parameter, in its computation dtype.

        Args:
            p: The parameter, after decoupled weight decay.
            g: Its gradient.
            s: The slots as attributes; assign their new values. All are zero at first.
            h: The hyperparameters, ``lr``, and ``t``, the number of this step from 1 on.

        Returns:
            What to subtract from the parameter.
        """
        raise NotImplementedError("A subclass of Optimizer must define `rule(p, g, s, h)`.")

    def slots_for(self, parameter: Any) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the slots of a parameter: ``slots`` in its own shape."""
        return dict.fromkeys(self.slots, real_shape(parameter))

    def new_slots(self, parameter: Variable) -> dict[str, jax.Array]:
        """The slots of a new parameter: those of the algorithm, and those of the options."""
        dtype, shape = computation_dtype(parameter.dtype), real_shape(parameter)
        low = self.slot_dtype or dtype
        slots = {
            slot: jnp.zeros(own, low if own == shape else dtype)
            for slot, own in self.slots_for(parameter).items()
        }
        is_low = jnp.finfo(parameter.dtype).bits < jnp.finfo(dtype).bits
        if self.master_weights and is_low:
            slots[MASTER] = parameter.value.astype(dtype)
        if self.accumulate > 1:
            slots[ACCUMULATED] = jnp.zeros(parameter.shape, dtype if is_low else parameter.dtype)
        return slots

    def settings_of_groups(self) -> frozenset[str]:
        """The hyperparameters that a group may have."""
        of_all = {key for key in self.hyperparameters if key.startswith("clip_")}
        return frozenset(self.hyperparameters) - of_all | {"weight_decay"}

    def check_grads(self, grads: Any) -> None:
        """Check that there is a gradient of the right shape and type for each parameter.

        Args:
            grads: As for :meth:`update`.

        Raises:
            MathError: Gradients are missing, unexpected or don't fit; all are named.
        """
        matched(self.vars_to_train, self.frozen, grads)

    def update(self, grads: Any) -> None:
        """Make one step.

        Args:
            grads: Gradients by the keys of ``vars_to_train``; or an object of gradients, as
                ``jax.grad(loss)(net)`` gives it.

        Raises:
            MathError: See :meth:`check_grads`; or a gradient is not finite, with
                ``nonfinite="raise"`` and outside of a trace. Nothing is changed then.
        """
        gradients = matched(self.vars_to_train, self.frozen, grads)
        run_as_one(self._update, gradients)

    def raise_if_skipped(self) -> None:
        """Raise if steps were skipped since gradients were not finite.

        Raises:
            MathError: They were.
        """
        if self.nonfinite != "ignore" and self.skipped.value > 0:
            raise MathError(
                f"{self.name} skipped {int(self.skipped.value)} of its steps, since there were "
                "gradients that are infinite or NaN."
            )

    def _update(self, gradients: Gradients) -> None:
        due = None
        if self.accumulate > 1:
            gradients, due = self._accumulated(gradients)
        if self.nonfinite != "ignore":
            bad, where = nonfinite(gradients)
            bad = bad if due is None else bad & due
            if self.nonfinite == "raise" and not is_tracer(bad) and bad:
                raise MathError(
                    f"Gradients are infinite or NaN; nothing was changed: {', '.join(where())}."
                )
            self.skipped.value += bad.astype(jnp.int32)
            due = ~bad if due is None else due & ~bad
        if due is None:
            self._step(gradients)
        else:
            variables = [*self.vars().values(), *self.vars_to_train.values()]
            only_if(due, lambda: self._step(gradients), list(dict.fromkeys(variables)))

    def _accumulated(self, gradients: Gradients) -> tuple[Gradients, jax.Array]:
        """The mean over the micro-batches so far, and whether they are complete."""
        self.micro_step.value += 1
        due = self.micro_step.value == self.accumulate
        self.micro_step.value = self.micro_step.value % self.accumulate
        slots = self.slots_by_parameter()
        means: Gradients = {}
        for parameter, gradient in gradients.items():
            held = slots[parameter][ACCUMULATED]
            total = held.value + jnp.asarray(gradient).astype(held.dtype)
            means[parameter] = total / self.accumulate
            held.value = jnp.where(due, jnp.zeros_like(total), total)
        return means, due

    def _step(self, gradients: Gradients) -> None:
        limits = [self._limit(kind) for kind in ("value", "param_norm", "norm")]
        gradients = clipped(gradients, *limits)
        self.step.value += 1
        self._apply(gradients)
        schedules = [value for value in vars(self).values() if isinstance(value, Scheduler)]
        schedules += [x for g in self.groups for x in vars(g).values() if isinstance(x, Scheduler)]
        for schedule in dict.fromkeys(schedules):
            schedule.step_call()

    def _limit(self, kind: str) -> jax.Array | None:
        limit = getattr(self, f"clip_{kind}")
        return None if limit is None else present(limit)

    def _apply(self, gradients: Gradients) -> None:
        """Change the parameters and their slots."""
        t, slots, settings = self.step.value, self.slots_by_parameter(), self._settings()
        how = self._how()
        for parameter, gradient in gradients.items():
            own = slots[parameter]
            arrays = {slot: v.value for slot, v in own.items() if slot != ACCUMULATED}
            parameter.value, new = step(
                how, parameter.value, gradient, arrays, settings[parameter], t
            )
            for slot, value in new.items():
                own[slot].value = value

    def _how(self) -> How:
        flags = tuple((key, getattr(self, key)) for key in self.static_settings)
        return How(type(self).rule, self.maximize, self.decoupled, flags)

    def _settings(self) -> dict[Variable, dict[str, jax.Array]]:
        """The present hyperparameters of each parameter."""
        keys = [key for key in self.hyperparameters if not key.startswith("clip_")]
        base = {key: present(getattr(self, key)) for key in ("lr", *keys)}
        settings = dict.fromkeys(self.vars_to_train.values(), base)
        for group in self.groups:
            here = group.present()
            for parameter in dict.fromkeys(self.vars_to_train[key] for key in group.members):
                settings[parameter] = {**settings[parameter], **here}
        for parameter, own in settings.items():
            if "lr_factor" in own:
                factor = own["lr_factor"].astype(own["lr"].dtype)
                settings[parameter] = {**own, "lr": own["lr"] * factor}
                del settings[parameter]["lr_factor"]
        return settings

    def __repr__(self) -> str:
        shown = ("lr", *self.hyperparameters, *self.static_settings)
        settings = [f"{key}={text_of(getattr(self, key))}" for key in shown]
        settings += [f"{key}={getattr(self, key)!r}" for key in ("maximize",) if self.maximize]
        settings += [repr(group) for group in self.groups]
        settings.append(f"parameters={len(self.vars_to_train)}")
        return f"{type(self).__name__}({', '.join(settings)})"
