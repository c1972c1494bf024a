"""The rows that a page shows, as tables: every run, however it ended, every cell, every pick."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.estimators.best_rate import Cell
from analysis.page.chart import Table, Value
from analysis.page.series import Series
from analysis.result import ScalingFit
from analysis.tables.points import Point
from sweeps.record import RunRecord, Status

RUNS, CELLS, PICKS = "runs", "cells", "picks"


@dataclass(frozen=True, kw_only=True)
class ShownRun:
    """One run as the page shows it."""

    model: str
    status: str
    """finished, diverged, ...; recorded for a row of a table, of which no more is known."""
    loss: float | None = None
    """Reported held-out loss [nats]; missing unless finished."""
    epochs: float | None = None
    peak_lr: float | None = None
    seed: int | None = None
    core_hours: float | None = None
    flops: float | None = None
    params: float | None = None
    budget_core_hours: float | None = None
    """Of the sweep that launched it."""
    started: str | None = None
    """Day and time in UTC."""
    taint: str | None = None
    error: str | None = None
    """The last line of what a failed run said."""
    mlflow_page: str | None = None
    """Its page in MLflow, behind the server's address."""


def shown_records(records: Sequence[RunRecord], pages: Mapping[str, str]) -> tuple[ShownRun, ...]:
    """Returns recorded runs as shown, in the order given.

    Args:
        records: of one cohort.
        pages: trial ID -> its page in MLflow; those without one are shown without a link.
    """
    return tuple(_of_record(record, pages.get(record.trial.id)) for record in records)


def _of_record(record: RunRecord, page: str | None) -> ShownRun:
    trial, outcome = record.trial, record.outcome
    trace = outcome.error if outcome and outcome.error and record.status is not Status.FINISHED else None
    lines = [line for line in (trace or "").splitlines() if line.strip()]
    started = datetime.datetime.fromtimestamp(record.started_unix_s, tz=datetime.UTC)
    return ShownRun(
        model=trial.model,
        status=record.status.value,
        loss=record.val_loss,
        epochs=trial.epochs,
        peak_lr=trial.peak_lr,
        seed=trial.seed,
        core_hours=record.cost.core_hours,
        flops=record.cost.flops,
        params=float(
            trial.shape.params(image_px=trial.data.image_px, channels=trial.data.channels, classes=trial.data.classes)
        ),
        budget_core_hours=record.budget_core_hours,
        started=started.strftime("%Y-%m-%d %H:%M"),
        taint=record.taint,
        error=lines[-1].strip() if lines else None,
        mlflow_page=page,
    )


def shown_points(points: Sequence[Point]) -> tuple[ShownRun, ...]:
    """Returns the rows of a table as shown."""
    return tuple(
        ShownRun(
            model=p.model,
            status="recorded",
            loss=p.loss,
            epochs=p.epochs,
            peak_lr=p.peak_lr,
            seed=p.seed,
            core_hours=p.core_hours,
            flops=p.flops,
            params=p.params,
            taint=p.taint,
        )
        for p in points
    )


def runs_table(runs: Sequence[ShownRun], series: Sequence[Series]) -> Table:
    """Returns all runs as the table that dots and the list of runs read; columns without a value are left out."""
    index = {one.name: i for i, one in enumerate(series)}
    columns: dict[str, list[Value]] = {
        "series": [index.get(run.model, -1) for run in runs],
        "loss": [run.loss for run in runs],
        "epochs": [run.epochs for run in runs],
        "peak_lr": [run.peak_lr for run in runs],
        "seed": [run.seed for run in runs],
        "core_hours": [run.core_hours for run in runs],
        "flops": [run.flops for run in runs],
        "params": [run.params for run in runs],
        "budget": [run.budget_core_hours for run in runs],
        "status": [run.status for run in runs],
        "taint": [run.taint for run in runs],
        "error": [run.error for run in runs],
        "started": [run.started for run in runs],
        "page": [run.mlflow_page for run in runs],
    }
    return Table(name=RUNS, columns=_present(columns))


def cells_table(cells: Sequence[Cell], series: Sequence[Series]) -> Table:
    """Returns the cells, each at its best learning rate."""
    index = {one.name: i for i, one in enumerate(series)}
    columns: dict[str, list[Value]] = {
        "series": [index.get(cell.model, -1) for cell in cells],
        "loss": [cell.loss for cell in cells],
        "epochs": [cell.epochs for cell in cells],
        "peak_lr": [cell.best.peak_lr for cell in cells],
        "seeds": [len(cell.best.losses) for cell in cells],
        "seed_sd": [cell.seed_sd for cell in cells],
        "core_hours": [cell.core_hours for cell in cells],
        "flops": [cell.flops for cell in cells],
        "params": [cell.params for cell in cells],
        "edge": [cell.edge for cell in cells],
        "taint": ["only tainted runs" if cell.is_tainted else None for cell in cells],
    }
    return Table(name=CELLS, columns=_present(columns))


def picks_table(result: ScalingFit, series: Sequence[Series]) -> Table:
    """Returns the picks that have a loss."""
    index = {one.name: i for i, one in enumerate(series)}
    picks = [pick for pick in result.picks if pick.predicted_loss]
    columns: dict[str, list[Value]] = {
        "series": [-1 for _ in picks],
        "model": [_title(pick.model, series, index) for pick in picks],
        "loss": [pick.predicted_loss for pick in picks],
        "low": [pick.low for pick in picks],
        "high": [pick.high for pick in picks],
        "epochs": [pick.epochs for pick in picks],
        "peak_lr": [pick.peak_lr for pick in picks],
        "core_hours": [pick.core_hours for pick in picks],
        "flops": [pick.flops for pick in picks],
        "params": [pick.params for pick in picks],
        "refused": [pick.refused.reason if pick.refused else None for pick in picks],
    }
    # A law of FLOPs whose study has no core-hours keeps its budget on its own axis.
    columns[result.fit.axis] = [pick.budget for pick in picks]
    return Table(name=PICKS, columns=_present(columns))


def _title(model: str | None, series: Sequence[Series], index: Mapping[str, int]) -> str | None:
    return None if model is None else series[index[model]].title if model in index else model


def _present(columns: Mapping[str, Sequence[Value]]) -> dict[str, Sequence[Value]]:
    return {name: values for name, values in columns.items() if any(value is not None for value in values)}
