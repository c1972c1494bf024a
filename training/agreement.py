"""What the processes that train one trial together agree on; by itself, a process agrees with itself at no cost."""

import pickle
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

Word = TypeVar("Word")


def is_leader() -> bool:
    """Returns whether this is the process that speaks for all."""
    return jax.process_index() == 0


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


def everyones(word: Word) -> list[Word]:
    """Returns what each process says, in their order; words are plain values, of any length."""
    if jax.process_count() == 1:
        return [word]
    mine = np.frombuffer(pickle.dumps(word), np.uint8)
    longest = int(np.max(multihost_utils.process_allgather(np.int32(len(mine)))))
    padded = np.zeros(longest, np.uint8)
    padded[: len(mine)] = mine
    return [pickle.loads(bytes(row)) for row in np.asarray(multihost_utils.process_allgather(padded))]
