"""Checkpoints of one trial: written beside the training, whole or not at all, and proved good when they are read.

The older one stays until the newer one is complete, in case that is damaged. A digest over every number is computed on
the devices, whatever the sharding, and computed again from what was read.
"""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sweeps.certificate import EpochSamples
from sweeps.record import CostClock
from training.agreement import any_host_says, is_leader, leader_says
from training.disk_budget import DiskBudget
from training.feed import Seen
from training.step import TrainState

_KEPT = 2
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Resumable:
    """Everything a run needs to go on as if it had never stopped."""

    state: TrainState
    step: int = 0
    clock: CostClock = CostClock()
    """Time spent so far: the cost clock survives a restart."""
    loss_step: int = 0
    """Step of the last reported point."""
    evaluated_images: int = 0
    """Training images seen when the held-out loss was last measured."""
    seen: Seen = Seen()
    """Samples seen so far; where the data goes on follows from the step."""
    shared_steps: int = 0
    """Steps taken over from a shorter run."""


class CheckpointFolder:
    """The checkpoints of one trial in one folder, or nowhere when the folder is None."""

    def __init__(self, folder: Path | None, *, budget: DiskBudget = DiskBudget()) -> None:
        self._folder, self._budget = folder, budget
        self._manager: Any = None

    def load(self, *, like: TrainState) -> Resumable | None:
        """Returns the newest checkpoint that can be read and proves good, or None where there is none.

        Args:
            like: a state whose shapes and shardings the restored one takes, on however many devices it was saved.
        """
        if self._folder is None or not self._folder.is_dir():
            return None
        import orbax.checkpoint as ocp

        manager = self._open()
        for step in sorted(manager.all_steps(), reverse=True):
            found = None
            try:
                wanted = ocp.args.StandardRestore(jax.tree.leaves(like))
                found = manager.restore(step, args=ocp.args.Composite(state=wanted, words=ocp.args.JsonRestore()))
                state = jax.tree.unflatten(jax.tree.structure(like), found.state)
            except Exception as error:  # a damaged checkpoint may fail in any way; the older one still serves
                _LOG.warning("checkpoint %d of %s: %s", step, self._folder, error)
            if any_host_says(found is None):
                continue
            assert found is not None
            if np.asarray(digest(state)).tolist() == found.words["digest"]:
                return _from_words(found.words, state)
            _LOG.warning("checkpoint %d of %s: its numbers are not those that were saved", step, self._folder)
        return None

    def save(self, now: Resumable) -> None:
        """Begins to write a checkpoint of this moment and drops all but the last two; the state may change at once."""
        if self._folder is None:
            return
        import orbax.checkpoint as ocp

        manager = self._open()
        manager.wait_until_finished()
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(now.state))
        has_room = not is_leader() or self._budget.makes_room(self._folder, size)
        if not leader_says(has_room):
            return
        manager.reload()  # one of its checkpoints may have made room
        for step in manager.all_steps():
            if step >= now.step:  # it was no good, or the run would have gone on after it
                manager.delete(step)
        state, words = ocp.args.StandardSave(jax.tree.leaves(now.state)), ocp.args.JsonSave(_as_words(now))
        manager.save(now.step, args=ocp.args.Composite(state=state, words=words), force=True)

    def close(self) -> None:
        """Waits until what was begun is on disk."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _open(self) -> Any:
        import orbax.checkpoint as ocp

        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=_KEPT, create=True, cleanup_tmp_directories=True, enable_async_checkpointing=True
            )
            assert self._folder is not None
            self._manager = ocp.CheckpointManager(self._folder.absolute(), options=options)
        return self._manager


@jax.jit
def digest(state: TrainState) -> jax.Array:
    """Returns a uint32 for each leaf: the sum of its words, each times an odd number of its place, modulo 2^32."""

    def of_leaf(leaf: jax.Array) -> jax.Array:
        words = jax.lax.bitcast_convert_type(leaf, jnp.uint32)
        place = jnp.zeros(words.shape, jnp.uint32)
        for axis, length in enumerate(words.shape):
            place = place * jnp.uint32(length) + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        return jnp.sum(words * (2 * place + 1), dtype=jnp.uint32)

    return jnp.stack([of_leaf(leaf) for leaf in jax.tree.leaves(state)])


def _as_words(now: Resumable) -> dict[str, Any]:
    """Returns all but the state as JSON has it."""
    words = {**dataclasses.asdict(now.seen), "clock": dataclasses.asdict(now.clock)}
    counts = {name: getattr(now, name) for name in ("step", "loss_step", "evaluated_images", "shared_steps")}
    return {**words, **counts, "digest": np.asarray(digest(now.state)).tolist()}


def _from_words(words: dict[str, Any], state: TrainState) -> Resumable:
    certificate = tuple(EpochSamples(**item) for item in words["certificate"])
    return Resumable(
        state=state,
        step=words["step"],
        clock=CostClock(**words["clock"]),
        loss_step=words["loss_step"],
        evaluated_images=words["evaluated_images"],
        seen=Seen(certificate=certificate, corrupt_images=words["corrupt_images"]),
        shared_steps=words.get("shared_steps", 0),  # absent in checkpoints older than trunks
    )
