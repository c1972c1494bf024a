"""Milestones: the states that runs leave to longer ones of the same trunk, in a folder a trunk.

A milestone is a checkpoint. It is written in the folder of the run that leaves it and moved to the trunk's once it is
complete: there it is whole or not at all, and several processes may leave the same one at the same time.
"""

import dataclasses
import logging
import shutil
from pathlib import Path

from sweeps.record import CostClock
from sweeps.trial import Trial
from sweeps.trunk import latest_start, milestones_in, stable_steps, trunk_of
from training.agreement import any_host_says, everyones, is_leader
from training.checkpoint import CheckpointFolder, Resumable
from training.curve import evaluated_images
from training.disk_budget import DiskBudget
from training.step import TrainState

_KEPT = 2
_LOG = logging.getLogger(__name__)


class Milestones:
    """What one run takes over from a shorter one of its trunk, and what it leaves; nothing where a folder is None."""

    def __init__(
        self, trial: Trial, trunks_dir: Path | None, checkpoint_dir: Path | None, *, budget: DiskBudget = DiskBudget()
    ) -> None:
        trunk = trunk_of(trial)
        has_place = trunk is not None and trunks_dir is not None and checkpoint_dir is not None
        self.step = stable_steps(trial) if has_place else 0
        """The step at which the run leaves one; 0: it leaves none."""
        self._trial = trial
        if has_place:
            assert trunk is not None and trunks_dir is not None and checkpoint_dir is not None
            self._folder, self._making = trunks_dir / trunk, checkpoint_dir / "milestone"
        self._writer: CheckpointFolder | None = None
        self._budget = budget

    def take(self, *, like: TrainState) -> Resumable | None:
        """Returns the furthest milestone that the run may begin at, as its own state; None where there is none.

        A damaged one is removed, and the one before it serves.

        Args:
            like: the fresh state, whose shapes and shardings the restored one takes.
        """
        if not self.step:
            return None
        # What the leader sees counts: meanwhile another run may leave one.
        steps = everyones(milestones_in(self._folder))[0]
        for step in reversed([step for step in steps if step <= latest_start(self._trial)]):
            place = self._folder / str(step)
            if any_host_says(not place.is_dir()):
                continue
            reader = CheckpointFolder(place)
            found = reader.load(like=like)
            reader.close()
            if found is not None and found.step == step:
                return self._taken_over(found, like)
            _LOG.warning("milestone %s is no good and is removed", place)
            if is_leader():
                shutil.rmtree(place, ignore_errors=True)
        return None

    def _taken_over(self, found: Resumable, like: TrainState) -> Resumable:
        """Returns a milestone as the run's own state: the time was another's, the points of its curve are its own."""
        state = dataclasses.replace(found.state, loss_sum=like.loss_sum)
        return Resumable(
            state,
            found.step,
            CostClock(),
            loss_step=found.step,
            evaluated_images=evaluated_images(self._trial, found.step),
            seen=found.seen,
            shared_steps=found.step,
        )

    def leave(self, now: Resumable) -> None:
        """Begins to write the milestone; the state may change at once."""
        self._writer = CheckpointFolder(self._making, budget=self._budget)
        self._writer.save(now)

    def publish(self) -> None:
        """Waits for what was begun to be complete and moves it to the trunk; harmless when repeated.

        Of the trunk's others the furthest stays, all in all two: the next longer run goes on from one of them.
        """
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        if not is_leader():
            return
        if (self._making / str(self.step)).is_dir():  # the disk had room for it
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                self._making.rename(self._folder / str(self.step))
            except OSError:  # another run has left the same
                _LOG.info("milestone %d of %s is there already", self.step, self._folder)
            others = [step for step in milestones_in(self._folder) if step != self.step]
            for step in others[: max(0, len(others) - (_KEPT - 1))]:
                shutil.rmtree(self._folder / str(step), ignore_errors=True)
        shutil.rmtree(self._making, ignore_errors=True)
