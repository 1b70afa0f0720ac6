"""Energies that are not holomorphic and do not say so are found and named, and no others.

The thorough look, `check_holomorphic`, is the matter of diagnostics/test_holomorphy.py.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import table
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import cast

import holoprop as hp
from holoprop.relaxation import Problem, TargetObjective, holomorphy_defects, is_broken


class Own(hp.AbstractEnergy):
    """Springs u and v, a pull by the input, and a part in the energy or the cost.

    E = |u|^2 + |v|^2/2 - u . W v / 2 - x . u + strength part(u); y pulls at v.
    """

    weight: jax.Array
    part: Any
    places: tuple[str, ...] = ("energy",)
    strength: Any = 0.3
    unit: Any = 1.0

    def _part(self, state, place):
        return (
            self.strength * self.unit**2 * self.part(state["u"] / self.unit)
            if place in self.places
            else 0
        )

    def energy(self, state, x):
        u, v = state["u"], state["v"]
        smooth = jnp.sum(u**2) + jnp.sum(v**2) / 2 - u @ self.weight @ v / 2 - jnp.sum(x * u)
        return smooth + self._part(state, "energy")

    def init_state(self, x):
        return {"u": jnp.zeros_like(x), "v": jnp.zeros(2, x.dtype)}

    def cost(self, state, y):
        return jnp.sum((state["v"] - y) ** 2) / 2 + self._part(state, "cost")


def layer_norm(z):
    centred = z - jnp.mean(z)
    return jnp.sum(jnp.tanh(centred / jnp.sqrt(jnp.var(z) + 1e-5)) * jnp.arange(z.size))


# As they are written by who thinks of real numbers; each is complex for a complex state.
BROKEN = {
    "absolute value": lambda z: jnp.sum(z * jnp.abs(z)),
    "real part": lambda z: jnp.sum(z * z.real),
    "imaginary part": lambda z: jnp.sum(z * jnp.sin(z.imag)),
    "conjugate": lambda z: jnp.sum(jnp.conj(z) ** 2),
    "layer norm": layer_norm,
    "vdot": lambda z: jnp.vdot(z, z),
    "norm": lambda z: jnp.linalg.norm(z) ** 2,
    "unit vector": lambda z: jnp.sum(z / jnp.linalg.norm(z) * jnp.arange(z.size)),
    "angle": lambda z: jnp.sum(z**2 * jnp.cos(jnp.angle(z))),
    # Its slopes are right on the real axis.
    "square of the imaginary part": lambda z: jnp.sum(z**2 + (z - jnp.conj(z)) ** 2),
}


def softmax_variance(z):
    return jnp.sum(z**2 * jax.nn.softmax(z)) - jnp.sum(z * jax.nn.softmax(z)) ** 2


def attention(z):
    scores = jnp.outer(z, z)
    return jnp.sum(jax.nn.softmax(scores, axis=-1) @ z * z)


SMOOTH = {
    "square": lambda z: jnp.sum(z**2),
    "softplus": lambda z: jnp.sum(jax.nn.softplus(z)),
    "exponential": lambda z: jnp.sum(jnp.exp(z) - z),
    "logarithm": lambda z: jnp.sum(z * jnp.log(z)),
    "tanh": lambda z: jnp.sum(jnp.tanh(z)),
    "sigmoid": lambda z: jnp.sum(jax.nn.sigmoid(z)),
    "gelu-like": lambda z: jnp.sum(z * jnp.tanh(z + 0.04 * z**3)),
    "softmax": softmax_variance,
    "log-sum-exp": lambda z: jax.nn.logsumexp(3 * z),
    "attention": attention,
    "root": lambda z: jnp.sum(jnp.sqrt(1 + z**2)),
    "power": lambda z: jnp.sum(z**1.5),
    "quotient": lambda z: jnp.sum(z / (1 + z**2)),
    "cosine": lambda z: jnp.sum(jnp.cos(z[1:] - z[:-1])),
    "layer norm": lambda z: jnp.sum(
        jnp.tanh((z - z.mean()) / jnp.sqrt(jnp.mean((z - z.mean()) ** 2)))
    ),
    "convolution": lambda z: jnp.sum(jnp.convolve(z, jnp.array([1.0, -2.0, 1.0], z.dtype)) ** 2),
    "spectrum": lambda z: jnp.sum(jnp.fft.fft(z)[:2] ** 2),
    "linear solve": lambda z: z @ jnp.linalg.solve(jnp.eye(z.size) + jnp.diag(z**2), z),
    "branches": lambda z: jnp.sum(jnp.where(z.real > 0, z, -z) ** 2),
    "constant": lambda z: jnp.sum(0 * z),
    "shift without slope": lambda z: jnp.sum(jnp.exp(z - jax.lax.stop_gradient(jnp.max(z.real)))),
}
X = jnp.array([[0.7, 0.4, -0.5], [0.3, -0.2, 0.8]])
Y = jnp.array([[0.5, -0.1], [0.2, 0.3]])
W = jnp.array([[0.5, -0.2], [0.1, 0.3], [-0.4, 0.2]])
FLOW = hp.GradientFlow(0.3, steps=60)
FLOWS = {"free": FLOW, "nudged": FLOW}


@eqx.filter_jit
def defects(energy, x, y, state):
    return holomorphy_defects(Problem(energy, x, TargetObjective(y)), first(state), 0)


def first(batch):
    return jax.tree.map(lambda a: a[0], batch)


def broken_parts(found, state):
    """What is found, by the names of functions and leaves."""
    leaves = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    names = [name + leaf for name in sorted(found) for leaf in leaves]
    return {n for n, b in zip(names, is_broken(found), strict=True) if b}


BOTH = ("energy", "cost")


@functools.cache
def by_scale(kind, places, dtype):
    """Defects of an energy and a cost with each part, in other units; and at a state of zero."""

    def one(part, scale, size):
        energy = Own(jnp.asarray(W, dtype), part, places, unit=scale)
        u, v = scale * X.astype(dtype), scale * Y.astype(dtype)
        return defects(energy, u, v, {"u": size * u, "v": size * v})

    # In one program, which compiles faster than many.
    @jax.jit
    def all_parts(scales, sizes):
        return {
            name: jax.vmap(functools.partial(one, part))(scales, sizes) for name, part in kind()
        }

    return all_parts(jnp.array([1e-6, 1.0, 1e6, 1.0], dtype), jnp.array([1.0, 1.0, 1.0, 0], dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.quick("*-float32")
def test_finds_what_is_broken(name, dtype):
    """In the function and the leaf where it stands, in any units, at an equilibrium or at zero."""
    found = by_scale(BROKEN.items, BOTH, dtype)[name]
    for at in range(4):
        look = jax.tree.map(lambda d, at=at: d[at], found)
        assert broken_parts(look, {"u": 0, "v": 0}) == {"energy['u']", "cost['u']"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.quick("*-float32")
def test_finds_nothing_else(name, dtype):
    """Nor by its rounding, of which it is a few hundred at most."""
    found = by_scale(SMOOTH.items, ("energy",), dtype)[name]
    largest = max(float(np.max(d)) for d in jax.tree.leaves(found))
    assert largest <= 300 * np.finfo(dtype).eps


@given(
    ratio=st.floats(-3, 0),
    angle=st.floats(0, 6.28),
    units=st.floats(-12, 12),
    state=st.floats(-12, 12),
)
@settings(deadline=None, max_examples=30)
def test_size_of_the_defect(ratio, angle, units, state):
    """For f = c (s^2/2 + q s conj(s)) with df = c (s + q conj(s)) ds + c q s d conj(s).

    What i c' and c' are pulled back to differ by 2 |c q s c'|, and none is larger than the sum of
    both coefficients; the largest of all is one where the conjugate's alone is left.
    """
    q = 10**ratio * np.exp(1j * angle)
    energy, s = Mixed(10**units, q.real, q.imag), 10.0**state
    defect = float(one_defect(energy, jnp.array([s]))[0])
    assert abs(q) / (1 + 2 * abs(q)) * 0.999 <= defect <= 1.001


class Mixed(hp.AbstractEnergy):
    unit: Any
    real: Any
    imaginary: Any

    def energy(self, state, x):
        q = self.real + 1j * self.imaginary
        return self.unit * (state**2 / 2 + q * state * jnp.conj(state))

    def init_state(self, x):
        return jnp.zeros_like(x)


@jax.jit
def one_defect(energy, state):
    return holomorphy_defects(Problem(energy, state), state[0], 0)["energy"]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, np.float32) for name in table.ENERGIES] + [("mlp", float), ("circuit", float)],
)
@pytest.mark.quick("*-float32")
def test_shipped_and_shared_energies_pass(name, dtype):
    """By their declaration, and by the look itself where that is taken away."""
    energy, x, y = cast(table.ENERGIES[name][0](), dtype)
    state = jax.vmap(energy.init_state)(x)
    assert energy.declares_holomorphy() == (name != "circuit")

    class Undeclared(type(energy)):
        def declares_holomorphy(self):
            return False

    undeclared = object.__new__(Undeclared)
    for field, value in vars(energy).items():
        object.__setattr__(undeclared, field, value)
    if name != "circuit":
        assert holomorphy_defects(Problem(energy, x), first(state), 0) == {}
    found = defects(undeclared, x, y, jax.tree.map(lambda s: s + 0.3, state))
    assert broken_parts(found, state) == set()
    assert set(found) == {"step" if energy.numerics().fixed_point_map else "energy", "cost"}


class Absolute(hp.nn.AbstractActivation):
    """It says that it is holomorphic."""

    holomorphic = True

    def __call__(self, z):
        return jnp.tanh(z * jnp.sqrt(1 + jnp.abs(z) ** 2))


class Sine(hp.nn.AbstractActivation):
    holomorphic = True

    def __call__(self, z):
        return jnp.sin(z)


class Distance(hp.nn.AbstractCost):
    has_readout = False

    def __call__(self, prediction, target):
        return jnp.vdot(prediction - target, prediction - target)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"activation": Absolute()}, {"step[0]", "step[1]"}),
        ({"activation": Sine()}, set()),
        ({"cost": Distance()}, {"cost[1]"}),
    ],
)
def test_parts_of_ones_own_in_a_network(options, wanted):
    options = {"cost": hp.SquaredError()} | options
    network = hp.mlp([3, 3, 2], **options, key=jax.random.key(0))
    assert not network.declares_holomorphy()
    state = jax.vmap(network.init_state)(X)
    assert broken_parts(defects(network, X, Y, state), state) == wanted


def test_a_function_in_place_of_a_part_is_no_declaration():
    network = eqx.tree_at(
        lambda n: n.cost_function, table.squared_error_mlp()[0], lambda p, y: p[0]
    )
    assert not network.declares_holomorphy()


# Entry points ------------------------------------------------------------------------------------

ESTIMATORS = {
    "holomorphic": hp.Holomorphic(0.1, 3),
    "full circle": hp.Holomorphic(0.1, 2, full_circle=True),
    "online": hp.Online(0.1, 3, steps_per_point=5, periods=1),
}
estimators = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
BENT = Own(W, BROKEN["layer norm"])
COSTLY = Own(W, BROKEN["layer norm"], places=("cost",))
STRAIGHT = Own(W, SMOOTH["tanh"])
NAMED = (
    r"of Own breaks the Cauchy-Riemann equations in state\['u'\], so it is not holomorphic: "
    r"replace abs, .*vdot or norm.*or use real nudges.*check_holomorphic"
)


def gradient(energy, estimator, **options):
    return hp.value_and_grad(energy, X, Y, estimator=estimator, **FLOWS, **options)


@estimators
@pytest.mark.quick("holomorphic")
def test_value_and_grad_names_it(estimator):
    """And says it in `aux`, where it is asked not to raise."""
    with pytest.raises(RuntimeError, match="the energy " + NAMED):
        jax.block_until_ready(gradient(BENT, estimator))
    (_, aux), _ = gradient(BENT, estimator, throw=False)
    assert {name: d.shape for name, d in aux.holomorphy.items()} == {"energy": (2,), "cost": (2,)}
    assert aux.holomorphy["energy"][0] > 1e-3
    assert aux.holomorphy["energy"][1] < 1e-14
    assert np.all(np.asarray(aux.holomorphy["cost"]) < 1e-14)


def test_value_and_grad_names_the_cost_under_jit():
    with pytest.raises((RuntimeError, ValueError), match="the cost " + NAMED):
        eqx.filter_jit(gradient)(COSTLY, ESTIMATORS["holomorphic"])


def test_value_and_grad_names_it_where_nothing_settles():
    """Not a radius that is too large."""

    class Away(Own):
        def energy(self, state, x):
            return super().energy(state, x) - 5 * jnp.sum(state["v"] ** 2)

    away = Away(W, BROKEN["vdot"])
    with pytest.raises(RuntimeError, match="the energy of Away breaks"):
        jax.block_until_ready(gradient(away, ESTIMATORS["holomorphic"]))


def test_what_is_holomorphic_passes():
    (_, aux), _ = gradient(STRAIGHT, ESTIMATORS["holomorphic"])
    assert all(np.all(np.asarray(d) < 1e-14) for d in aux.holomorphy.values())


def test_real_nudges_are_not_looked_at():
    for estimator in (hp.Holomorphic(0.1, 2), hp.OneSided(0.1)):
        (_, aux), _ = eqx.filter_eval_shape(gradient, BENT, estimator)
        assert aux.holomorphy == {}


def test_an_energy_may_declare_itself():
    class Sure(Own):
        def declares_holomorphy(self):
            return True

    (_, aux), _ = eqx.filter_eval_shape(
        gradient, Sure(W, SMOOTH["tanh"]), ESTIMATORS["holomorphic"]
    )
    assert aux.holomorphy == {}


def test_mapped_over_energies():
    """One of them is enough for an error; without, each has its own numbers."""
    strengths = jnp.array([0.0, 0.3])

    def one(strength):
        return gradient(
            Own(W, BROKEN["vdot"], strength=strength), hp.Holomorphic(0.1, 3), throw=False
        )

    (_, aux), _ = jax.vmap(one)(strengths)
    assert aux.holomorphy["energy"].shape == (2, 2)
    assert (np.asarray(aux.holomorphy["energy"][:, 0]) > 1e-3).tolist() == [False, True]


def test_no_callback_without_throw():
    program = jax.make_jaxpr(
        lambda x: hp.value_and_grad(
            STRAIGHT, x, Y, estimator=ESTIMATORS["holomorphic"], throw=False, **FLOWS
        )[1]
    )(X)
    assert "callback" not in str(program)


def test_no_retrace_on_a_second_call():
    traces = []

    class Noted(Own):
        def energy(self, state, x):
            traces.append(None)
            return super().energy(state, x)

    for weight in (W, 2 * W):
        gradient(Noted(weight, SMOOTH["square"]), ESTIMATORS["full circle"])
        seen = len(traces) if weight is W else seen
    assert seen == len(traces)


def pulled(energy, x, estimator, **options):
    def top(x):
        # To a tolerance, which is asked of fixed steps too.
        settings = FLOWS | {"free": hp.GradientFlow(0.3, tolerance=1e-9)} | options
        state = hp.equilibrium(energy, x, estimator=estimator, **settings)
        return jnp.sum(state["v"] ** 2)

    return jax.grad(top)(x)


@pytest.mark.parametrize("estimator", [ESTIMATORS["holomorphic"], ESTIMATORS["online"]])
@pytest.mark.quick("estimator1")
def test_equilibrium_names_it(estimator):
    # Of those that are not holomorphic, one that settles by itself.
    resting = Own(W, BROKEN["absolute value"])
    with pytest.raises((RuntimeError, ValueError), match="the energy " + NAMED):
        jax.block_until_ready(pulled(resting, X[0], estimator))


def test_equilibrium_without_throw_is_no_number():
    estimator = ESTIMATORS["full circle"]
    assert np.isnan(pulled(BENT, X[0], estimator, throw=False)).all()
    assert np.isfinite(pulled(COSTLY, X[0], estimator, throw=False)).all()


def settle(energy, nudge=0.1j, **options):
    return hp.relax(energy, X, nudge=nudge, target=Y, relaxation=FLOW, **options)


@pytest.mark.parametrize("nudge", [0.1j, np.array([0.1, 0.1j])], ids=["one", "several"])
@pytest.mark.parametrize("energy", [BENT, COSTLY], ids=["energy", "cost"])
@pytest.mark.quick("energy-one", "cost-several")
def test_relax_names_it(energy, nudge):
    name = energy.places[0]
    with pytest.raises(ValueError, match=f"the {name} {NAMED}"):
        settle(energy, nudge)


def test_relax_under_jit_counts_all_as_diverged():
    rest = eqx.filter_jit(settle)(BENT)
    assert rest.result.tolist() == [hp.RelaxationResult.DIVERGED] * 2
    assert np.isnan(rest.residual).all()
    with pytest.raises((RuntimeError, ValueError), match="the energy " + NAMED):
        jax.block_until_ready(eqx.filter_jit(lambda e: settle(e, throw=True).state)(BENT))


def test_relax_passes_what_is_holomorphic():
    assert np.all(settle(STRAIGHT).residual < 1e-6)
    assert np.all(settle(BENT, 0.1).result != hp.RelaxationResult.DIVERGED)


def test_stability_map_names_it():
    with pytest.raises(ValueError, match="the energy " + NAMED):
        hp.stability_map(BENT, X, Y, width=0.2, points=2, relaxation=FLOW)


@pytest.mark.parametrize("part", ["vdot", "norm"])
def test_what_is_real_is_named_before_anything_is_computed(part):
    class Real(Own):
        def energy(self, state, x):
            value = BROKEN[part](state["u"])
            return value.real

    with pytest.raises(
        ValueError, match=r"Real.energy returns float64 .* vdot or norm by products"
    ):
        gradient(Real(W, None), ESTIMATORS["holomorphic"])
