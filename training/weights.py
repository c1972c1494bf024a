"""Final weights of finished runs: one NumPy archive a run, which fine-tuning starts from and anybody can read."""

import logging
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from sweeps.errors import StudyError
from training.agreement import is_leader
from training.disk_budget import DiskBudget
from training.step import TrainState

_LOG = logging.getLogger(__name__)


def weights_file(folder: Path, trial_id: str) -> Path:
    """Returns where the final weights of a trial lie."""
    return folder / f"{trial_id}.npz"


def keep_weights(state: TrainState, folder: Path | None, trial_id: str, budget: DiskBudget) -> None:
    """Writes the weights that were evaluated, whole or not at all; where the disk budget has no room, says so."""
    if folder is None:
        return
    leaves = {_name(path): _on_host(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state.evaluated)}
    if not is_leader():
        return
    size = sum(leaf.nbytes for leaf in leaves.values())
    if not budget.has_room(size):
        _LOG.warning(
            "final weights of %s are not kept: compute.disk_budget_gb has no %.3g GB left", trial_id, size / 1e9
        )
        return
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(f".{trial_id}.*.npz"):  # by an attempt that was killed while it wrote
        left_over.unlink(missing_ok=True)
    unfinished = folder / f".{trial_id}.{os.getpid()}.npz"
    np.savez(unfinished, **leaves)  # type: ignore[arg-type]
    unfinished.replace(weights_file(folder, trial_id))


def start_from(state: TrainState, folder: Path | None, trunk_id: str) -> TrainState:
    """Returns the fresh state with the weights of a finished run in place of its own.

    The classifier stays fresh where its classes differ; tables of positions are resized to the grid of the image.

    Raises:
        StudyError: the weights are not there, or belong to another architecture.
    """
    file = None if folder is None else weights_file(folder, trunk_id)
    if file is None or not file.is_file():
        raise StudyError(
            f"the final weights of trial {trunk_id} are not on disk ({file}); they are kept when a run finishes and "
            "compute.disk_budget_gb has room (try: run the pre-training sweep again from this checkout)"
        )
    with np.load(file) as archive:
        saved = {name: archive[name] for name in archive.files}

    def take(path: Any, fresh: jax.Array) -> jax.Array:
        name = _name(path)
        old = saved.get(name)
        if old is not None and old.shape != fresh.shape and name.endswith("positions"):
            old = resized_positions(old, fresh.shape)
        if old is not None and old.shape == fresh.shape:
            return jax.device_put(jnp.asarray(old), fresh.sharding) if jax.process_count() == 1 else _spread(old, fresh)
        if name.startswith("classifier/"):
            return fresh
        got = "nothing" if old is None else f"shape {old.shape}"
        raise StudyError(f"trial {trunk_id} has another architecture: of {name} it has {got}, not shape {fresh.shape}")

    params = jax.tree_util.tree_map_with_path(take, state.params)
    average = None if state.average is None else jax.tree.map(jnp.copy, params)
    return TrainState(params, state.optimiser, average, state.step, state.loss_sum)


def resized_positions(table: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a table of positions (tokens, width), bilinearly resized to as many tokens; a class token's row stays."""
    extra_old, extra_new = (rows - int(rows**0.5) ** 2 for rows in (table.shape[0], shape[0]))
    if extra_old != extra_new or table.shape[1:] != shape[1:]:
        return table
    side_old, side_new = (int((rows - extra_old) ** 0.5) for rows in (table.shape[0], shape[0]))
    grid = table[extra_old:].reshape(side_old, side_old, -1)
    resized = np.asarray(jax.image.resize(grid, (side_new, side_new, grid.shape[-1]), "bilinear"))
    return np.concatenate([table[:extra_old], resized.reshape(-1, grid.shape[-1])])


def _spread(values: np.ndarray, like: jax.Array) -> jax.Array:
    return jax.make_array_from_callback(values.shape, like.sharding, lambda index: values[index])


def _on_host(leaf: jax.Array) -> np.ndarray:
    """Returns the whole array; all processes must ask."""
    if leaf.is_fully_addressable or leaf.is_fully_replicated:
        return np.asarray(leaf)
    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))


def _name(path: Any) -> str:
    return "/".join(str(getattr(entry, "key", getattr(entry, "idx", entry))) for entry in path)
