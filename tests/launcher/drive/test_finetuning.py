"""`make finetune`: which checkpoints it takes, what it refuses, and a whole small one that is trained for real."""

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from launcher.drive.finetuning import finetuning_request, run_finetuning
from launcher.settings.compose import compose
from launcher.settings.request import Request
from launcher.show.plan_table import plan_as_json, print_plan
from sweeps.errors import StudyError
from sweeps.grid import Grid
from sweeps.pricing import price_trial
from sweeps.record import Outcome, RunRecord, Status
from sweeps.trial import Trial
from tracking.ledger import load_records
from tracking.paths import ProjectPaths

TINY = (
    *("study=scale_model", "model=scale/f0", "study.epochs=[0.25,0.5,1,2]", "study.peak_lrs=[0.1,0.2]", "budget=10k"),
    *("data.images_per_epoch=2048", "data.held_out_images=256", "data.selection_images=256", "cluster=inline"),
    *("finetune.data.images_per_epoch=256", "finetune.epochs=2", "finetune.peak_lrs=[0.1,0.2]"),
    *("finetune.data.held_out_images=256", "finetune.data.selection_images=256"),
)


@pytest.fixture
def request_of() -> Callable[..., Request]:
    """Composes the request of a tiny study."""
    return lambda *words: compose([*TINY, "action=finetune", "finetune=fashion_mnist", "seeds=1", *words])


def _record(trial: Trial, study_hardware: object, *, selection_loss: float) -> RunRecord:
    outcome = Outcome(
        status=Status.FINISHED, steps=trial.steps, val_loss=1.0, selection_loss=selection_loss, train_loss=1.0,
        wall_s=1.0, compile_s=0.0,
    )  # fmt: skip
    return RunRecord(
        trial=trial, cost=price_trial(trial, study_hardware), budget_core_hours=None, status=Status.FINISHED,  # type: ignore[arg-type]
        outcome=outcome, curve=(), attempts=1, code_version="x", device="cpu", started_unix_s=0.0, ended_unix_s=1.0,
    )  # fmt: skip


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[[Request], list[RunRecord]]:
    """Makes the ledger say that every trial of a request's study has finished, the smaller rate better."""

    def record(request: Request) -> list[RunRecord]:
        grid = Grid(study=request.study)
        trials = [grid.trial(index) for index in range(len(grid))]
        records = [_record(trial, request.study.hardware, selection_loss=trial.peak_lr) for trial in trials]
        monkeypatch.setattr("tracking.ledger.load_records", lambda paths, study: records)
        return records

    return record


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What was handed to the sweep, which does not run."""
    seen: list[Request] = []

    def sweep(request: Request, paths: ProjectPaths) -> int:
        seen.append(request)
        return 0

    monkeypatch.setattr("launcher.drive.finetuning.run_sweep", sweep)
    return seen


def test_only_checkpoints_with_weights(
    request_of: Callable[..., Request],
    recorded: Callable[[Request], list[RunRecord]],
    asked: list[Request],
    paths: ProjectPaths,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The best run of each cell is carried on where its weights are on disk; those without are named."""
    request = request_of("seeds=2")
    records = recorded(request)
    best = [record.trial for record in records if (record.trial.peak_lr, record.trial.seed) == (0.1, 0)]
    paths.weights_dir.mkdir(parents=True)
    for trial in best[:3]:
        paths.weights_file(trial.id).touch()
    assert run_finetuning(request, paths) == 0
    (tuning,) = asked
    said = capsys.readouterr().out
    assert f"final weights are not on disk: {best[3].name}" in said
    assert all(f"{trial.id[:8]}  {trial.name}" in said for trial in best[:3])
    assert tuning.study.name == "scale_model_on_fashion_mnist"
    assert tuning.study.seeds == (0, 1), "of fine-tuning"
    assert {pick.trunk_id for pick in tuning.study.picks} == {trial.id for trial in best[:3]}
    assert {pick.peak_lr for pick in tuning.study.picks} == {0.1, 0.2}
    assert not tuning.plan().cuts


def test_the_plan_names_the_trunks(
    request_of: Callable[..., Request], recorded: Callable[[Request], list[RunRecord]]
) -> None:
    """A row of the plan says which checkpoint it starts from: model, epochs and rate alone would be ambiguous."""
    request = request_of()
    trunk = recorded(request)[0]
    plan = finetuning_request(request, [trunk]).plan()
    assert {cell["trunk_id"] for cell in plan_as_json(plan)["cells"]} == {trunk.trial.id}
    console = Console(width=100, record=True, file=io.StringIO())
    print_plan(plan, console)
    assert f"f0-e2-lr0.2 from {trunk.trial.id[:8]}" in console.export_text()
    assert "trunk_id" not in plan_as_json(request.plan())["cells"][0]


def test_nothing_to_fine_tune(
    request_of: Callable[..., Request],
    recorded: Callable[[Request], list[RunRecord]],
    monkeypatch: pytest.MonkeyPatch,
    paths: ProjectPaths,
) -> None:
    """Without runs, and without weights, it says what to type."""
    request = request_of()
    recorded(request)
    with pytest.raises(StudyError, match=r"none of the 4 best runs .* has its final weights on disk"):
        run_finetuning(request, paths)
    monkeypatch.setattr("tracking.ledger.load_records", lambda paths, study: [])
    with pytest.raises(StudyError, match=r"no finished run within 10k core-hours .*make sweep BUDGET=10k"):
        run_finetuning(request, paths)


def test_programs_of_users_are_refused(
    request_of: Callable[..., Request], recorded: Callable[[Request], list[RunRecord]]
) -> None:
    """A user's program keeps no weights that could be carried on."""
    request = request_of()
    records = recorded(request)
    foreign = dataclasses.replace(request, study=dataclasses.replace(request.study, program="python train.py"))
    with pytest.raises(StudyError, match="leave trainer=command out"):
        finetuning_request(foreign, records)


def test_a_whole_one(paths: ProjectPaths, checkout: Path) -> None:
    """Pre-trained on parts, carried on to other classes of them: error of each checkpoint, figure; twice is once."""
    _launch(checkout, paths, "action=sweep", *TINY, "seeds=1")
    said = _launch(checkout, paths, "action=finetune", *TINY, "format=json")
    study = "scale_model_on_parts"
    assert said["study"] == study
    assert said["runs"]["finished"] == 4 * 2
    assert [item["epochs"] for item in said["checkpoints"]] == [0.25, 0.5, 1.0, 2.0]
    assert all(0 < item["top1_error_percent"] < 100 for item in said["checkpoints"])
    assert said["contests"]
    assert (paths.reports_dir / study / "error_vs_compute.png").is_file()
    trunks = {record.trial.id: record for record in load_records(paths, "scale_model")}
    tuned = load_records(paths, study)
    assert {record.trial.trunk_id for record in tuned} <= set(trunks)
    _check_weights(paths, tuned)
    again = _launch(checkout, paths, "action=finetune", *TINY, "format=json")
    assert again["runs"]["finished"] == 0
    assert again["checkpoints"] == said["checkpoints"]


def _launch(checkout: Path, paths: ProjectPaths, *words: str) -> dict[str, Any]:
    environment = os.environ | {"LOGLOG_ROOT": str(paths.root), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "launcher", *words], cwd=checkout, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode in (0, 2), done.stderr  # so few cells may not carry a law
    return json.loads(done.stdout) if "format=json" in words else {}


def _check_weights(paths: ProjectPaths, tuned: list[RunRecord]) -> None:
    """The weights of fine-tuned runs are near their trunk's; the classifier is new, for there are other classes."""
    for record in tuned:
        before, after = (_weights(paths, trial_id) for trial_id in (record.trial.trunk_id or "", record.trial.id))
        changed = {name for name in before if before[name].shape != after[name].shape}
        assert changed == {name for name in before if name.startswith("classifier/")}
        for name in set(before) - changed:
            assert np.linalg.norm(after[name] - before[name]) <= 2.0 * np.linalg.norm(before[name]) + 1.0


def _weights(paths: ProjectPaths, trial_id: str) -> dict[str, np.ndarray]:
    with np.load(paths.weights_file(trial_id)) as archive:
        return {name: archive[name] for name in archive.files}
