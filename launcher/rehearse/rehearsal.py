"""One rehearsal: planner, strategy, reconcile loop and spend ledger against a trainer with a known law."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.tables.judged import calibration, judge
from launcher.contract.backend import Task
from launcher.drive.reconcile import run
from launcher.drive.rounds import Rounds
from launcher.drive.spending import SpendLedger
from launcher.drive.trunks import with_trunks
from launcher.rehearse.simulated_backend import SimulatedBackend
from launcher.rehearse.simulated_surroundings import surroundings_of
from launcher.rehearse.world import World
from launcher.settings.conditions import Conditions
from launcher.settings.request import Request
from launcher.show.progress import SilentView
from strategy.choice import choice_of
from strategy.choosing import Inquiry
from strategy.spec import StrategySpec
from sweeps.errors import StudyError
from sweeps.grid import Grid
from sweeps.hardware import Hardware, Throughput
from sweeps.plan import Pack, make_plan
from sweeps.prediction import Prediction
from sweeps.pricing import price_trial
from sweeps.study import Study

MOST_IMAGES = 4_000_000
"""Images of an epoch of a rehearsed study, at most: prices stay, and nobody counts billions of samples."""


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """How one seed ended, judged by the truth of its world."""

    seed: int
    budget_core_hours: float
    spent_core_hours: float
    """As the spend ledger counts."""
    grid_core_hours: float
    """All cells within the budget x the study's learning rates x seeds."""
    regret: float
    """True relative loss of the choice above that of the best (cell, rate) within the budget."""
    regret_largest_cell: float
    """Likewise of the largest model that fits, trained as long as fits, at the best rate of the cheapest cell."""
    predicted_loss: float
    low: float
    high: float
    true_loss: float
    """Of the best (cell, rate) within the budget [nats]."""
    choice: str
    runs: int
    rounds: int
    preemptions: int
    wall_h: float
    """From the first submission to the last end, virtual [h]."""
    predictions: int
    predictions_within: int
    """Of the predictions whose run ended, those whose interval held it."""
    predictions_trained: int


def rehearse(request: Request, seed: int, *, conditions: Conditions, deviations: float = 0.0) -> Rehearsed:
    """Returns how the request's strategy fares in the world of a seed.

    Args:
        request: study, budget and strategy.
        seed: of the world and of all that happens in it.
        conditions: of the cluster.
        deviations: how much of the reference fit's own residuals, shuffled, cells lie off the surface.

    Raises:
        StudyError: the strategy's settings cannot be.
    """
    study = scaled_down(request.study)
    spec = request.strategy
    inquiry = Inquiry.of(study, request.budget, _by_rounds(spec), request.until)
    world = World.drawn(inquiry.field, seed, deviations=deviations)
    backend = SimulatedBackend(losses=world.losses, conditions=conditions, seed=seed)
    ledger = SpendLedger(request.spend_cap_core_hours)
    frozen: list[Prediction] = []
    rounds = Rounds(inquiry=inquiry, records=backend.records, on_round=lambda found: frozen.extend(found.predictions))
    asked = 0

    def more(given_up: frozenset[str]) -> Sequence[Sequence[Task]]:
        nonlocal asked
        asked += 1
        if spec.is_by_rounds:
            packs = rounds.next_packs(ledger, SilentView(), given_up)
        else:
            packs = _whole_grid(study, request) if asked == 1 else ()
        return with_trunks([_tasks(pack, study) for pack in packs], lambda trunk: ())

    run((), backend, surroundings_of(backend, ledger, more=more))
    return _judged(inquiry, world, backend, ledger, frozen, seed=seed, rounds=asked - 1)


def scaled_down(study: Study) -> Study:
    """Returns the study with fewer images an epoch at the same prices: a run's cost and its place in the grid stay."""
    factor = math.ceil(study.data.images_per_epoch / MOST_IMAGES)
    if factor == 1:
        return study
    rates = Grid(study=study).rates
    throughputs = tuple(
        Throughput(
            model=model.name,
            family=model.family,
            image_px=study.data.image_px,
            images_per_s_per_core=1.0 / (3600.0 * factor * rate.core_hours_per_image),
            relative_spread=rate.relative_spread,
            source="rehearsal",
        )
        for model, rate in zip(study.models, rates, strict=True)
    )
    hardware: Hardware = dataclasses.replace(study.hardware, throughputs=throughputs)
    data = dataclasses.replace(study.data, images_per_epoch=study.data.images_per_epoch // factor)
    schedule = dataclasses.replace(study.schedule, warmup_steps=study.schedule.warmup_steps // factor)
    return dataclasses.replace(study, data=data, schedule=schedule, hardware=hardware)


def _by_rounds(spec: StrategySpec) -> StrategySpec:
    """Returns the spec by whose belief a choice is named: strategies that train a whole grid name none themselves."""
    return spec if spec.is_by_rounds else StrategySpec(name="informed")


def _whole_grid(study: Study, request: Request) -> tuple[Pack, ...]:
    cap = request.spend_cap_core_hours
    return make_plan(study, request.budget, spend_cap_core_hours=cap).packs()


def _tasks(pack: Pack, study: Study) -> tuple[Task, ...]:
    return tuple(Task(trial=trial, cost=price_trial(trial, study.hardware)) for trial in pack.trials)


def _judged(
    inquiry: Inquiry,
    world: World,
    backend: SimulatedBackend,
    ledger: SpendLedger,
    frozen: Sequence[Prediction],
    *,
    seed: int,
    rounds: int,
) -> Rehearsed:
    field, records = inquiry.field, backend.records()
    choice = choice_of(field, records)
    if choice is None:
        raise StudyError(
            f"nothing was trained in rehearsal {seed}: no run fits into what may be spent "
            f"(try: a larger SPEND, or a larger strategy.spend_share)"
        )
    best = float(world.truth.min())
    judged = judge(frozen, records, cohort=None)
    found = calibration(judged)
    return Rehearsed(
        seed=seed,
        budget_core_hours=field.budget_core_hours,
        spent_core_hours=ledger.spent_core_hours,
        grid_core_hours=field.grid_core_hours,
        regret=math.expm1(float(world.truth[choice.cell, choice.rate]) - best),
        regret_largest_cell=math.expm1(largest_cell(world) - best),
        predicted_loss=choice.known.value,
        low=choice.known.low,
        high=choice.known.high,
        true_loss=math.exp(best),
        choice=f"{field.name(choice.cell)} at {field.peak_lrs(choice.cell)[choice.rate]:g}",
        runs=len(records),
        rounds=rounds,
        preemptions=backend.preemptions,
        wall_h=backend.clock.now_s / 3600.0,
        predictions=len(judged),
        predictions_trained=0 if found is None else found.trained,
        predictions_within=0 if found is None else found.within,
    )


def largest_cell(world: World) -> float:
    """Returns the true log loss of the largest model that fits, trained for as long as fits.

    At the learning rate that is truly best for its family's cheapest cell: tuned where it costs nothing, and carried
    over.
    """
    field = world.field
    largest = np.flatnonzero(field.log_params == field.log_params.max())
    cell = int(largest[field.core_hours[largest].argmax()])
    asked = field.asked_rates
    cheapest = int(np.flatnonzero(field.family == field.family[cell])[0])
    rate = int(asked[world.truth[cheapest, asked].argmin()])
    return float(world.truth[cell, rate])
