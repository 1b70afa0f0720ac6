"""What every entry point asks of its arguments before anything is computed."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from holoprop._checks import check_finite, check_key, check_labels, check_same_batch
from holoprop._tree import at_least_single
from holoprop._types import Array, Bool, Key, PyTree, Scalar, State
from holoprop.energies import AbstractEnergy, initial_state


def as_batch(name: str, tree: PyTree[Any]) -> PyTree[Any]:
    """A batch as arrays: nested lists of numbers as one each, half precision in float32.

    Arguments:
        name: Of the argument.
        tree: Its value. No leaf of it can be a number alone, for want of a batch axis, so a list of
            numbers is never meant as a tree.

    Raises:
        ValueError: If a list's rows differ in length.
    """

    def convert(node: Any) -> Any:
        if not _is_list(node):
            return node
        traced = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(node))
        try:
            return jnp.asarray(node) if traced else np.asarray(node)
        except ValueError as error:
            raise ValueError(
                f"{name} is a list whose rows differ in length: give an array, or rows of the same "
                "length."
            ) from error

    return at_least_single(jax.tree.map(convert, tree, is_leaf=_is_list))


def _is_list(node: Any) -> bool:
    """Whether this is a list of numbers, or of such lists."""
    if type(node) not in (list, tuple) or not node:
        return False
    return all(
        _is_list(item)
        or isinstance(item, int | float | complex | np.generic)
        or (isinstance(item, jax.Array | np.ndarray) and item.ndim == 0)
        for item in node
    )


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
    elif target is not None:
        _check_class_indices(energy, x, target)
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


def out_of_range(labels: PyTree[Any], classes: int | None) -> Bool[Array, ""]:
    """Whether any class index is none, by values that may be traced; not if `classes` is None."""
    if classes is None:
        return jnp.array(False)
    # In a type of its own: the labels' may be too small for the number of classes.
    return jnp.any((jnp.asarray(labels) < 0) | (labels >= jnp.array(classes, jnp.int32)))


def _check_class_indices(energy: AbstractEnergy, x: PyTree[Any], target: PyTree[Any]) -> None:
    """Raise `ValueError` for class indices out of range where the energy names no classes.

    A cost of `holoprop.nn` refuses an index that it knows. The energy's own is asked, without
    computing anything, with the smallest and with the largest integers of the batch.
    """

    def is_index(leaf: Any) -> bool:
        known = not isinstance(leaf, jax.core.Tracer)
        return known and jnp.issubdtype(jnp.result_type(leaf), jnp.integer)

    indices, others = eqx.partition(target, is_index)
    if not jax.tree.leaves(indices):
        return

    def cost(x: PyTree[Any], others: PyTree[Any], indices: PyTree[Any]) -> Scalar:
        return energy.cost(energy.init_state(x), eqx.combine(others, indices))

    batched = jax.eval_shape(lambda *trees: trees, x, others)
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batched)
    for extreme in (np.min, np.max):
        # Known values under a caller's jit, too.
        with jax.ensure_compile_time_eval():
            known = jax.tree.map(
                lambda a, f=extreme: jnp.asarray(f(np.asarray(a), axis=0)), indices
            )
        jax.eval_shape(functools.partial(cost, indices=known), *one)


def _checked_init(energy: AbstractEnergy, x: PyTree[Any], init: State | None) -> State | None:
    """A starting state in the energy's own precision, real or complex as it is."""
    if init is None:
        return None
    own = jax.eval_shape(jax.vmap(functools.partial(initial_state, energy)), x)
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
