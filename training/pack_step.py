"""The compiled programs of a pack: trials that differ in learning rate and seed, stacked on two leading axes.

Members of one seed see the very same images, so that vmap draws them once for all of its rates. On a CPU that is most
of what a pack gains: drawing is half of the cheapest scale model's step.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from sweeps.trial import Trial
from training import mesh as meshes
from training.feed import Dispatch
from training.step import HeldOut, Horizon, Params, Programs, TrainState

VMAP, SCAN = "vmap", "scan"

_MEMBERS = TrainState(params=0, optimiser=0, average=0, step=None, loss_sum=0)  # type: ignore[arg-type]
"""Which leaves have an axis of members: they are at one step."""
_ONLY_PARAMS = (0, None, None, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackGrid:
    """The two leading axes of a pack's arrays."""

    seeds: int
    rates: int
    """Members of each seed."""

    @property
    def members(self) -> int:
        """Trials of the pack."""
        return self.seeds * self.rates


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackPrograms:
    """The compiled functions of one program for a whole pack."""

    grid: PackGrid
    advance: Callable[..., TrainState]
    """(state, arrays, horizon, indices (seeds, steps, microbatches, rows), count) -> state after `count` more steps.

    In the horizon peak_lr is (seeds, rates) and stream is (seeds,); the step of the state is one for all.
    """
    evaluate: Callable[..., HeldOut]
    """(params, arrays, stream, batches) -> sums as step.Programs has them, (seeds, rates)."""


def arranged(trials: Sequence[Trial]) -> tuple[list[int], PackGrid]:
    """Returns the places of the trials in the order of the stack, and its axes.

    Where the seeds have unequal numbers of rates every trial has a row of its own, and draws its own images.
    """
    order = sorted(range(len(trials)), key=lambda place: (trials[place].seed, place))
    counts = {trial.seed: 0 for trial in trials}
    for trial in trials:
        counts[trial.seed] += 1
    if len(set(counts.values())) == 1:
        return order, PackGrid(seeds=len(counts), rates=len(trials) // len(counts))
    return order, PackGrid(seeds=len(trials), rates=1)


def make_pack_programs(programs: Programs, grid: PackGrid, mode: str) -> PackPrograms:
    """Returns the programs, traced on first use.

    Args:
        programs: of one member, on one device, of a source that is drawn inside them.
        grid: how the members lie.
        mode: vmap: all members do a step at once. scan: one after the other within one dispatch.
    """
    if mode == SCAN:
        advance, evaluate = _in_turn(programs)
    else:
        advance, evaluate = _at_once_of_one_seed(programs) if grid.seeds == 1 else _at_once(programs)
    sharding = meshes.whole(programs.mesh)
    return PackPrograms(
        grid=grid,
        advance=jax.jit(advance, donate_argnums=0, out_shardings=sharding),
        evaluate=jax.jit(evaluate, out_shardings=sharding),
    )


def _rates_at_once(programs: Programs) -> tuple[Callable[..., TrainState], Callable[..., HeldOut]]:
    of_rate = Horizon(peak_lr=0, steps=None, warmup_steps=None, stream=None)
    advance = jax.vmap(programs.advance, in_axes=(_MEMBERS, None, of_rate, None, None), out_axes=_MEMBERS)
    return advance, jax.vmap(programs.evaluate, in_axes=_ONLY_PARAMS)


def _at_once(programs: Programs) -> tuple[Callable[..., TrainState], Callable[..., HeldOut]]:
    of_seed = Horizon(peak_lr=0, steps=None, warmup_steps=None, stream=0)
    one_seed, evaluate = _rates_at_once(programs)
    advance = jax.vmap(one_seed, in_axes=(_MEMBERS, None, of_seed, 0, None), out_axes=_MEMBERS)
    return advance, jax.vmap(evaluate, in_axes=_ONLY_PARAMS)


def _at_once_of_one_seed(programs: Programs) -> tuple[Callable[..., TrainState], Callable[..., HeldOut]]:
    """Returns the same for a single seed, without its axis, with which a CPU takes up to 40 % longer."""
    of_rates, scored = _rates_at_once(programs)

    def advance(state: TrainState, arrays: Any, horizon: Horizon, indices: jax.Array, count: jax.Array) -> TrainState:
        only = dataclasses.replace(horizon, peak_lr=horizon.peak_lr[0], stream=horizon.stream[0])
        moved = of_rates(_each_member(lambda leaf: leaf[0], state), arrays, only, indices[0], count)
        return _each_member(lambda leaf: leaf[None], moved)

    def evaluate(params: Params, arrays: Any, stream: jax.Array, batches: jax.Array) -> HeldOut:
        sums = scored(jax.tree.map(lambda leaf: leaf[0], params), arrays, stream, batches)
        return jax.tree.map(lambda leaf: leaf[None], sums)

    return advance, evaluate


def _each_member(change: Callable[[jax.Array], jax.Array], state: TrainState) -> TrainState:
    """Returns the state with every leaf changed that has an axis of members."""
    members = dataclasses.replace(state, step=None)  # type: ignore[arg-type]
    return dataclasses.replace(jax.tree.map(change, members), step=state.step)


def _in_turn(programs: Programs) -> tuple[Callable[..., TrainState], Callable[..., HeldOut]]:
    def advance(state: TrainState, arrays: Any, horizon: Horizon, indices: jax.Array, count: jax.Array) -> TrainState:
        def of_seed(leaves: Any) -> TrainState:
            members, rates, stream, rows = leaves

            def of_rate(leaves: Any) -> TrainState:
                member, peak_lr = leaves
                its_own = dataclasses.replace(horizon, peak_lr=peak_lr, stream=stream)
                moved = programs.advance(dataclasses.replace(member, step=state.step), arrays, its_own, rows, count)
                return dataclasses.replace(moved, step=None)

            return jax.lax.map(of_rate, (members, rates))

        members = dataclasses.replace(state, step=None)  # type: ignore[arg-type]
        moved = jax.lax.map(of_seed, (members, horizon.peak_lr, horizon.stream, indices))
        return dataclasses.replace(moved, step=state.step + count)

    def evaluate(params: Params, arrays: Any, stream: jax.Array, batches: jax.Array) -> HeldOut:
        def one(params: Params) -> HeldOut:
            return programs.evaluate(params, arrays, stream, batches)

        return jax.lax.map(lambda of_seed: jax.lax.map(one, of_seed), params)

    return advance, evaluate


def stacked(states: Sequence[TrainState], grid: PackGrid, mesh: Mesh) -> TrainState:
    """Returns the states of the members, in the order of the stack, as one; they are at one step."""
    members = jax.tree.map(lambda *leaves: jnp.stack(leaves).reshape(grid.seeds, grid.rates, *leaves[0].shape), *states)
    return meshes.place(dataclasses.replace(members, step=states[0].step), meshes.whole(mesh))


def of_all_seeds(dispatches: Sequence[Dispatch], grid: PackGrid, mesh: Mesh) -> Dispatch:
    """Returns the dispatches of the members, in the order of the stack, as one: those of one seed are the same."""
    first = dispatches[0]
    indices = jnp.stack([dispatch.indices for dispatch in dispatches[:: grid.rates]])
    return Dispatch(arrays=first.arrays, indices=meshes.place(indices, meshes.whole(mesh)), count=first.count)


@jax.jit
def member_of(state: TrainState, row: Any, column: Any) -> TrainState:
    """Returns the state of one member, by its seed's row and its rate's column."""
    return _each_member(lambda leaf: leaf[row, column], state)


def pack_horizon(horizons: Sequence[Horizon], grid: PackGrid) -> Horizon:
    """Returns the horizons of the members, in the order of the stack, as one; they are equally long."""
    shape = grid.seeds, grid.rates
    return Horizon(
        peak_lr=np.asarray([horizon.peak_lr for horizon in horizons], np.float32).reshape(shape),
        steps=horizons[0].steps,
        warmup_steps=horizons[0].warmup_steps,
        stream=np.asarray([horizon.stream for horizon in horizons], np.uint32).reshape(shape)[:, 0],
    )
