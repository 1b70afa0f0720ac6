"""Images on their way into the network: normalised, augmented, and as many as are wanted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from terminal import write_digits

from holoprop.runs import DataConfig, InputConfig, TrainConfig
from holoprop.runs._images import AugmentImages, PrepareImages, load_splits, scale_images

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
MEAN, STD = (0.5, 0.4, 0.3), (0.3, 0.2, 0.1)


def test_bytes_are_only_scaled_unless_more_is_asked_for():
    found = PrepareImages(InputConfig(), channel_axis=False)(jnp.asarray(COLOUR))
    np.testing.assert_array_equal(found, scale_images(jnp.asarray(COLOUR)))
    np.testing.assert_allclose(found, COLOUR / 255, rtol=1e-6)


@pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), ((0.5,), (0.25,)), (MEAN, (0.25,))])
def test_each_channel_is_normalised(mean, std):
    found = PrepareImages(InputConfig(mean=mean, std=std), channel_axis=True)(jnp.asarray(COLOUR))
    np.testing.assert_allclose(found, (COLOUR / 255 - mean) / std, rtol=1e-4, atol=1e-6)


def test_grey_images_get_an_axis_where_the_network_has_channels():
    grey = jnp.asarray(COLOUR[..., 0])
    for axis, shape in ((True, (6, 8, 8, 1)), (False, (6, 8, 8))):
        found = PrepareImages(InputConfig(mean=(0.5,)), channel_axis=axis)(grey)
        assert found.shape == shape
        np.testing.assert_allclose(found.ravel(), COLOUR[..., 0].ravel() / 255 - 0.5, atol=1e-6)


# Augmentation


def views(image, *, flip, pad):
    """Every image that one can become, by NumPy: (flipped, row, column) and the pixels."""
    found = {}
    for flipped in (False, True) if flip else (False,):
        turned = np.flip(image, axis=1) if flipped else image
        sides = ((pad, pad), (pad, pad), (0, 0))[: image.ndim]
        padded = np.pad(turned, sides)
        for row in range(2 * pad + 1):
            for column in range(2 * pad + 1):
                cut = padded[row : row + image.shape[0], column : column + image.shape[1]]
                found[flipped, row, column] = cut
    return found


@pytest.mark.parametrize("shape", [(8, 8, 3), (7, 5, 1), (6, 9)])
@pytest.mark.parametrize(
    ("flip", "pad"), [(True, 2), (True, 0), (False, 1), (False, 3), (False, 0)]
)
def test_every_image_becomes_one_of_its_views_and_every_view_comes(shape, flip, pad):
    image = np.random.default_rng(1).normal(size=shape)
    count = 3000
    batch = jnp.broadcast_to(jnp.asarray(image), (count, *shape))
    found = np.asarray(
        jax.jit(AugmentImages(InputConfig(flip=flip, pad=pad)))(batch, jax.random.key(0))
    )
    expected = views(image, flip=flip, pad=pad)
    drawn = {
        view: int(np.sum(np.all(found == pixels, axis=tuple(range(1, found.ndim)))))
        for view, pixels in expected.items()
    }
    assert sum(drawn.values()) == count
    # Each comes as often as any other, to five deviations.
    mean = count / len(expected)
    assert max(abs(n - mean) for n in drawn.values()) <= 5 * np.sqrt(mean)


def test_augmentation_depends_on_the_key_alone():
    augment = AugmentImages(InputConfig(flip=True, pad=2))
    images = jnp.asarray(COLOUR, jnp.float32)
    first, again, other = (augment(images, jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# Settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mean": ()}, "mean must be one number"),
        ({"mean": (float("nan"),)}, "mean must be finite"),
        ({"std": (0.2, 0.0)}, "std must be positive"),
        ({"pad": -1}, "pad must be 0 or more; got -1"),
    ],
)
def test_inputs_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        InputConfig(**settings)


@pytest.mark.parametrize(("shape", "channels"), [((28, 28), "1 channel:"), ((8, 8, 3), "3 chan")])
def test_as_many_numbers_as_channels_are_needed(shape, channels):
    with pytest.raises(ValueError, match=rf"--inputs\.std has 2 numbers, but .* have {channels}"):
        InputConfig(std=(0.1, 0.2)).check("some", shape)


# How many images


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """200 training and 60 test digits."""
    return str(write_digits(tmp_path_factory.mktemp("digits"), train=200, test=60))


def split(source, **settings):
    found = load_splits(TrainConfig(data=DataConfig(source), **settings))
    return found.train, found.validation, found.test


@pytest.mark.parametrize("validation", [0.0, 0.5])
def test_images_of_each_split_are_at_most_so_many_and_evenly_from_the_classes(digits, validation):
    some, full = (split(digits, images=n, validation=validation) for n in (50, None))
    for part, whole in zip(some, full, strict=True):
        assert len(part) == 50
        shares = 50 * np.bincount(whole.labels, minlength=10) / len(whole)
        assert np.max(np.abs(np.bincount(part.labels, minlength=10) - shares)) < 1
        assert part.name == whole.name


def test_fewer_images_are_some_of_the_same_split(digits):
    some, full = (split(digits, images=n, validation=0.5) for n in (30, None))
    for part, whole in zip(some, full, strict=True):
        assert {i.tobytes() for i in part.images} <= {i.tobytes() for i in whole.images}


def test_more_images_than_there_are_means_all(digits):
    counts = [len(part) for part in split(digits, images=100)]
    assert counts == [100, 20, 60]
