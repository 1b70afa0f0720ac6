"""What eight simulated devices come to, printed as JSON: `test_devices.py` runs it by itself.

JAX makes devices when it first looks for them, so that another number takes another process.
"""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import holoprop as hp
from holoprop.data import load_images
from holoprop.training import Examples, Method, evaluate, first_state, fit
from holoprop.training._sharded_step import sharded_train_step
from holoprop.training._shards import Shards

SUBSET = load_images(None, "test")
IMAGES, LABELS = SUBSET.images[:90], SUBSET.labels[:90]
COLLECTIVE = re.compile(
    r"= \S.*? (all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+)(-start)?\("
)


TO_TOLERANCE = hp.Sequential(tolerance=1e-3)


def digits(dtype):
    return Examples((IMAGES.reshape(-1, 784) / 255).astype(dtype), LABELS.astype(np.int32))


def method(**changes):
    relaxation = hp.Sequential(steps=12)
    settings = {
        "estimator": hp.Centred(0.1),
        "free": relaxation,
        "nudged": relaxation,
        "optimiser": optax.sgd(0.1, momentum=0.9),
        "transform": jnp.array,
    }
    return Method(**settings | changes)


def network(dtype):
    made = hp.mlp([784, 8, 10], key=jax.random.key(0))
    return jax.tree.map(lambda a: a.astype(dtype), made)


def trained(devices, dtype=np.float32, *, batches=5, epochs=4, **changes):
    """The trained weights, and what the last epoch came to."""
    seen, train = [], digits(dtype)
    result = fit(
        network(dtype),
        train.take(slice(16 * batches)),
        train.take(slice(0, 13)),
        method=method(**changes),
        epochs=epochs,
        batch_size=16,
        seed=0,
        devices=devices,
        on_epoch=seen.append,
    )
    assert all(leaf.devices() == {jax.devices()[0]} for leaf in jax.tree.leaves(result))
    return result, seen[-1]


def distance(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in pairs)


def twenty_steps(dtype, **changes):
    (one, alone), (eight, shared) = (trained(d, dtype, **changes) for d in ((), jax.devices()))
    assert distance(one, network(dtype)) > 1e-2
    numbers = ("train_loss", "train_error", "validation_loss", "validation_error", "unsettled")
    return {
        "weights": distance(one, eight),
        "dtype": str(eight.readout.weight.dtype),
        "reported": max(abs(getattr(alone, n) - getattr(shared, n)) for n in numbers),
        "steps": [alone.steps, shared.steps],
        "error": [alone.gradient_error["median"], shared.gradient_error["median"]],
    }


def program(relaxation=TO_TOLERANCE, **changes):
    """The collectives of a step to a tolerance, in all and outside of loops."""
    to_tolerance = method(free=relaxation, nudged=relaxation, **changes)
    shards, state = Shards(jax.devices()), first_state(method(), network(np.float32))
    part = shards.take(digits(np.float32), np.arange(16))
    lowered = sharded_train_step.lower(
        shards,
        to_tolerance,
        shards.replicated(state.network),
        shards.replicated(state.optimiser_state),
        part.inputs,
        part.labels,
        jax.random.key(0),
    )
    return collectives(lowered.compile().compiled.as_text())


def program_of_all_points():
    return program(hp.Anderson(), estimator=hp.Holomorphic(0.3, 6))


def collectives(text):
    """The kinds of all collectives in a program's text, and of those outside its entry."""
    everywhere = [m[1] for m in map(COLLECTIVE.search, text.splitlines()) if m]
    entry = text[text.index("\nENTRY") :]
    entry = entry[: entry.index("\n}")]
    in_entry = [m[1] for m in map(COLLECTIVE.search, entry.splitlines()) if m]
    return {"all": everywhere, "entry": in_entry, "loops": len(re.findall(r"\bwhile\(", text))}


def unsettled():
    """A step on a batch of which some examples do not settle, by devices and by hand.

    Dark images do not settle within the steps, and the shares that hold them have fewer or none.
    """
    few = hp.Sequential(tolerance=1e-4, max_steps=12)
    images = np.concatenate([np.zeros((9, 784)), digits(np.float64).inputs[:7] * 3])
    examples = Examples(images, LABELS[:16].astype(np.int32))
    own = method(estimator=hp.Holomorphic(0.3, 4), free=few, nudged=few, optimiser=optax.sgd(1.0))
    net, shards = deep(), Shards(jax.devices())
    part = shards.take(examples, np.arange(16))
    after, _, seen = sharded_train_step(
        shards,
        own,
        shards.replicated(net),
        shards.replicated(first_state(own, net).optimiser_state),
        part.inputs,
        part.labels,
        jax.random.key(0),
    )
    counts, gradients = [], []
    for start in range(0, 16, 2):
        share = examples.take(slice(start, start + 2))
        (_, aux), grads = own.value_and_grad(
            net, jnp.asarray(share.inputs), share.labels, key=jax.random.key(0)
        )
        counts.append(int(aux.count))
        gradients.append(grads)

    def stepped(weights):
        """The network after a step along the weighted mean."""
        weights = np.array(weights) / sum(weights)
        return jax.tree.map(
            lambda n, *gs: n - np.tensordot(weights, np.stack(gs), 1), net, *gradients
        )

    return {
        "counts": counts,
        "unsettled": int(seen["unsettled"]),
        "weighted": distance(after, stepped(counts)),
        "unweighted": distance(after, stepped([1] * 8)),
    }


def deep():
    return jax.tree.map(
        lambda a: a.astype(np.float64), hp.mlp([784, 8, 8, 8, 10], key=jax.random.key(1))
    )


def augmented():
    def augment(x, key):
        return x + 0.1 * jax.random.normal(key, x.shape, x.dtype)

    one, eight = (trained(d, np.float64, augment=augment)[0] for d in ((), jax.devices()))
    plain, _ = trained((), np.float64)
    return {"same": distance(one, eight), "plain": distance(one, plain)}


def by_the_user():
    """`value_and_grad` in a `shard_map`, and of arrays whose types name the axes of a mesh."""
    mesh = jax.make_mesh((8,), ("shards",), axis_types=(AxisType.Explicit,))
    net, examples = network(np.float64), digits(np.float64).take(slice(16))
    x, y = jax.device_put((examples.inputs, examples.labels), NamedSharding(mesh, P("shards")))
    estimator = hp.Holomorphic(0.3, 4)
    tight = {"free": hp.Anderson(), "nudged": hp.Anderson(), "throw": False}

    def value_and_grad(net, x, y):
        (loss, aux), grads = hp.value_and_grad(net, x, y, estimator=estimator, **tight)
        return loss, aux.count, aux.logits, grads

    def mean(net, x, y):
        _, own, _, grads = value_and_grad(net, x, y)
        count = jax.lax.psum(own, "shards")
        return jax.tree.map(lambda g: jax.lax.psum(own * g, "shards") / count, grads)

    _, _, logits, reference = value_and_grad(net, examples.inputs, examples.labels)
    answer = {}
    for name, tracked in (("tracked", True), ("untracked", False)):
        mapped = jax.shard_map(
            mean,
            mesh=mesh,
            in_specs=(P(), P("shards"), P("shards")),
            out_specs=P(),
            check_vma=tracked,
        )
        answer[name] = distance(jax.jit(mapped)(net, x, y), reference)
    _, _, found, grads = jax.jit(value_and_grad)(net, x, y)
    answer["explicit"] = max(distance(grads, reference), distance(found, logits))

    def rest(net, x):
        """The sum over devices of the derivative of a number of each, as JAX has it."""
        return jnp.sum(
            jax.vmap(lambda x: hp.equilibrium(net, x, estimator=hp.Implicit(), throw=False)[0])(x)
        )

    mapped = jax.shard_map(jax.grad(rest), mesh=mesh, in_specs=(P(), P("shards")), out_specs=P())
    whole = jax.grad(rest)(net, examples.inputs)
    answer["equilibrium"] = distance(jax.jit(mapped)(net, x), whole)
    return answer


def refused(**changes):
    try:
        settings = {"epochs": 1, "batch_size": 20, "seed": 0, "devices": jax.devices()}
        data = digits(np.float32)
        fit(network(np.float32), data, data, method=method(), **settings | changes)
    except ValueError as error:
        return str(error)


def evaluation():
    data, net = digits(np.float64).take(slice(0, 83)), network(np.float64)
    one, eight = (evaluate(method(), net, data, devices=d) for d in ((), jax.devices()))
    return {"loss": abs(one.loss - eight.loss), "same": one.error == eight.error}


def float32():
    return twenty_steps(np.float32, estimator=hp.Holomorphic(0.3, 6))


def float64():
    return twenty_steps(np.float64)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    assert jax.device_count() == 8
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
