"""What every entry point asks of its arguments before anything is computed."""

from typing import Any

import jax
import jax.numpy as jnp

from holoprop._checks import check_finite, check_key, check_labels, check_same_batch
from holoprop._types import Key, PyTree, State
from holoprop.energies import AbstractEnergy


def check_arguments(
    energy: AbstractEnergy,
    x: PyTree[Any],
    *,
    targets: dict[str, PyTree[Any]],
    init: State | None,
    key: Key | None,
    noise: float,
) -> State | None:
    """Raise `ValueError` for arguments that cannot be; returns `init` in the energy's precision.

    Arguments:
        energy: Whose own checks come first.
        x: Inputs with a leading batch axis.
        targets: None or one, under the name that the caller's users know it by.
        init: State to start from, [batch, ...], or None.
        key: For noise, or None.
        noise: The largest of the relaxations'.
    """
    target = next(iter(targets.values()), None)
    energy.check(x, target)
    check_same_batch(x=x, **targets, init=init)
    init = _checked_init(energy, x, init)
    classes = None if target is None else label_classes(energy, x, target)
    if classes is not None:
        check_labels(target, classes)
    check_finite(x=x, init=init, **targets)
    check_key(key, noise)
    return init


def label_classes(energy: AbstractEnergy, x: PyTree[Any], labels: PyTree[Any]) -> int | None:
    """Number of classes if the labels are class indices, else None."""
    if not isinstance(labels, jax.Array) and not hasattr(labels, "dtype"):
        return None
    if jnp.ndim(labels) != 1 or not jnp.issubdtype(labels.dtype, jnp.integer):
        return None
    logits = jax.eval_shape(jax.vmap(lambda x: energy.logits(energy.init_state(x))), x)
    return None if logits is None else int(logits.shape[-1])


def _checked_init(energy: AbstractEnergy, x: PyTree[Any], init: State | None) -> State | None:
    """A starting state in the energy's own precision, real or complex as it is."""
    if init is None:
        return None
    own = jax.eval_shape(jax.vmap(energy.init_state), x)
    try:
        fits = jax.tree.map(lambda leaf, like: jnp.shape(leaf) == like.shape, init, own)
    except ValueError:
        fits = False
    if not jax.tree.all(fits):
        found, wanted = (
            [tuple(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree)] for tree in (init, own)
        )
        raise ValueError(
            f"init has arrays of shapes {found}, but a batch of states has {wanted}: give a state "
            "of the same energy and batch, such as aux.state of an earlier call."
        )

    def cast(leaf: Any, like: Any) -> Any:
        complex_dtype = jnp.result_type(like.dtype, jnp.complex64)
        is_complex = jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating)
        return jnp.asarray(leaf, complex_dtype if is_complex else like.dtype)

    return jax.tree.map(cast, init, own)
