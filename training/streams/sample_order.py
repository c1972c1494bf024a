"""Which sample stands at which place of a run's stream: a fresh permutation an epoch, computed place by place.

The order is a function of (seed, epoch, place) alone, so that it does not depend on the number of hosts or on restarts,
and nothing is held in memory, whatever the number of samples.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8
_GOLDEN = 0x9E3779B97F4A7C15
_ALL = 2**64 - 1


def sample_at(places: NDArray[np.int64], seed: int, samples: int) -> NDArray[np.int64]:
    """Returns the samples (n,) in 0 ... samples - 1 at these places (n,) of the stream of `seed`.

    Places samples x epoch ... samples x (epoch + 1) - 1 hold each sample once.
    """
    epochs, within = np.divmod(places, samples)
    found = np.empty(len(places), np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        found[chosen] = _permuted(within[chosen], samples, key=_mixed(_mixed(seed & _ALL) + int(epoch)))
    return found


def _permuted(numbers: NDArray[np.int64], samples: int, *, key: int) -> NDArray[np.int64]:
    """Returns where a permutation of 0 ... samples - 1 that is drawn by `key` sends the numbers.

    A Feistel network with modular sums permutes a grid that is just large enough; what leaves the range is sent on
    until it is back in it (cycle walking: Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002).
    """
    rows = math.isqrt(samples - 1) + 1
    columns = -(-samples // rows)
    keys = [np.uint64(round_key) for round_key in _round_keys(key)]
    found = numbers.astype(np.uint64)
    outside = np.ones(len(found), bool)
    while outside.any():
        found[outside] = _network(found[outside], np.uint64(rows), np.uint64(columns), keys)
        outside = found >= np.uint64(samples)
    return found.astype(np.int64)


def _network(
    numbers: NDArray[np.uint64], rows: np.uint64, columns: np.uint64, keys: list[np.uint64]
) -> NDArray[np.uint64]:
    row, column = np.divmod(numbers, columns)
    for number, key in enumerate(keys):
        if number % 2 == 0:
            row = (row + _mixed_array(column + key) % rows) % rows
        else:
            column = (column + _mixed_array(row + key) % columns) % columns
    return row * columns + column


def _round_keys(key: int) -> Iterator[int]:
    for number in range(_ROUNDS):
        yield _mixed(key + (number + 1) * _GOLDEN)


def _mixed(number: int) -> int:
    """Returns splitmix64 of a number modulo 2^64 (S. Vigna, public domain)."""
    number = (number + _GOLDEN) & _ALL
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & _ALL
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & _ALL
    return number ^ (number >> 31)


def _mixed_array(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns the same of each number, without its first addition: the key does that."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
