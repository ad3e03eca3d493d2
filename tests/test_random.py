"""Random states: streams, distributions, transforms, saving."""

# ruff: noqa: ARG005, E731, PLW0108

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import framework as fw
from framework import random
from framework.random import RandomKey, RandomState


@pytest.fixture
def rng():
    return RandomState(0)


N = 20_000
# What to draw, and the mean and standard deviation to expect.
DISTRIBUTIONS = {
    "random": ((), 0.5, 12**-0.5),
    "uniform": ((2.0, 4.0), 3.0, 2 * 12**-0.5),
    "normal": ((1.0, 2.0), 1.0, 2.0),
    "truncated_normal": ((-1.0, 1.0), 0.0, 0.5396),
    "bernoulli": ((0.3,), 0.3, 0.21**0.5),
    "poisson": ((4.0,), 4.0, 2.0),
    "exponential": ((2.0,), 2.0, 2.0),
    "gamma": ((4.0, 0.5), 2.0, 1.0),
    "beta": ((2.0, 2.0), 0.5, 0.05**0.5),
    "gumbel": ((0.0, 1.0), 0.5772, 1.2825),
    "laplace": ((1.0, 1.0), 1.0, 2**0.5),
    "logistic": ((0.0, 1.0), 0.0, 1.8138),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(rng, name):
    parameters, mean, deviation = DISTRIBUTIONS[name]
    draw = getattr(rng, name)
    x = np.asarray(draw(*parameters, size=N), float)
    assert x.shape == (N,)
    np.testing.assert_allclose(x.mean(), mean, atol=4 * deviation / N**0.5)
    np.testing.assert_allclose(x.std(), deviation, rtol=0.05)
    assert draw(*parameters).shape == ()
    assert draw(*parameters, size=(2, 3)).shape == (2, 3)
    again = draw(*parameters, size=5, key=jax.random.key(1))
    np.testing.assert_array_equal(again, draw(*parameters, size=5, key=jax.random.key(1)))


@pytest.mark.parametrize(
    ("draw", "shape"),
    [
        (lambda r: r.rand(2, 3), (2, 3)),
        (lambda r: r.randn(4), (4,)),
        (lambda r: r.randn(), ()),
        (lambda r: r.normal(jnp.zeros(3), 1.0), (3,)),
        (lambda r: r.normal(fw.Variable(jnp.zeros(3)), jnp.ones((2, 1))), (2, 3)),
        (lambda r: r.randint(5, size=7), (7,)),
        (lambda r: r.choice(5, 3, replace=False), (3,)),
        (lambda r: r.choice(jnp.ones((4, 2)), (3,)), (3, 2)),
        (lambda r: r.choice(5), ()),
        (lambda r: r.permutation(6), (6,)),
        (lambda r: r.permutation(jnp.ones((3, 2)), axis=1), (3, 2)),
        (lambda r: r.multivariate_normal(jnp.zeros(2), jnp.eye(2)), (2,)),
        (lambda r: r.multivariate_normal(jnp.zeros(2), jnp.eye(2), 3), (3, 2)),
        (lambda r: r.categorical(jnp.zeros((5, 3))), (5,)),
        (lambda r: r.categorical(jnp.zeros((5, 3)), size=(2, 5)), (2, 5)),
    ],
)
def test_shapes(rng, draw, shape):
    before = jax.random.key_data(rng.key.value)
    assert draw(rng).shape == shape
    assert not (jax.random.key_data(rng.key.value) == before).all()
    assert fw.jit(draw)(rng).shape == shape


def test_randint_bounds(rng):
    assert set(np.asarray(rng.randint(3, size=100))) == {0, 1, 2}
    assert set(np.asarray(rng.randint(3, 5, size=100))) == {3, 4}


def test_permutation_and_shuffle(rng):
    assert sorted(np.asarray(rng.permutation(10))) == list(range(10))
    v = fw.Variable(jnp.arange(10.0))
    rng.shuffle(v)
    assert not (v.value == jnp.arange(10.0)).all()
    assert sorted(np.asarray(v.value)) == list(range(10))


def test_choice_with_probabilities(rng):
    assert set(np.asarray(rng.choice(3, 50, p=jnp.array([0.0, 1.0, 0.0])))) == {1}


def test_seeds(rng):
    assert isinstance(rng.key, RandomKey)
    assert jnp.issubdtype(rng.key.dtype, jax.dtypes.prng_key)
    first = rng.normal(size=3)
    rng.seed(0)
    np.testing.assert_array_equal(rng.normal(size=3), first)
    rng.seed(jax.random.key(0))
    np.testing.assert_array_equal(rng.normal(size=3), first)
    np.testing.assert_array_equal(RandomState(jax.random.PRNGKey(0)).normal(size=3), first)
    rng.seed()
    other = RandomState()
    assert (jax.random.key_data(rng.key.value) != jax.random.key_data(other.key.value)).any()


def test_split(rng):
    a, b = rng.split_key(), rng.split_key()
    assert a.shape == ()
    assert (jax.random.key_data(a) != jax.random.key_data(b)).any()
    assert rng.split_keys(3).shape == (3,)


@pytest.mark.parametrize("transform", ["jit", "for_loop", "scan", "while", "cond", "grad", "remat"])
def test_transforms_draw_what_python_draws(rng, transform):
    def draw(_=None):
        return rng.normal() + 0 * rng.uniform()

    def in_while():
        out = fw.Variable(jnp.zeros(3))

        def body(i):
            out[i] = draw()
            return i + 1

        fw.while_loop(body, lambda i: i < 3, 0)
        return out.value

    expected = jnp.stack([draw() for _ in range(3)])
    state = rng.key.value
    rng.seed(0)
    three = lambda f: jnp.stack([f() for _ in range(3)])
    run = {
        "jit": lambda: three(fw.jit(draw)),
        "for_loop": lambda: fw.for_loop(draw, jnp.zeros(3)),
        "scan": lambda: fw.scan(lambda c, x: (c, draw()), 0, jnp.zeros(3))[1],
        "while": in_while,
        "cond": lambda: three(lambda: fw.jit(lambda p: fw.cond(p, draw, draw))(True)),
        "grad": lambda: three(lambda: fw.grad(lambda x: x * draw())(1.0)),
        "remat": lambda: three(fw.checkpoint(draw)),
    }[transform]
    np.testing.assert_allclose(run(), expected, rtol=1e-6)
    assert (jax.random.key_data(rng.key.value) == jax.random.key_data(state)).all()


def test_a_loop_that_does_not_draw_leaves_the_state(rng):
    """Though another loop whose body is of the same line does."""

    def loop(draws):
        body = lambda _: rng.normal() if draws else 0.0
        return fw.vmap(lambda x: x + fw.for_loop(body, jnp.zeros(2)).sum())(jnp.zeros(2))

    loop(True)
    before = jax.random.key_data(rng.key.value)
    assert (loop(False) == 0).all()
    assert (jax.random.key_data(rng.key.value) == before).all()


def test_an_exception_leaves_the_state(rng):
    before = jax.random.key_data(rng.key.value)

    @fw.jit
    def fail():
        rng.normal()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (jax.random.key_data(rng.key.value) == before).all()


class TestDefault:
    def test_functions_share_a_state(self):
        random.seed(1)
        first = random.normal(size=2), random.uniform()
        fw.random.seed(1)
        np.testing.assert_array_equal(random.normal(size=2), first[0])
        assert random.uniform() == first[1]

    def test_all_functions_are_exported(self):
        methods = {n for n in vars(RandomState) if not n.startswith("_")}
        assert methods <= set(random.__all__)

    def test_in_jit(self):
        random.seed(2)
        step = fw.jit(lambda: random.normal())
        a, b = step(), step()
        assert a != b
        assert step.traces == 1

    @pytest.mark.parametrize(
        "where",
        ["fw.jit(draw)", "fw.vmap(draw, axis_size=2)", "lambda: fw.for_loop(draw, (), length=2)"],
    )
    def test_first_use_inside_a_transform(self, where):
        """The key comes to be in a trace, but is not of it."""
        code = f"""
import framework as fw, jax
from framework import random
draw = lambda: random.normal()
run = {where}
run()
before = jax.random.key_data(random.DEFAULT.key.value)
run()
assert (jax.random.key_data(random.DEFAULT.key.value) != before).any()
random.normal()
"""
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_plain_jit_refuses(self):
        random.seed(3)
        with pytest.raises(fw.TraceError, match=r"framework\.jit"):
            jax.jit(lambda: random.normal())()


def test_import_starts_no_backend():
    code = (
        "import framework, jax\n"
        "jax.config.update('jax_platforms', 'no_such_platform')\n"
        "try:\n    jax.devices()\nexcept RuntimeError:\n    print('lazy')\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "lazy"


def test_saving(rng, tmp_path):
    class Model(fw.BrainPyObject):
        def __init__(self, seed):
            super().__init__()
            self.rng = RandomState(seed)

    model, other = Model(0), Model(1)
    model.rng.normal()
    model.save_states(tmp_path / "m.msgpack")
    expected = model.rng.normal(size=3)
    other.load_states(tmp_path / "m.msgpack")
    np.testing.assert_array_equal(other.rng.normal(size=3), expected)
    assert list(model.vars("relative")) == ["rng.key"]
