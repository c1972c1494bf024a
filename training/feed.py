"""Brings the next images of a trial's stream to the devices, and says which samples they are."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from sweeps.certificate import Certificate, SampleTally, merged
from sweeps.compute import ComputeSpec
from sweeps.errors import StudyError
from sweeps.trial import Trial
from training import mesh as meshes
from training.agreement import everyones, is_leader
from training.source import FedSource, Source

STEPS_PER_DISPATCH = 32
"""Steps between two looks at the loss; those of a drawn source are one program."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dispatch:
    """What one call of the compiled step needs."""

    arrays: Any
    indices: jax.Array
    """(steps, microbatches, batch / microbatches) uint32."""
    count: int
    """How many of those steps are to be done."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What a run has been shown, over all its attempts and hosts."""

    certificate: Certificate = ()
    corrupt_images: int = 0


class Dispatches(Protocol):
    """Images in the order in which they are trained on."""

    def dispatches(self, step: int, count: int) -> Iterator[Dispatch]:
        """Yields what makes the next `count` steps, which begin at `step`, and counts their samples in the tally."""
        ...


class Feed(Dispatches, Protocol):
    """One trial's images, from the step it is at."""

    def seen(self) -> Seen:
        """Returns what all processes have seen so far; all of them must ask."""
        ...


@functools.lru_cache(maxsize=4)
def placed_arrays(source: Source, mesh: Mesh) -> Any:
    """Returns the arrays of a source as every device holds them: brought there once for all trials of a process."""
    return meshes.place(source.arrays, meshes.whole(mesh))


class DrawnFeed:
    """Of a source that is drawn inside the program: only indices go to the devices."""

    def __init__(self, source: Source, trial: Trial, mesh: Mesh, compute: ComputeSpec, seen: Seen) -> None:
        self._source, self._trial, self._tally = source, trial, SampleTally(seen.certificate)
        self._arrays = placed_arrays(source, mesh)
        self._sharding = meshes.along(mesh, 2)
        self._microbatches = compute.microbatches
        copies = trial.recipe.augmentation_multiplicity
        if copies > 1 and not source.has_copies:
            raise StudyError(
                f"data {trial.data.name} has no augmentation, so that augmentation_multiplicity={copies} would train "
                "on the very same image several times (try: study.recipe.augmentation_multiplicity=1)"
            )

    def seen(self) -> Seen:
        """Returns what was seen: every process knows the order of all rows."""
        return Seen(certificate=self._tally.certificate())

    def dispatches(self, step: int, count: int) -> Iterator[Dispatch]:
        """Yields one dispatch of `count` steps, at most STEPS_PER_DISPATCH."""
        trial = self._trial
        copies = trial.recipe.augmentation_multiplicity
        batch = trial.batch_images // copies
        # Always as many as the program takes: the rest of them is not looked at.
        samples = self._source.order(trial.seed, step * batch, STEPS_PER_DISPATCH * batch)
        self._tally.add(
            np.arange(step * batch, (step + count) * batch, dtype=np.int64),
            samples[: count * batch].astype(np.int64) % trial.data.images_per_epoch,
            images_per_epoch=trial.data.images_per_epoch,
        )
        indices = samples.reshape(STEPS_PER_DISPATCH, batch)
        if copies > 1:
            indices = _with_copies(indices, copies, trial.data.images_per_epoch)
        shape = (STEPS_PER_DISPATCH, self._microbatches, -1)
        yield Dispatch(arrays=self._arrays, indices=meshes.place(indices.reshape(shape), self._sharding), count=count)


def _with_copies(indices: NDArray[np.uint32], copies: int, images_per_epoch: int) -> NDArray[np.uint32]:
    """Returns each index `copies` times in its batch, told apart by multiples of images_per_epoch below 2^32.

    The upper half of those multiples belongs to copies beyond the first, so that no copy meets another epoch's image.
    """
    multiples = (2**32 - 1) // images_per_epoch
    stride = multiples // copies * images_per_epoch
    offsets = (np.arange(copies, dtype=np.uint64) * stride).astype(np.uint32)
    return (indices[:, :, None] + offsets).reshape(len(indices), -1)


class HostFeed:
    """Of a source whose images come from the hosts: each process brings its rows of every batch."""

    def __init__(self, source: FedSource, trial: Trial, mesh: Mesh, compute: ComputeSpec, seen: Seen) -> None:
        self._source, self._trial = source, trial
        earlier = seen if is_leader() else Seen()  # the others add only what they see themselves
        self._tally = SampleTally(earlier.certificate)
        self._corrupt_images = earlier.corrupt_images
        self._sharding = meshes.along(mesh, 1)
        self._microbatches = compute.microbatches
        self._rows = meshes.my_rows(trial.batch_images)
        self._batches: Any = None
        indices = np.zeros((1, compute.microbatches, trial.batch_images // compute.microbatches), np.uint32)
        self._indices = meshes.place(indices, meshes.along(mesh, 2))

    def seen(self) -> Seen:
        """Returns what the rows of all processes hold together."""
        parts = everyones(Seen(certificate=self._tally.certificate(), corrupt_images=self._corrupt_images))
        return Seen(
            certificate=merged(part.certificate for part in parts),
            corrupt_images=sum(part.corrupt_images for part in parts),
        )

    def dispatches(self, step: int, count: int) -> Iterator[Dispatch]:
        """Yields `count` dispatches of one step; while the devices work on one, the next is fetched."""
        trial = self._trial
        copies = trial.recipe.augmentation_multiplicity
        if self._batches is None:
            self._batches = self._source.stream.training(
                seed=trial.seed,
                first_step=step,
                batch_images=trial.batch_images,
                rows=self._rows,
                multiplicity=copies,
            )
        for _ in range(count):
            batch = next(self._batches)
            self._corrupt_images += int(np.sum(~batch.is_good))
            first_copies = batch.places % copies == 0
            self._tally.add(
                batch.places[first_copies] // copies,
                batch.samples[first_copies],
                images_per_epoch=trial.data.images_per_epoch,
            )
            rows = (batch.images, batch.labels, batch.is_good)
            arrays = meshes.place_rows(jax.tree.map(self._in_microbatches, rows), self._sharding)
            yield Dispatch(arrays=arrays, indices=self._indices, count=1)

    def _in_microbatches(self, rows: NDArray[Any]) -> NDArray[Any]:
        return rows.reshape(self._microbatches, -1, *rows.shape[1:])


def open_feed(
    source: Source | FedSource, trial: Trial, mesh: Mesh, compute: ComputeSpec, seen: Seen
) -> DrawnFeed | HostFeed:
    """Returns the images of a trial, which go on after what earlier attempts have seen."""
    meshes.check_batch(trial.batch_images, mesh, compute)
    if trial.batch_images % trial.recipe.augmentation_multiplicity:
        raise StudyError(
            f"batch_images={trial.batch_images} is no multiple of augmentation_multiplicity="
            f"{trial.recipe.augmentation_multiplicity}; choose one that is"
        )
    if isinstance(source, Source):
        return DrawnFeed(source, trial, mesh, compute, seen)
    return HostFeed(source, trial, mesh, compute, seen)
