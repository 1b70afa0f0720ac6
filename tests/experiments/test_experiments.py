"""Each experiment at smoke scale, against what is known independently of the library."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holoprop as hp
from holoprop.experiments import SCALES, experiments, redraw, reproduce
from holoprop.experiments._cost import Cost, Operations
from holoprop.experiments._exactness_numbers import predicted, taylor
from holoprop.experiments._maps import frontier_point
from holoprop.experiments._toy import circle, frontier, toy

NAMES = list(experiments())


# The table


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_runs_and_leaves_its_files(name, smoke):
    _, numbers, done = smoke(name)
    page = {"interactive.html"} if experiments()[name].page is not None else set()
    assert done.claims
    assert {file.name for file in done.folder.iterdir()} == {
        f"{name}.png",
        f"{name}.svg",
        "numbers.json",
        "config.json",
        "comparison.md",
    } | page
    assert (done.folder / f"{name}.png").stat().st_size < 300_000
    assert numbers


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_has_every_scale(name):
    experiment = experiments()[name]
    assert tuple(experiment.configs) == SCALES
    assert experiment.name == name
    for scale in SCALES:
        config = experiment.configs[scale]()
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.seed = 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_drawn_from_the_stored_numbers_alone(name, smoke, monkeypatch):
    config, _, done = smoke(name)
    page = (done.folder / "comparison.md").read_bytes()

    def refuse(*arguments, **options):
        raise AssertionError("computed")

    for function in ("relax", "value_and_grad"):
        monkeypatch.setattr(hp, function, refuse)
    (done.folder / f"{name}.png").unlink()
    again = redraw(experiments()[name], config, done.folder)
    assert (done.folder / f"{name}.png").exists()
    assert (done.folder / "comparison.md").read_bytes() == page
    assert [c.holds for c in again.claims] == [c.holds for c in done.claims]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fig5", "spectrum", "table1"])
def test_same_seed_gives_the_same_bits(name, smoke, tmp_path):
    _, _, done = smoke(name)
    again = reproduce(experiments()[name], scale="smoke", output=tmp_path)
    for file in ("numbers.json", "comparison.md"):
        assert (again.folder / file).read_bytes() == (done.folder / file).read_bytes()


# Numbers that are spoilt, how, and the claim that they take with them.
SPOILT = [
    ("fig2", "cosine_hep", lambda v: 0 * v, "d: hEP is exact"),
    ("fig2", "map", lambda v: v + 1, "b: a stable region"),
    ("fig2", "products", lambda v: 2 * v, "c: the mean"),
    ("fig3", "online_cosine", lambda v: 0 * v, "a: about ten"),
    ("fig3", "online_residual", lambda v: v[::-1], "b: the residual"),
    ("fig3", "quiet_hep", lambda v: 0 * v, "c: without noise"),
    ("fig3", "noisy_hep", lambda v: v[::-1], "c: with noise a finite radius"),
    ("fig4", "holomorphic", lambda v: 0 * v, "a: the readout"),
    ("fig5", "sigmoid", lambda v: v + 1e-9, "a: 1 / (1"),
    ("fig5", "dsilu", lambda v: -v, "b: the formula"),
    ("fig6", "holomorphic", lambda v: 0.5 * v, "with the largest N"),
    ("fig7", "map_a", lambda v: v + 1, "a: with linear"),
    ("fig7", "map_c", lambda v: v + 1, "b, c: smaller"),
    ("exactness", "error", lambda v: 2 * v, "Eq. (9)"),
    ("exactness", "error_deviation", lambda v: v + 1e-3, "float32, deviation"),
    ("exactness", "first_coefficient", lambda v: 2 * v, "the first Taylor"),
    ("spectrum", "modes", lambda v: v**0.5, "a: the p-th"),
    ("spectrum", "signal", lambda v: v[:, ::-1], "b: the teaching"),
    ("cost", "error", lambda v: 0 * v + 1, "with enough steps BPTT"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "key", "spoil", "opening"), SPOILT, ids=[f"{row[0]}-{row[1]}" for row in SPOILT]
)
def test_claims_that_the_numbers_do_not_bear_out_say_so(name, key, spoil, opening, smoke):
    config, numbers, done = smoke(name)
    found = experiments()[name].claims(config, numbers | {key: spoil(numbers[key])})
    (before,) = (c for c in done.claims if c.statement.startswith(opening))
    (after,) = (c for c in found if c.statement.startswith(opening))
    assert before.holds
    assert not after.holds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("errors", "worse", "better"),
    [
        ((30, 20, 60), True, True),
        ((30, 40, 60), True, False),
        ((30, 20, 25), False, True),
        ((30, 20, np.nan), True, True),
        ((np.nan, 20, np.nan), False, False),
        ((90, 89, 95), False, False),
    ],
)
def test_claims_on_training_follow_the_last_errors(errors, worse, better, smoke):
    config, numbers, _ = smoke("fig4")
    # Two seeds and two epochs, of which the first does not count.
    curves = [[[90.0, error - 5.0], [90.0, error + 5.0]] for error in errors]
    found = experiments()["fig4"].claims(config, numbers | {"training_error": np.array(curves)})
    holds = {claim.statement[:12]: claim.holds for claim in found}
    assert holds["c: the non-h"] == worse
    assert holds["c: N = 4 tra"] == better


# Oracles


def loss_of(example, weight, index, step):
    """The loss at a moved weight, by many steps of a loop of one's own."""
    moved = np.array(weight)
    moved[index] += step
    lower, _ = example.network.couplings
    readout = example.network.readout

    def sigmoid(z):
        return 1 / (1 + np.exp(-4 * z + 2))

    s1, s2 = np.zeros(4), np.zeros(4)
    for _ in range(400):
        s1, s2 = (
            sigmoid(np.asarray(lower.weight) @ example.x[0] + moved.T @ s2),
            sigmoid(moved @ s1),
        )
    logits = np.asarray(readout.weight) @ s2
    return np.log(np.sum(np.exp(logits))) - logits[example.label[0]]


@pytest.mark.slow
def test_products_of_figure_2_give_the_gradient_of_finite_differences(smoke):
    config, numbers, _ = smoke("fig2")
    example = toy(int(numbers["seed"]), weight_std=config.weight_std)
    lower, upper = numbers["units"]
    weight, step = example.network.couplings[1].weight, 1e-5
    both = [loss_of(example, weight, (upper, lower), sign * step) for sign in (1, -1)]
    slope = (both[0] - both[1]) / (2 * step)
    assert float(numbers["minus_gradient"]) == pytest.approx(-slope, rel=1e-6)
    small = numbers["products"][0]
    mean = np.mean(small / circle(config.product_points)) / config.product_radii[0]
    assert mean.real == pytest.approx(-slope, rel=1e-5)


@pytest.mark.slow
def test_the_frontier_of_figure_2_parts_settled_circles_from_others(smoke):
    config, numbers, _ = smoke("fig2")
    example, edge = toy(int(numbers["seed"])), float(numbers["frontier"])
    options = {"points": config.search_points, "free_steps": 100, "steps": 200}
    assert frontier(example, np.array([0.8 * edge]), **options) == np.inf
    assert frontier(example, np.array([edge]), **options) == edge


@pytest.mark.parametrize("radius", [0.3, 0.7])
def test_taylor_coefficients_of_a_geometric_series(radius):
    # 1 / (1 - beta) has ones; 1 / (1 - beta / 2) halves.
    beta = radius * circle(256)
    found = taylor(np.stack([1 / (1 - beta), 1 / (1 - beta / 2)], axis=1), radius)
    np.testing.assert_allclose(found[:12, 0], 1.0, atol=1e-12 / radius**12)
    np.testing.assert_allclose(found[:12, 1], 0.5 ** np.arange(12), atol=1e-12 / radius**12)


@pytest.mark.parametrize("points", [2, 3, 5])
@pytest.mark.parametrize("radius", [0.1, 0.4])
def test_prediction_is_the_error_of_the_sum(points, radius):
    """Eq. (8) on 1 / (1 - beta), whose derivative at zero is 1: bias r^N / (1 - r^N)."""
    beta = radius * circle(points)
    estimate = np.mean(1 / (1 - beta) / beta)
    coefficients = np.ones((128, 1))
    assert predicted(coefficients, radius, points) == pytest.approx(abs(estimate - 1), rel=1e-9)
    closed = radius**points / (1 - radius**points)
    assert predicted(coefficients, radius, points) == pytest.approx(closed, rel=1e-9)


@pytest.mark.slow
def test_errors_are_the_predicted_ones(smoke):
    _, numbers, _ = smoke("exactness")
    clear = numbers["predicted"] > 1e-9
    assert clear.any()
    np.testing.assert_allclose(numbers["error"][clear], numbers["predicted"][clear], rtol=0.01)


@pytest.mark.parametrize("at", [0.7, -0.4j, 0.3 + 0.3j])
def test_frontier_point_is_the_nearest_unsettled_nudge(at):
    axis = np.linspace(-1, 1, 41)
    nudges = axis + 1j * axis[:, None]
    residual = np.where(np.abs(nudges - 1.5 * at) < 0.5 * abs(at) + 1e-9, 1.0, 1e-16)
    assert frontier_point(residual, 2.0) == pytest.approx(at, abs=0.06)
    assert frontier_point(np.full((5, 5), 1e-16), 2.0) is None
    assert frontier_point(np.full((5, 5), np.nan), 2.0) == 0


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(7, 5, 4, 3), (7, 6, 5, 4, 3)])
def test_operations_of_a_step_are_those_of_its_matrix_products(sizes):
    """Against XLA's count of one synchronous step, in which little else is computed."""
    network = hp.mlp([100 * size for size in sizes], key=jax.random.key(0))
    numerics = network.numerics()
    maps, state = numerics.maps(), network.init_state(jnp.zeros(100 * sizes[0]))
    prepared = numerics.prepare(jnp.zeros(100 * sizes[0]))

    def step(state):
        dynamics = numerics.dynamics(prepared, None, maps)
        return dynamics.state(dynamics.synchronous(dynamics.extend(state), None)[0])

    counted = jax.jit(step).lower(state).compile().cost_analysis()["flops"]
    inner = sum(4 * a * b for a, b in itertools.pairwise(100 * s for s in sizes[1:-1]))
    operations = Operations(tuple(100 * size for size in sizes))
    assert operations.step == inner
    assert counted == pytest.approx(inner, rel=0.05)


@pytest.mark.slow
def test_operations_grow_with_what_is_simulated():
    operations, config = Operations(Cost().sizes), Cost()
    points = [operations.of(f"hEP, N = {n}", 50, 0.0) for n in (2, 4, 8)]
    # Two real points are the centred estimate; each two more cost as much as two real ones.
    assert points[0] == operations.of("centred", 50, 0.0)
    assert points[2] - points[1] == pytest.approx(2 * (points[1] - points[0]))
    assert operations.of("BPTT", 50, 0.0) == 3 * (operations.drive + 50 * operations.step)
    assert config.sizes[0] * config.sizes[1] * 2 == operations.drive


@pytest.mark.slow
def test_online_estimates_are_nearer_the_slower_they_go(smoke):
    _, numbers, _ = smoke("fig3")
    assert numbers["online_cosine"][-1, -1] > numbers["online_cosine"][0, -1]
    assert numbers["online_residual"][-1, -1] < numbers["online_residual"][0, -1]


@pytest.mark.slow
def test_figures_4_and_6_have_the_same_curves(smoke):
    _, four, _ = smoke("fig4")
    _, six, _ = smoke("fig6")
    np.testing.assert_array_equal(four["holomorphic"], six["holomorphic"])
    assert six["holomorphic"][-1, 0, -2] == pytest.approx(1.0, abs=1e-3)
