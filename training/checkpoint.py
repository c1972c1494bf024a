"""Checkpoints of one trial: saved whole or not at all, the older one kept in case the newest is damaged."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np

from training.step import TrainState

_KEPT = 2


@dataclasses.dataclass(frozen=True)
class Resumable:
    """Everything a run needs to go on as if it had never stopped."""

    state: TrainState
    step: int = 0
    wall_s: float = 0.0
    """Training time spent so far: the cost clock survives a restart."""
    loss_step: int = 0
    """Step of the last reported point."""
    evaluated_images: int = 0
    """Training images seen when the held-out loss was last measured."""


class CheckpointFolder:
    """The checkpoints of one trial in one folder, or nowhere when the folder is None."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, *, like: TrainState) -> Resumable | None:
        """Returns the newest checkpoint that can be read, or None where there is none."""
        if self._folder is None or not self._folder.is_dir():
            return None
        import orbax.checkpoint as ocp

        with _manager(self._folder) as manager:
            for step in sorted(manager.all_steps(), reverse=True):
                try:
                    restored = manager.restore(step, args=ocp.args.StandardRestore(_as_tree(Resumable(like))))
                except Exception as error:  # a damaged checkpoint may fail in any way; the older one still serves
                    logging.getLogger(__name__).warning("checkpoint %d of %s: %s", step, self._folder, error)
                    continue
                return _from_tree(restored, like)
        return None

    def save(self, now: Resumable) -> None:
        """Writes a checkpoint of this moment and drops all but the last two."""
        if self._folder is None:
            return
        import orbax.checkpoint as ocp

        with _manager(self._folder) as manager:
            manager.save(now.step, args=ocp.args.StandardSave(_as_tree(now)), force=True)


def _manager(folder: Path) -> Any:
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(max_to_keep=_KEPT, create=True, enable_async_checkpointing=False)
    return ocp.CheckpointManager(folder.absolute(), options=options)


def _as_tree(now: Resumable) -> dict[str, Any]:
    clock = {"step": now.step, "loss_step": now.loss_step, "evaluated_images": now.evaluated_images}
    leaves = jax.tree.leaves(now.state)
    return {
        # Arrays of one process among several are nobody's to save for orbax; as plain numbers process 0 writes them.
        "state": leaves if jax.process_count() == 1 else [np.asarray(leaf) for leaf in leaves],
        "clock": {name: np.asarray(value, np.int64) for name, value in clock.items()},
        "wall_s": np.asarray(now.wall_s, np.float64),
    }


def _from_tree(tree: dict[str, Any], like: TrainState) -> Resumable:
    state = jax.tree.unflatten(jax.tree.structure(like), tree["state"])
    clock = {name: int(value) for name, value in tree["clock"].items()}
    return Resumable(state=state, wall_s=float(tree["wall_s"]), **clock)
