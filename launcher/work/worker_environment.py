"""The environment that trials are trained in: the same everywhere, so that a cell gives the same losses everywhere."""

import os
from pathlib import Path

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


def worker_environment(compile_cache: Path, *, is_on_cpu: bool) -> dict[str, str]:
    """Returns the variables that every worker needs beside those of its parent.

    Always the same flags: others would miss the compile cache, and other thread counts add up in another order.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    environment = {
        **_ONE_THREAD,
        "JAX_COMPILATION_CACHE_DIR": str(compile_cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    if is_on_cpu:
        environment["NPROC"] = "1"  # with more threads than a pinned worker has, XLA sums in another order
        if _XLA_ONE_THREAD not in flags:
            environment["XLA_FLAGS"] = f"{flags} {_XLA_ONE_THREAD}".strip()
    return environment


def claim_environment(compile_cache: Path) -> None:
    """Gives this very process the environment of a worker; of use only before JAX is imported."""
    is_on_cpu = not any(Path("/dev").glob("nvidia[0-9]*"))
    os.environ.update(worker_environment(compile_cache, is_on_cpu=is_on_cpu))


def usable_cores() -> tuple[int, ...]:
    """Returns the cores this process may use, which in a container or batch job are not all."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))
