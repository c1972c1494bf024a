"""What the processes that train one trial together agree on; by itself, a process agrees with itself at no cost."""

import jax
import numpy as np
from jax.experimental import multihost_utils


def any_host_says(word: bool) -> bool:
    """Returns whether any process says so: a signal reaches one host first, and all must stop at the same step."""
    if jax.process_count() == 1:
        return word
    return bool(np.any(multihost_utils.process_allgather(np.int32(word))))


def leader_says(word: bool) -> bool:
    """Returns the word of process 0: clocks differ, and a checkpoint is one for all."""
    if jax.process_count() == 1:
        return word
    return bool(multihost_utils.broadcast_one_to_all(np.int32(word)))
