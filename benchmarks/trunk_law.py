"""One trunk for all lengths of a run against full cosine runs: what both cost, and whether their laws agree.

Real runs of the scale model within a budget, three learning rates and two seeds, both ways. What is recorded already is
not trained again.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import argparse
import subprocess

import numpy as np
from result_file import Figure, write_result

from analysis.options import FitOptions
from analysis.study_fit import fit_study
from analysis.tables.points import points_from_records
from launcher.settings.compose import compose
from strategy.schedules import compare_schedules
from sweeps.grid import Grid
from sweeps.record import RunRecord
from sweeps.spent import core_hours_spent
from sweeps.study import Study
from tracking.ledger import load_records
from tracking.paths import project_paths

COST = 0.62


def main() -> None:
    """Trains both ways and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="10k")
    budget = parser.parse_args().budget
    for strategy in ("grid", "trunk"):
        command = [sys.executable, "-m", "launcher", "action=sweep", f"budget={budget}", f"strategy={strategy}"]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    request = compose(["study=scale_model", f"budget={budget}", "strategy=trunk"])
    cosine, wsd = request.own_study, request.study
    assert cosine is not None
    core_hours = request.budget.core_hours
    records = load_records(project_paths(), "scale_model", curves=True)
    full, trunk = (own_records(study, records, core_hours) for study in (cosine, wsd))
    found = compare_schedules(wsd, cosine, core_hours, [*full, *trunk])
    ratios = np.log([cell.loss / cell.other_loss for cell in found.cells])
    laws = [law_of(records) for records in (full, trunk)]
    longest = [record for record in full if record.trial.epochs <= 8.0 and record.trial.model == "f0"]
    own_cost = sum(map(core_hours_spent, trunk)) / sum(map(core_hours_spent, full))
    figures = [
        Figure(name="cells", value=len(found.cells), bar=None, unit="cells"),
        Figure(name="trained, of cosine's core-hours", value=100 * own_cost, bar=None, unit="%"),
        Figure(
            name="likewise, all six lengths of F0",
            value=100 * trained_share([record for record in trunk if record.trial.model == "f0"], longest),
            bar=100 * COST,
            unit="%",
        ),
        Figure(name="slope of cosine", value=-laws[0][0], bar=None, unit=""),
        Figure(name="slope of cosine, low", value=-laws[0][2], bar=None, unit=""),
        Figure(name="slope of cosine, high", value=-laws[0][1], bar=None, unit=""),
        Figure(name="slope of trunks", value=-laws[1][0], bar="within cosine's interval", unit=""),
        Figure(name="slope difference by cells", value=found.slope_difference, bar=0.0, unit=""),
        Figure(name="slope difference, low", value=found.low, bar=None, unit=""),
        Figure(name="slope difference, high", value=found.high, bar=None, unit=""),
        Figure(name="loss of trunks over cosine's", value=100 * float(np.expm1(ratios.mean())), bar=None, unit="%"),
    ]
    print(found.sentence)
    write_result("trunk_law", figures, command=" ".join(["make bench NAME=trunk_law", *sys.argv[1:]]))


def own_records(study: Study, records: list[RunRecord], budget_core_hours: float) -> list[RunRecord]:
    """Returns the records of the trials of a study's grid within the budget."""
    grid = Grid(study=study)
    found = [record for record in records if grid.find(record.trial) is not None]
    return [record for record in found if record.cost.core_hours <= 1.01 * budget_core_hours]


def law_of(records: list[RunRecord]) -> tuple[float, float, float]:
    """Returns the exponent of the power law of a cohort with its interval."""
    fit = fit_study(points_from_records(records, study="scale_model"), FitOptions(law="power", has_trust=False)).fit
    exponent = fit.parameters["b"]
    return exponent.value, exponent.low or np.nan, exponent.high or np.nan


def trained_share(trunk: list[RunRecord], full: list[RunRecord]) -> float:
    """Returns the core-hours of trunk runs over those of full runs."""
    return sum(map(core_hours_spent, trunk)) / sum(map(core_hours_spent, full))


if __name__ == "__main__":
    main()
