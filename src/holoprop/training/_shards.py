"""A batch on several devices, of one process or of several: who has which part, and their sums."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from holoprop.training._examples import Examples

_AXIS = "shards"
# On each device its share of the examples, or the whole.
_SHARE, _WHOLE = PartitionSpec(_AXIS), PartitionSpec()


class Shards(eqx.Module):
    """Devices that take equal shares of a batch.

    Arguments:
        devices: Two or more, in the order of their shares; of each process equally many.

    Raises:
        ValueError: If processes have different numbers of devices.
    """

    mesh: Mesh = eqx.field(static=True)

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
        processes = [device.process_index for device in ordered]
        counts = {process: processes.count(process) for process in processes}
        if len(set(counts.values())) > 1:
            raise ValueError(
                f"the processes have {', '.join(map(str, counts.values()))} devices, but must have "
                "equally many: start each with the same number."
            )
        self.mesh = Mesh(np.array(ordered), (_AXIS,))

    @property
    def count(self) -> int:
        """How many shares there are."""
        return int(self.mesh.size)

    def check(self, batch_size: int) -> None:
        """Raise `ValueError` for a batch that cannot be shared evenly."""
        if batch_size % self.count:
            nearest = max(1, round(batch_size / self.count)) * self.count
            raise ValueError(
                f"batch_size {batch_size} cannot be shared evenly by {self.count} devices: choose "
                f"a multiple of {self.count}, for instance {nearest}."
            )

    def take(self, examples: Examples, rows: np.ndarray) -> Examples:
        """The examples of some rows, each share on its device; a process reads its own alone."""
        processes = [device.process_index for device in self.mesh.devices]
        size = len(rows) // self.count
        own = [i for i, process in enumerate(processes) if process == jax.process_index()]
        part = examples.take(rows[own[0] * size : (own[-1] + 1) * size])
        sharding = NamedSharding(self.mesh, _SHARE)

        def put(leaf: Any) -> jax.Array:
            return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

        return Examples(*jax.tree.map(put, (part.inputs, part.labels)))

    def replicated(self, tree: PyTree[Any]) -> PyTree[Any]:
        """The same tree with its arrays on every device."""
        sharding = NamedSharding(self.mesh, _WHOLE)
        return _with_arrays(of_this_process(tree), lambda a: jax.device_put(a, sharding))

    def on_each(self, function: Callable[..., PyTree[Any]], *, shared: int) -> Callable[..., Any]:
        """A function that each device calls with the whole of all arguments but its share of some.

        Arguments:
            function: It is given the whole arguments, and then the shared ones. What it returns is
                the same on all devices: `summed` makes it so.
            shared: How many arguments are, of the last ones.
        """

        def mapped(*args: PyTree[Any]) -> PyTree[Any]:
            specs = [_WHOLE] * (len(args) - shared) + [_SHARE] * shared
            arrays, rest = eqx.partition(args, eqx.is_array)

            def one(*arrays: PyTree[Any]) -> PyTree[Any]:
                return function(*eqx.combine(arrays, rest))

            # What varies between devices is not tracked: there is one sum, and it is written out.
            return jax.shard_map(
                one, mesh=self.mesh, in_specs=tuple(specs), out_specs=_WHOLE, check_vma=False
            )(*arrays)

        return mapped

    def index(self) -> Array:
        """Which share a device has, from 0; in a function `on_each` alone."""
        return jax.lax.axis_index(_AXIS)

    def own(self, whole: PyTree[Any]) -> PyTree[Any]:
        """A device's share of a tree's first axes; in a function `on_each` alone."""

        def cut(a: Array) -> Array:
            size = a.shape[0] // self.count
            return jax.lax.dynamic_slice_in_dim(a, self.index() * size, size)

        return jax.tree.map(cut, whole)

    def placed(self, share: Array, *, axis: int = 0) -> Array:
        """A share in its place of the whole, zero elsewhere; in a function `on_each` alone."""
        axis %= share.ndim
        shape = list(share.shape)
        shape[axis] *= self.count
        start = self.index() * share.shape[axis]
        whole = jnp.zeros(shape, share.dtype)
        return jax.lax.dynamic_update_slice_in_dim(whole, share, start, axis)

    def summed(self, tree: PyTree[Any]) -> PyTree[Any]:
        """The sum over all devices of every real array, by one reduction of all of them.

        In a function `on_each` alone. Arrays add up, and come back, in the widest of their dtypes,
        in float32 at least.
        """
        leaves, structure = jax.tree.flatten(tree)
        dtype = jnp.result_type(jnp.float32, *(leaf.dtype for leaf in leaves))
        flat = jnp.concatenate([jnp.ravel(leaf).astype(dtype) for leaf in leaves])
        flat = jax.lax.psum(flat, _AXIS)
        ends = np.cumsum([leaf.size for leaf in leaves])
        parts = jnp.split(flat, ends[:-1])
        shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(structure, shaped)


def of_this_process(tree: PyTree[Any]) -> PyTree[Any]:
    """The same tree with arrays that every device has on JAX's default device alone."""
    return _with_arrays(tree, lambda a: on_default_device(np.asarray(a), weak=is_weak(a)))


def is_weak(leaf: Any) -> bool:
    """Whether a leaf is weakly typed: it decides no precision."""
    return bool(getattr(leaf, "weak_type", False))


def on_default_device(array: np.ndarray, *, weak: bool) -> jax.Array:
    """An array of JAX, weakly typed or not, which later computations may move."""
    if not weak:
        return jnp.asarray(array)
    return jnp.full(array.shape, array.dtype.type(0).item()).at[...].set(array)


def _with_arrays(tree: PyTree[Any], change: Callable[[jax.Array], jax.Array]) -> PyTree[Any]:
    arrays, rest = eqx.partition(tree, lambda leaf: isinstance(leaf, jax.Array))
    return eqx.combine(jax.tree.map(change, arrays), rest)
