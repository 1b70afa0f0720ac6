"""What the measurements ran on, and what its processor does at best."""

import os
import platform
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import interleave
from holoprop.runs import machine, versions

_SIDE = 2048


def _processor() -> str:
    """The processor's name, where the system tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def product_rate() -> float:
    """Floating-point operations a second in a product of large square float32 matrices."""
    a = jnp.ones((_SIDE, _SIDE), jnp.float32)
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST))
    timing = interleave({"product": lambda: product(a)}, repeats=5)["product"]
    return 2 * _SIDE**3 / min(timing.rounds)


def describe() -> dict[str, Any]:
    """Processor, device, memory, versions, how busy the machine was, and its best rate."""
    load = os.getloadavg()[0]
    return {
        **machine(),
        "processor": _processor(),
        "memory_gb": round(_memory_bytes() / 1e9, 1),
        "load_average_before": round(load, 2),
        "product_gflops": round(product_rate() / 1e9, 1),
        "versions": versions(),
    }
