"""An equilibrium between ordinary JAX layers, all trained by one `jax.grad`.

    python examples/equilibrium_layer.py

takes about twenty seconds on two cores and prints the loss before and after, and how well the
gradient by holomorphic equilibrium propagation agrees with implicit differentiation.

The task: tell the inside of a ring from its outside in the plane. An embedding (a dense layer), an
equilibrium network, and a classifier (another dense layer) make one function; the equilibrium's
gradient comes from nudges round a circle, everything else's from backpropagation.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import holoprop as hp

# The default, 1e-6 in float32, is nearly rounding: one of many examples may not come to it.
NUDGED = hp.Anderson(hp.Sequential(tolerance=1e-5))


class Model(eqx.Module):
    """Plane -> embedding -> equilibrium -> two classes."""

    embedding: eqx.nn.Linear
    network: hp.LayeredNetwork
    classifier: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        keys = jax.random.split(key, 3)
        self.embedding = eqx.nn.Linear(2, 16, key=keys[0])
        # The cost of the network itself is not used: what is nudged is the cotangent.
        self.network = hp.mlp([16, 24, 16], cost=hp.SquaredError(), key=keys[1])
        self.classifier = eqx.nn.Linear(16, 2, key=keys[2])

    def __call__(self, x: jax.Array, estimator: hp.AbstractEstimator) -> jax.Array:
        """The logits of one point of the plane."""
        settled = hp.equilibrium(
            self.network, jnp.tanh(self.embedding(x)), estimator=estimator, nudged=NUDGED
        )
        return self.classifier(settled[-1])


def loss(model: Model, x: jax.Array, labels: jax.Array, estimator: Any) -> jax.Array:
    """Mean cross-entropy of a batch."""
    logits = jax.vmap(lambda x: model(x, estimator))(x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def main() -> tuple[float, float, float]:
    """Train for a hundred steps; returns first loss, last loss and the gradients' cosine."""
    x = jax.random.normal(jax.random.key(0), (64, 2))
    labels = (jnp.sum(x**2, axis=1) < 1.4).astype(int)
    model = Model(jax.random.key(1))
    estimator = hp.Holomorphic(radius=0.05, points=4)
    optimiser = optax.adam(0.02)

    @eqx.filter_jit
    def step(model: Model, state: Any) -> tuple[Model, Any, jax.Array]:
        value, grads = eqx.filter_value_and_grad(loss)(model, x, labels, estimator)
        updates, state = optimiser.update(grads, state)
        return eqx.apply_updates(model, updates), state, value

    state = optimiser.init(eqx.filter(model, eqx.is_inexact_array))
    first = float(loss(model, x, labels, estimator))
    for _ in range(100):
        model, state, value = step(model, state)
    gradient = eqx.filter_jit(eqx.filter_grad(loss))
    alignment = hp.gradient_alignment(
        gradient(model, x, labels, estimator), gradient(model, x, labels, hp.Implicit())
    )
    return first, float(value), float(alignment.cosine)


if __name__ == "__main__":
    before, after, cosine = main()
    print(f"loss {before:.3f} before, {after:.3f} after training; cosine {cosine:.6f}")
