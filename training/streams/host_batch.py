"""What the host hands to the devices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class HostBatch:
    """One host's rows of a batch.

    With an augmentation multiplicity m, rows whose place is a multiple of m are the first copies of their samples; in
    the stream of samples those stand at places // m, which is what a sampling certificate counts.
    """

    images: NDArray[np.uint8]
    """(rows, px, px, channels)"""
    labels: NDArray[np.int32]
    """(rows,)"""
    samples: NDArray[np.int64]
    """(rows,) number of the sample within its set, 0 ... n - 1; -1 where the row only fills up the last batch."""
    places: NDArray[np.int64]
    """(rows,) place in the stream: step x batch_images + row of the batch."""
    is_good: NDArray[np.bool_]
    """(rows,) False where there is no image that could be decoded: a row of zeros, which weighs nothing in the loss."""

    def __len__(self) -> int:
        return len(self.labels)


def empty_batch(places: NDArray[np.int64], samples: NDArray[np.int64], *, px: int, channels: int) -> HostBatch:
    """Returns rows of these samples, in which nothing is good yet."""
    return HostBatch(
        images=np.zeros((len(places), px, px, channels), np.uint8),
        labels=np.zeros(len(places), np.int32),
        samples=samples,
        places=places,
        is_good=np.zeros(len(places), np.bool_),
    )


def joined(parts: Sequence[HostBatch]) -> HostBatch:
    """Returns the rows of all parts in their order."""
    if len(parts) == 1:
        return parts[0]
    return HostBatch(
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        samples=np.concatenate([part.samples for part in parts]),
        places=np.concatenate([part.places for part in parts]),
        is_good=np.concatenate([part.is_good for part in parts]),
    )
