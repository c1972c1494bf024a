"""A trainer of milliseconds with the real one's signature; a trial's model name says how it behaves.

Every call appends a line to `calls.txt` in the data folder, so that tests can count what was really trained.
"""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sweeps.certificate import faultless
from sweeps.compute import ComputeSpec
from sweeps.errors import StudyError
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import DataSpec, Trial

REPORTS = 6
SLOW_REPORT_S = 0.4
"""Between the reports of a trial called slow."""


def train(
    trial: Trial,
    *,
    data_dir: Path,
    checkpoint_dir: Path | None,
    report: Callable[[Progress], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Returns losses that follow from the trial alone; resumes from its checkpoint as the real trainer does."""
    note(data_dir, trial, "begin")
    print(f"hello from {trial.name}")
    if trial.model == "raising":
        raise RuntimeError("the fake trainer raises")
    if trial.model == "raising_apart":
        raise RuntimeError(f"cause {trial.id}")
    if trial.model == "greedy":
        raise MemoryError("the fake trainer asks for too much")
    if trial.model == "deadly" or (trial.model == "deadly_once" and calls(data_dir, trial) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.model == "together":
        checkpoint_dir = checkpoint_dir if _is_first_of_all_hosts(data_dir) else None
    saved = checkpoint_dir / "state.txt" if checkpoint_dir else None
    state, done = "", 0
    if saved is not None and saved.exists():
        state, _, text = saved.read_text().partition(" ")
        done = int(text)
    loss = 1.0
    for index in range(done, REPORTS):
        state = hashlib.sha256(f"{state}{trial.id}{index}".encode()).hexdigest()
        loss = 3.0 * trial.images**-0.1 * (1.0 + int(state[:6], 16) / 16**6 / 50)
        time.sleep(SLOW_REPORT_S if trial.model == "slow" else _report_s(data_dir))
        report(_progress(trial, index, loss))
        if trial.model == "diverging":
            return _outcome(trial, Status.DIVERGED, None)
        if saved is not None and index + 1 < REPORTS:  # as the real one: the end is the journal's to keep
            saved.parent.mkdir(parents=True, exist_ok=True)
            saved.with_suffix(".new").write_text(f"{state} {index + 1}")
            saved.with_suffix(".new").replace(saved)
        if index + 1 < REPORTS and should_stop():
            return _outcome(trial, Status.KILLED, None)
    if saved is not None:
        saved.unlink(missing_ok=True)
    note(data_dir, trial, "end")
    return _outcome(trial, Status.FINISHED, loss)


def pack_mode(trials: Sequence[Trial], *, data_dir: Path, compute: ComputeSpec) -> str:
    """Packs where it is told to."""
    return "separate" if compute.packing == "auto" else compute.packing


def train_pack(
    trials: Sequence[Trial],
    *,
    mode: str,
    data_dir: Path,
    checkpoint_dirs: Sequence[Path],
    reports: Sequence[Callable[[Progress], None]],
    ends: Sequence[Callable[[Outcome], None]],
    should_stop: Callable[[], bool],
) -> None:
    """Trains the members, whose ends are told in turn; a pack of trials called too_many gives out half-way."""
    note(data_dir, trials[0], f"pack of {len(trials)}")
    for trial, checkpoint_dir, report, end in zip(trials, checkpoint_dirs, reports, ends, strict=True):
        if trial.model == "too_many":
            raise MemoryError("the fake trainer has no room for so many")
        end(train(trial, data_dir=data_dir, checkpoint_dir=checkpoint_dir, report=report, should_stop=should_stop))


def _is_first_of_all_hosts(data_dir: Path) -> bool:
    """Notes how many processes answer a collective, for which all have to be there; returns whether to save."""
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    ranks = multihost_utils.process_allgather(np.int32(jax.process_index()))
    with (data_dir / "together.txt").open("a") as file:
        file.write(f"{len(set(ranks.tolist()))}\n")
    return jax.process_index() == 0


def _report_s(data_dir: Path) -> float:
    """Returns how long a report takes [s]: as a file says, for workers that do not get the driver's environment."""
    told = data_dir / "report_s.txt"
    return float(told.read_text() if told.exists() else os.environ.get("FAKE_REPORT_S", "0"))


def prepare_data(data: DataSpec, data_dir: Path) -> None:
    """Refuses the data set called `missing`."""
    data_dir.mkdir(parents=True, exist_ok=True)
    if data.name == "missing":
        raise StudyError("data set 'missing' is not there (try: make data NAME=missing)")


def note(data_dir: Path, trial: Trial, word: str) -> None:
    """Appends a line; small appends are not torn."""
    with (data_dir / "calls.txt").open("a") as file:
        file.write(f"{trial.id} {word} {os.getpid()}\n")


def calls(data_dir: Path, trial: Trial) -> int:
    """Returns how often the trial was begun."""
    return (data_dir / "calls.txt").read_text().count(f"{trial.id} begin")


def _progress(trial: Trial, index: int, loss: float) -> Progress:
    step = max(1, trial.steps * (index + 1) // REPORTS)
    return Progress(step=step, images=step * trial.batch_images, train_loss=loss, val_loss=None, wall_s=0.1 * index)


def _outcome(trial: Trial, status: Status, loss: float | None) -> Outcome:
    return Outcome(
        status=status,
        steps=trial.steps,
        val_loss=loss,
        selection_loss=None if loss is None else loss * 1.01,
        train_loss=loss,
        wall_s=1.0,
        compile_s=0.0,
        certificate=faultless(images=trial.images, images_per_epoch=trial.data.images_per_epoch),
    )
