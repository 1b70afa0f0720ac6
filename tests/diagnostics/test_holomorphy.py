"""`check_holomorphic` passes what is holomorphic, and says where the rest is not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holoprop as hp

KEY = jax.random.key(0)
# Layers of the same few units throughout: what JAX has compiled for one serves the others.
X = jnp.array([0.1, 0.5, 0.9])
PICTURE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 1)))


def mlp(**options):
    return hp.mlp([3, 2, 2], cost=hp.SquaredError(), key=KEY, **options)


def vgg(pooling=None):
    shape = {"input_shape": (2, 2, 1), "classes": 2, "padding": (1, 1), "pool": (False, True)}
    return hp.vgg([2, 2], pooling=pooling, key=KEY, **shape)


def hopfield(**options):
    return hp.HopfieldNetwork(5, clamped=range(3), outputs=[3, 4], key=KEY, **options)


class One(hp.AbstractEnergy):
    """One leaf of a given shape, and a function of it; nobody says whether it is holomorphic."""

    function: Any
    shape: tuple[int, ...] = (2,)

    def energy(self, state, x):
        return jnp.sum(state**2) / 2 - jnp.sum(self.function(state)) / 4

    def init_state(self, x):
        return jnp.full(self.shape, x)


class Pair(hp.AbstractEnergy):
    """Two leaves, of which the energy or the cost treats one in a given way."""

    function: Any
    leaf: str = "u"
    in_cost: bool = False

    def energy(self, state, x):
        smooth = jnp.sum(state["u"] ** 2 + state["v"] ** 2) - x * jnp.sum(state["u"] * state["v"])
        return smooth if self.in_cost else smooth + jnp.sum(self.function(state[self.leaf])) / 4

    def init_state(self, x):
        return {"u": jnp.zeros(2), "v": jnp.zeros(2)}

    def cost(self, state, y):
        value = jnp.sum((state["u"] - y) ** 2)
        return value + jnp.sum(self.function(state[self.leaf])) if self.in_cost else value


# At the steepest place of the shifted sigmoid.
HALF = jnp.array(0.5)
HOLOMORPHIC = {
    "sigmoid": lambda: (One(hp.ShiftedSigmoid()), HALF),
    "dsilu": lambda: (One(hp.DSiLU()), HALF),
    "silu": lambda: (One(hp.SiLU()), HALF),
    "tanh": lambda: (One(hp.Tanh()), HALF),
    "identity": lambda: (One(hp.Identity()), HALF),
    "softmax pooling": lambda: (One(hp.SoftmaxPool(2), (2, 2, 1)), HALF),
    "average pooling": lambda: (One(hp.AveragePool(2), (2, 2, 1)), HALF),
    "hopfield": lambda: (hopfield(), X),
    "hopfield with sigmoid": lambda: (hopfield(activation=hp.ShiftedSigmoid()), X),
}


@pytest.mark.parametrize("name", HOLOMORPHIC)
@pytest.mark.quick("sigmoid", "silu", "softmax pooling", "hopfield")
def test_passes_what_is_holomorphic(name):
    """Whatever random states are looked at."""
    energy, x = HOLOMORPHIC[name]()
    for seed in range(6):
        found = hp.check_holomorphic(energy, x, key=jax.random.key(seed))
        assert found.failures == ()
        assert found.holomorphic


@pytest.mark.slow
def test_passes_the_papers_mlp(digits):
    images, labels = digits
    network = hp.mlp([784, 256, 256, 10], key=KEY)
    assert hp.check_holomorphic(network, images[0], target=labels[0]).failures == ()


@pytest.mark.parametrize(
    ("function", "shape"),
    [(hp.ReLU(), (2,)), (hp.ClippedReLU(), (2,)), (hp.MaxPool(2), (2, 2, 1))],
    ids=["relu", "clipped relu", "max pooling"],
)
def test_finds_pieces_by_numbers(function, shape):
    """Each piece is holomorphic, so that derivatives at a point would not tell."""
    found = hp.check_holomorphic(One(function, shape), jnp.array(0.1))
    assert found.failures == (
        "energy breaks the Cauchy-Riemann equations in state",
        "step breaks the Cauchy-Riemann equations in state",
    )


@pytest.mark.parametrize("activation", [hp.ReLU(), hp.ClippedReLU()])
def test_finds_declared_parts(activation):
    found = hp.check_holomorphic(hopfield(activation=activation), X)
    assert not found.holomorphic
    assert found.failures[0] == f"activation {type(activation).__name__} is not holomorphic"


# Each leaves a complex number complex, so that only the equations can tell.
BROKEN = {
    "conj": lambda z: jnp.conj(z) ** 2,
    "real": lambda z: z * jnp.real(z),
    "where": lambda z: jnp.where(jnp.real(z) > 0, z**2, 0),
}


@pytest.mark.parametrize(("name", "leaf"), [("conj", "u"), ("real", "v"), ("where", "v")])
def test_finds_the_leaf_in_the_energy(name, leaf):
    found = hp.check_holomorphic(Pair(BROKEN[name], leaf), jnp.array(0.3), target=0.5)
    other = {"u": "v", "v": "u"}[leaf]
    place = f"energy breaks the Cauchy-Riemann equations in state['{leaf}']"
    assert place in found.failures
    assert not any("energy breaks" in f and f"'{other}'" in f for f in found.failures)
    assert not any(failure.startswith("cost") for failure in found.failures)


@pytest.mark.parametrize("name", ["conj", "where"])
def test_finds_the_cost(name):
    energy = Pair(BROKEN[name], "v", in_cost=True)
    found = hp.check_holomorphic(energy, jnp.array(0.3), target=0.5)
    assert found.failures == ("cost breaks the Cauchy-Riemann equations in state['v']",)
    assert hp.check_holomorphic(energy, jnp.array(0.3)).holomorphic


def test_finds_what_is_real():
    energy = Pair(lambda z: z)

    class Real(hp.AbstractEnergy):
        def energy(self, state, x):
            return jnp.real(energy.energy(state, x))

        def init_state(self, x):
            return energy.init_state(x)

        def cost(self, state, y):
            return jnp.sum(jnp.abs(state["u"] - y) ** 2)

    found = hp.check_holomorphic(Real(), jnp.array(0.3), target=0.5)
    assert "energy is real for a complex state" in found.failures
    assert "cost is real for a complex state" in found.failures


def test_looks_round_the_state_given():
    """A kink far from the starting state is seen from nearby alone."""
    energy = Pair(lambda z: jnp.where(jnp.real(z) > 10, z**2, z))
    x = jnp.array(0.3)
    assert hp.check_holomorphic(energy, x).holomorphic
    near = {"u": jnp.full(2, 10.0), "v": jnp.zeros(2)}
    assert not hp.check_holomorphic(energy, x, init=near).holomorphic


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0.0}, "radius must be positive; got 0.0"),
        ({"radius": -1.0}, "radius must be positive; got -1.0"),
        ({"samples": 0}, "samples must be a whole number, 1 or more; got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        hp.check_holomorphic(mlp(), X, **options)


@pytest.mark.parametrize(
    ("energy", "x", "part"),
    [
        (mlp(activation=hp.ReLU()), X, "activation ReLU"),
        (hopfield(activation=hp.ClippedReLU()), X, "activation ClippedReLU"),
        (vgg(hp.MaxPool(2)), PICTURE, "pooling MaxPool of layer 2"),
    ],
)
def test_complex_nudges_are_refused(energy, x, part):
    """With the part to blame, and what would work; real nudges are not."""
    message = (
        rf"complex nudges need a holomorphic network, and {part} is not: use real nudges.*DSiLU"
    )
    labels = np.array([1])
    with pytest.raises(ValueError, match=message):
        hp.relax(energy, x[None], nudge=0.1j, target=labels)
    estimator = hp.Holomorphic(0.1, 4)
    with pytest.raises(ValueError, match=message):
        hp.value_and_grad(energy, x[None], labels, estimator=estimator)
    steps = hp.Synchronous(steps=2)
    hp.relax(energy, x[None], nudge=-0.1, target=labels, relaxation=steps)


def test_complex_nudges_of_an_energy_of_ones_own_are_refused():
    class Real(Pair):
        def energy(self, state, x):
            return jnp.sum(jnp.abs(state["u"]) ** 2)

    with pytest.raises(ValueError, match=r"Real.energy returns float64 for a complex state.*abs"):
        hp.relax(Real(lambda z: z), jnp.ones(1), nudge=0.1j, target=jnp.ones(1))
