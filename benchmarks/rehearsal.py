"""Rehearses the reference study in many worlds: strategies against naive rules, on average and in the worst decile.

Every seed draws another law (launcher/rehearse/world.py). The second table lets cells lie off the surface by the
reference fit's own residuals, shuffled: no law that a strategy could believe in holds there exactly.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from result_file import Figure, write_result

from launcher.rehearse.rehearsal import Rehearsed, largest_cell, rehearse, scaled_down
from launcher.rehearse.world import World
from launcher.settings.compose import compose
from launcher.settings.conditions import Conditions
from launcher.settings.request import Request
from strategy.field import Field

BUDGETS = ("3k", "10k", "30k", "60k", "110k")
SHARE, REGRET = 0.25, 0.005
"""Bars of the informed strategy."""
LADDER_SHARE, LADDER_ERROR, CEILING = 0.10, 0.01, "30k"
"""Bars of the ladder, which trains no cell above its ceiling."""


@dataclass(frozen=True, kw_only=True)
class Naive:
    """What naive rules would have chosen in the same world: true relative loss above the best."""

    dearest: float
    """The dearest cell that fits, the best measured of the study's three rates."""
    largest: float
    """The largest model that fits, as long as fits, at the cheapest cell's best rate."""
    full_grid: float
    """Every cell at every rate once; the least selection loss wins."""
    random: float
    """Random (cell, rate) for a quarter of the full grid's core-hours; the least selection loss wins."""


def request_of(budget: str, *words: str) -> Request:
    """Returns the request for a budget of the reference study."""
    return compose(["study=jft", f"budget={budget}", *words])


def naive(request: Request, seed: int, deviations: float) -> Naive:
    """Returns what naive rules choose in the world of a seed."""
    field = Field(study=scaled_down(request.study), budget_core_hours=request.budget.core_hours)
    world = World.drawn(field, seed, deviations=deviations)
    best = float(world.truth.min())
    asked = [int(rate) for rate in field.asked_rates]
    places = [(cell, rate) for cell in range(len(field.cells)) for rate in asked]
    selection = {}
    for cell, rate in places:
        losses = world.losses(field.trial(cell, rate, 0))
        selection[cell, rate] = np.inf if losses is None else losses[1]
    dearest = int(field.core_hours.argmax())
    rng = np.random.default_rng([seed, 11])
    chosen, used = [], 0.0
    for place in rng.permutation(len(places)).tolist():
        price = float(field.core_hours[places[place][0]])
        if used + price <= SHARE * field.grid_core_hours:
            chosen.append(places[place])
            used += price
    regret = lambda place: float(np.expm1(world.truth[place] - best))  # noqa: E731
    return Naive(
        dearest=regret(min(((dearest, rate) for rate in asked), key=selection.__getitem__)),
        largest=float(np.expm1(largest_cell(world) - best)),
        full_grid=regret(min(places, key=selection.__getitem__)),
        random=regret(min(chosen, key=selection.__getitem__)),
    )


def work(job: tuple[str, tuple[str, ...], int, float]) -> tuple[Rehearsed, Naive]:
    """Returns one rehearsal and the naive rules in the same world."""
    budget, words, seed, deviations = job
    request = request_of(budget, *words)
    return rehearse(request, seed, conditions=Conditions(), deviations=deviations), naive(request, seed, deviations)


def main() -> None:
    """Runs everything and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    seeds = parser.parse_args().seeds
    figures: list[Figure] = []
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=multiprocessing.get_context("spawn")) as pool:
        for label, deviations in (("", 0.0), (" off the surface", 1.0)):
            for budget in BUDGETS:
                jobs = [(budget, ("strategy=informed",), seed, deviations) for seed in range(seeds)]
                figures += informed_figures(f"{budget}{label}", list(pool.map(work, jobs)), is_barred=not deviations)
            words = ("strategy=ladder", f"strategy.ceiling={CEILING}")
            jobs = [("110k", words, seed, deviations) for seed in range(seeds)]
            figures += ladder_figures(f"ladder{label}", list(pool.map(work, jobs)), is_barred=not deviations)
    write_result("rehearsal", figures, command=" ".join(["make bench NAME=rehearsal", *sys.argv[1:]]))


def informed_figures(name: str, found: list[tuple[Rehearsed, Naive]], *, is_barred: bool) -> list[Figure]:
    """Returns the figures of one budget: means and worst deciles, of the strategy and of naive rules."""
    spent = np.array([one.spent_core_hours / one.grid_core_hours for one, _ in found])
    rows = {"informed + two_trial": np.array([one.regret for one, _ in found])}
    for rule in ("dearest", "largest", "full_grid", "random"):
        rows[rule] = np.array([getattr(rules, rule) for _, rules in found])
    figures = [
        Figure(name=f"{name} spent", value=100 * float(spent.mean()), bar=_bar(100 * SHARE, is_barred), unit="%"),
        Figure(name=f"{name} spent at most", value=100 * float(spent.max()), bar=None, unit="%"),
    ]
    for rule, regret in rows.items():
        bar = _bar(100 * REGRET, is_barred and rule.startswith("informed"))
        figures.append(Figure(name=f"{name} {rule} regret", value=100 * float(regret.mean()), bar=bar, unit="%"))
        worst = 100 * float(np.quantile(regret, 0.9))
        figures.append(Figure(name=f"{name} {rule} worst decile", value=worst, bar=None, unit="%"))
    held = np.mean([one.low <= one.true_loss <= one.high for one, _ in found])
    figures.append(Figure(name=f"{name} interval held", value=100 * float(held), bar=None, unit="%"))
    return figures


def ladder_figures(name: str, found: list[tuple[Rehearsed, Naive]], *, is_barred: bool) -> list[Figure]:
    """Returns the figures of the ladder: error and coverage at the top, its price, and its pick against the largest."""
    own = [one for one, _ in found]
    spent = np.array([one.spent_core_hours / one.grid_core_hours for one in own])
    errors = np.log([one.predicted_loss / one.true_loss for one in own])
    held = float(np.mean([one.low <= one.true_loss <= one.high for one in own]))
    largest = np.array([one.regret_largest_cell for one in own])
    regret = np.array([one.regret for one in own])
    is_wrong = largest > 1e-9
    values = [
        ("spent", 100 * float(spent.mean()), _bar(100 * LADDER_SHARE, is_barred), "%"),
        ("spent at most", 100 * float(spent.max()), None, "%"),
        ("error at 110k", 100 * float(np.abs(errors).mean()), _bar(100 * LADDER_ERROR, is_barred), "%"),
        ("bias at 110k", 100 * float(errors.mean()), None, "%"),
        ("90 % interval held", 100 * held, "85 to 95" if is_barred else None, "%"),
        ("pick regret", 100 * float(regret.mean()), None, "%"),
        ("pick worst decile", 100 * float(np.quantile(regret, 0.9)), None, "%"),
        ("worlds where the largest is wrong", int(is_wrong.sum()), None, "worlds"),
        ("there: pick regret", _mean(100 * regret[is_wrong]), None, "%"),
        ("there: largest regret", _mean(100 * largest[is_wrong]), None, "%"),
        ("there: pick is better", _mean(100.0 * (regret[is_wrong] < largest[is_wrong])), None, "% of worlds"),
        ("predictions held", 100 * _ratio(own, "predictions_within", "predictions_trained"), None, "%"),
    ]
    return [Figure(name=f"{name} {what}", value=value, bar=bar, unit=unit) for what, value, bar, unit in values]


def _bar(value: float, is_barred: bool) -> float | None:
    return value if is_barred else None


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _ratio(own: list[Rehearsed], part: str, whole: str) -> float:
    return sum(getattr(one, part) for one in own) / max(1, sum(getattr(one, whole) for one in own))


if __name__ == "__main__":
    main()
