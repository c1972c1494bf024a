"""Training runs that are killed in every way, and what is left of them to compare: part of the benchmark exactness."""

import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher.work.worker_environment import worker_environment
from sweeps.certificate import fault
from sweeps.nfnet_shape import NFNetShape
from sweeps.record import Outcome, Progress
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial
from sweeps.vit_shape import ViTShape

OUTSIDE, AFTER_STEP, IN_WRITE, AFTER_WRITE = "outside", "after_step", "in_write", "after_write"
CHECKPOINT_EVERY_S = {1: 0.02, 2: 0.2}
GIVEN_UP_S = 900.0
STARTS = 8
"""Of an attempt of two processes before the benchmark gives up."""
SHAPES: dict[str, Any] = {
    "nfnet": NFNetShape(stage_depths=(1,), stage_widths=(16,), stage_strides=(1,), stem_widths=(8,), stem_strides=(2,)),
    "vit": ViTShape(patch_px=4, width=16, depth=2, heads=2, mlp_width=32),
}
DATA = DataSpec(
    name="parts",
    image_px=8,
    channels=3,
    classes=8,
    images_per_epoch=1000,
    held_out_images=256,
    selection_images=256,
    generator_seed=5,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the benchmark."""

    family: str
    processes: int
    seed: int

    @property
    def trial(self) -> Trial:
        """Two epochs and a half of a set that is no multiple of the batch, in 156 steps."""
        return Trial(
            model=self.family,
            family=self.family,
            shape=SHAPES[self.family],
            data=DATA,
            epochs=2.5,
            batch_images=16,
            peak_lr=0.1 if self.family == "nfnet" else 0.003,
            schedule=ScheduleSpec(name="cosine", warmup_steps=20),
            recipe=RecipeSpec(agc_clipping=0.1, skip_init=0.5)
            if self.family == "nfnet"
            else RecipeSpec(optimiser="adamw", weight_decay=0.05, dropout=0.1, stochastic_depth=0.1, ema_decay=0.99),
            seed=self.seed,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Death:
    """When and how an attempt dies."""

    kind: str
    rank: int = 0
    """Of the process that is killed; the other is taken down with it, as a scheduler does."""
    count: int = 0
    """Of steps sent or checkpoints written before it; not for kills from outside."""
    after_s: float = 0.0
    """From the attempt's start, or from the moment that a checkpoint began to be written."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """What a finished run is compared by."""

    weights: str
    """SHA-256 of the file of final weights."""
    curve: dict[str, tuple[float, float | None]]
    """Step -> training loss and held-out loss, of all attempts together."""
    losses: tuple[float | None, ...]
    certificate: str
    lost_s: float = dataclasses.field(compare=False)
    fault: str | None = dataclasses.field(compare=False)


def train_once(folder: Path, cell: Cell, death: Death | None, *, rank: int, number: int) -> None:
    """Makes one attempt in this process, which may not survive it."""
    from launcher.work.hosts import meet, part
    from sweeps.compute import ComputeSpec
    from training import clock, loop, mesh
    from training.checkpoint import CheckpointFolder, Resumable

    mesh.SMALLEST_SPREAD = 1024  # so that small nets are spread like large ones
    clock._BEAT_EVERY_S = 0.0  # short runs: what was lost is to be known to a step
    hosts = meet(rank, cell.processes, folder / f"rendezvous-{number}")
    mine = death if death is not None and death.rank == rank else None
    sent, written = itertools.count(1), itertools.count(1)

    def die() -> None:
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    class Fatal(CheckpointFolder):
        def save(self, now: Resumable) -> None:
            super().save(now)
            if mine is None or mine.kind not in (IN_WRITE, AFTER_WRITE) or next(written) < mine.count:
                return
            if mine.kind == AFTER_WRITE:
                self.close()
            else:
                time.sleep(mine.after_s)
            die()

    def should_stop() -> bool:
        if mine is not None and mine.kind == AFTER_STEP and next(sent) == mine.count:
            die()
        return False

    def report(point: Progress) -> None:
        if rank == 0:
            with (folder / "curve.jsonl").open("a") as file:
                file.write("\n" + json.dumps([point.step, point.train_loss, point.val_loss]))

    loop.CheckpointFolder = Fatal  # type: ignore[misc]
    outcome = loop.train(
        cell.trial,
        data_dir=folder,
        checkpoint_dir=folder / "checkpoints" / cell.trial.id,
        report=report,
        should_stop=should_stop,
        compute=ComputeSpec(sharding="fsdp", checkpoint_every_s=CHECKPOINT_EVERY_S[cell.processes]),
        weights_dir=folder / "weights",
    )
    if rank == 0:
        unfinished = folder / "ending.new"
        unfinished.write_text(json.dumps(dataclasses.asdict(_ending(folder, cell, outcome))))
        unfinished.replace(folder / "ending.json")
    part(hosts)


def _ending(folder: Path, cell: Cell, outcome: Outcome) -> Ending:
    from training.weights import weights_file

    points: dict[str, tuple[float, float | None]] = {}
    for line in (folder / "curve.jsonl").read_text().splitlines():
        try:
            step, train_loss, val_loss = json.loads(line)
        except ValueError:  # torn by a kill
            continue
        if points.setdefault(str(step), (train_loss, val_loss)) != (train_loss, val_loss):
            points[str(step)] = (float("nan"), val_loss)  # two attempts say different things: equal to nothing
    trial = cell.trial
    return Ending(
        weights=hashlib.sha256(weights_file(folder / "weights", trial.id).read_bytes()).hexdigest(),
        curve=points,
        losses=(outcome.val_loss, outcome.selection_loss, outcome.train_loss, outcome.val_error),
        certificate=json.dumps([dataclasses.asdict(item) for item in outcome.certificate]),
        lost_s=outcome.clock.lost_s if outcome.clock else 0.0,
        fault=fault(outcome.certificate, images=trial.images, images_per_epoch=DATA.images_per_epoch),
    )


class NeverMetError(Exception):
    """On a machine with too much to do two processes may not find each other in the 30 s that Gloo gives them."""


class Bench:
    """A folder of runs, and the compiled programs that they share."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._attempts = folder, itertools.count()
        self.failed_starts = 0
        # Processes of their own, forked from one that has imported everything and begun nothing: much faster
        # than so many interpreters.
        os.environ.update(worker_environment(folder / "compile-cache", is_on_cpu=True), JAX_PLATFORMS="cpu")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["training.loop", "orbax.checkpoint", "launcher.work.hosts"])

    def compile(self, cell: Cell) -> None:
        """Lets a first run fill the compile cache."""
        self._attempt(self._fresh("compiled"), cell, None)

    def unbroken(self, cell: Cell) -> tuple[Ending, float]:
        """Returns the ending of a run that nothing disturbs, and how long it takes."""
        folder, started = self._fresh("unbroken"), time.monotonic()
        self._attempt(folder, cell, None)
        return _read(folder), time.monotonic() - started

    def under_fire(self, cell: Cell, deaths: Iterator[Death], kills: int) -> tuple[Ending, list[str]]:
        """Returns the ending of a run that was killed so often, unless it ended before; and the kills that it met."""
        folder, met = self._fresh("killed"), []
        while len(met) < kills:
            death = next(deaths)
            kind = self._attempt(folder, cell, death)
            if (folder / "ending.json").exists():
                return _read(folder), met
            if kind is not None:
                met.append(kind)
        self._attempt(folder, cell, None)
        return _read(folder), met

    def _fresh(self, name: str) -> Path:
        folder = self._folder / f"{next(self._attempts):04d}-{name}"
        folder.mkdir(parents=True)
        return folder

    def _attempt(self, folder: Path, cell: Cell, death: Death | None) -> str | None:
        """Returns the kind of kill that the attempt met; None where it came to its end."""
        for _ in range(STARTS):
            try:
                return self._attempt_once(folder, cell, death)
            except NeverMetError:
                self.failed_starts += 1
        raise RuntimeError(f"two processes do not meet; see {folder / 'log.txt'}")

    def _attempt_once(self, folder: Path, cell: Cell, death: Death | None) -> str | None:
        (folder / "died").unlink(missing_ok=True)
        (folder / "log.txt").unlink(missing_ok=True)
        number = next(self._attempts)
        processes = [
            self._context.Process(target=_attempt_in_process, args=(folder, cell, death, rank, number))
            for rank in range(cell.processes)
        ]
        for process in processes:
            process.start()
        try:
            return self._outcome(folder, processes, death)
        finally:
            for process in processes:
                process.kill()
                process.join()

    def _outcome(self, folder: Path, processes: list[Any], death: Death | None) -> str | None:
        started = time.monotonic()
        is_shot = False
        while any(process.is_alive() for process in processes):
            passed = time.monotonic() - started
            if death is not None and death.kind == OUTSIDE and passed > death.after_s:
                processes[death.rank].kill()
                is_shot = True
            has_failed = any(process.exitcode not in (None, 0) for process in processes)
            if is_shot or (folder / "died").exists():  # asked after the exit code: the word comes before the kill
                break
            if has_failed or passed > GIVEN_UP_S:
                raise _failure(folder)
            time.sleep(0.01)
        if (folder / "ending.json").exists():
            return None
        if not is_shot and not (folder / "died").exists():
            raise _failure(folder)
        return death.kind if death else None


def _failure(folder: Path) -> Exception:
    said = (folder / "log.txt").read_text()
    if "Gloo context initialization failed" in said:
        return NeverMetError()
    return RuntimeError(f"an attempt failed by itself:\n{said[-4000:]}")


def _read(folder: Path) -> Ending:
    words = json.loads((folder / "ending.json").read_text())
    words["curve"] = {step: tuple(values) for step, values in words["curve"].items()}
    return Ending(**{**words, "losses": tuple(words["losses"])})


def random_deaths(rng: random.Random, cell: Cell, attempt_s: float) -> Iterator[Death]:
    """Yields half of the kills from outside, at random moments of an attempt, and half from inside."""
    while True:
        rank = rng.randrange(cell.processes)
        kind = rng.choice((OUTSIDE, OUTSIDE, OUTSIDE, AFTER_STEP, IN_WRITE, AFTER_WRITE))
        after_s = rng.uniform(0.3, 1.0) * attempt_s if kind == OUTSIDE else rng.uniform(0.0, 0.03)
        yield Death(kind=kind, rank=rank, count=rng.randint(1, 8 if kind == AFTER_STEP else 3), after_s=after_s)


def _attempt_in_process(folder: Path, cell: Cell, death: Death | None, rank: int, number: int) -> None:
    log = os.open(folder / "log.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    train_once(folder, cell, death, rank=rank, number=number)
