"""Two learning rates a cell against the full grid of three, on real runs of the scale model.

Four seeds of every cell are trained at every rate that either could ask for. With some of the seeds each rule chooses a
rate for every cell; the other seeds, which neither has seen, say what that rate is worth: on the runs that it was
chosen by, the best of three noisy losses would always beat the best of two.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import argparse
import itertools
import subprocess
from collections.abc import Callable, Sequence

import numpy as np
from result_file import Figure, write_result

from launcher.settings.compose import compose
from strategy.evidence import Evidence, best_rates
from strategy.field import Field
from strategy.two_trial import tuned_rates, tunings
from sweeps.record import RunRecord
from tracking.ledger import load_records
from tracking.paths import project_paths

SEEDS, CHOSEN_BY = 4, 2
"""Seeds trained, and seeds that rates are chosen by: as many as the default study has."""
REGRET, COST = 0.003, 0.67
"""Bars: mean loss above the full grid's choice, and its part of the full grid's cost."""
Choice = dict[int, int]


def train(budget: str) -> list[RunRecord]:
    """Returns the records of all runs that are needed; those that are recorded already are not trained again."""
    lower = "study.peak_lrs=[0.05,0.1,0.2,0.4]"
    for words in ([f"budget={budget}", lower], ["model=scale/f0", "epochs=0.25", "peak_lr=0.8"]):
        command = [sys.executable, "-m", "launcher", "action=sweep", f"seeds={SEEDS}", *words]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    return load_records(project_paths(), "scale_model")


def walk(field: Field, records: Sequence[RunRecord]) -> tuple[Evidence, float]:
    """Returns what the rule has seen once every cell is decided, and the core-hours of that."""
    at: dict[tuple[int, int], list[RunRecord]] = {}
    for record in records:
        place = field.find(record.trial)
        if place is not None:
            at.setdefault(place, []).append(record)
    seen: list[RunRecord] = []
    asked: set[tuple[int, int]] = set()
    while True:
        found = tunings(field, Evidence.read(field, seen))
        new = {(cell, rate) for cell, tuning in found.items() for rate in tuning.rates} - asked
        if not new:
            return Evidence.read(field, seen), sum(record.cost.core_hours for record in seen)
        missing = [
            f"{field.name(cell)} at {field.peak_lrs(cell)[rate]:g}" for cell, rate in new if (cell, rate) not in at
        ]
        if missing:
            raise SystemExit(f"runs are missing: {', '.join(missing)}; see what the sweep says of them")
        asked |= new
        for place in sorted(new):
            seen += at[place]


def main() -> None:
    """Trains, lets both rules choose with every pair of seeds, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="10k")
    budget = parser.parse_args().budget
    request = compose(["study=scale_model", f"budget={budget}"])
    field = Field(study=request.study, budget_core_hours=request.budget.core_hours)
    records = [record for record in train(budget) if field.find(record.trial) is not None]
    regrets: dict[str, list[float]] = {"two_trial": [], "two_trial cell by cell": [], "full grid as believed": []}
    costs: list[float] = []
    for chosen in itertools.combinations(range(SEEDS), CHOSEN_BY):
        own = [record for record in records if record.trial.seed in chosen]
        others = [record for record in records if record.trial.seed not in chosen and record.trial.seed < SEEDS]
        full = [record for record in own if record.trial.peak_lr in request.study.peak_lrs]
        seen, spent = walk(field, own)
        costs.append(spent / sum(record.cost.core_hours for record in full))
        whole, worth = Evidence.read(field, full), judge(Evidence.read(field, others))
        grid = best_rates(whole)
        for name, choice in (
            ("two_trial", tuned_rates(field, seen)),
            ("two_trial cell by cell", best_rates(seen)),
            ("full grid as believed", tuned_rates(field, whole)),
        ):
            regrets[name].append(float(np.mean([worth(cell, choice[cell]) - worth(cell, grid[cell]) for cell in grid])))
    figures = [
        Figure(name="cells", value=len(field.cells), bar=None, unit="cells"),
        Figure(name="runs", value=len(records), bar=None, unit="runs"),
        Figure(name="two_trial cost", value=100 * float(np.mean(costs)), bar=100 * COST, unit="% of the grid's"),
    ]
    for name, values in regrets.items():
        bar = 100 * REGRET if name == "two_trial" else None
        figures.append(Figure(name=f"{name} regret", value=100 * float(np.mean(values)), bar=bar, unit="%"))
        spread = 100 * float(np.std(values, ddof=1))
        figures.append(Figure(name=f"{name} sd over splits", value=spread, bar=None, unit="%"))
    write_result("two_trial", figures, command=" ".join(["make bench NAME=two_trial", *sys.argv[1:]]))


def judge(evidence: Evidence) -> Callable[[int, int], float]:
    """Returns the mean log loss of runs at a (cell, rate)."""
    return lambda cell, rate: float(evidence.log_loss[(evidence.cell == cell) & (evidence.rate == rate)].mean())


if __name__ == "__main__":
    main()
