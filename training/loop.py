"""Training one trial: a pure function of the trial, resumed exactly after a kill, reporting through a callback."""

import time
from collections.abc import Callable
from pathlib import Path

from sweeps.compute import ComputeSpec
from sweeps.record import Outcome, Progress
from sweeps.trial import DataSpec, Trial
from training.compilation import programs_of
from training.data import open_source
from training.pack_choice import pack_mode as pack_mode  # the desk looks for both beside train
from training.pack_loop import train_pack as train_pack
from training.run import Run
from training.run_folders import RunFolders


def train(
    trial: Trial,
    *,
    data_dir: Path,
    checkpoint_dir: Path | None,
    report: Callable[[Progress], None],
    should_stop: Callable[[], bool] = lambda: False,
    compute: ComputeSpec = ComputeSpec(),
    weights_dir: Path | None = None,
    trunks_dir: Path | None = None,
    least_start_step: int = 0,
) -> Outcome:
    """Returns how the trial ended; a loss that is not finite ends it as diverged.

    The losses depend on the trial alone: a run that was killed and resumed from `checkpoint_dir` gives the same
    numbers, from the same samples in the same order, as one that was not. On another number of devices the samples are
    the same and the numbers agree to rounding. So does a run that takes over the steps of a shorter one of its trunk.
    Compiled programs stay in the process.

    Args:
        data_dir: where image files lie.
        checkpoint_dir: where checkpoints are kept; whoever records the outcome removes it. None: nowhere.
        report: called at log-spaced steps, in order; steps before the checkpoint that a run resumes from are not
            reported again.
        should_stop: asked after every dispatch; once it says yes, in any of the processes that train together, the
            state is saved and the run ends as killed, at the same step in all of them.
        compute: how the work is spread over the devices, and how often it is saved.
        weights_dir: where the final weights of finished runs are kept, and the trunk's are looked for. None: nowhere.
        trunks_dir: where runs leave milestones to longer ones, and this one looks for one. None: nowhere.
        least_start_step: a run that has to begin before this step trains nothing and ends as killed, at the step where
            it would have begun.

    Raises:
        StudyError: the trial's data or its trunk's weights are missing or broken, or the batch does not fit the
            devices.
    """
    started = time.perf_counter()
    programs = programs_of(trial, data_dir, compute)
    compile_s = time.perf_counter() - started
    folders = RunFolders(
        data_dir=data_dir, checkpoint_dir=checkpoint_dir, weights_dir=weights_dir, trunks_dir=trunks_dir
    )
    run = Run(trial, programs, folders=folders, compute=compute, compile_s=compile_s)
    try:
        return run.to_its_end(report, should_stop, least_start_step)
    finally:
        run.close()


def prepare_data(data: DataSpec, data_dir: Path) -> None:
    """Reads and verifies the files that `data` needs; raises StudyError that says what to do when it cannot."""
    open_source(data, data_dir)
