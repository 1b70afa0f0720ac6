"""What entry points make of their arguments: numbers, precisions, lists, trees, what is traced."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import cast

import holoprop as hp
from holoprop.runs import load_weights
from holoprop.runs._weights import save_weights
from holoprop.training import Examples, Method, evaluate, fit, train_step

QUICK = hp.GradientFlow(0.4)
PHASES = {"free": QUICK, "nudged": QUICK}
# With the largest relative error that its nudge's bias and default tolerances leave.
ESTIMATORS = {
    "implicit": (hp.Implicit(), 1e-5),
    "unrolled": (hp.Unrolled(60), 1e-5),
    "one-sided": (hp.OneSided(1e-3), 5e-3),
    "centred": (hp.Centred(1e-2, form=hp.StateForm.DEVIATION), 1e-3),
    "fourier": (hp.Holomorphic(0.1, 4, rule=hp.GradientRule.FOURIER), 1e-4),
    "deviation": (hp.Holomorphic(0.1, 4, form=hp.StateForm.DEVIATION), 1e-4),
    "online": (hp.Online(0.1, 4, steps_per_point=40, periods=1), 1e-4),
}
KINDS = {
    "python": float,
    "numpy double": np.float64,
    "numpy single": np.float32,
    "numpy array": np.asarray,
    "jax": jnp.asarray,
}
HALF = ("bfloat16", "float16")


class Spring(hp.AbstractEnergy):
    """E = k |s|^2/2 - x s with the cost |s - y|^2/2: s* = x/k."""

    k: Any

    def energy(self, state, x):
        return jnp.sum(self.k * state**2 / 2 - x * state)

    def init_state(self, x):
        return jnp.zeros_like(x)

    def cost(self, state, y):
        return jnp.sum((state - y) ** 2) / 2


def rest(k, x, estimator=ESTIMATORS["implicit"][0], energy=Spring, **options):
    """The only unit of a spring at rest."""
    return hp.equilibrium(energy(k), x, estimator=estimator, **PHASES, **options)[0]


def of_springs(k, x, y, estimator=ESTIMATORS["implicit"][0], energy=Spring, **options):
    return hp.value_and_grad(energy(k), x, y, estimator=estimator, **PHASES, **options)


# Numbers among the parameters --------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.quick("float32-deviation")
def test_equilibrium_is_differentiated_by_a_python_number(name, dtype):
    estimator, bound = ESTIMATORS[name]
    x = jnp.ones(1, dtype)

    def by_energy(energy):
        return rest(energy.k, x, estimator)

    found = [
        jax.grad(rest)(2.0, x, estimator),
        jax.grad(by_energy)(Spring(2.0)).k,
        jax.jacrev(by_energy)(Spring(2.0)).k,
        jax.jit(jax.grad(by_energy))(Spring(2.0)).k,
    ]
    # d(x/k)/dk at x = 1, k = 2.
    np.testing.assert_allclose(found, -0.25, rtol=bound)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.quick("online", "implicit")
def test_value_and_grad_has_a_gradient_by_a_python_number(name):
    estimator, bound = ESTIMATORS[name]
    x, y = jnp.ones((1, 1)), jnp.zeros((1, 1))
    (loss, _), grads = of_springs(2.0, x, y, estimator)
    # (x/k)^2/2 and -x^2/k^3.
    np.testing.assert_allclose((loss, grads.k), (0.125, -0.125), rtol=bound)
    assert jax.tree.structure(grads) == jax.tree.structure(Spring(2.0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.quick("numpy single-float32")
def test_all_kinds_of_numbers_are_parameters(kind, dtype):
    k, x = KINDS[kind](2.0), jnp.ones((1, 1), dtype)
    found = [
        jax.grad(rest)(k, x[0]),
        jax.grad(lambda energy: rest(energy.k, x[0]))(Spring(k)).k,
        2 * of_springs(k, x, 0 * x)[1].k,
    ]
    np.testing.assert_allclose(found, -0.25, rtol=1e-5)
    # A number does not decide the precision; where it is an array of NumPy's, states do not follow.
    state = hp.relax(Spring(k), x, relaxation=QUICK).state
    assert state.dtype == dtype
    np.testing.assert_allclose(state, 0.5, rtol=1e-5)


def test_numbers_beside_what_is_not_trained():
    class Mixed(Spring):
        power: int = 2
        name: str = "mixed"
        nothing: None = None
        hidden: float = eqx.field(default=3.0, static=True)

        def energy(self, state, x):
            # Integers and static fields are known where the program is written.
            assert self.hidden == 3.0
            return jnp.sum(self.k * state**self.power / 2 - x * state)

    _, grads = of_springs(2.0, jnp.ones((1, 1)), jnp.zeros((1, 1)), energy=Mixed)
    np.testing.assert_allclose(grads.k, -0.125, rtol=1e-5)
    assert (grads.power, grads.name, grads.nothing) == (None, None, None)


def test_input_of_a_python_number():
    def by_x(x):
        return hp.equilibrium(Spring(2.0), x, estimator=hp.Implicit(), **PHASES)

    np.testing.assert_allclose(jax.grad(by_x)(1.0), 0.5, rtol=1e-5)
    tree = jax.grad(
        lambda x: hp.equilibrium(InTree(2.0), x, estimator=hp.Centred(0.01), **PHASES)[0]
    )({"a": 1.0, "b": np.ones(1)})
    np.testing.assert_allclose((tree["a"], tree["b"][0]), 0.5, rtol=1e-5)


class InTree(Spring):
    """x = a + b."""

    def energy(self, state, x):
        return super().energy(state, x["a"] + x["b"])

    def init_state(self, x):
        return jnp.zeros(1)


def test_another_number_is_no_other_program():
    traces = []

    class Counted(Spring):
        def energy(self, state, x):
            traces.append(None)
            return super().energy(state, x)

    x = jnp.ones((1, 1))
    counts = []
    for k in (2.0, 2.0, 2.5):
        hp.relax(Counted(k), x, relaxation=QUICK)
        counts.append(len(traces))
    assert counts[0]
    assert counts[1:] == counts[:-1]


def test_nothing_to_train_is_an_error():
    x = jnp.ones((1, 1))
    with pytest.raises(ValueError, match="Spring has nothing to train: give it a floating-point"):
        of_springs(2, x, x)
    with pytest.raises(ValueError, match="Spring has nothing to train"):
        jax.jit(lambda x: of_springs(2, x, x))(x)


def test_complex_parameters_are_refused():
    x = jnp.ones((1, 1))
    with pytest.raises(ValueError, match=r"Spring.k has dtype complex128, but parameters must be"):
        of_springs(jnp.array(2 + 0j), x, x, hp.Holomorphic(0.1, 4))

    def size(k):
        state = hp.equilibrium(Spring(k), x[0], estimator=hp.Holomorphic(0.1, 4), **PHASES)
        return jnp.real(state)[0]

    with pytest.raises(ValueError, match=r"no derivative by.k of the energy, which is complex"):
        jax.grad(size)(jnp.array(2 + 0j))
    # What is not differentiated by may be.
    found = jax.grad(lambda x: rest(jnp.array(2 + 0j), x, hp.Holomorphic(0.1, 4)).real)(x[0])
    np.testing.assert_allclose(found, 0.5, rtol=1e-5)


def method(relaxation=QUICK):
    return Method(hp.Implicit(), relaxation, relaxation, optax.adam(0.1), jnp.asarray)


@pytest.mark.slow
def test_training_moves_numbers_and_keeps_them(tmp_path):
    examples = Examples(np.ones((4, 1)), np.full((4, 1), 0.4))
    losses = []
    trained = fit(
        Spring(2.0),
        examples,
        examples,
        method=method(),
        epochs=20,
        batch_size=2,
        seed=0,
        on_epoch=lambda metrics: losses.append(metrics.validation_loss),
    )
    # x/k is to be 0.4.
    assert float(trained.k) == pytest.approx(2.5, abs=0.1)
    assert losses[-1] < losses[0] / 10
    assert evaluate(method(), Spring(2.5), examples).loss == pytest.approx(0, abs=1e-9)
    save_weights(trained, tmp_path / "weights.safetensors")
    assert float(load_weights(Spring(2.0), tmp_path).k) == float(trained.k)


def test_a_training_step_by_itself_moves_numbers():
    network, optimiser = Spring(2.0), method().optimiser
    state = optimiser.init(eqx.filter(network, eqx.is_inexact_array_like))
    x, y = jnp.ones((2, 1)), jnp.zeros((2, 1))
    moved, *_ = train_step(method(), network, state, x, y, jax.random.key(0))
    # The first step of Adam has the size of its rate.
    assert float(moved.k) == pytest.approx(2.1, abs=1e-6)


# Precision ---------------------------------------------------------------------------------------


class Half(hp.AbstractEnergy):
    """E = k (s - 1)^2/2, s* = 1; the state as its maker says."""

    k: Any
    dtype: str = eqx.field(default="", static=True)

    def energy(self, state, x):
        return jnp.sum(self.k * (state - x) ** 2 / 2)

    def init_state(self, x):
        return jnp.zeros(x.shape, self.dtype or x.dtype)

    def cost(self, state, y):
        return jnp.sum((state - y) ** 2) / 2


@pytest.mark.parametrize("own", ["", *HALF])
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.quick("float16-")
def test_states_are_never_of_half_precision(dtype, own):
    # A step of 5 contracts by a half; in half precision it would stop a tenth short of rest.
    flow = hp.GradientFlow(5.0)
    energy, x = Half(jnp.array(0.1, dtype), own), jnp.ones((2, 1), dtype)
    equilibrium = hp.relax(energy, x, relaxation=flow)
    assert equilibrium.state.dtype == np.float32
    np.testing.assert_allclose(equilibrium.state, 1, rtol=1e-5)
    (loss, aux), grads = hp.value_and_grad(
        energy, x, 0 * x, estimator=hp.Implicit(), free=flow, nudged=flow, init=x
    )
    np.testing.assert_allclose((loss, *aux.state[:, 0]), (0.5, 1, 1), rtol=1e-5)
    assert (grads.k.dtype, aux.state.dtype) == (energy.k.dtype, np.float32)
    # By the stiffness the rest does not change, by the place of it as much as that.

    def place(k, x):
        options = {"estimator": hp.Centred(0.01), "free": flow, "nudged": flow}
        return hp.equilibrium(Half(k, own), x, **options)[0]

    by_k, by_x = jax.grad(place, (0, 1))(energy.k, x[0])
    assert (by_k.dtype, by_x.dtype) == (energy.k.dtype, x.dtype)
    np.testing.assert_allclose(by_k, 0, atol=1e-3)
    np.testing.assert_allclose(np.asarray(by_x, float), 1, rtol=1e-2)


HALF_NETWORKS = {
    "mlp": (hp.mlp([5, 4, 3], key=jax.random.key(0)), (2, 5)),
    "vgg": (hp.vgg([2], input_shape=(4, 4, 1), classes=3, key=jax.random.key(1)), (2, 4, 4, 1)),
    "hopfield": (
        hp.HopfieldNetwork(6, clamped=[0, 1], outputs=[3, 4, 5], key=jax.random.key(2)),
        (2, 2),
    ),
}


@pytest.mark.parametrize("name", HALF_NETWORKS)
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.quick("bfloat16-mlp")
def test_networks_stored_in_half_precision_compute_in_float32(name, dtype):
    network, shape = HALF_NETWORKS[name]
    half = cast(network, dtype)
    x = jax.random.uniform(jax.random.key(3), shape).astype(dtype)
    single = cast(half, jnp.float32), x.astype(jnp.float32)
    estimator = hp.Holomorphic(0.1, 4)
    relaxation = hp.Sequential() if network.numerics().fixed_point_map else QUICK
    found, wanted = (
        hp.value_and_grad(*both, [0, 2], estimator=estimator, free=relaxation, nudged=relaxation)
        for both in ((half, x), single)
    )
    # To the bit; gradients in the dtype of what is stored.
    np.testing.assert_array_equal(found[0][0], wanted[0][0])
    for a, b in zip(jax.tree.leaves(found[1]), jax.tree.leaves(wanted[1]), strict=True):
        assert a.dtype == dtype
        np.testing.assert_array_equal(a, b.astype(dtype))
    same = (hp.check_holomorphic(*both) for both in ((half, x[0]), (single[0], single[1][0])))
    assert len({found.failures for found in same}) == 1
    examples = Examples(np.asarray(x), np.array([0, 2]))
    assert np.isfinite(evaluate(method(relaxation=relaxation), half, examples).loss)


class Blocks(hp.AbstractEnergy):
    """E = k a^2/2 - x a + (b - a)^2/2 + b^4/4, whose state may be of two precisions."""

    k: Any
    dtypes: tuple[str, str] = eqx.field(static=True)

    def energy(self, state, x):
        a, b = state["a"], state["b"]
        return jnp.sum(self.k * a**2 / 2 - x * a + (b - a) ** 2 / 2 + b**4 / 4)

    def init_state(self, x):
        return {name: jnp.zeros(1, d) for name, d in zip("ab", self.dtypes, strict=True)}

    def cost(self, state, y):
        return jnp.sum((state["b"] - y) ** 2) / 2


@functools.cache
def of_blocks(form, k, x, *dtypes):
    energy = Blocks(jnp.array(2.0, k), dtypes)
    x, y = jnp.ones((1, 1), x), jnp.zeros((1, 1))
    estimator = hp.Holomorphic(0.05, 3, form=form)
    return hp.value_and_grad(energy, x, y, estimator=estimator, **PHASES)


SINGLE_DOUBLE = st.sampled_from(["float32", "float64"])


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.sampled_from(list(hp.StateForm)), SINGLE_DOUBLE, SINGLE_DOUBLE, SINGLE_DOUBLE)
@pytest.mark.slow
def test_precisions_of_an_energy_of_ones_own_mix(form, k, x, b):
    (loss, aux), grads = of_blocks(form, k, x, "float32", b)
    (wanted, _), gradient = of_blocks(form, *["float64"] * 4)
    assert (grads.k.dtype, {leaf.dtype for leaf in jax.tree.leaves(aux.state)}) == (
        k,
        {np.dtype(b)},
    )
    np.testing.assert_allclose((loss, grads.k), (wanted, gradient.k), rtol=1e-3)


@pytest.mark.parametrize("single", range(4))
@pytest.mark.quick("1")
def test_precisions_in_a_layered_network_mix(single):
    network = hp.mlp([5, 4, 3], cost=hp.SquaredError(), weight_std=0.3, key=jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (2, 5))
    leaves, structure = jax.tree.flatten(network)
    options = {"estimator": hp.Centred(0.1), "free": hp.Sequential(), "nudged": hp.Sequential()}
    (wanted, _), gradient = hp.value_and_grad(network, x, [0, 2], **options)
    for others in (False, True):
        mixed = jax.tree.unflatten(
            structure,
            [a.astype(jnp.float32) if (i == single) != others else a for i, a in enumerate(leaves)],
        )
        (loss, aux), grads = hp.value_and_grad(mixed, x, [0, 2], **options)
        assert {s.dtype for s in aux.state} == {np.dtype("float64")}
        np.testing.assert_allclose(loss, wanted, rtol=1e-6)
        for found, like, exact in zip(*map(jax.tree.leaves, (grads, mixed, gradient)), strict=True):
            assert found.dtype == like.dtype
            np.testing.assert_allclose(found, exact, atol=1e-6)


@pytest.mark.parametrize(
    "flow",
    [
        hp.GradientFlow(np.float64(0.4), tolerance=np.float64(1e-6)),
        hp.GradientFlow(np.float32(0.4), steps=40, noise=np.float64(1e-4)),
    ],
)
def test_settings_of_numpy_leave_the_precision(flow):
    x = jnp.ones((1, 1), jnp.float32)
    state = hp.relax(Spring(2.0), x, relaxation=flow, key=jax.random.key(0)).state
    assert state.dtype == np.float32
    np.testing.assert_allclose(state, 0.5, atol=1e-3)


# States ------------------------------------------------------------------------------------------


def entries(energy, x, **options):
    """Every way in, for a batch of inputs."""
    y, implicit = jnp.ones((1, 1)), {"estimator": hp.Implicit(), **PHASES, **options}
    one = jax.tree.map(lambda a: a[0], x)
    return {
        "relax": lambda: hp.relax(energy, x, **options),
        "value_and_grad": lambda: hp.value_and_grad(energy, x, y, **implicit),
        "equilibrium": lambda: hp.equilibrium(energy, one, **implicit),
        "check_holomorphic": lambda: hp.check_holomorphic(energy, one),
        "stability_map": lambda: hp.stability_map(energy, x, y, points=2),
    }


ENTRIES = list(entries(Spring(2.0), jnp.ones((1, 1))))


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("jit", [False, True])
def test_integer_states_are_refused(entry, jit):
    def call(x):
        return entries(Spring(2.0), x)[entry]()

    for dtype in ("int32", "uint8", "bool"):
        message = f"Spring.init_state makes a state of dtype {dtype}, but states must be floating"
        if jit and entry in ("check_holomorphic", "stability_map"):
            continue
        with pytest.raises(ValueError, match=message):
            (jax.jit(call) if jit else call)(jnp.ones((1, 1), dtype))


@pytest.mark.parametrize("entry", ENTRIES)
def test_states_without_arrays_are_refused(entry):
    class Stateless(Spring):
        def init_state(self, x):
            return {}

    class Counting(Spring):
        def init_state(self, x):
            return {"u": x, "count": 0}

    x = jnp.ones((1, 1))
    with pytest.raises(ValueError, match=r"Stateless.init_state makes no arrays: return a state"):
        entries(Stateless(2.0), x)[entry]()
    message = r"Counting.init_state makes state\['count'\] of dtype int64, but states must be"
    with pytest.raises(ValueError, match=message):
        entries(Counting(2.0), x)[entry]()


# Lists and trees ---------------------------------------------------------------------------------

NETWORK = hp.mlp([2, 3, 3], weight_std=0.3, key=jax.random.key(0))
X = jax.random.uniform(jax.random.key(1), (2, 2))
SWEEPS = {"free": hp.Sequential(), "nudged": hp.Sequential()}


def assert_same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 2],
        (0, 2),
        [np.int64(0), np.int32(2)],
        [jnp.array(0), 2],
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
        ([1.0, 0.0, 0.0], (0.0, 0.0, 1.0)),
    ],
)
@pytest.mark.quick("labels0", "labels5")
def test_lists_of_numbers_are_arrays(labels):
    def evaluated(x, labels):
        return hp.value_and_grad(NETWORK, x, labels, estimator=hp.Centred(0.1), **SWEEPS)[1]

    wanted = evaluated(X, jnp.array(labels))
    assert_same(evaluated(np.asarray(X).tolist(), labels), wanted)
    assert_same(
        jax.jit(lambda x: evaluated(x, labels))(X), jax.jit(evaluated)(X, jnp.array(labels))
    )
    nudged = [
        hp.relax(NETWORK, x, nudge=0.1, target=y, relaxation=hp.Sequential()).state
        for x, y in ((np.asarray(X).tolist(), labels), (X, jnp.array(labels)))
    ]
    assert_same(*nudged)


def test_lists_inside_of_trees_are_arrays():
    listed = {"a": [1.0, 2.0], "b": [[1.0], [3.0]]}

    class Both(InTree):
        def energy(self, state, x):
            return Spring.energy(self, state, x["a"][None] + x["b"])

    state = hp.relax(Both(2.0), listed, relaxation=QUICK).state
    np.testing.assert_allclose(state, [[1.0], [2.5]], rtol=1e-5)


def test_lists_that_are_no_arrays_are_refused():
    def evaluated(x, labels):
        return hp.value_and_grad(NETWORK, x, labels, estimator=hp.Centred(0.1), **SWEEPS)

    with pytest.raises(ValueError, match="labels contain 3, but the network has 3 classes"):
        evaluated(X, [0, 3])
    with pytest.raises(ValueError, match="x is a list whose rows differ in length: give an array"):
        evaluated([[1.0, 2.0], [3.0]], [0, 2])
    with pytest.raises(ValueError, match="labels is a list whose rows differ in length"):
        evaluated(X, [[1.0, 0.0], [0.0]])
    with pytest.raises(ValueError, match="images are a dict, but the network takes one array"):
        evaluated({"a": X}, [0, 2])
    with pytest.raises(ValueError, match="labels are a list, but the network takes one array"):
        evaluated(X, [jnp.ones(2), jnp.ones(2)])


@pytest.mark.parametrize("entry", ["relax", "value_and_grad", "stability_map"])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            {"a": np.ones(3), "b": np.ones((2, 1))},
            r"the batch sizes differ: x\['a'\] 3, x\['b'\] 2",
        ),
        (
            {"a": np.ones(1), "b": (np.ones((1, 1)), np.ones(2))},
            r"x\['a'\] 1, x\['b'\]\[0\] 1, x\['b'\]\[1\] 2",
        ),
        ({"a": np.ones(1), "b": np.float64(1.0)}, r"x\['b'\] has no batch axis: add one"),
        ({"a": np.ones(1), "b": np.ones((0, 1))}, r"x\['b'\] is empty: give one example or more"),
        ({"a": np.ones(1), "b": "one"}, r"x\['b'\] is a str, but must be an array with a leading"),
    ],
)
def test_leaves_of_one_input_that_disagree_are_named(entry, x, message):
    calls = {
        "relax": lambda: hp.relax(InTree(2.0), x),
        "value_and_grad": lambda: hp.value_and_grad(
            InTree(2.0), x, np.ones((1, 1)), estimator=hp.Implicit()
        ),
        "stability_map": lambda: hp.stability_map(InTree(2.0), x, np.ones((1, 1))),
    }
    with pytest.raises(ValueError, match=message):
        calls[entry]()


# Sizes of nudges ---------------------------------------------------------------------------------

SIZED = {
    "radius": [
        lambda size: hp.Holomorphic(size, 2),
        lambda size: hp.Holomorphic(size, 8),
        lambda size: hp.Online(size, 4, steps_per_point=5),
    ],
    "nudge": [lambda size: hp.OneSided(size), lambda size: hp.Centred(size)],
}
MAKERS = [make for makers in SIZED.values() for make in makers]
ARRAYS = {
    **KINDS,
    "jax single": lambda size: jnp.array(size, jnp.float32),
    "numpy half": lambda size: np.float16(size),
    "bfloat16": lambda size: jnp.array(size, jnp.bfloat16),
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("name", SIZED)
def test_sizes_that_are_none_are_refused_as_arrays_too(name, kind):
    wanted = {"radius": "a positive number", "nudge": "a real number other than 0"}[name]
    sizes = [0.0, -0.0, np.nan, np.inf, -np.inf] + ([-1.0] if name == "radius" else [])
    for make in SIZED[name]:
        for size in sizes:
            message = rf"^{name} must be {wanted}; got {size!r}\.$".replace("+", r"\+")
            with pytest.raises(ValueError, match=message):
                make(ARRAYS[kind](size))
        make(ARRAYS[kind](0.25))


@pytest.mark.parametrize("name", SIZED)
def test_sizes_that_are_no_real_numbers_are_refused(name):
    for make in SIZED[name]:
        for size in (0.1j, "0.1", np.complex64(0.1), None):
            with pytest.raises(ValueError, match=f"^{name} must be a .* number"):
                make(size)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.quick("float32-<lambda>1")
def test_traced_sizes_that_are_none_are_found_when_it_runs(make, dtype):
    x = jnp.ones((1, 1), dtype)

    @eqx.filter_jit
    def loss(size, throw):
        return of_springs(2.0, x, 0 * x, make(size), throw=throw)[0][0]

    @eqx.filter_jit
    def slope(size, throw):
        return jax.grad(rest)(2.0, x[0], make(size), throw=throw)

    # What the states' precision takes for zero, too.
    small = {"float32": 1e-40, "float64": 1e-310}[dtype]
    for size in map(jnp.asarray, (0.0, jnp.nan, jnp.inf, small)):
        for call in (loss, slope):
            with pytest.raises(RuntimeError, match="radius or nudge moves nothing, or everything"):
                jax.block_until_ready(call(size, True))
    for size in map(jnp.asarray, (0.0, 0.1)):
        assert np.isfinite(loss(size, False))
    assert np.isfinite(slope(jnp.asarray(0.1), True))


def test_a_number_too_small_for_the_states_is_found():
    x = jnp.ones((1, 1), jnp.float32)
    with pytest.raises(RuntimeError, match="radius or nudge moves nothing"):
        jax.block_until_ready(of_springs(2.0, x, 0 * x, hp.Holomorphic(1e-60, 2)))


@pytest.mark.parametrize("kind", [float, np.float32, jnp.asarray, lambda n: jnp.array([n, 0.1])])
@pytest.mark.parametrize("jit", [False, True])
def test_nudges_that_are_not_finite_are_refused(kind, jit):
    x = jnp.ones((1, 1))
    for nudge in (np.nan, np.inf):
        number = kind(nudge)

        def call(x, number=number):
            return hp.relax(Spring(2.0), x, nudge=number, target=x)

        with pytest.raises(ValueError, match="nudge has 1 values that are not finite"):
            (jax.jit(call) if jit else call)(x)


# Where relaxation starts, and what is closed over ------------------------------------------------


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.quick("True")
def test_at_rest_nothing_depends_on_the_start(jit):
    def by_start(start):
        return rest(2.0, jnp.ones(1), init=start)

    def warm(k):
        return rest(k, jnp.ones(1), init=jnp.ones(1) / k)

    by_start, warm = (jax.jit(f) if jit else f for f in (by_start, warm))
    assert jax.grad(by_start)(jnp.ones(1)).tolist() == [0.0]
    np.testing.assert_allclose(jax.grad(warm)(2.0), -0.25, rtol=1e-5)
    # Nor on how large the nudges are.
    assert float(jax.grad(lambda size: rest(2.0, jnp.ones(1), hp.Centred(size)))(0.1)) == 0.0


@pytest.mark.parametrize("name", ["implicit", "unrolled", "centred", "deviation", "online"])
@pytest.mark.quick("online")
def test_a_state_that_oscillates_starts_any_estimator(name):
    x = jnp.ones((1, 1))
    (_, aux), _ = of_springs(2.0, x, 0 * x, ESTIMATORS["online"][0])
    assert jnp.iscomplexobj(aux.state)
    estimator, bound = ESTIMATORS[name]
    (loss, later), grads = of_springs(2.0, x, 0 * x, estimator, init=aux.state)
    np.testing.assert_allclose((loss, grads.k), (0.125, -0.125), rtol=bound)
    assert jnp.iscomplexobj(later.state) == (name == "online")
    found = rest(2.0, x[0], estimator, init=aux.state[0])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, 0.5, rtol=bound)


class Closed(hp.AbstractEnergy):
    """A spring whose potential is a function; what that closes over is no field."""

    potential: Any

    def energy(self, state, x):
        return jnp.sum(self.potential(state) - x * state)

    def init_state(self, x):
        return jnp.zeros_like(x)


@pytest.mark.parametrize("inner", [lambda f: f, jax.jit])
@pytest.mark.quick("jit")
def test_a_parameter_that_is_closed_over_is_refused(inner):
    def by_k(k):
        return rest(inner(lambda s: k * s**2 / 2), jnp.ones(1), energy=Closed)

    message = "no derivative by a value that Closed closes over: make it a field of the energy"
    for derivative in (
        jax.grad(by_k),
        jax.jit(jax.grad(by_k)),
        jax.grad(jax.jit(by_k)),
        lambda k: jax.jvp(by_k, (k,), (1.0,)),
        lambda k: jax.grad(lambda k: jnp.sum(jax.vmap(by_k)(k)))(k[None]),
    ):
        with pytest.raises(RuntimeError, match=message):
            derivative(jnp.array(2.0))
    # Without a derivative by it, it is none of the library's business.
    np.testing.assert_allclose(by_k(2.0), 0.5, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(by_k)(2.0), 0.5, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(by_k)(jnp.array([2.0, 4.0])), [0.5, 0.25], rtol=1e-5)

    def by_x(k, x):
        return jax.grad(lambda x: rest(lambda s: k * s**2 / 2, x, energy=Closed))(x)

    np.testing.assert_allclose(jax.jit(by_x)(2.0, jnp.ones(1)), 0.5, rtol=1e-5)
