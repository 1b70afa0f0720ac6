"""What is looked at before a program is compiled that cannot raise."""

import jax
import jax.numpy as jnp

import holoprop as hp
from holoprop._checks import check_finite, check_labels
from holoprop.relaxation import label_classes
from holoprop.training._examples import Examples
from holoprop.training._step import AbstractMethod


def check_classes(method: AbstractMethod, network: hp.AbstractEnergy, examples: Examples) -> None:
    """Raise `ValueError` for class indices that are out of range."""
    first = examples.take(slice(0, 1))
    inputs = method.transform(jax.tree.map(jnp.asarray, first.inputs))
    classes = label_classes(network, inputs, first.labels)
    if classes is not None:
        check_labels(examples.labels, classes)


def check_values(examples: Examples) -> None:
    """Raise `ValueError` for values that are not finite."""
    check_finite(inputs=examples.inputs, labels=examples.labels)


def check_seed(seed: int) -> None:
    """Raise `ValueError` for a seed of which JAX would use some bits only."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be from 0 to {2**32 - 1}; got {seed}.")
