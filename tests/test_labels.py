"""Targets that are none: refused or said at every entry point, never counted as something else.

The networks' own checks are the matter of test_value_and_grad.py and test_relax.py; here an energy
of one's own names no classes, and leaves all to its cost.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holoprop as hp

X = jnp.array([[0.3, -0.2], [0.1, 0.4], [-0.5, 0.2]])
GOOD = np.array([0, 2, 1])
FLOW = hp.GradientFlow(0.5)
STEPS = {"free": FLOW, "nudged": FLOW}


class Reader(hp.AbstractEnergy):
    """E = |s|^2/2 - x . s, whose rest is x, and a cost of W s."""

    readout: jax.Array
    cost_function: Any = hp.CrossEntropy()

    def energy(self, state, x):
        return jnp.sum(state**2) / 2 - jnp.sum(x * state)

    def init_state(self, x):
        return jnp.zeros_like(x)

    def cost(self, state, y):
        return self.cost_function(self.readout @ state, y)


class Counted(Reader):
    """Labels that count from one, in a tree."""

    def cost(self, state, y):
        return y["weight"] * super().cost(state, y["label"] - 1)


class Named(Reader):
    """It says its classes."""

    def logits(self, state):
        return self.readout @ state


READOUT = jnp.array([[1.0, 0.5], [-0.3, 0.8], [0.2, -1.0]])
READERS = {"cross-entropy": Reader(READOUT), "squared error": Reader(READOUT, hp.SquaredError())}
readers = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
ESTIMATORS = {
    "holomorphic": hp.Holomorphic(0.1, 4),
    "centred": hp.Centred(0.1),
    "implicit": hp.Implicit(),
    "online": hp.Online(0.1, 4, steps_per_point=5),
    "unrolled": hp.Unrolled(10),
}
estimators = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
# Each with the target that is the smallest of its kind.
SHAPES = {
    "an axis of one": GOOD[:, None],
    "numbers with an axis of one": np.ones((3, 1)),
    "numbers without": np.array([0.0, 2.0, 1.0]),
    "too few numbers": np.ones((3, 2)),
    "truth values": GOOD > 0,
    "complex": np.ones((3, 3), complex),
}
shapes = pytest.mark.parametrize("y", SHAPES.values(), ids=SHAPES)
BAD = [np.array([0, 3, 1]), np.array([0, -1, 1], np.int8), np.array([2, 200, 1], np.uint8)]
unknown = pytest.mark.parametrize("y", BAD, ids=["too large", "negative", "of few bits"])


def gradient(energy, y, estimator=ESTIMATORS["holomorphic"], **options):
    return hp.value_and_grad(energy, X, y, estimator=estimator, **STEPS, **options)


def settle(energy, y, nudge=0.1, **options):
    return hp.relax(energy, X, nudge=nudge, target=y, relaxation=FLOW, **options)


def look(energy, y):
    return hp.stability_map(energy, X, y, points=2, relaxation=hp.Synchronous(steps=3))


ENTRIES = {
    "value_and_grad": gradient,
    "relax": settle,
    "relax by a complex nudge": lambda energy, y: settle(energy, y, 0.1j),
    "stability_map": look,
}
entries = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)


@readers
@entries
@shapes
def test_shapes_and_types_are_refused(reader, entry, y):
    """Jitted or not, before anything is computed."""
    for evaluate in (entry, jax.jit(entry)):
        with pytest.raises(ValueError, match=r"target has shape .* prediction has shape \(3,\)"):
            evaluate(reader, y)


@readers
@estimators
def test_shapes_are_refused_by_every_estimator(reader, estimator):
    with pytest.raises(ValueError, match=r"target has shape \(1,\)"):
        gradient(reader, GOOD[:, None], estimator)


@readers
@entries
@unknown
def test_known_labels_out_of_range_are_refused(reader, entry, y):
    """Also under a caller's jit, where they are not traced."""
    message = rf"target is {y[1]}, but the prediction has 3 classes: .* from 0 to 2"
    for evaluate in (entry, lambda reader, y: jax.jit(lambda r: entry(r, y))(reader)):
        with pytest.raises(ValueError, match=message):
            evaluate(reader, y)


def test_labels_of_several_kinds_in_a_tree():
    """NumPy's arithmetic stays known, JAX's under a trace does not; both are found."""
    y = {"label": np.array([1, 3, 2]), "weight": np.ones(3)}
    found = gradient(Counted(READOUT), y, hp.Unrolled(10))
    wanted = gradient(READERS["cross-entropy"], GOOD, hp.Unrolled(10))
    np.testing.assert_allclose(found[0][0], wanted[0][0], rtol=1e-12)
    with pytest.raises((ValueError, RuntimeError), match=r"labels are out of range|target is -1"):
        jax.block_until_ready(gradient(Counted(READOUT), y | {"label": GOOD}, hp.Unrolled(10)))


@jax.jit
def traced_gradient(reader, y, estimator):
    return gradient(reader, y, estimator)


@pytest.mark.parametrize(
    ("reader", "estimator"),
    [
        (READERS["cross-entropy"], hp.Centred(0.1)),
        (READERS["cross-entropy"], hp.Implicit()),
        (READERS["squared error"], hp.Centred(0.1)),
    ],
)
@pytest.mark.quick("reader0-*0", "reader2-*")
def test_traced_labels_out_of_range_are_found_when_it_runs(reader, estimator):
    """Never a gradient without a word; JAX says a RuntimeError again as a ValueError."""
    jax.block_until_ready(traced_gradient(reader, GOOD, estimator))
    for y in BAD:
        y = np.asarray(y, int)
        with pytest.raises((RuntimeError, ValueError), match="labels are out of range"):
            jax.block_until_ready(traced_gradient(reader, y, estimator))


@jax.jit
def quiet_gradient(reader, y, estimator):
    return gradient(reader, y, estimator, throw=False)


@estimators
@pytest.mark.quick("holomorphic", "implicit")
def test_traced_labels_out_of_range_without_throw(estimator):
    """The example is left out, or the loss is no number; the others' gradient is theirs."""
    reader = READERS["cross-entropy"]
    (loss, aux), grads = quiet_gradient(reader, BAD[0], estimator)
    if not np.isnan(loss):
        assert aux.settled.tolist() == [True, False, True]
        (_, _), wanted = hp.value_and_grad(
            reader, X[::2], BAD[0][::2], estimator=estimator, **STEPS
        )
        np.testing.assert_allclose(grads.readout, wanted.readout, rtol=1e-9)


@jax.jit
def quiet_rest(reader, y, nudge):
    return settle(reader, y, nudge)


@pytest.mark.parametrize(
    ("reader", "nudge"),
    [
        (READERS["cross-entropy"], 0.1),
        (READERS["cross-entropy"], 0.1j),
        (READERS["squared error"], np.array([0.1, -0.1])),
        (Named(READOUT), 0.1),
    ],
)
def test_relax_of_traced_labels_out_of_range(reader, nudge):
    """No finite state, and the others as if it were not there."""
    found, wanted = (quiet_rest(reader, y, nudge) for y in (BAD[0], GOOD))
    diverged = np.asarray(found.result) == hp.RelaxationResult.DIVERGED
    assert np.all(diverged == [False, True, False])
    assert not np.isfinite(found.state[..., 1, :]).any()
    np.testing.assert_allclose(found.state[..., ::2, :], wanted.state[..., ::2, :], rtol=1e-11)


def test_relax_says_so_with_throw():
    @jax.jit
    def loud(reader, y):
        return settle(reader, y, throw=True)

    loud(Named(READOUT), GOOD)
    with pytest.raises((RuntimeError, ValueError), match=r"labels are out of range.*from 0 to 2"):
        jax.block_until_ready(loud(Named(READOUT), BAD[0]))
    with pytest.raises((RuntimeError, ValueError), match=r"did not settle.*class index is out"):
        jax.block_until_ready(loud(READERS["cross-entropy"], BAD[0]))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint32])
@pytest.mark.quick("int8")
def test_more_classes_than_a_label_counts(dtype):
    """Labels in a type whose largest number is below that of the classes."""
    reader = Named(jnp.linspace(-1, 1, 600).reshape(300, 2))

    @jax.jit
    def losses(y):
        return hp.value_and_grad(reader, X, y, estimator=hp.Unrolled(40))[0][0]

    found, wanted = (losses(np.array([0, 2, 100], kind)) for kind in (dtype, int))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_traced_labels_that_are_not_finite():
    with pytest.raises((RuntimeError, ValueError), match="the labels have values that are not fin"):
        jax.block_until_ready(
            traced_gradient(READERS["squared error"], np.full((3, 3), np.nan), hp.Unrolled(10))
        )


def test_a_start_where_the_cost_has_no_value_is_no_label():
    """0 log 0 is not a number; at the equilibrium nothing of it is left."""

    class Entropic(Reader):
        def cost(self, state, y):
            hot = hp.nn.SquaredError()(self.readout @ state, y)
            return hot + jnp.sum(state**2 * jnp.log(state**2))

    (loss, _), _ = traced_gradient(Entropic(READOUT), GOOD, hp.Unrolled(10))
    assert np.isfinite(loss)


# Scalars -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["energy", "cost"])
@estimators
def test_what_is_no_scalar_is_named(where, estimator):
    """A sum left out, or a target with an axis of one that broadcasts."""

    class Spread(Reader):
        def energy(self, state, x):
            value = super().energy(state, x)
            return value[None] if where == "energy" else value

        def cost(self, state, y):
            return (state[0] - y) ** 2 / 2

    y = np.ones((3, 1)) if where == "cost" else np.ones(3)
    message = rf"Spread.{where} returns an array of shape \(1,\) for one example, but must return a"
    with pytest.raises(ValueError, match=message):
        gradient(Spread(READOUT), y, estimator)
    with pytest.raises(ValueError, match=message):
        settle(Spread(READOUT), y)
