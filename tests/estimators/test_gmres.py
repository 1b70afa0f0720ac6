"""The linear solve: right to rounding where it says that it has solved, and never wrong in silence.

Against dense solves in NumPy, in float64.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holoprop.estimators._gmres import gmres

DTYPES = [np.float32, np.float64]


def eps(dtype: Any) -> float:
    return float(np.finfo(dtype).eps)


@functools.partial(jax.jit, static_argnames=("restart", "max_restarts"))
def solve(matrix: Any, b: Any, restart: int = 60, max_restarts: int = 40) -> Any:
    return gmres(lambda x: matrix @ x, b, restart=restart, max_restarts=max_restarts)


def matrix_of(kind: str, size: int, condition: float, seed: int) -> np.ndarray:
    """A random matrix whose largest singular value is one."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(size, size)))[0] for _ in range(2))
    values = np.geomspace(1, 1 / condition, size)
    if kind == "symmetric":
        return (left * values * rng.choice([-1, 1], size)) @ left.T
    return (left * values) @ right


def laplacian(size: int, seed: int) -> np.ndarray:
    """Of a graph in one piece: symmetric, and zero along ones."""
    rng = np.random.default_rng(seed)
    weights = np.triu(rng.uniform(0.5, 2, (size, size)), 1)
    weights = weights + weights.T
    return np.diag(weights.sum(axis=0)) - weights


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["symmetric", "general"])
@pytest.mark.parametrize(("size", "restart"), [(1, 60), (2, 60), (30, 60)])
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
@pytest.mark.quick("10000.0-*", "100.0-30-60-*")
def test_regular_systems(kind: str, size: int, restart: int, condition: float, dtype: Any) -> None:
    matrix = matrix_of(kind, size, condition, seed=size).astype(dtype)
    b = np.random.default_rng(1).normal(size=size).astype(dtype)
    x, residual, solved = solve(matrix, b, restart)
    assert bool(solved)
    exact = np.linalg.solve(matrix.astype(float), b.astype(float))
    # A residual of 100 roundings of |b| + |A| |x|, times the inverse, relative to |x|.
    limit = 200 * eps(dtype) * condition
    assert np.linalg.norm(x - exact) <= limit * np.linalg.norm(exact)
    true = np.linalg.norm(b - matrix.astype(float) @ np.asarray(x, float)) / np.linalg.norm(b)
    assert abs(float(residual) - true) <= 100 * eps(dtype) * (1 + np.linalg.norm(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_restarts(dtype: Any) -> None:
    # Eigenvalues within a circle that leaves out zero: every restart helps.
    matrix = (np.eye(30) + 0.5 * matrix_of("general", 30, 1.0, seed=0)).astype(dtype)
    b = np.random.default_rng(1).normal(size=30).astype(dtype)
    x, _, solved = solve(matrix, b, restart=3)
    assert bool(solved)
    exact = np.linalg.solve(matrix.astype(float), b.astype(float))
    assert np.linalg.norm(x - exact) <= 600 * eps(dtype) * np.linalg.norm(exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["symmetric", "general"])
def test_too_few_restarts_are_said(kind: str, dtype: Any) -> None:
    matrix = matrix_of(kind, 30, 1e3, seed=0).astype(dtype)
    b = np.random.default_rng(1).normal(size=30).astype(dtype)
    x, residual, solved = solve(matrix, b, restart=4, max_restarts=2)
    assert not bool(solved)
    true = np.linalg.norm(b - matrix @ np.asarray(x)) / np.linalg.norm(b)
    assert float(residual) == pytest.approx(true, rel=1e-3)
    assert true > 0.01


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [2, 3, 20])
@pytest.mark.quick("2-float32", "3-float64", "20-*")
def test_singular_but_consistent(size: int, dtype: Any) -> None:
    matrix = laplacian(size, seed=size)
    b = matrix @ np.random.default_rng(0).normal(size=size)
    x, _, solved = solve(matrix.astype(dtype), b.astype(dtype))
    assert bool(solved)
    exact = np.linalg.pinv(matrix) @ b
    np.testing.assert_allclose(x, exact, atol=1e3 * eps(dtype) * np.abs(exact).max())


@pytest.mark.parametrize("dtype", DTYPES)
def test_singular_and_not_symmetric(dtype: Any) -> None:
    # A projection, not an orthogonal one, times what is regular on its range.
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(6, 6))
    matrix = basis @ np.diag([1, 2, 3, 4, 5, 0.0]) @ np.linalg.inv(basis)
    b = matrix @ rng.normal(size=6)
    x, _, solved = solve(matrix.astype(dtype), b.astype(dtype))
    assert bool(solved)
    condition = np.linalg.cond(basis) ** 2
    assert np.linalg.norm(matrix @ x - b) <= 200 * eps(dtype) * condition * np.linalg.norm(b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 20])
@pytest.mark.parametrize("share", [1.0, 0.1, 0.01])
def test_inconsistent_systems_are_said(size: int, share: float, dtype: Any) -> None:
    matrix = laplacian(size, seed=size)
    b = matrix @ np.random.default_rng(0).normal(size=size)
    b = b / max(np.linalg.norm(b), 1) + share * np.ones(size) / size**0.5
    x, residual, solved = solve(matrix.astype(dtype), b.astype(dtype))
    assert not bool(solved)
    assert float(residual) >= 0.9 * share / np.linalg.norm(b)
    assert np.all(np.isfinite(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_solution_made_of_rounding_is_no_solution(dtype: Any) -> None:
    matrix = matrix_of("symmetric", 10, 1 / (0.1 * eps(dtype)), seed=3)
    b = np.random.default_rng(1).normal(size=10)
    assert not bool(solve(matrix.astype(dtype), b.astype(dtype))[2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.quick("float32")
def test_what_ends_at_once(dtype: Any) -> None:
    eye, b = np.eye(4, dtype=dtype), np.arange(4, dtype=dtype)
    nan, inf = np.full(4, np.nan, dtype), np.full(4, np.inf, dtype)
    cases = {
        "identity": (eye, b, b, True),
        "no right-hand side": (eye, 0 * b, 0 * b, True),
        "neither": (0 * eye, 0 * b, 0 * b, True),
        "no matrix": (0 * eye, b, 0 * b, False),
        "a right-hand side that is no number": (eye, nan, None, False),
        "an infinite one": (eye, inf, None, False),
        "a matrix that is no number": (eye * nan, b, 0 * b, False),
        "a matrix that is infinite": (eye + inf, b, 0 * b, False),
        "a solution beyond the largest number": (eye / 2**60, b * 2.0**100, None, None),
    }
    stacked = [np.stack(leaves) for leaves in zip(*[c[:2] for c in cases.values()], strict=True)]
    together = jax.vmap(solve)(*stacked)
    for i, (name, (matrix, right, wanted, is_solved)) in enumerate(cases.items()):
        # Alone, and beside all others.
        for x, _, solved in (solve(matrix, right), [leaf[i] for leaf in together]):
            if is_solved is None:
                is_solved = dtype == np.float64
            assert bool(solved) == is_solved, name
            if wanted is not None:
                np.testing.assert_allclose(x, wanted, rtol=4 * eps(dtype), err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.quick("float64")
def test_systems_do_not_feel_each_other(dtype: Any) -> None:
    kinds = [("symmetric", 1e3), ("general", 10.0), ("general", 1e8), ("symmetric", 1.0)]
    matrices = np.stack([matrix_of(k, 12, c, seed=i) for i, (k, c) in enumerate(kinds)])
    b = np.random.default_rng(0).normal(size=(4, 12))
    matrices, b = matrices.astype(dtype), b.astype(dtype)
    together = jax.vmap(functools.partial(solve, restart=8))(matrices, b)
    for i in range(4):
        alone = solve(matrices[i], b[i], restart=8)
        assert bool(alone[2]) == bool(together[2][i])
        if bool(alone[2]):
            limit = 400 * eps(dtype) * kinds[i][1] * np.linalg.norm(alone[0])
            assert np.linalg.norm(alone[0] - together[0][i]) <= limit


@pytest.mark.parametrize(
    ("dtype", "powers"),
    [(np.float32, (-60, -40, 40, 60)), (np.float64, (-400, -40, 40, 400))],
)
def test_units_do_not_matter(dtype: Any, powers: tuple[int, ...]) -> None:
    matrix = matrix_of("general", 12, 1e2, seed=0).astype(dtype)
    b = np.random.default_rng(1).normal(size=12).astype(dtype)
    x, residual, solved = solve(matrix, b)
    assert bool(solved)
    for i in powers:
        for k in powers:
            found = solve(matrix * dtype(2.0**i), b * dtype(2.0**k))
            assert bool(found[2])
            np.testing.assert_allclose(found[0], np.ldexp(x, k - i), rtol=100 * eps(dtype))
            assert float(found[1]) <= 10 * float(residual) + eps(dtype)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["symmetric", "general"]),
    power=st.floats(0, 12),
    null=st.booleans(),
    seed=st.integers(0, 10**6),
    restart=st.sampled_from([3, 12]),
)
def test_solved_means_solved(kind: str, power: float, null: bool, seed: int, restart: int) -> None:
    matrix = matrix_of(kind, 12, 10**power, seed)
    if null:
        matrix = matrix - matrix @ np.ones((12, 12)) / 12
    matrix = matrix.astype(np.float32)
    b = np.random.default_rng(seed + 1).normal(size=12).astype(np.float32)
    x, _, solved = solve(matrix, b, restart=restart)
    if not bool(solved):
        return
    exact, x = matrix.astype(float), np.asarray(x, float)
    left, size = np.linalg.norm(b - exact @ x), np.linalg.norm(b)
    rounding = eps(np.float32)
    # Twice, for the rounding of the solver's own residual.
    assert left <= 200 * rounding * (size + np.linalg.norm(exact, 2) * np.linalg.norm(x))
    if not null:
        wanted = np.linalg.solve(exact, b)
        assert np.linalg.norm(x - wanted) <= 0.02 * np.linalg.norm(wanted)


@pytest.mark.slow
def test_of_trees_and_their_derivatives() -> None:
    matrix = matrix_of("general", 5, 10.0, seed=0)
    tree = {"a": jnp.arange(2.0), "b": [jnp.ones((1, 3))]}

    def solution(scale: Any) -> Any:
        def operator(x: Any) -> Any:
            y = scale * matrix @ jnp.concatenate([x["a"], x["b"][0][0]])
            return {"a": y[:2], "b": [y[None, 2:]]}

        x, _, solved = gmres(operator, tree, restart=5, max_restarts=3)
        return jnp.where(solved, jnp.concatenate([x["a"], x["b"][0][0]]), jnp.nan)

    wanted = np.linalg.solve(2 * matrix, [0, 1, 1, 1, 1])
    np.testing.assert_allclose(solution(2.0), wanted, rtol=1e-12)
    # x = A^-1 b / scale.
    for derivative in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(derivative(solution)(2.0), -wanted / 2, rtol=1e-12)
    second = jax.jacfwd(jax.jacrev(solution))(2.0)
    np.testing.assert_allclose(second, wanted / 2, rtol=1e-12)
