"""Arrays in a caller's `jax.shard_map`: along which of its axes they differ between devices."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from holoprop._types import PyTree


def alike(tree: PyTree[Any], *others: PyTree[Any]) -> PyTree[Any]:
    """The same tree, each array marked as differing along every axis that any array differs by.

    A `shard_map` that tracks this wants what a loop carries to be of one kind from the start, while
    zeros that it begins with are the same everywhere. And what is marked as the same everywhere has
    a derivative that is summed over all devices: who wants that of a device's own share marks it
    first. Elsewhere, and where JAX does not track it, nothing changes.

    Arguments:
        tree: Whose arrays are marked.
        others: Whose arrays count as well.
    """
    axes = frozenset().union(*map(_axes, jax.tree.leaves((tree, others))))
    if not axes:
        return tree

    def mark(leaf: Any) -> Any:
        missing = tuple(sorted(axes - _axes(leaf)))
        is_array = isinstance(leaf, jax.Array)
        return jax.lax.pcast(leaf, missing, to="varying") if is_array and missing else leaf

    return jax.tree.map(mark, tree)


def _axes(leaf: Any) -> frozenset[Any]:
    if not isinstance(leaf, jax.core.Tracer):
        return frozenset()
    kind = getattr(jax.typeof(leaf), "mat", None)
    return frozenset() if kind is None else frozenset(kind.varying)


def of_own_share(tree: PyTree[Any], *, throw: bool) -> PyTree[Any]:
    """An entry point's arguments, `alike`: what is derived by them is of a device's own share.

    Raises:
        ValueError: If they differ between devices and `throw` is set.
    """
    if throw and any(map(_axes, jax.tree.leaves(tree))):
        raise ValueError(
            "throw is set in a jax.shard_map that tracks what differs between devices, where "
            "nothing can be raised: pass throw=False, and look at what did not settle yourself."
        )
    return alike(tree)


def without_explicit_axes(
    function: Callable[..., PyTree[Any]], *args: PyTree[Any]
) -> PyTree[Any] | None:
    """What a function makes of arrays whose types name the axes of a mesh that they are sharded by.

    A loop over lanes has no types of that kind: the compiler shards it as it sees fit, and what
    comes back is the same on every device. None where no array is sharded so.

    Arguments:
        function: Of the arguments.
        args: Trees with arrays, and anything else.
    """
    arrays, rest = eqx.partition(args, eqx.is_array)
    meshes = [s.mesh for s in map(_sharding, jax.tree.leaves(arrays)) if any(s.spec)]
    if not meshes:
        return None

    def on_arrays(arrays: PyTree[Any]) -> PyTree[Any]:
        return function(*eqx.combine(arrays, rest))

    whole = jax.sharding.NamedSharding(meshes[0], jax.sharding.PartitionSpec())
    names = meshes[0].explicit_axes
    return jax.sharding.auto_axes(on_arrays, axes=names, out_sharding=whole)(arrays)


def _sharding(array: Any) -> Any:
    return jax.typeof(array).sharding
