"""What the report says of runs that are not to be trusted, and of what runs have cost."""

import io
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from analysis.options import FitOptions
from analysis.report.fit_json import to_json
from analysis.report.loss_figure import loss_figure
from analysis.report.report_text import WIDTH, print_report
from analysis.result import ScalingFit
from analysis.study_fit import fit_study
from sweeps.record import CostClock, RunRecord
from tests.analysis.synthetic import FLOPS_PER_CORE_HOUR, study_points, study_records, tainted

CLOCK = CostClock(compile_s=360.0, input_wait_s=180.0, step_s=2880.0, evaluation_s=180.0)
PARTS = ("compile", "input_wait", "step", "evaluation", "checkpoint", "lost")


def timed(run: RunRecord, *, flops_factor: float = 1.0) -> RunRecord:
    """A record with a clock: 64 core-hours for one, and in a study of calibrated prices another cost in FLOPs."""
    assert run.outcome is not None
    cost = replace(run.cost, flops=run.cost.flops * flops_factor)
    return replace(run, cost=cost, outcome=replace(run.outcome, clock=CLOCK, cores=64))


def fit(records: Iterable[RunRecord]) -> ScalingFit:
    """The law through records, without resamples."""
    return fit_study(study_points(records), FitOptions(resamples=0, has_trust=False))


def printed(result: ScalingFit) -> str:
    """The report as the terminal shows it."""
    text = io.StringIO()
    print_report(result, console=Console(file=text, width=WIDTH, highlight=False))
    return text.getvalue()


def one_tainted() -> list[RunRecord]:
    """A study one good run of which cannot show what it saw."""
    return [
        tainted(run) if (run.trial.model, run.trial.epochs, run.trial.peak_lr) == ("f3", 2.0, 0.1) else run
        for run in study_records(seeds=1)
    ]


def test_costs_by_model() -> None:
    """A line for each model; in a scale model, where units differ, all of them together have the ratio 1."""
    result = fit(timed(run) for run in study_records(seeds=1))
    costs: list[dict[str, Any]] = to_json(result)["costs"]
    assert [row["model"] for row in costs] == ["f0", "f1", "f3", "f7"]
    for row in costs:
        assert row["billed_core_hours"] == pytest.approx(18 * 64.0)
        assert [row[f"{part}_share"] for part in PARTS] == pytest.approx([0.1, 0.05, 0.8, 0.05, 0.0, 0.0])
    predicted = [row["predicted_core_hours"] for row in costs]
    assert [row["ratio"] * hours for row, hours in zip(costs, predicted, strict=True)] == pytest.approx(
        [sum(predicted) / 4] * 4
    )
    text = printed(result)
    said = f"predicted at {FLOPS_PER_CORE_HOUR:.3g} FLOPs, billed in this machine's: ratio of shares"
    assert said in " ".join(text.split())
    assert all(len(line.rstrip()) <= WIDTH for line in text.splitlines())


def test_calibrated_prices_are_compared_as_they_are() -> None:
    """Where core-hours are no fixed number of FLOPs the ratio is billed over predicted."""
    runs = [timed(run, flops_factor=1.0 + 0.1 * (run.trial.model == "f0")) for run in study_records(seeds=1)]
    result = fit(runs)
    assert result.flops_per_core_hour is None
    for row in to_json(result)["costs"]:
        assert row["ratio"] == pytest.approx(row["billed_core_hours"] / row["predicted_core_hours"])
    assert "core-hours predicted and billed" in printed(result)


def test_without_clocks_there_is_no_table() -> None:
    """Nothing is said of costs that nobody measured."""
    result = fit(study_records(seeds=1))
    assert to_json(result)["costs"] == []
    assert "billed" not in printed(result)


def test_tainted_cells_are_marked() -> None:
    """In the JSON, after their loss in the table of the frontier, and with a cross in the figure."""
    result = fit(one_tainted())
    found = to_json(result)
    assert found["tainted"] == {
        "runs": 1,
        "weight": 0.25,
        "reasons": [{"reason": "it has no sampling certificate", "count": 1}],
    }
    assert [(cell["model"], cell["epochs"], cell["weight"]) for cell in found["cells"] if cell["tainted"]] == [
        ("f3", 2.0, 0.25)
    ]
    (line,) = (line for line in printed(result).splitlines() if " ? " in line)
    assert "f3" in line
    assert "?: of tainted runs only" in printed(result)
    figure = loss_figure(result)
    assert figure is not None
    assert "×: tainted runs only" in str(figure.get_supxlabel())


def test_where_all_are_tainted_no_cell_is_marked() -> None:
    """A mark on everything tells nothing apart; the warning says it."""
    result = fit(tainted(run) for run in study_records(seeds=1))
    text = printed(result)
    assert "?: of tainted runs only" not in text and " ? " not in text
    assert "runs are tainted" in text
    figure = loss_figure(result)
    assert figure is not None
    assert "×" not in str(figure.get_supxlabel())
