"""`make calibrate` from the words to the file that plans price by, on networks of nothing for a few steps."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.calibrate import calibrating, measuring
from launcher.calibrate.calibrating import run_calibration
from launcher.calibrate.measuring import measure, slot_of, tasks_of
from launcher.calibrate.session import INCOMPLETE, INTERRUPTED
from launcher.settings.calibrations import hardware_at_hand, read_calibration
from launcher.settings.compose import compose
from launcher.settings.request import InlineCluster, LocalCluster
from sweeps.calibration import Calibration, CalibrationTask, Unmeasured
from sweeps.compute import ComputeSpec
from sweeps.pricing import Rule
from sweeps.study import Study
from tests.launcher.small_study import make_study
from tests.sweeps.test_calibration import F0, F1
from tracking.paths import ProjectPaths


def shorten(task: CalibrationTask) -> CalibrationTask:
    """Returns the task with as few steps as there are turns."""
    return dataclasses.replace(task, steps=2, turns=2, shortest_turn_s=0.0)


def run(study: Study, root: Path, **words: object) -> int:
    """Returns the exit code of a calibration in this folder."""
    settings = {"compute": ComputeSpec(), "cluster": LocalCluster(), "as_json": True, "words": ["action=calibrate"]}
    return run_calibration(study, ProjectPaths(root=root), shorten=shorten, **{**settings, **words})  # type: ignore[arg-type]


@pytest.fixture
def measured_by_hand(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts findings, or what is raised, in place of the processes that measure."""

    def give(*findings: Calibration | Unmeasured | BaseException) -> None:
        left = list(findings)

        def pretend(*args: object, **words: object) -> Calibration | Unmeasured:
            found = left.pop(0)
            if isinstance(found, BaseException):
                raise found
            return found

        monkeypatch.setattr(calibrating, "measure", pretend)

    return give


def test_from_words_to_the_file_that_prices_a_plan(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One JSON object with every figure; its file is a hardware that a study is priced by, and is at hand here."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    assert run(make_study("tiny"), tmp_path) == 0
    out = capfd.readouterr().out
    answer = json.loads(out)
    assert set(answer) == {
        *("study", "file", "hardware", "machine", "code_version", "interrupted", "calibrations", "unmeasured")
    }
    (one,) = answer["calibrations"]
    assert set(one) == {field.name for field in dataclasses.fields(Calibration)} | {"relative_error", "mfu", "hfu"}
    assert one["model"] == "tiny" and one["batch_images"] == 8 and one["steps"] == 2
    assert one["images"].startswith("made up, in place of fake")
    assert answer["interrupted"] is False and answer["unmeasured"] == []
    hardware = read_calibration(Path(answer["file"]))
    assert hardware == hardware_at_hand(ProjectPaths(root=tmp_path))
    (throughput,) = hardware.throughputs
    assert throughput.images_per_s_per_core == pytest.approx(one["images_per_s_per_core"], rel=1e-4)
    assert throughput.source.startswith("python -m launcher action=calibrate; 20")
    request = compose(["study=scale_model", "model=scale/f0", "epochs=1", f"hardware={answer['hardware']}"])
    assert request.study.hardware.throughputs == hardware.throughputs
    named = dataclasses.replace(request.study, models=(dataclasses.replace(request.study.models[0], name="tiny"),))
    assert dataclasses.replace(request, study=named).plan().cells[0].rule is Rule.MEASURED


def test_a_step_that_cannot_be_built_is_reported(tmp_path: Path) -> None:
    """What the trainer refuses comes back as the reason, from the process that measures."""
    (task,) = tasks_of(make_study("tiny"), ComputeSpec(microbatches=3))
    stages: list[str] = []
    found = measure(shorten(task), slot_of(InlineCluster()), ProjectPaths(root=tmp_path), say=stages.append)
    assert isinstance(found, Unmeasured) and "cannot be split evenly" in found.reason
    assert stages == []


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "most likely for want of memory"),
        ("raise SystemExit('no such device')", "ended with code 1: no such device"),
        ("raise SystemExit(0)", "ended with code 0: it said nothing"),
    ],
)
def test_a_process_that_dies_is_reported(
    program: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose process is killed or gives up is not measured, and the others' turn comes."""
    (tmp_path / "deaddesk.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(measuring, "DESK", "deaddesk")
    (task,) = tasks_of(make_study("tiny"), ComputeSpec())
    found = measure(task, slot_of(LocalCluster()), ProjectPaths(root=tmp_path))
    assert isinstance(found, Unmeasured) and reason in found.reason


def test_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], measured_by_hand: Callable[..., None]
) -> None:
    """A model that does not fit is said; those before and after it are kept, and the exit code tells."""
    measured_by_hand(F0, Unmeasured(model="big", family="nfnet", reason="out of memory: 99 GB"), F1)
    assert run(make_study("a", "b", "c"), tmp_path, as_json=False) == INCOMPLETE
    printed = capsys.readouterr()
    assert "not measured: big: out of memory: 99 GB" in printed.out
    assert "f0: 100 images/s/core +- 10.0 %" in printed.err
    hardware = hardware_at_hand(ProjectPaths(root=tmp_path))
    assert hardware is not None and [item.model for item in hardware.throughputs] == ["f0", "f1"]


def test_ctrl_c_keeps_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], measured_by_hand: Callable[..., None]
) -> None:
    """The file holds the models that were done, and the answer says that it was interrupted."""
    measured_by_hand(F0, KeyboardInterrupt())
    assert run(make_study("a", "b"), tmp_path) == INTERRUPTED
    answer = json.loads(capsys.readouterr().out)
    assert answer["interrupted"] and [one["model"] for one in answer["calibrations"]] == ["f0"]
    assert [item.model for item in read_calibration(Path(answer["file"])).throughputs] == ["f0"]


def test_nothing_measured_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], measured_by_hand: Callable[..., None]
) -> None:
    """Where the first model is interrupted there is no hardware, and it is said."""
    measured_by_hand(KeyboardInterrupt())
    assert run(make_study("a"), tmp_path, as_json=False) == INTERRUPTED
    assert "nothing was measured" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_table_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], measured_by_hand: Callable[..., None]
) -> None:
    """No row or line of the answer but those with a path is wider than 100 columns."""
    large = dataclasses.replace(F0, model="f7p_plus", peak_memory_bytes=79_123_456_789, images_per_s_per_core=1e6)
    measured_by_hand(F0, large)
    assert run(make_study("a", "b"), tmp_path, as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if "kept in" not in line and "make plan" not in line) <= 100
    assert any("79.12 GB" in line for line in lines) and any("1.0 kB*" in line for line in lines)


def test_a_model_is_measured_once_at_the_first_batch() -> None:
    """Epochs, rates and seeds make no difference to a step; of several batches the first is taken, cheapest first."""
    study = compose(["study=jft", "budget=1k", "study.batch_images=[64,128]", "study.models=[nfnet/f3,nfnet/f0]"]).study
    tasks = tasks_of(study, ComputeSpec())
    assert [(task.trial.model, task.trial.batch_images) for task in tasks] == [("f0", 64), ("f3", 64)]
