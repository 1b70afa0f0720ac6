"""Batches of indices: a permutation each epoch, reproducible, and resumable anywhere."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holoprop.data import batches_per_epoch, epoch_batches

few = settings(deadline=None, max_examples=50)
seeds = st.integers(0, 2**40)
epochs = st.integers(0, 10_000)
sizes = st.tuples(st.integers(1, 300), st.integers(1, 300), st.booleans()).filter(
    lambda size: size[1] <= size[0] or not size[2]
)


@few
@given(sizes, seeds, epochs)
def test_an_epoch_visits_examples_once(size, seed, epoch):
    count, batch_size, drop = size
    batches = list(epoch_batches(count, batch_size, seed=seed, epoch=epoch, drop_remainder=drop))
    indices = np.concatenate(batches)
    assert indices.dtype == np.int64
    assert len(batches) == batches_per_epoch(count, batch_size, drop_remainder=drop)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(set(indices.tolist())) == len(indices)
    assert set(indices.tolist()) <= set(range(count))
    if drop:
        assert len(batches[-1]) == batch_size
        assert len(indices) == count - count % batch_size
    else:
        assert len(indices) == count


@few
@given(sizes, seeds, epochs, st.data())
def test_resuming_gives_the_remaining_batches(size, seed, epoch, data):
    count, batch_size, drop = size

    def run(start):
        return list(
            epoch_batches(
                count, batch_size, seed=seed, epoch=epoch, start=start, drop_remainder=drop
            )
        )

    whole = run(0)
    start = data.draw(st.integers(0, len(whole)))
    resumed = run(start)
    assert len(resumed) == len(whole) - start
    for expected, batch in zip(whole[start:], resumed, strict=True):
        np.testing.assert_array_equal(batch, expected)


@few
@given(st.integers(1, 100), st.integers(1, 100), seeds)
def test_batch_size_does_not_change_the_order(first, second, seed):
    orders = [
        np.concatenate(list(epoch_batches(100, size, seed=seed, epoch=3, drop_remainder=False)))
        for size in (first, second)
    ]
    np.testing.assert_array_equal(*orders)


def test_each_seed_and_epoch_has_its_own_order():
    orders = {
        tuple(next(epoch_batches(50, 50, seed=seed, epoch=epoch)).tolist())
        for seed, epoch in itertools.product(range(10), range(10))
    }
    assert len(orders) == 100


def test_the_order_is_the_same_everywhere():
    batch = next(epoch_batches(10, 10, seed=0, epoch=0))
    # Recorded once: a run resumed on another machine or with another grain must agree with it.
    assert batch.tolist() == [5, 8, 9, 7, 4, 2, 1, 0, 3, 6]


def test_every_permutation_is_about_equally_frequent():
    orders = [
        tuple(next(epoch_batches(3, 3, seed=7, epoch=epoch)).tolist()) for epoch in range(180)
    ]
    counts = np.array([orders.count(order) for order in itertools.permutations(range(3))])
    # Chi-squared with 5 degrees of freedom: 20.5 is the 99.9th percentile.
    assert ((counts - 30) ** 2 / 30).sum() < 20.5


@pytest.mark.parametrize(
    ("count", "batch_size", "options", "message"),
    [
        (0, 1, {}, "count=0 leaves nothing to shuffle; give at least 1 example"),
        (-3, 1, {}, "count=-3 leaves nothing"),
        (5, 0, {}, "batch_size=0 is not a size; give at least 1"),
        (5, 6, {}, "batch_size=6 is larger than the 5 examples .* pass drop_remainder=False"),
        (5, 2, {"seed": -1}, "seed=-1 is negative; give 0 or more"),
        (5, 2, {"epoch": -1}, "epoch=-1 is negative; epochs are numbered from 0"),
        (5, 2, {"start": 3}, "start=3 is outside the epoch; give a number of batches from 0 to 2"),
        (5, 2, {"start": -1}, "start=-1 is outside the epoch"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(count, batch_size, options, message):
    with pytest.raises(ValueError, match=message):
        epoch_batches(count, batch_size, **{"seed": 0, "epoch": 0, **options})
