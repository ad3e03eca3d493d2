"""`jit(pack_state=True)` is as `jit`, but for the time it takes."""

import copy
import os
import pickle
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework.optim import AdamW
from framework.transforms.packing import LARGEST, TOGETHER, Packing
from tests.transforms.models import Dense

DTYPES = [
    *(jnp.bool_, jnp.int8, jnp.int16, jnp.int32, jnp.uint8, jnp.uint16, jnp.uint32, jnp.int4),
    *(jnp.float16, jnp.bfloat16, jnp.float32, jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.complex64),
]


class Net(fw.BrainPyObject):
    def __init__(self, layers=10):
        super().__init__()
        keys = jax.random.split(jax.random.key(0), layers)
        self.layers = [Dense(4, 4, key) for key in keys]

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return x


def trainer(pack_state, **options):
    net = Net()
    optimizer = AdamW(1e-2, net.train_vars().unique())
    gradients = fw.grad(lambda x: ((net(x) - 1) ** 2).sum(), optimizer.vars_to_train)

    @fw.jit(pack_state=pack_state, **options)
    def step(x):
        optimizer.update(gradients(x))

    return net, optimizer, step


def arrays_of(*objects):
    return [np.asarray(x) for obj in objects for x in obj.vars("relative").dict().values()]


def assert_close(got, expected):
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class TestPacking:
    """Which arrays stand in one buffer."""

    def test_like_stands_with_like(self):
        values = [jnp.ones(2), jnp.ones(3), jnp.zeros(2), jnp.zeros(2, jnp.int32), jnp.ones(2)]
        packing = Packing(values)
        assert [b.shape for b in packing.packed(values)] == [(3, 2), (3,), (2,)]
        assert packing == Packing(values)
        assert packing != Packing(values[1:])

    def test_not_too_many_and_not_too_large(self):
        values = [jnp.ones(1) * i for i in range(2 * TOGETHER + 1)]
        values += [jnp.ones(LARGEST // 4 + 1), jnp.zeros(LARGEST // 4 + 1)]
        packing = Packing(values)
        shapes = [b.shape for b in packing.packed(values)]
        assert shapes == [(TOGETHER, 1), (TOGETHER, 1), (1,), *[(LARGEST // 4 + 1,)] * 2]
        for got, expected in zip(packing.unpacked(packing.packed(values)), values, strict=True):
            np.testing.assert_array_equal(got, expected)

    @pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
    @pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)])
    def test_round_trip_keeps_every_bit(self, dtype, shape):
        rng = np.random.default_rng(0)
        values = [jnp.asarray(rng.integers(0, 2, shape)).astype(dtype) for _ in range(3)]
        packing = Packing(values)
        assert len(packing.packed(values)) == 1
        for got, value in zip(packing.unpacked(packing.packed(values)), values, strict=True):
            assert got.dtype == value.dtype
            assert np.asarray(got).tobytes() == np.asarray(value).tobytes()

    def test_weak_types_stay_alone(self):
        values = [jnp.asarray(1.0), jnp.asarray(2.0), jnp.float32(1)]
        assert values[0].weak_type
        found = Packing(values).unpacked(Packing(values).packed(values))
        assert [value.weak_type for value in found] == [True, True, False]

    def test_several_devices(self):
        code = """
            import jax, jax.numpy as jnp, framework as fw
            from framework.transforms.packing import Packing
            first, second = jax.devices()
            mesh = jax.sharding.Mesh([first, second], ("x",))
            split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
            places = [first, first, second, second, split, split]
            values = [jax.device_put(jnp.arange(2.0) + i, p) for i, p in enumerate(places)]
            packing = Packing(values)
            assert len(packing.packed(values)) == 4
            for value, got in zip(values, packing.unpacked(packing.packed(values)), strict=True):
                assert got.sharding == value.sharding, (got.sharding, value.sharding)
                assert (got == value).all()
            cells = [fw.Variable(value) for value in values[2:4]]

            @fw.jit(pack_state=True)
            def step():
                for cell in cells:
                    cell.value = cell + 1

            step(), step()
            assert [cell.value.tolist() for cell in cells] == [[4, 5], [5, 6]]
            assert cells[0].value.devices() == {second}
        """
        flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], check=True, env=dict(os.environ) | flags
        )


class TestSteps:
    """What a step leaves behind."""

    def test_trains_as_without(self):
        plain, packed = trainer(False), trainer(True)
        x = jnp.ones(4)
        for number in range(30):
            plain[2](x), packed[2](x)
            if number % 7 == 0:
                assert_close(arrays_of(*packed[:2]), arrays_of(*plain[:2]))
        assert packed[2].traces == 1
        assert_close(arrays_of(*packed[:2]), arrays_of(*plain[:2]))

    def test_state_is_packed_between_calls(self):
        net, _, step = trainer(True)
        step(jnp.ones(4))
        loan = net.layers[0].w._held
        assert len(loan.state) < len(loan.cells) / 3
        step(jnp.ones(4))
        assert net.layers[0].w._held is loan

    def test_saved_and_restored_in_between(self, tmp_path):
        net, optimizer, step = trainer(True)
        x = jnp.ones(4)
        step(x), step(x)
        fw.save(tmp_path / "a.msgpack", {"net": net, "optimizer": optimizer})
        step(x), step(x)
        expected = arrays_of(net, optimizer)
        fw.load_states(tmp_path / "a.msgpack", {"net": net, "optimizer": optimizer})
        step(x), step(x)
        for got, want in zip(arrays_of(net, optimizer), expected, strict=True):
            np.testing.assert_array_equal(got, want)
        assert step.traces == 1

    def test_held_values_stay(self):
        net, optimizer, step = trainer(True)
        step(jnp.ones(4))
        found = [*net.vars().values(), *optimizer.vars().values()]
        held = [variable.value for variable in found]
        copies = [np.array(value) for value in held]
        step(jnp.ones(4)), step(jnp.ones(4))
        for value, was in zip(held, copies, strict=True):
            np.testing.assert_array_equal(value, was)
            assert not value.is_deleted()

    def test_a_held_value_that_stands_alone_stays(self):
        cells = [fw.Variable(jnp.zeros((), jnp.int32)), fw.Variable(jnp.ones(3))]

        @fw.jit(pack_state=True)
        def step():
            for cell in cells:
                cell.value = cell + 1

        held = [[cell.value for cell in cells]]
        for _ in range(3):
            step()
            held.append([cell.value for cell in cells])
        for number, (count, ones) in enumerate(held):
            assert count == number
            np.testing.assert_array_equal(ones, np.ones(3) + number)

    def test_a_look_inside_of_a_plain_transform(self):
        cells = [fw.Variable(jnp.arange(3.0) + i) for i in range(3)]

        @fw.jit(pack_state=True)
        def step():
            for cell in cells:
                cell.value = cell * 2

        step()
        total = jax.jit(lambda x: x + sum(cell.value for cell in cells))(jnp.zeros(3))
        np.testing.assert_array_equal(total, [6, 12, 18])
        assert all(isinstance(cell._held, jax.Array) for cell in cells)
        assert not any(isinstance(cell._held, jax.core.Tracer) for cell in cells)
        step()
        inside = jax.vmap(lambda x: x * cells[0].value.sum())(jnp.ones(2))
        np.testing.assert_array_equal(inside, [12, 12])
        step()
        assert jax.grad(lambda x: x * cells[0].value.sum())(1.0) == 24

    def test_a_batch_of_another_size(self):
        cells = [fw.Variable(jnp.zeros((2, 3)), batch_axis=0) for _ in range(2)]

        @fw.jit(pack_state=True)
        def step(x):
            for cell in cells:
                cell.value = cell + x

        for size in (2, 5, 2):
            for cell in cells:
                cell.value = jnp.zeros((size, 3))
            step(1.0), step(1.0)
            np.testing.assert_array_equal(cells[1].value, np.full((size, 3), 2.0))

    def test_a_key_in_the_state(self):
        random, cells = fw.random.RandomState(0), [fw.Variable(jnp.zeros(2)) for _ in range(2)]

        @fw.jit(pack_state=True)
        def step():
            for cell in cells:
                cell.value = cell + random.normal(2)

        step(), step()
        assert len(cells[0]._held.state) == 1
        expected = fw.random.RandomState(0)
        totals = [np.zeros(2), np.zeros(2)]
        for _ in range(2):
            totals = [total + expected.normal(2) for total in totals]
        for cell, total in zip(cells, totals, strict=True):
            np.testing.assert_allclose(cell.value, total, rtol=1e-6)

    def test_an_exception_in_a_callback_leaves_the_state(self):
        cells, fail = [fw.Variable(jnp.zeros(2)) for _ in range(2)], []

        def check(x):
            if fail:
                raise ValueError("no")

        @fw.jit(pack_state=True)
        def step():
            jax.debug.callback(check, cells[0].value)
            for cell in cells:
                cell.value = cell + 1

        step()
        fail.append(1)
        with pytest.raises(Exception, match="no"):
            step()
        fail.clear()
        np.testing.assert_array_equal(cells[1].value, [1, 1])

    def test_under_a_transform(self):
        cells = [fw.Variable(jnp.ones(2)) for _ in range(2)]

        @fw.jit(pack_state=True)
        def step(x):
            for cell in cells:
                cell.value = cell * x
            return cells[0].value.sum()

        step(2.0)
        assert fw.grad(step)(3.0) == 4.0
        fw.for_loop(lambda: step(2.0), (), length=3)
        np.testing.assert_array_equal(cells[1].value, [48, 48])

    @pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
    def test_copies_pack_too(self, how):
        class Counters(fw.BrainPyObject):
            def __init__(self):
                super().__init__()
                self.cells = [fw.Variable(jnp.zeros(2)) for _ in range(3)]
                self.run = fw.jit(self.step, pack_state=True)

            def step(self):
                for cell in self.cells:
                    cell.value = cell + 1

        globals()["Counters"] = Counters
        Counters.__qualname__ = "Counters"
        one = Counters()
        one.run(), one.run()
        other = how(one)
        other.run()
        assert len(other.cells[0]._held.state) == 1
        np.testing.assert_array_equal(other.cells[2].value, [3, 3])
        np.testing.assert_array_equal(one.cells[2].value, [2, 2])

    def test_lower_shows_what_runs(self):
        net, _, step = trainer(True)
        plain = trainer(False)[2].lower(jnp.ones(4)).compile()
        compiled = step.lower(jnp.ones(4)).compile()
        inputs = [len(jax.tree.leaves(c.in_avals)) for c in (compiled, plain)]
        assert inputs[0] < inputs[1] / 3
        assert net.layers[0].w.value.shape == (4, 4)
