"""Studies, records and true laws for tests of strategies: nothing is trained."""

import dataclasses

import numpy as np

from launcher.settings.compose import compose
from strategy.field import Field
from sweeps.certificate import faultless
from sweeps.cost import Cost
from sweeps.pricing import price_trial
from sweeps.record import Outcome, RunRecord, Status
from sweeps.study import Study
from sweeps.trial import Trial


def study_of(name: str = "jft", **changes: object) -> Study:
    """Returns a study of conf/, with other axes where they are given."""
    return dataclasses.replace(compose([f"study={name}", "budget=110k"]).study, **changes)


def field_of(budget: float = 10_000.0, *, ceiling: float | None = None, name: str = "jft", **changes: object) -> Field:
    """Returns the field of a study."""
    return Field(study=study_of(name, **changes), budget_core_hours=budget, ceiling_core_hours=ceiling)


def true_log_loss(field: Field) -> np.ndarray:
    """Returns a law of the form that beliefs have, at every (cell, rate): known in closed form."""
    n, d = np.exp(field.log_params) / 3e8, np.exp(field.log_images) / 4e9
    base = np.log(2.0 + 0.2 * n**-0.5 + 0.4 * d**-0.3)
    best = field.octaves[field.asked_rates].max() - 0.25 * np.log2(d / d.min()) - 0.2 * np.log2(n / n.min())
    return base[:, None] + 0.006 * (field.octaves[None, :] - best[:, None]) ** 2


def record_of(
    trial: Trial, field: Field, loss: float | None, *, status: Status = Status.FINISHED, started_unix_s: float = 1.0
) -> RunRecord:
    """Returns the record of a trial that ended, with a certificate that shows no fault."""
    cost: Cost = price_trial(trial, field.study.hardware)
    data = trial.data
    outcome = Outcome(
        status=status,
        steps=trial.steps,
        val_loss=loss,
        selection_loss=loss,
        train_loss=loss,
        wall_s=1.0,
        compile_s=0.0,
        certificate=faultless(images=trial.images, images_per_epoch=data.images_per_epoch),
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


def train(trials: list[Trial], field: Field, truth: np.ndarray, *, noise_sd: float, seed: int = 0) -> list[RunRecord]:
    """Returns records of trials with losses of a true law and noise that depends on the trial alone."""
    found: list[RunRecord] = []
    for trial in trials:
        place = field.find(trial)
        assert place is not None
        noise = np.random.default_rng([seed, int(trial.id[:12], 16)]).normal(0.0, noise_sd)
        found.append(record_of(trial, field, float(np.exp(truth[place] + noise))))
    return found
