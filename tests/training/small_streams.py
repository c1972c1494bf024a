"""Images from the host without files: what training/streams promises, in a few lines."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from sweeps.trial import DataSpec
from training.images.real_images import pass_order
from training.streams.host_batch import HostBatch


@dataclasses.dataclass(frozen=True)
class SmallStream:
    """A set of random images in a fresh order each epoch; some of them cannot be decoded."""

    data: DataSpec
    bad_samples: tuple[int, ...] = ()

    def training(
        self, *, seed: int, first_step: int, batch_images: int, rows: slice, multiplicity: int = 1
    ) -> Iterator[HostBatch]:
        """Yields this host's rows of each batch from first_step on."""
        step = first_step
        while True:
            places = step * batch_images + np.arange(batch_images, dtype=np.int64)[rows]
            order = pass_order(self.data.images_per_epoch, seed, int(places[0]) // multiplicity, batch_images)
            samples = order[places // multiplicity - places[0] // multiplicity] % self.data.images_per_epoch
            yield self._batch(samples.astype(np.int64), places, ~np.isin(samples, self.bad_samples))
            step += 1

    def held_out(self, *, part: str, batch_images: int, rows: slice) -> Iterator[HostBatch]:
        """Yields this host's rows of the held-out batches; the last is filled up with bad rows."""
        images = self.data.held_out_images if part == "held_out" else self.data.selection_images
        for first in range(0, images, batch_images):
            places = first + np.arange(batch_images, dtype=np.int64)[rows]
            yield self._batch(10_000 + places, places, places < images)

    def _batch(self, samples: np.ndarray, places: np.ndarray, is_good: np.ndarray) -> HostBatch:
        data = self.data
        labels = (samples % data.classes).astype(np.int32)
        noise = np.random.default_rng(0).integers(0, 128, (64, data.image_px, data.image_px, data.channels), np.uint8)
        images = noise[samples % 64] + (16 * labels[:, None, None, None]).astype(np.uint8)
        return HostBatch(
            images=np.where(is_good[:, None, None, None], images, 0).astype(np.uint8),
            labels=np.where(is_good, labels, 0).astype(np.int32),
            samples=np.where(is_good | (samples < 10_000), samples, -1),
            places=places,
            is_good=is_good,
        )
