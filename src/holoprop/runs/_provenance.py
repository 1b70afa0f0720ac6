"""What a run ran on."""

import os
import platform
from importlib.metadata import version
from typing import Any

import jax


def versions() -> dict[str, str]:
    """Of Python and the packages that decide a result, by name.

    Example:
        >>> sorted(versions())
        ['equinox', 'holoprop', 'jax', 'jaxlib', 'numpy', 'optax', 'python']
    """
    packages = ("holoprop", "jax", "jaxlib", "equinox", "optax", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def machine() -> dict[str, Any]:
    """What a run ran on, as `summary.json` has it.

    Example:
        >>> sorted(machine())
        ['architecture', 'device', 'devices', 'processors', 'system']
    """
    device = jax.devices()[0]
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "device": device.device_kind,
        "devices": jax.device_count(),
    }
