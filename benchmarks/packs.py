"""Trials that differ in learning rate and seed: a cold process each, one after the other on a warm program, as packs.

Whole runs, evaluations included, of the shortest cell of three scale models, for packs of three rates and of three
rates of two seeds, on one core or one accelerator. The ways take turns in one process; they are compared with separate
runs on a warm program, which is what a worker does without packs. On processor cores seconds are CPU seconds, which the
load of others does not change much. Compilation is told apart: it is paid once for each number of members.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

from result_file import Figure, write_result

from launcher.work.worker_environment import claim_environment, usable_cores
from sweeps.record import Outcome, Progress
from sweeps.trial import Trial
from tracking.paths import project_paths

MODELS = ("f0", "f3", "f7")
RATES, SEEDS = (0.1, 0.2, 0.4), (0, 1)
EPOCHS = 0.25
FIRST_STEPS = 32
PACKS = {"pack3": SEEDS[:1], "pack6": SEEDS}
"""The seeds of each pack; of each seed all rates."""

Way = Callable[[Sequence[list[Progress]]], list[Outcome]]
"""Trains all members, their curves into the lists given."""


def main() -> None:
    """Measures every model in a process of its own and writes runs per hour and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=("f0", "f1", "f3", "f3p", "f7", "f7p"))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--cold", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measured(options.measure, options.turns)))
    elif options.cold:
        loop = _trainer()
        trial = _trials(options.cold, SEEDS[:1])[0]
        loop.train(trial, data_dir=project_paths().data_dir, checkpoint_dir=None, report=lambda point: None)
    else:
        figures: list[Figure] = []
        for model in options.models:
            figures += _figures(model, options.turns)
        write_result("packs", figures, command="make bench NAME=packs")


def _figures(model: str, turns: int) -> list[Figure]:
    found = json.loads(_run_self(["--measure", model, "--turns", str(turns)]))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    _run_self(["--cold", model])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cold_s = cpu_s if found["is_on_cpu"] else time.perf_counter() - started
    print(f"{model} on {found['device']}")
    figures = [Figure(name=f"{model}_cold", value=3600.0 / cold_s, bar=None, unit="runs/hour")]
    for pack, of_pack in found["packs"].items():
        for way, said in of_pack.items():
            name = f"{model}_{pack}_{way}"
            figures.append(Figure(name=name, value=3600.0 / said["run_s"], bar=None, unit="runs/hour"))
            figures.append(Figure(name=f"{name}_over_cold", value=cold_s / said["run_s"], bar=None, unit="x"))
            if way != "separate":
                figures.append(Figure(name=f"{name}_over_separate", value=said["ratio"], bar=None, unit="x"))
                for what in ("first_losses_off", "val_loss_off"):
                    figures.append(Figure(name=f"{name}_{what}", value=said[what], bar=None, unit="of the loss"))
            figures.append(Figure(name=f"{name}_compilation", value=said["compile_s"], bar=None, unit="s"))
    return figures


def _run_self(words: Sequence[str]) -> str:
    """Returns the last line that this file says in a new process, without a compile cache, on one core."""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, str(Path(__file__).resolve()), *words]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip().rpartition("\n")[2]


def _trainer() -> Any:
    """Returns the training module in the environment of a worker."""
    claim_environment(Path("unused"))
    if hasattr(os, "sched_setaffinity") and not any(Path("/dev").glob("nvidia[0-9]*")):
        os.sched_setaffinity(0, {usable_cores()[-1]})
    from training import loop

    return loop


def _trials(model: str, seeds: Sequence[int]) -> list[Trial]:
    from launcher.settings.compose import compose
    from sweeps.grid import Grid

    words = ["study=scale_model", "budget=1M", f"model=scale/{model}", f"epochs={EPOCHS}", "peak_lr=0.1", "seed=0"]
    trial = Grid(study=compose(words).study).trial(0)
    return [replace(trial, peak_lr=rate, seed=seed) for seed in seeds for rate in RATES]


def _measured(model: str, turns: int) -> dict[str, Any]:
    """Returns device, and of every pack and way: seconds of a run, of compiling, and how far losses are off."""
    loop = _trainer()
    import jax

    is_on_cpu = jax.default_backend() == "cpu"
    clock = time.process_time if is_on_cpu else time.perf_counter
    packs = {name: _of_pack(loop, _trials(model, seeds), clock, turns) for name, seeds in PACKS.items()}
    return {"device": jax.devices()[0].device_kind, "is_on_cpu": is_on_cpu, "packs": packs}


def _of_pack(loop: Any, trials: Sequence[Trial], clock: Callable[[], float], turns: int) -> dict[str, Any]:
    data_dir = project_paths().data_dir

    def separate(curves: Sequence[list[Progress]]) -> list[Outcome]:
        return [
            loop.train(trial, data_dir=data_dir, checkpoint_dir=None, report=curve.append)
            for trial, curve in zip(trials, curves, strict=True)
        ]

    def packed(mode: str) -> Way:
        return lambda curves: loop.train_pack(
            trials,
            mode=mode,
            data_dir=data_dir,
            checkpoint_dirs=[None] * len(trials),
            reports=[curve.append for curve in curves],
            ends=[lambda outcome: None] * len(trials),
        )

    ways: dict[str, Way] = {"separate": separate, "scan": packed("scan"), "vmap": packed("vmap")}
    curves: dict[str, list[list[Progress]]] = {name: [[] for _ in trials] for name in ways}
    first = {name: way(curves[name]) for name, way in ways.items()}  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            started = clock()
            way([[] for _ in trials])
            seconds[name].append((clock() - started) / len(trials))
    return {
        name: {
            "run_s": statistics.median(seconds[name]),
            "ratio": statistics.median(s / own for s, own in zip(seconds["separate"], seconds[name], strict=True)),
            "compile_s": sum(outcome.compile_s for outcome in first[name]),
            "first_losses_off": _off(_first_losses(curves[name]), _first_losses(curves["separate"])),
            "val_loss_off": _off(
                [outcome.val_loss for outcome in first[name]], [outcome.val_loss for outcome in first["separate"]]
            ),
        }
        for name in ways
    }


def _first_losses(curves: Sequence[Sequence[Progress]]) -> list[float | None]:
    """Returns the training losses before training makes more of rounding."""
    return [point.train_loss for curve in curves for point in curve if point.step <= FIRST_STEPS]


def _off(ours: Sequence[float | None], theirs: Sequence[float | None]) -> float:
    """Returns the largest relative difference of losses that both have."""
    return max(abs(a / b - 1.0) for a, b in zip(ours, theirs, strict=True) if a and b)


if __name__ == "__main__":
    main()
