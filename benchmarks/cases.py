"""The networks and the real images that are measured, at initial weights and after some training.

With HOLOPROP_DATA set to a folder that holds `mnist` and `cifar10` those are read; without it the
digits are the packaged subset, and pictures are smooth random ones. Each set says what it is.
"""

import functools
import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import holoprop as hp
from benchmarks.cache import cached
from benchmarks.setting import Setting
from holoprop.data import ImageSet, epoch_batches, load_images
from holoprop.training import Method, train_step

_MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
_DEVIATION = 1.5 * np.array([0.2023, 0.1994, 0.2010], np.float32)
# Of the five-layer network (Table 5), from the first convolution to the readout, and the batch that
# they belong to.
_RATES, _RATES_BATCH = (0.25, 0.15, 0.10, 0.08, 0.05), 128
_RANDOM_PICTURES = 2_000


def _folder(name: str) -> Path | None:
    """A data set's folder, if there is one."""
    root = os.environ.get("HOLOPROP_DATA")
    folder = Path(root) / name if root else None
    return folder if folder is not None and folder.is_dir() else None


@functools.cache
def digits() -> ImageSet:
    """MNIST's training split, or the packaged subset of it."""
    return load_images(_folder("mnist"), "train")


@functools.cache
def pictures() -> ImageSet:
    """CIFAR-10's training split, or smooth random pictures with random labels."""
    folder = _folder("cifar10")
    if folder is not None:
        return load_images(folder, "train")
    images, labels = random_pictures(_RANDOM_PICTURES)
    name = "smooth random pictures (HOLOPROP_DATA has no cifar10)"
    return ImageSet(images, labels, tuple(map(str, range(10))), name)


def random_pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bytes [count, 32, 32, 3] of smooth random pictures, and random labels."""
    rng = np.random.default_rng(0)
    coarse = jnp.asarray(rng.uniform(0, 255, (count, 8, 8, 3)), jnp.float32)
    smooth = jax.image.resize(coarse, (count, 32, 32, 3), "linear")
    labels = rng.integers(0, 10, count).astype(np.int32)
    return np.asarray(smooth).round().astype(np.uint8), labels


def scale_digits(images: jax.Array) -> jax.Array:
    """Bytes to numbers from 0 to 1, as the paper has it."""
    return images.astype(jnp.float32) / 255


def normalise_pictures(images: jax.Array) -> jax.Array:
    """CIFAR's normalisation: each channel's mean, and 1.5 times its deviation."""
    return (images.astype(jnp.float32) / 255 - _MEAN) / _DEVIATION


def digit_batch(count: int) -> tuple[jax.Array, jax.Array]:
    """The first digits and their labels."""
    images = digits()
    return scale_digits(jnp.asarray(images.images[:count])), jnp.asarray(images.labels[:count])


def picture_batch(count: int) -> tuple[jax.Array, jax.Array]:
    """The first pictures and their labels."""
    images = pictures()
    x = normalise_pictures(jnp.asarray(images.images[:count]))
    return x, jnp.asarray(images.labels[:count])


def initial_mlp(setting: Setting, *, seed: int = 0) -> hp.LayeredNetwork:
    """The paper's multi-layer perceptron at the library's default weights."""
    return hp.mlp(setting.mlp, key=jax.random.key(seed))


def initial_cnn(setting: Setting) -> hp.LayeredNetwork:
    """The paper's five-layer network."""
    return hp.vgg(setting.cnn, key=jax.random.key(0))


def initial_deep(setting: Setting) -> hp.LayeredNetwork:
    """The paper's seven-layer network."""
    return hp.vgg(setting.deep, key=jax.random.key(0))


def _loose(tolerance: float, max_steps: int) -> hp.AbstractRelaxation:
    return hp.Anderson(hp.Sequential(tolerance=tolerance, max_steps=max_steps))


def _after_training(
    name: str,
    network: hp.LayeredNetwork,
    images: ImageSet,
    method: Method,
    *,
    steps: int,
    batch: int,
) -> hp.LayeredNetwork:
    """The network after so many steps, trained once and then read from the cache."""
    count = len(images)

    def compute() -> hp.LayeredNetwork:
        trained, state = network, method.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
        done, epoch, loss = 0, 0, jnp.zeros(())
        while done < steps:
            epoch += 1
            for rows in epoch_batches(count, batch, seed=0, epoch=epoch):
                trained, state, seen = train_step(
                    method,
                    trained,
                    state,
                    images.images[rows],
                    images.labels[rows],
                    jax.random.key(done),
                )
                loss, done = seen["loss"], done + 1
                if done == steps:
                    break
        if not jnp.isfinite(loss):
            raise RuntimeError(f"{name}: the loss is {loss} after {steps} steps of training.")
        return trained

    depends_on = (
        eqx.filter(network, eqx.is_inexact_array),
        images.labels,
        np.array([steps, batch]),
    )
    arrays = map(jnp.asarray, cached(name, depends_on, compute))
    trainable, rest = eqx.partition(network, eqx.is_inexact_array)
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(trainable), arrays), rest)


@functools.cache
def trained_mlp(setting: Setting) -> hp.LayeredNetwork:
    """The perceptron after some epochs of centred equilibrium propagation (batch 20, rate 0.05)."""
    images = digits()
    kept = min(len(images), setting.mlp_images)
    images = ImageSet(images.images[:kept], images.labels[:kept], images.class_names, images.name)
    method = Method(
        hp.Centred(0.1), _loose(1e-4, 60), _loose(1e-3, 40), optax.sgd(0.05), scale_digits
    )
    return _after_training(
        f"mlp-{setting.name}",
        initial_mlp(setting),
        images,
        method,
        steps=setting.mlp_epochs * (kept // 20),
        batch=20,
    )


@functools.cache
def trained_cnn(setting: Setting, *, scaled: bool) -> hp.LayeredNetwork:
    """The five-layer network after some steps of the paper's training, in batches of 16.

    Arguments:
        setting: Its sizes.
        scaled: Whether rates are in proportion to the batch, instead of Table 5's, which are for
            128 images: those make it slow to settle.
    """
    batch = 16
    factor = batch / _RATES_BATCH if scaled else 1.0

    def descend(updates: hp.LayeredNetwork, _: object) -> hp.LayeredNetwork:
        *rates, top = (factor * rate for rate in _RATES)
        rates = rates[: len(updates.couplings)]
        couplings = tuple(
            jax.tree.map(lambda g, rate=rate: -rate * g, coupling)
            for coupling, rate in zip(updates.couplings, rates, strict=True)
        )
        readout = jax.tree.map(lambda g: -top * g, updates.readout)
        return eqx.tree_at(lambda n: (n.couplings, n.readout), updates, (couplings, readout))

    optimiser = optax.chain(
        optax.add_decayed_weights(2e-3), optax.trace(0.9), optax.stateless(descend)
    )
    method = Method(
        hp.Holomorphic(1.0, 2), _loose(1e-4, 100), _loose(1e-3, 60), optimiser, normalise_pictures
    )
    return _after_training(
        f"cnn-{setting.name}{'-scaled' if scaled else ''}",
        initial_cnn(setting),
        pictures(),
        method,
        steps=setting.cnn_training,
        batch=batch,
    )


def mlp_weights(setting: Setting) -> dict[str, hp.LayeredNetwork]:
    """The perceptron's weights that are measured."""
    return {"initial": initial_mlp(setting), "trained": trained_mlp(setting)}


def cnn_weights(setting: Setting) -> dict[str, hp.LayeredNetwork]:
    """The five-layer network's weights that are measured."""
    return {
        "initial": initial_cnn(setting),
        "trained": trained_cnn(setting, scaled=True),
    }
