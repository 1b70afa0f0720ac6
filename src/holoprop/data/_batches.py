"""The shuffled order of an epoch, cut into batches of indices."""

from collections.abc import Iterator

import numpy as np
from grain.experimental import index_shuffle

# The number of rounds that grain's own datasets use.
_SHUFFLE_ROUNDS = 4


def drawn(positions: range, count: int, *, seed: int, epoch: int) -> np.ndarray:
    """The examples, int64 [len(positions)], at some positions of a shuffled epoch.

    grain computes each position on its own, so that nothing of size `count` is stored and a run
    resumes at any position at no cost. grain's datasets take `seed + epoch` as the seed of an
    epoch, which makes epoch 1 of seed 0 the same as epoch 0 of seed 1; the two are hashed here.
    """
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    indices = (
        index_shuffle(position, max_index=count - 1, seed=mixed, rounds=_SHUFFLE_ROUNDS)
        for position in positions
    )
    return np.fromiter(indices, dtype=np.int64, count=len(positions))


def batches_per_epoch(count: int, batch_size: int, *, drop_remainder: bool = True) -> int:
    """The number of batches that `epoch_batches` yields in one epoch.

    Arguments:
        count: number of examples, at least 1.
        batch_size: examples in a batch, at least 1, at most `count` with `drop_remainder`.
        drop_remainder: whether an incomplete last batch is left out. Default True.

    Returns:
        The number of batches, at least 1.

    Raises:
        ValueError: an argument is outside its range.

    Example:
        >>> batches_per_epoch(10, 4), batches_per_epoch(10, 4, drop_remainder=False)
        (2, 3)
    """
    if count < 1:
        raise ValueError(f"count={count} leaves nothing to shuffle; give at least 1 example")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} is not a size; give at least 1")
    if not drop_remainder:
        return -(-count // batch_size)
    if batch_size > count:
        raise ValueError(
            f"batch_size={batch_size} is larger than the {count} examples there are, so that no "
            "batch is complete; lower batch_size or pass drop_remainder=False"
        )
    return count // batch_size


def epoch_batches(
    count: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    start: int = 0,
    drop_remainder: bool = True,
) -> Iterator[np.ndarray]:
    """The batches of one epoch, as arrays of example indices.

    The order depends on `count`, `seed` and `epoch` alone. Each epoch has an order of its own, and
    no example comes twice within one.

    Arguments:
        count: number of examples, at least 1.
        batch_size: examples in a batch, at least 1, at most `count` with `drop_remainder`.
        seed: seed of the whole run, at least 0.
        epoch: number of the epoch, from 0.
        start: number of batches to skip, for resuming within an epoch, from 0 to the number of
            batches in the epoch. Default 0.
        drop_remainder: whether an incomplete last batch is left out. Default True; with False the
            last batch may be shorter.

    Returns:
        An iterator over int64 arrays [batch_size] of indices in 0..count-1.

    Raises:
        ValueError: an argument is outside its range; raised at the call, not at the first batch.

    Example:
        >>> batches = list(epoch_batches(6, 2, seed=0, epoch=0))
        >>> sorted(int(index) for batch in batches for index in batch)
        [0, 1, 2, 3, 4, 5]
        >>> resumed = list(epoch_batches(6, 2, seed=0, epoch=0, start=2))
        >>> len(resumed), bool((resumed[0] == batches[2]).all())
        (1, True)
    """
    batches = batches_per_epoch(count, batch_size, drop_remainder=drop_remainder)
    if seed < 0:
        raise ValueError(f"seed={seed} is negative; give 0 or more")
    if epoch < 0:
        raise ValueError(f"epoch={epoch} is negative; epochs are numbered from 0")
    if not 0 <= start <= batches:
        raise ValueError(
            f"start={start} is outside the epoch; give a number of batches from 0 to {batches}"
        )
    cuts = range(start * batch_size, batches * batch_size, batch_size)
    return (
        drawn(range(cut, min(cut + batch_size, count)), count, seed=seed, epoch=epoch)
        for cut in cuts
    )
