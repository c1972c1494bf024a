"""What a device can do at most, from its data sheet or timed here, and the most memory that it has held."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

TPU_CHIP_FLOPS_PER_S = {
    "TPU v2": 46e12,
    "TPU v3": 123e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "TPU7x": 2307e12,
}
"""bfloat16, of a chip: the system architecture pages of Google Cloud TPU. A chip may show as two devices."""
GPU_FLOPS_PER_S = {
    "A100": 312e12,
    "L4": 121e12,
    "H100 PCIe": 756e12,
    "H100": 989.4e12,
    "H200": 989.4e12,
}
"""bfloat16 without sparsity: NVIDIA's data sheets; those of H100, H200 and L4 state twice as much, with sparsity."""
MATRIX_SIDE, ROUNDS = 1024, 8


@dataclass(frozen=True, kw_only=True)
class DevicePeak:
    """The most FLOPs a second of one device."""

    flops_per_s: float
    source: str


def device_peak(devices: Sequence[Any], compute_dtype: str) -> DevicePeak:
    """Returns the peak of each of these devices, which are alike."""
    kind = str(devices[0].device_kind)
    if kind in TPU_CHIP_FLOPS_PER_S:
        halves = 1 + max(int(getattr(device, "core_on_chip", 0)) for device in devices)
        return DevicePeak(
            flops_per_s=TPU_CHIP_FLOPS_PER_S[kind] / halves,
            source=f"{kind}, bfloat16: Google Cloud, {'one device a chip' if halves == 1 else 'two devices a chip'}",
        )
    for name, flops_per_s in GPU_FLOPS_PER_S.items():
        if set(name.split()) <= set(kind.replace("-", " ").split()):
            return DevicePeak(flops_per_s=flops_per_s, source=f"{name}, bfloat16 without sparsity: NVIDIA")
    return DevicePeak(
        flops_per_s=_timed_flops_per_s(compute_dtype),
        source=f"best of {ROUNDS} {compute_dtype} matrix products of side {MATRIX_SIDE:,}, timed here",
    )


def peak_memory_bytes() -> int | None:
    """Returns the most memory that any one of this process's devices has had in use since the process began."""
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    return max((peak for peak in peaks if peak is not None), default=None)


def _timed_flops_per_s(compute_dtype: str) -> float:
    side = MATRIX_SIDE
    factors = jax.random.normal(jax.random.key(0), (2, side, side)).astype(compute_dtype)
    product = jax.jit(jnp.matmul)
    product(*factors).block_until_ready()
    seconds: list[float] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        product(*factors).block_until_ready()
        seconds.append(time.perf_counter() - started)
    return 2.0 * side**3 / min(seconds)
