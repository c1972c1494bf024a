"""Training trials of one program and one length together: in step, on one device, each with its own end.

Every member keeps its own curve, certificate, clock, checkpoints and outcome, in the form of a run by itself. Losses
are those of separate runs to float accuracy: a pack adds up in another order.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from sweeps.compute import ComputeSpec
from sweeps.record import Outcome
from sweeps.trial import Trial
from training import mesh as meshes
from training.compilation import pack_programs_of, programs_of
from training.evaluation import HeldOutScore, batches_of
from training.feed import Dispatch, Feed, placed_arrays
from training.pack_step import PackGrid, PackPrograms, arranged, member_of, of_all_seeds, pack_horizon, stacked
from training.run import Report, Run
from training.run_folders import RunFolders
from training.source import Source
from training.step import TrainState
from training.steps import take_steps

End = Callable[[Outcome], None]


def train_pack(
    trials: Sequence[Trial],
    *,
    mode: str,
    data_dir: Path,
    checkpoint_dirs: Sequence[Path | None],
    reports: Sequence[Report],
    ends: Sequence[End],
    should_stop: Callable[[], bool] = lambda: False,
    compute: ComputeSpec = ComputeSpec(),
    weights_dir: Path | None = None,
    trunks_dir: Path | None = None,
    least_start_steps: Sequence[int] = (),
) -> list[Outcome]:
    """Returns how each trial ended; arguments are those of loop.train, one for each trial where they are sequences.

    Where the newest checkpoints are not all of one step, the trials go on one after the other.

    Args:
        trials: of one program and one number of steps (pack_choice.can_pack).
        mode: pack_step.VMAP or SCAN.
        data_dir: where image files lie.
        checkpoint_dirs: where each keeps its checkpoints.
        reports: called at the points of each curve.
        ends: called with a trial's outcome once it has ended, while others may go on.
        should_stop: asked after every dispatch; yes ends all trials as killed, at one step, their states saved.
        compute: how the work is spread, and how often it is saved: the time between counts for the whole pack.
        weights_dir: where final weights are kept.
        trunks_dir: where milestones are left and looked for.
        least_start_steps: a trial that has to begin before its step trains nothing; empty: all may begin anywhere.
    """
    order, grid = arranged(trials)
    started = time.perf_counter()
    programs, pack_programs = pack_programs_of(trials[0], grid, mode, data_dir, compute)
    compile_s = (time.perf_counter() - started) / len(trials)
    least = least_start_steps or [0] * len(trials)
    outcomes: dict[int, Outcome] = {}
    runs: dict[int, Run] = {}

    def end(place: int, outcome: Outcome) -> None:
        runs[place].close()
        outcomes[place] = outcome
        ends[place](outcome)

    try:
        for place in order:
            folders = RunFolders(
                data_dir=data_dir,
                checkpoint_dir=checkpoint_dirs[place],
                weights_dir=weights_dir,
                trunks_dir=trunks_dir,
            )
            runs[place] = Run(trials[place], programs, folders=folders, compute=compute, compile_s=compile_s)
        if _are_in_step(runs.values()) and all(run.step >= least[place] for place, run in runs.items()):
            _Pack(runs, grid, pack_programs).to_the_end(reports, should_stop, end)
        else:
            _compile_for_one(list(runs.values()), data_dir)
            for place, run in runs.items():
                end(place, run.to_its_end(reports[place], should_stop, least[place]))
    finally:
        for run in runs.values():
            run.close()
    return [outcomes[place] for place in range(len(trials))]


def _are_in_step(runs: Iterable[Run]) -> bool:
    return len({(run.step, run.loss_step) for run in runs}) == 1


def _compile_for_one(runs: Sequence[Run], data_dir: Path) -> None:
    """Compiles what a run by itself needs, at the cost of all."""
    started = time.perf_counter()
    programs_of(runs[0].trial, data_dir, runs[0].compute)
    for run in runs:
        run.bill_compilation((time.perf_counter() - started) / len(runs))


class _Pack:
    """Runs that go on in step, and the one state that holds theirs."""

    def __init__(self, runs: dict[int, Run], grid: PackGrid, programs: PackPrograms) -> None:
        """Stacks the states of the runs, which are in the order of the grid."""
        self._all, self._running = list(runs.items()), dict(runs)
        self._programs, self._grid, self._lead = programs, grid, self._all[0][1]
        self._sharding = meshes.whole(self._lead.programs.mesh)
        self._horizon = pack_horizon([run.horizon for run in runs.values()], grid)
        self._feed = _PackFeed([run.feed for run in runs.values()], grid, self._lead.programs.mesh)
        self._state = stacked([run.state for run in runs.values()], grid, self._lead.programs.mesh)
        self._scores: dict[int, list[HeldOutScore]] = {}
        for number, run in enumerate(runs.values()):
            run.score = functools.partial(self._score, number)

    def to_the_end(
        self, reports: Sequence[Report], should_stop: Callable[[], bool], end: Callable[[int, Outcome], None]
    ) -> None:
        """Trains until every run has ended. One that has diverged stays in the stack, where it harms no other."""
        while self._running:
            loss_sums = self._advance()
            ask = functools.cache(should_stop)  # one word for all of them
            for number, (place, run) in enumerate(self._all):
                if place not in self._running:
                    continue
                outcome = run.after_dispatch(float(loss_sums[number]), reports[place], ask)
                if outcome is not None:
                    del self._running[place]
                    end(place, outcome)
            if any(run.loss_step == run.step for run in self._running.values()):  # at a point of all their curves
                zeros = np.zeros((self._grid.seeds, self._grid.rates), np.float32)
                self._state = dataclasses.replace(self._state, loss_sum=meshes.place(zeros, self._sharding))

    def _advance(self) -> NDArray[np.float32]:
        """Trains up to the next point of all curves or less; returns each run's sum of losses since the last [nats]."""
        lead = next(iter(self._running.values()))
        count = lead.next_count()
        started = time.perf_counter()
        self._state, waited = take_steps(
            self._programs.advance, self._state, self._feed, self._horizon, first=lead.step, count=count
        )
        loss_sums = np.asarray(self._state.loss_sum).ravel()  # waits for the device
        step_s = time.perf_counter() - started - waited
        self._scores.clear()
        for number, (place, run) in enumerate(self._all):
            if place in self._running:
                run.sharing = len(self._running)
                run.moved(count, functools.partial(self._member, number), step_s=step_s, input_wait_s=waited)
        return loss_sums

    def _member(self, number: int) -> TrainState:
        return member_of(self._state, *divmod(number, self._grid.rates))

    def _score(self, number: int, part: int) -> HeldOutScore:
        """Returns the score of one run; all are scored where the first one asks, at the cost of those that run."""
        if part not in self._scores:
            started = time.perf_counter()
            self._scores[part] = self._score_all(part)
            for run in self._running.values():
                run.watch.add("evaluation_s", (time.perf_counter() - started) / len(self._running))
        return self._scores[part][number]

    def _score_all(self, part: int) -> list[HeldOutScore]:
        lead = self._lead
        assert isinstance(lead.source, Source)
        arrays, batches = placed_arrays(lead.source, lead.programs.mesh), batches_of(lead.trial.data, part)
        sums = self._programs.evaluate(self._state.evaluated, arrays, np.uint32(part), batches)
        losses, errors = np.asarray(sums.loss).ravel(), np.asarray(sums.errors).ravel()
        images = float(np.asarray(sums.images).max())
        return [
            HeldOutScore(loss=float(loss) / images, error=float(wrong) / images)
            for loss, wrong in zip(losses, errors, strict=True)
        ]


class _PackFeed:
    """The images of all members: those of one seed are the same, and go to the device once."""

    def __init__(self, feeds: Sequence[Feed], grid: PackGrid, mesh: Mesh) -> None:
        self._feeds, self._grid, self._mesh = feeds, grid, mesh

    def dispatches(self, step: int, count: int) -> Iterator[Dispatch]:
        """Yields what makes the next steps of all members; see feed.Feed."""
        for each in zip(*(feed.dispatches(step, count) for feed in self._feeds), strict=True):
            yield of_all_seeds(each, self._grid, self._mesh)
