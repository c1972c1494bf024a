"""Studies, records and true laws for tests of strategies: nothing is trained."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from launcher.settings.compose import compose
from strategy.choosing import Inquiry
from strategy.field import Field
from strategy.round import Round
from strategy.spec import StrategySpec
from sweeps.budget import Budget
from sweeps.certificate import faultless
from sweeps.cost import Cost
from sweeps.pricing import price_trial
from sweeps.record import Outcome, RunRecord, Status
from sweeps.study import Study
from sweeps.trial import Trial

BUDGET = 10_000.0
MOST_ROUNDS = 100
"""No strategy needs so many."""


@functools.cache
def _composed(models: tuple[str, ...]) -> Study:
    words = [f"study.models=[{','.join(models)}]"] if models else []
    return compose(["study=scale_model", "budget=110k", *words]).study


def study_of(*models: str, **changes: object) -> Study:
    """Returns the scale model with one seed, on other models of conf/ and with other axes where they are given."""
    return dataclasses.replace(_composed(models), **{"seeds": (0,), **changes})


def field_of(budget: float = BUDGET, *models: str, ceiling: float | None = None, **changes: object) -> Field:
    """Returns the field of a study."""
    return Field(study=study_of(*models, **changes), budget_core_hours=budget, ceiling_core_hours=ceiling)


def inquiry_of(
    name: str,
    budget: float = BUDGET,
    *models: str,
    until: str | None = None,
    study: Study | None = None,
    **spec: object,
) -> Inquiry:
    """Returns what `strategy=NAME` makes of a study."""
    chosen = study_of(*models) if study is None else study
    asked = Budget(core_hours=budget, hardware=chosen.hardware.name)
    return Inquiry.of(chosen, asked, StrategySpec(name=name, **spec), until)


def true_log_loss(field: Field) -> np.ndarray:
    """Returns a law of the form that beliefs have, at every (cell, rate): known in closed form.

    The best rate is the highest of the study's for the cheapest cell and falls with size and data.
    """
    n, d = np.exp(field.log_params - field.log_params.min()) / 3, np.exp(field.log_images - field.log_images.min()) / 4
    base = np.log(2.0 + 0.2 * n**-0.5 + 0.4 * d**-0.3)
    best = field.octaves[:, field.asked_rates].max(axis=1) - 0.25 * np.log2(d / d.min()) - 0.2 * np.log2(n / n.min())
    return base[:, None] + 0.006 * (field.octaves - best[:, None]) ** 2


def record_of(
    trial: Trial, field: Field, loss: float | None, *, status: Status = Status.FINISHED, started_unix_s: float = 1.0
) -> RunRecord:
    """Returns the record of a trial that ended, with a certificate that shows no fault."""
    cost: Cost = price_trial(trial, field.study.hardware)
    outcome = Outcome(
        status=status,
        steps=trial.steps,
        val_loss=loss,
        selection_loss=loss,
        train_loss=loss,
        wall_s=1.0,
        compile_s=0.0,
        certificate=faultless(images=trial.images, images_per_epoch=trial.data.images_per_epoch),
    )
    return RunRecord(
        trial=trial,
        cost=cost,
        budget_core_hours=field.budget_core_hours,
        status=status,
        outcome=outcome,
        curve=(),
        attempts=1,
        code_version="test",
        device="none",
        started_unix_s=started_unix_s,
        ended_unix_s=started_unix_s + 1.0,
    )


def begun(trial: Trial, field: Field) -> RunRecord:
    """Returns the record of a trial that was killed halfway and has saved its state."""
    whole = record_of(trial, field, None, status=Status.KILLED)
    assert whole.outcome is not None
    return dataclasses.replace(whole, outcome=dataclasses.replace(whole.outcome, steps=trial.steps // 2))


def train(
    trials: Iterable[Trial],
    field: Field,
    truth: np.ndarray,
    *,
    noise_sd: float,
    seed: int = 0,
    stable_octave: float = np.inf,
) -> list[RunRecord]:
    """Returns records of trials with losses of a true law and noise that depends on the trial alone.

    Args:
        trials: any of the field's.
        field: whose law it is.
        truth: log losses, (cells, rates).
        noise_sd: of a run [of log loss].
        seed: of the noise.
        stable_octave: log2 of the highest learning rate at which runs do not diverge.
    """
    found: list[RunRecord] = []
    for trial in trials:
        place = field.find(trial)
        assert place is not None
        if field.octaves[place] > stable_octave:
            found.append(record_of(trial, field, None, status=Status.DIVERGED))
            continue
        noise = np.random.default_rng([seed, int(trial.id[:12], 16)]).normal(0.0, noise_sd)
        found.append(record_of(trial, field, float(np.exp(truth[place] + noise))))
    return found


def runs(
    field: Field,
    truth: np.ndarray,
    cells: Iterable[int],
    *,
    rates: Iterable[int] | None = None,
    seeds: Iterable[int] = (0,),
    noise_sd: float = 0.003,
    seed: int = 0,
) -> list[RunRecord]:
    """Returns the records of some cells at some rates, the study's own where none are given."""
    at = field.asked_rates.tolist() if rates is None else list(rates)
    trials = [field.trial(cell, rate, s) for cell in cells for rate in at for s in seeds]
    return train(trials, field, truth, noise_sd=noise_sd, seed=seed)


def follow(
    inquiry: Inquiry,
    truth: np.ndarray,
    *,
    cap: float = np.inf,
    on_round: Callable[[Round, Sequence[RunRecord]], None] = lambda found, records: None,
    **world: float,
) -> tuple[list[RunRecord], list[Round]]:
    """Returns all records and rounds of a strategy that is asked until it is done; the last round is empty.

    Args:
        inquiry: whom to ask.
        truth: the law, as `train` takes it.
        cap: core-hours that all runs may use.
        on_round: called with each round and the records that led to it.
        world: further settings of `train`.
    """
    records: list[RunRecord] = []
    rounds: list[Round] = []
    while not rounds or not rounds[-1].is_over:
        assert len(rounds) < MOST_ROUNDS
        left = cap - sum(record.cost.core_hours for record in records)
        rounds.append(inquiry.next_round(records, left_core_hours=left))
        on_round(rounds[-1], records)
        records += train(rounds[-1].trials, inquiry.field, truth, **{"noise_sd": 0.0, **world})
    return records, rounds
