"""What a run says of where it ran."""

import json

import jax

import holoprop as hp
from holoprop.runs import machine, versions


def test_versions_and_machine_are_json():
    found = json.loads(json.dumps({"versions": versions(), "machine": machine()}, allow_nan=False))
    assert found["versions"]["holoprop"] == hp.__version__
    assert {"python", "jax", "jaxlib", "equinox", "optax", "numpy"} <= set(found["versions"])
    assert found["machine"]["devices"] == jax.device_count()
    assert {"system", "architecture", "processors", "device"} <= set(found["machine"])
