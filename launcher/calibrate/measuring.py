"""Has one model after the other measured, each in a process of its own on a worker's slot of this machine."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any

from launcher.on_this_machine.local import local_slots
from launcher.on_this_machine.warm_process import Slot
from launcher.settings.request import ClusterSpec, LocalCluster
from launcher.work.worker_environment import worker_environment
from sweeps.calibration import Calibration, CalibrationTask, Unmeasured
from sweeps.canonical import from_jsonable, to_jsonable
from sweeps.compute import ComputeSpec
from sweeps.grid import Grid
from sweeps.study import Study
from tracking.paths import ProjectPaths

DESK = "launcher.work.calibration_desk"
_PATIENCE_S = 10.0


def tasks_of(study: Study, compute: ComputeSpec) -> tuple[CalibrationTask, ...]:
    """Returns what is measured of a study: each model once, at its first batch, cheapest first."""
    grid = Grid(study=study)
    first_of_model: dict[int, int] = {}
    for cell, model in enumerate(grid.columns.model):
        first_of_model.setdefault(int(model), cell)
    trials = [grid.trial(grid.cell_trials(cell)[0]) for cell in first_of_model.values()]
    macs = {trial.model: trial.shape.forward_macs(image_px=study.data.image_px) for trial in trials}
    return tuple(
        CalibrationTask(trial=trial, compute=compute) for trial in sorted(trials, key=lambda one: macs[one.model])
    )


def slot_of(cluster: ClusterSpec) -> Slot:
    """Returns where it is measured: as one worker of a local sweep runs, alone."""
    return local_slots(1, gpus=cluster.gpus if isinstance(cluster, LocalCluster) else 1)[0]


def measure(
    task: CalibrationTask, slot: Slot, paths: ProjectPaths, *, say: Callable[[str], None] = lambda stage: None
) -> Calibration | Unmeasured:
    """Returns what was measured of one model, or why it could not be.

    Args:
        task: what is measured.
        slot: the core or the devices it runs on.
        paths: where image files lie.
        say: told what begins now.
    """
    with tempfile.TemporaryFile() as log, _desk(task, slot, paths, log) as process:
        assert process.stdout is not None
        for line in process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if "stage" in answer:
                say(answer["stage"])
            elif "calibration" in answer:
                return from_jsonable(Calibration, answer["calibration"])
            else:
                return _unmeasured(task, answer["reason"])
        return _unmeasured(task, _last_words(process.wait(), log))


@contextlib.contextmanager
def _desk(
    task: CalibrationTask, slot: Slot, paths: ProjectPaths, log: IO[bytes]
) -> "Generator[subprocess.Popen[bytes]]":
    """Yields a process that has its task; it is over when this is left."""
    command = [sys.executable, "-P", "-m", DESK, "--data", str(paths.data_dir)]
    if slot.core is not None:
        command += ["--core", str(slot.core)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,  # Ctrl-C reaches this process alone, which keeps what was measured
        env=_environment(slot, paths.compile_cache),
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it died at once: its last words say why
            process.stdin.write(json.dumps(to_jsonable(task)).encode() + b"\n")
            process.stdin.flush()
        yield process
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(slot: Slot, compile_cache: Path) -> dict[str, str]:
    return {
        **os.environ,
        **worker_environment(compile_cache, is_on_cpu=slot.core is not None),
        **({} if slot.gpu is None else {"CUDA_VISIBLE_DEVICES": slot.gpu}),
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # what is read from there says no compile time
    }


def _unmeasured(task: CalibrationTask, reason: str) -> Unmeasured:
    return Unmeasured(model=task.trial.model, family=task.trial.family, reason=reason)


def _last_words(code: int, log: IO[bytes]) -> str:
    """Returns why a process ended without an answer."""
    if code == -9:
        return "killed by the system, most likely for want of memory"
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return f"its process ended with code {code}: {lines[-1] if lines else 'it said nothing'}"
