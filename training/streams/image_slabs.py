"""Slabs: the few consecutive rows of a batch that one thread reads, decodes and augments at a time.

Slab i of a stream is a function of i alone, whoever computes it and when.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeps.errors import StudyError
from sweeps.trial import DataSpec
from training.streams.crops import CHANCES, middle_box, random_box
from training.streams.decode import Picture, UndecodableError
from training.streams.host_batch import HostBatch, empty_batch
from training.streams.sample_order import sample_at
from training.streams.shards import ShardRow

_SLAB_IMAGES = 32
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One host's rows of every batch, cut into slabs."""

    batch_images: int
    first: int
    stop: int

    @property
    def slabs(self) -> int:
        """Number of them in a batch."""
        return -(-(self.stop - self.first) // _SLAB_IMAGES)

    def places(self, slab: int) -> NDArray[np.int64]:
        """Returns the places in the stream of slab 0, 1, 2 ... of step 0, and so on."""
        step, part = divmod(slab, self.slabs)
        first = self.first + part * _SLAB_IMAGES
        return step * self.batch_images + np.arange(first, min(first + _SLAB_IMAGES, self.stop), dtype=np.int64)


Draw = Callable[[Picture, int], NDArray[np.uint8]]
"""(picture, place) -> pixels of the row at that place."""


def _fill(batch: HostBatch, rows: range, source: ShardRow, data: DataSpec, draw: Draw) -> None:
    """Puts one sample into these rows of the batch; they stay zeros, and are told, where it cannot be decoded."""
    number = int(batch.samples[rows[0]])
    sample = source.read(number)
    if not 0 <= sample.label < data.classes:
        raise StudyError(
            f"{source.where(number)} is of class {sample.label}; classes={data.classes} allows 0 to {data.classes - 1}"
        )
    batch.labels[rows] = sample.label
    try:
        picture = Picture(sample.encoded, channels=data.channels)
        for row in rows:
            batch.images[row] = draw(picture, int(batch.places[row]))
    except UndecodableError as error:
        batch.images[rows] = 0
        _LOG.warning(
            "%s: %d bytes that are no whole image, skipped: %s", source.where(number), len(sample.encoded), error
        )
    else:
        batch.is_good[rows] = True


@dataclass(frozen=True, kw_only=True)
class TrainingSlabs:
    """Slabs of augmented images, in the order of a seed, without end."""

    row: ShardRow
    data: DataSpec
    rows: Rows
    seed: int
    multiplicity: int

    def __call__(self, slab: int) -> HostBatch:
        """Returns one slab."""
        places = self.rows.places(slab)
        samples = sample_at(places // self.multiplicity, self.seed, self.data.images_per_epoch)
        batch = empty_batch(places, samples, px=self.data.image_px, channels=self.data.channels)
        # Copies of a sample stand beside one another, and share what is read and decoded.
        firsts = np.flatnonzero(np.diff(samples, prepend=-1) | (places % self.multiplicity == 0))
        for first, stop in zip(firsts, [*firsts[1:], len(samples)], strict=True):
            _fill(batch, range(first, stop), self.row, self.data, self._draw)
        return batch

    def _draw(self, picture: Picture, place: int) -> NDArray[np.uint8]:
        # Counter-based: a generator of its own for each place costs a few microseconds.
        chances = np.random.Generator(np.random.Philox(key=[self.seed, place])).random(CHANCES).tolist()
        box = random_box(picture.width, picture.height, chances)
        return picture.cut(box, self.data.image_px, is_mirrored=chances[-1] < 0.5)


@dataclass(frozen=True, kw_only=True)
class HeldOutSlabs:
    """Slabs of the middles of held-out images, each once; rows after the last image are filled up."""

    row: ShardRow
    data: DataSpec
    rows: Rows
    images: int
    first: int
    stride: int
    """Image i of the set is sample first + stride x i of the folder."""

    def __call__(self, slab: int) -> HostBatch:
        """Returns one slab."""
        places = self.rows.places(slab)
        samples = np.where(places < self.images, self.first + self.stride * places, -1)
        batch = empty_batch(places, samples, px=evaluation_px(self.data), channels=self.data.channels)
        for row in range(int(np.sum(samples >= 0))):
            _fill(batch, range(row, row + 1), self.row, self.data, self._draw)
        return batch

    def _draw(self, picture: Picture, place: int) -> NDArray[np.uint8]:
        px = evaluation_px(self.data)
        return picture.cut(middle_box(picture.width, picture.height, px), px)


def evaluation_px(data: DataSpec) -> int:
    """Returns the side of a held-out image [pixels]."""
    return data.evaluation_px or data.image_px
