"""F0 of the scale model at one rate and all six epoch budgets, schedule=wsd, with shared steps and without.

Both sides train for real, in this process, on programs that were compiled before. Every loss, certificate and file of
final weights must be the same to the last byte; steps and time are compared.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

from result_file import Figure, write_result

from launcher.settings.compose import compose
from launcher.work.worker_environment import claim_environment
from sweeps.grid import Grid
from sweeps.record import Outcome
from sweeps.trial import Trial
from sweeps.trunk import trained_steps
from tracking.paths import ProjectPaths, project_paths

PEAK_LR = 0.4
SEED_COUNT = 1


@dataclass(frozen=True, kw_only=True)
class Side:
    """What all runs of one side came to."""

    endings: tuple[tuple[object, ...], ...]
    """Losses, certificate and hash of the weights of each run."""
    trained_steps: int
    training_s: float
    """Steps and waiting for images, of all runs."""
    wall_s: float
    """From the first run's start to the last one's end, evaluations and milestones included."""


def trials() -> list[Trial]:
    """Returns the six runs, the shortest first."""
    words = (
        "budget=110k",
        "schedule=wsd",
        "study.models=[scale/f0]",
        f"study.peak_lrs=[{PEAK_LR}]",
        f"seeds={SEED_COUNT}",
    )
    grid = Grid(study=compose(words).study)
    return sorted((grid.trial(index) for index in range(len(grid))), key=lambda trial: trial.steps)


def train_all(runs: list[Trial], paths: ProjectPaths, data_dir: Path, *, has_milestones: bool) -> Side:
    """Returns what the runs came to, one after the other."""
    from training.loop import train

    endings: list[tuple[object, ...]] = []
    steps, training_s, started = 0, 0.0, time.perf_counter()
    for trial in runs:
        outcome = train(
            trial,
            data_dir=data_dir,
            checkpoint_dir=paths.checkpoint_dir("bench", trial.id),
            report=lambda point: None,
            weights_dir=paths.weights_dir,
            trunks_dir=paths.trunks_dir("bench") if has_milestones else None,
        )
        endings.append(_ending(outcome, paths.weights_file(trial.id)))
        steps += outcome.steps - outcome.shared_steps
        training_s += outcome.wall_s
        print(
            f"  {trial.name:<16} {outcome.shared_steps:>6} of {outcome.steps:>6} steps taken over, "
            f"{outcome.wall_s:.1f} s"
        )
    return Side(
        endings=tuple(endings), trained_steps=steps, training_s=training_s, wall_s=time.perf_counter() - started
    )


def _ending(outcome: Outcome, weights: Path) -> tuple[object, ...]:
    losses = (outcome.val_loss, outcome.selection_loss, outcome.train_loss, outcome.val_error)
    return losses, outcome.certificate, hashlib.sha256(weights.read_bytes()).hexdigest()


def main() -> None:
    """Measures, prints and writes benchmarks/results/trunk_cost.json."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    claim_environment(project_paths().compile_cache)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # as a worker: one core
    from sweeps.compute import ComputeSpec
    from training.compilation import programs_of

    runs, data_dir = trials(), project_paths().data_dir
    programs_of(runs[0], data_dir, ComputeSpec())
    with tempfile.TemporaryDirectory() as folder:
        apart = train_all(runs, ProjectPaths(root=Path(folder, "apart")), data_dir, has_milestones=False)
        shared = train_all(runs, ProjectPaths(root=Path(folder, "shared")), data_dir, has_milestones=True)
    differing = sum(one != other for one, other in zip(apart.endings, shared.endings, strict=True))
    write_result(
        "trunk_cost",
        [
            Figure(name="runs_that_differ", value=differing, bar=0.0, unit="of six runs"),
            Figure(
                name="steps_shared_over_apart",
                value=shared.trained_steps / apart.trained_steps,
                bar=0.61,
                unit="x, at most",
            ),
            Figure(name="steps_planned", value=trained_steps(runs) / apart.trained_steps, bar=None, unit="x"),
            Figure(
                name="training_time_shared_over_apart", value=shared.training_s / apart.training_s, bar=None, unit="x"
            ),
            Figure(name="wall_time_shared_over_apart", value=shared.wall_s / apart.wall_s, bar=None, unit="x"),
            Figure(name="wall_apart", value=apart.wall_s, bar=None, unit="s"),
            Figure(name="wall_shared", value=shared.wall_s, bar=None, unit="s"),
        ],
        command="make bench NAME=trunk_cost",
    )


if __name__ == "__main__":
    main()
