"""What a plan says of its time before anything of it has run."""

import dataclasses
from pathlib import Path

import pytest

from launcher.drive.expected_time import calibration_of, expected_s, foreknowledge, time_line
from launcher.drive.launch import timed_packs
from launcher.settings.calibrations import this_machine, write_calibration
from launcher.settings.compose import compose
from launcher.settings.request import Request
from launcher.show.tally import Tally
from launcher.show.timing import ONE_RUN_S
from sweeps.hardware import Hardware, Throughput
from tracking.paths import ProjectPaths

WORDS = ("budget=1k", "seeds=1", "study.models=[scale/f0,scale/f1]")
SPEEDS = {"f0": 100.0, "f1": 50.0}


def request_of(*words: str) -> Request:
    """Returns a request for two models at little cost."""
    return compose([*WORDS, *words])


def calibrated(root: Path, *models: str, machine: str = "") -> ProjectPaths:
    """Returns a project in which these models were measured, on this machine or another."""
    throughputs = tuple(
        Throughput(
            model=model,
            family="nfnet",
            image_px=16,
            images_per_s_per_core=SPEEDS[model],
            relative_spread=0.0,
            source="told",
        )
        for model in models
    )
    paths = ProjectPaths(root=root)
    hardware = Hardware(name="measured_here", throughputs=throughputs, measured_on=machine or this_machine())
    write_calibration(hardware, paths, about=())
    return paths


@pytest.mark.parametrize("workers", [1, 3])
def test_pending_images_over_measured_speed(workers: int, tmp_path: Path) -> None:
    """All runs of a scale model, at the speed of their model, over the workers of this machine."""
    request, paths = request_of("cluster.workers=" + str(workers)), calibrated(tmp_path, "f0", "f1")
    plan = request.plan()
    at_hand = calibration_of(request, paths)
    assert at_hand is not None and at_hand.name == "measured_here"
    seconds = sum(cell.runs * cell.images / SPEEDS[cell.model.name] for cell in plan.cells)
    assert expected_s(request, plan, (), at_hand) == (pytest.approx(seconds / workers), workers)
    line = time_line(request, plan, (), paths) or ""
    assert line.startswith("time: about ") and line.endswith("without compiling (measured_here)")
    for pack in timed_packs(request, plan.packs(), (), at_hand):
        for task in pack:
            assert task.cost.wall_hours == pytest.approx(task.trial.images / SPEEDS[task.trial.model] / 3600.0)


def test_what_was_not_measured_here_says_no_time(tmp_path: Path) -> None:
    """A model without calibration, another machine's figures and a cluster leave the time unknown."""
    request = request_of()
    plan = request.plan()
    for folder, models, machine in (("a", ("f0",), ""), ("b", ("f0", "f1"), "elsewhere")):
        assert time_line(request, plan, (), calibrated(tmp_path / folder, *models, machine=machine)) is None
    assert time_line(request, plan, (), ProjectPaths(root=tmp_path / "none")) is None
    here = calibrated(tmp_path / "c", "f0", "f1")
    for words in (("cluster=slurm",), ("trainer=command", "trainer.command='python x.py'")):
        other = request_of(*words)
        assert calibration_of(other, here) is None
        assert time_line(other, other.plan(), (), here) is None


def test_a_study_of_other_hardware_says_no_time_here(tmp_path: Path) -> None:
    """Core-hours of a pod are no hours of this machine."""
    request = compose(["study=jft", "budget=10k"])
    assert time_line(request, request.plan(), (), calibrated(tmp_path, "f0")) is None


def test_nothing_pending_takes_no_time(tmp_path: Path) -> None:
    """A plan whose runs are all settled has no line."""
    request, paths = request_of(), calibrated(tmp_path, "f0", "f1")
    plan = request.plan()
    done = dataclasses.replace(plan, settled=frozenset(range(len(plan.grid))))
    assert time_line(request, done, (), paths) is None


def test_a_sweep_begins_with_what_is_known(tmp_path: Path) -> None:
    """Calibrated paces count from the first moment; a cluster whose devices nobody knows says nothing."""
    request, paths = request_of("cluster.workers=1"), calibrated(tmp_path, "f0", "f1")
    plan, at_hand = request.plan(), calibration_of(request, paths)
    known, workers = foreknowledge(request, (), at_hand)
    tasks = [task for pack in timed_packs(request, plan.packs(), (), at_hand) for task in pack]
    tally = Tally(pending=tasks, runs=len(tasks), core_hours=1.0, known=known, workers=workers)
    expected = expected_s(request, plan, (), at_hand)
    compiling_s = 2 * (known.cold_compile_s or 0.0)
    assert workers == 1 and expected is not None
    assert tally.eta_s() == pytest.approx(expected[0] + compiling_s + ONE_RUN_S * len(tasks), rel=0.1)
    elsewhere, workers = foreknowledge(request_of("cluster=slurm"), (), None)
    assert workers is None
    assert Tally(pending=tasks, runs=len(tasks), core_hours=1.0, known=elsewhere).eta_s() is None
