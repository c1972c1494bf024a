"""What one device of a TPU generation can do, as its maker states it."""

from dataclasses import dataclass

from sweeps.errors import StudyError


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One device, as JAX counts them: half a chip on v4 and tpu7x, a chip on the others."""

    peak_flops_per_s: float
    """bfloat16."""
    bytes_per_s: float
    """Of main memory."""
    memory_bytes: float


_GIB = 2**30
GENERATIONS = {
    # 275 TFLOP/s, 32 GiB and 1200 GB/s a chip of two cores.
    "v4": Generation(peak_flops_per_s=137.5e12, bytes_per_s=600e9, memory_bytes=16 * _GIB),
    "v5e": Generation(peak_flops_per_s=197e12, bytes_per_s=819e9, memory_bytes=16 * _GIB),
    # Its two cores work as one.
    "v5p": Generation(peak_flops_per_s=459e12, bytes_per_s=2765e9, memory_bytes=95 * _GIB),
    "v6e": Generation(peak_flops_per_s=918e12, bytes_per_s=1640e9, memory_bytes=32 * _GIB),
    # 2307 TFLOP/s, 192 GiB and 7370 GB/s a chip of two devices.
    "tpu7x": Generation(peak_flops_per_s=1153.5e12, bytes_per_s=3685e9, memory_bytes=96 * _GIB),
}
"""cloud.google.com/tpu/docs, the page of each generation."""


def generation(topology: str) -> Generation:
    """Returns the generation that a topology such as v4:2x2x1 is made of.

    Raises:
        StudyError: it is not known.
    """
    name = topology.partition(":")[0]
    if name not in GENERATIONS:
        raise StudyError(
            f"TOPOLOGY={topology} is of no known TPU generation; they are {', '.join(GENERATIONS)} "
            "(try: TOPOLOGY=v4:2x2x1, which is 4 chips of 2 cores)"
        )
    return GENERATIONS[name]
