"""Everything that is printed, in windows and pipes of every kind: whole numbers, whole boxes, no line too wide."""

import dataclasses
import io
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from analysis.options import FitOptions
from analysis.report.narrow_table import WIDEST, print_line
from analysis.report.report_text import print_report
from analysis.study_fit import fit_study
from launcher.attend.status_table import state_lines
from launcher.attend.study_state import StudyState
from launcher.calibrate.calibration_table import print_calibrations
from launcher.calibrate.session import Session
from launcher.drive.driver_note import DriverNote
from launcher.rehearse.rehearsal import Rehearsed
from launcher.rehearse.rehearsing import print_rehearsals
from launcher.settings.compose import compose
from launcher.settings.conditions import Conditions
from launcher.show.model_table import print_models
from launcher.show.plan_table import print_plan
from sweeps.calibration import Calibration
from sweeps.compute import ComputeSpec
from sweeps.hardware import Hardware
from tests.analysis.synthetic import study_points, study_records
from tracking.paths import ProjectPaths

Printer = Callable[[Console], None]
LONG = "a_study_or_model_with_a_name_that_no_window_holds"


def _plan(*words: str) -> Printer:
    plan = compose(["budget=3k", *words]).plan()
    return lambda console: print_plan(plan, console, time="time: about 3 min on 2 workers here, without compiling")


def _models(console: Console) -> None:
    study = compose(["study=jft", "budget=110k"]).study
    print_models(study.models, study.data, console)


def _report() -> Printer:
    result = fit_study(study_points(study_records(seeds=1)), FitOptions(resamples=20, has_trust=False))
    return lambda console: print_report(result, [Path("/tmp/fit.json")], console=console)


def _status(console: Console) -> None:
    note = DriverNote(
        pid=1, host="h", cluster="local", budget_core_hours=1e4, spend_cap_core_hours=5e5, runs=126, done=20,
        total_core_hours=477_000.0, reserved_core_hours=12_000.0, spent_core_hours=41_200.0, eta_s=7500.0,
    )  # fmt: skip
    state = StudyState(
        study=LONG, counts={"finished": 20, "running": 2, "out_of_memory": 3, "waiting": 101}, running=(),
        spent_core_hours=41_200.0, reserved_core_hours=12_000.0, total_core_hours=477_000.0, note=note,
        driver="process 4711 on a-host-with-a-long-name",
    )  # fmt: skip
    for line in state_lines(state):
        print_line(console, line)


def _calibrations(console: Console) -> None:
    measured = [
        Calibration(
            model=name, family="nfnet", image_px=16, device="cpu", cores=1, batch_images=32, compute=ComputeSpec(),
            compute_dtype="float32", images="drawn", steps=50, turns=5, gradients=1,
            images_per_s_per_core=12_345.6, relative_spread=0.012, compile_s=10.2, peak_memory_bytes=None,
            compiled_memory_bytes=123_456_789, model_flops_per_image=1e6, traced_flops_per_image=1.2e6,
            compiler_flops_per_step=None, peak_flops_per_s_per_core=1e11, peak_source="told", versions="jax",
        )
        for name in ("f0", LONG[:24])
    ]  # fmt: skip
    session = Session(study="scale_model", command="python -m launcher", code="c", measured=measured)
    session.hardware = Hardware(name="measured_cpu", throughputs=(), measured_on="here")
    print_calibrations(session, ProjectPaths(root=Path("/tmp")), console)


def _rehearsals(console: Console) -> None:
    one = Rehearsed(
        seed=0, budget_core_hours=3000.0, spent_core_hours=12_345.0, grid_core_hours=91_500.0, regret=0.001,
        regret_largest_cell=0.02, predicted_loss=2.1, low=2.0, high=2.2, true_loss=2.1, choice="f3-e2 at 0.4", runs=20,
        rounds=4, preemptions=3, wall_h=77.0, predictions=20, predictions_within=18, predictions_trained=20,
    )  # fmt: skip
    print_rehearsals(
        compose(["budget=3k"]), [one, dataclasses.replace(one, budget_core_hours=1e4)], Conditions(), console
    )


PRINTERS: dict[str, Callable[[], Printer]] = {
    "plan": lambda: _plan(),
    "plan with prices and rules": lambda: _plan("study=jft", "hardware.price_per_core_hour=1.61"),
    "models": lambda: _models,
    "fit report": _report,
    "status": lambda: _status,
    "calibrate": lambda: _calibrations,
    "rehearse": lambda: _rehearsals,
}
_MADE: dict[str, Printer] = {}


@pytest.fixture(params=PRINTERS)
def printer(request: pytest.FixtureRequest) -> Printer:
    """What one command prints."""
    if request.param not in _MADE:
        _MADE[request.param] = PRINTERS[request.param]()
    return _MADE[request.param]


def shown(printer: Printer, width: int, *, encoding: str = "utf-8", terminal: bool = True, colour: bool = True) -> str:
    """Returns what arrives where it is printed to."""
    bytes_out = io.BytesIO()
    stream = io.TextIOWrapper(bytes_out, encoding=encoding, errors="replace", write_through=True)
    console = Console(
        file=stream, width=width, highlight=False, force_terminal=terminal, no_color=not colour, legacy_windows=False
    )
    printer(console)
    return bytes_out.getvalue().decode(encoding)


def plain(text: str) -> list[str]:
    """Returns the lines without colours."""
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()]


def numbers(lines: list[str]) -> set[str]:
    """Returns all numbers with their units' letters."""
    found = re.findall(r"(?<![\w.])\d[\d,.]*(?:e-?\d+|[kM])?(?![\w.])", " ".join(lines))
    return {number.rstrip(",.") for number in found}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_windows(printer: Printer, width: int, colour: bool, encoding: str) -> None:
    """No line is wider than the window, no number is cut, and every rule under a header is as wide as its table."""
    lines = plain(shown(printer, width, encoding=encoding, colour=colour))
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    wide = plain(shown(printer, 400))
    assert numbers(lines) <= numbers(wide) | numbers([" ".join(wide)])
    for line, after in itertools.pairwise(lines):
        if set(line) <= set("─-") and len(line) > 3:
            assert after, "a header without a row"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_pipes(printer: Printer, encoding: str) -> None:
    """A pipe receives no colour code, and every number of the window."""
    text = shown(printer, WIDEST, encoding=encoding, terminal=False)
    assert "\x1b" not in text and "…" not in text
    assert numbers(plain(shown(printer, 60))) <= numbers(plain(text)) | numbers(plain(shown(printer, 400)))
