"""Maps over the plane of nudges."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import toys

import holoprop as hp
from holoprop.experiments._maps import is_settled, residual_map
from holoprop.experiments._parts import Parts


@pytest.mark.parametrize("points", [8, 9])
def test_the_mirrored_half_is_what_would_be_computed(tmp_path: Path, points: int) -> None:
    network = hp.mlp([6, 4, 4, 4], weight_std=0.8, key=jax.random.key(3))
    x = np.array(jax.random.normal(jax.random.key(4), (1, 6)))

    def chart(centre: complex) -> Any:
        return residual_map(
            network,
            x,
            np.array([1]),
            Parts(tmp_path, toys.Squares(), lambda seen: None),
            name=f"map {centre}",
            centre=centre,
            width=5.0,
            points=points,
            free_steps=40,
            steps=40,
            lanes=17,
        )

    half, whole = chart(0j), chart(1e-300j)
    assert half.shape == whole.shape == (points, points)
    assert 0 < np.mean(is_settled(whole)) < 1
    np.testing.assert_array_equal(is_settled(half), is_settled(whole))
    settled = is_settled(whole)
    np.testing.assert_allclose(half[settled], whole[settled], rtol=1e-3, atol=1e-14)
