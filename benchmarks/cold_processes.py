"""The same sweep as one cold process a run, in the manner of `hydra --multirun`, against ours; extrapolated openly.

Ours is measured whole, from the command to the law, in a fresh root without a compile cache. The slow side is a sample,
the cheapest cell of every model, each in a fresh Python that composes the study with Hydra, imports JAX, compiles,
trains, writes its run to MLflow and exits. A run that was not sampled counts as the sampled overhead of its model (all
but training) plus its own training time in our sweep, times the sampled ratio of training times. Making the database is
not counted on the slow side.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

from result_file import Figure, write_result

from launcher.work.worker_environment import usable_cores
from sweeps.pricing import price_trial
from sweeps.record import RunRecord, Status
from tracking.journal import read_journals, start_attempt
from tracking.paths import ProjectPaths, project_paths
from tracking.store import ingest

STUDY = "scale_model"


@dataclass(frozen=True, kw_only=True)
class ColdRun:
    """One sampled run in a process of its own."""

    model: str
    wall_s: float
    training_s: float
    ours_s: float
    """Training time of the same trial in our sweep."""

    @property
    def overhead_s(self) -> float:
        """Everything but training: interpreter, imports, compilation, evaluation, recording."""
        return self.wall_s - self.training_s


@dataclass(frozen=True, kw_only=True)
class Manner:
    """A way to run cold processes."""

    name: str
    at_once: int
    is_plain: bool = False
    """Whether convolutions are XLA's own, as in a script without this project's path for CPUs."""


def run_ours(root: Path, budget: str) -> float:
    """Returns the wall time of the whole sweep command [s]; raises CalledProcessError where it fails."""
    started = time.monotonic()
    command = [sys.executable, "-m", "launcher", "action=sweep", f"study={STUDY}", f"budget={budget}", "format=json"]
    environment = {**os.environ, "LOGLOG_ROOT": str(root)}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def sample_of(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Returns the cheapest finished run of every model."""
    by_price = sorted(records, key=lambda record: (record.cost.core_hours, record.trial.peak_lr), reverse=True)
    return list({record.trial.model: record for record in by_price}.values())


def run_cold(sample: Sequence[RunRecord], manner: Manner, folder: Path) -> list[ColdRun]:
    """Returns the sampled runs, `manner.at_once` of them at a time, each pinned to its core where there are several."""
    cores = usable_cores()
    root = folder / manner.name
    ingest(ProjectPaths(root=root), "database", sample[:1])

    def run(numbered: tuple[int, RunRecord]) -> ColdRun:
        number, record = numbered
        answer = folder / f"{manner.name}-{number}.json"
        words = [sys.executable, str(Path(__file__).resolve()), "--one", record.trial.id, "--answer", str(answer)]
        words += ["--model", record.trial.model, "--epochs", str(record.trial.epochs)]
        words += ["--peak-lr", str(record.trial.peak_lr), "--seed", str(record.trial.seed)]
        words += ["--plain"] if manner.is_plain else []
        words += ["--core", str(cores[number % len(cores)])] if manner.at_once > 1 else []
        started = time.monotonic()
        subprocess.run(words, check=True, env={**os.environ, "LOGLOG_ROOT": str(root)})
        wall_s = time.monotonic() - started
        assert record.outcome is not None
        cold = ColdRun(
            model=record.trial.model,
            wall_s=wall_s,
            training_s=json.loads(answer.read_text())["training_s"],
            ours_s=record.outcome.wall_s,
        )
        print(
            f"  {manner.name:<10} {record.trial.name:<20} {wall_s:6.1f} s, of it training {cold.training_s:5.1f} s "
            f"(ours {cold.ours_s:.1f} s)",
            flush=True,
        )
        return cold

    with ThreadPoolExecutor(manner.at_once) as pool:
        return list(pool.map(run, enumerate(sample)))


def extrapolate(cold: Sequence[ColdRun], records: Sequence[RunRecord], at_once: int) -> float:
    """Returns the wall time of all runs as cold processes [s], `at_once` of them at a time without a gap."""
    by_model = {run.model: run for run in cold}
    total_s = 0.0
    for record in records:
        run = by_model[record.trial.model]
        training_s = record.outcome.wall_s if record.outcome else 0.0
        total_s += run.overhead_s + training_s * run.training_s / run.ours_s
    return total_s / at_once


def train_one(args: argparse.Namespace) -> None:
    """Trains one trial in this process, which was started for it, and writes what it took."""
    if args.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {args.core})
    from launcher.settings.compose import compose

    words = [f"study={STUDY}", "budget=1M", f"model=scale/{args.model}", f"epochs={args.epochs}"]
    request = compose([*words, f"peak_lr={args.peak_lr}", f"seed={args.seed}"])
    from sweeps.grid import Grid
    from training import loop, step

    if args.plain:
        step.fast_path = lambda: "xla"
    trial = Grid(study=request.study).trial(0)
    assert trial.id == args.one, "the composed trial is not the one that our sweep ran"
    paths = project_paths()
    with start_attempt(
        paths,
        STUDY,
        trial,
        cost=price_trial(trial, request.study.hardware),
        budget_core_hours=None,
        code_version="cold",
        device="cpu",
    ) as journal:
        outcome = loop.train(trial, data_dir=paths.data_dir, checkpoint_dir=None, report=journal.progress)
        journal.end(outcome)
    ingest(paths, STUDY, [record for record in read_journals(paths, STUDY) if record.trial.id == trial.id])
    args.answer.write_text(json.dumps({"training_s": outcome.wall_s}))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 once both sides are measured and written down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--budget", default="10k")
    parser.add_argument("--one", metavar="TRIAL_ID", help="train one trial in this process (used by itself)")
    parser.add_argument("--answer", type=Path, help="where --one writes")
    parser.add_argument("--model")
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--peak-lr", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--core", type=int)
    parser.add_argument("--plain", action="store_true", help="with XLA's own convolutions")
    args = parser.parse_args(argv)
    if args.one:
        train_one(args)
        return 0
    cores = len(usable_cores())
    manners = [
        Manner(name="serial", at_once=1),
        Manner(name="parallel", at_once=cores),
        Manner(name="plain", at_once=1, is_plain=True),
    ]
    with tempfile.TemporaryDirectory(prefix="loglog-cold-") as name:
        folder = Path(name)
        print(f"ours: sweep of {STUDY} to {args.budget} ...", flush=True)
        ours_s = run_ours(folder, args.budget)
        records = [record for record in read_journals(ProjectPaths(root=folder), STUDY) if record.is_settled]
        finished = [record for record in records if record.status is Status.FINISHED]
        print(f"  {len(records)} runs in {ours_s:.0f} s", flush=True)
        cold_s = {
            manner.name: extrapolate(run_cold(sample_of(finished), manner, folder), records, manner.at_once)
            for manner in manners
        }
    figures = [
        Figure(name="runs", value=len(records), bar=None, unit="runs"),
        Figure(name="ours", value=ours_s, bar=None, unit="s"),
        Figure(name="sampled_runs", value=len(sample_of(finished)), bar=None, unit="runs"),
    ]
    for manner in manners:
        bar = 10.0 if manner.name == "serial" else None
        figures += [
            Figure(name=f"cold_{manner.name}_extrapolated", value=cold_s[manner.name], bar=None, unit="s"),
            Figure(name=f"ratio_{manner.name}", value=cold_s[manner.name] / ours_s, bar=bar, unit="times"),
        ]
    write_result("cold_processes", figures, command=f"make bench NAME=cold_processes EXTRA='--budget {args.budget}'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
