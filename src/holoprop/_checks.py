"""Checks of a batch's shapes and types that the shipped networks share."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from holoprop._types import Key, PyTree


def check_inputs(x: PyTree[Any], shape: tuple[int, ...], *, flatten: bool = False) -> None:
    """Raise `ValueError` unless `x` is [batch, *shape], real floating point, not empty.

    Arguments:
        x: The batch.
        shape: Of one example.
        flatten: Whether any shape of the same size will do.
    """
    _check_one_array("images", x)
    found = jnp.shape(x)
    if not found or not (
        found[1:] == shape or (flatten and math.prod(found[1:]) == math.prod(shape))
    ):
        raise ValueError(
            f"images have shape {found}, but the network takes (batch, "
            f"{', '.join(map(str, shape))}): reshape or resize them, or build the network for them."
        )
    if found[0] == 0:
        raise ValueError(f"images have shape {found}: the batch is empty; give one image or more.")
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        raise ValueError(
            f"images have dtype {jnp.result_type(x)}, but must be real floating point: scale them "
            "first, for instance images / 255."
        )


def check_targets(y: PyTree[Any] | None, classes: int) -> None:
    """Raise `ValueError` unless `y` is [batch] integers, [batch, classes] real, or None."""
    if y is None:
        return
    _check_one_array("labels", y)
    shape, dtype = jnp.shape(y), jnp.result_type(y)
    if len(shape) not in (1, 2) or shape[1:] not in ((), (classes,)):
        raise ValueError(
            f"labels have shape {shape}, but must be (batch,) class indices or (batch, {classes}) "
            "target vectors."
        )
    if len(shape) == 1 and not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(
            f"labels have dtype {dtype}, but class indices must be integers: convert them, for "
            "instance labels.astype(int)."
        )
    if len(shape) == 1:
        check_labels(y, classes)
    if len(shape) == 2 and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"target vectors have dtype {dtype}, but must be real floating point: convert them, "
            "for instance labels.astype(float)."
        )


def _check_one_array(name: str, tree: PyTree[Any]) -> None:
    if not eqx.is_array(tree):
        raise ValueError(
            f"{name} are a {type(tree).__name__}, but the network takes one array: give an array "
            "with a leading batch axis."
        )


def check_same_batch(**trees: PyTree[Any]) -> None:
    """Raise `ValueError` unless all leaves of all trees have the same leading axis, 1 or more."""
    sizes: dict[str, int | None] = {}
    for name, tree in trees.items():
        own = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            place = name + jax.tree_util.keystr(path)
            if not eqx.is_array_like(leaf):
                raise ValueError(
                    f"{place} is a {type(leaf).__name__}, but must be an array with a leading "
                    "batch axis: keep what is none in the energy."
                )
            own[place] = jnp.shape(leaf)[0] if jnp.ndim(leaf) else None
        # Where a tree agrees with itself its name says enough.
        agreed = set(own.values())
        sizes |= {name: agreed.pop()} if len(agreed) == 1 else own
    if not sizes:
        raise ValueError("the input has no arrays: give x with a leading batch axis.")
    for name, size in sizes.items():
        if size is None:
            raise ValueError(f"{name} has no batch axis: add one, for instance {name}[None].")
        if size == 0:
            raise ValueError(f"{name} is empty: give one example or more.")
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(f"the batch sizes differ: {listed}; give every argument the same batch.")


def checked_size(name: str, value: Any, *, positive: bool) -> Any:
    """The size of a nudge, as an array of JAX if it is one of NumPy's.

    Arguments:
        name: Of the argument.
        value: A number or an array of one, traced or not.
        positive: Whether it must be above zero, or may be anything but zero.

    Raises:
        ValueError: If its value is known and is not such a number.
    """
    if not isinstance(value, jax.core.Tracer):
        known = np.asarray(value)
        is_real = any(jnp.issubdtype(known.dtype, kind) for kind in (jnp.floating, jnp.integer))
        size = known.astype(float) if is_real else np.array(np.nan)
        if not np.all(np.isfinite(size) & (size > 0 if positive else size != 0)):
            wanted = "positive number" if positive else "real number other than 0"
            raise ValueError(f"{name} must be a {wanted}; got {known.tolist()!r}.")
    return jnp.asarray(value) if isinstance(value, np.ndarray | np.generic) else value


def check_finite(**trees: PyTree[Any]) -> None:
    """Raise `ValueError` for values that are not finite, where values are known."""
    for name, tree in trees.items():
        known = [
            leaf
            for leaf in jax.tree.leaves(tree)
            if not isinstance(leaf, jax.core.Tracer)
            and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        ]
        bad = sum(int(np.sum(~np.isfinite(np.asarray(leaf)))) for leaf in known)
        if bad:
            raise ValueError(
                f"{name} has {bad} values that are not finite: mend or drop those examples."
            )


def check_labels(y: PyTree[Any], classes: int) -> None:
    """Raise `ValueError` for class indices out of range, where values are known."""
    if isinstance(y, jax.core.Tracer):
        return
    wrong = np.asarray(y)[(np.asarray(y) < 0) | (np.asarray(y) >= classes)]
    if wrong.size:
        raise ValueError(
            f"labels contain {wrong[0]}, but the network has {classes} classes: labels must be "
            f"from 0 to {classes - 1}."
        )


def check_key(key: Key | None, noise: float) -> None:
    """Raise `ValueError` where there is noise but no key to draw it from."""
    if noise > 0 and key is None:
        raise ValueError(
            f"noise {noise} needs a key to be drawn from: give key=jax.random.key(seed)."
        )
