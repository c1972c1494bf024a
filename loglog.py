"""What was run and what it says, from Python: `import loglog; loglog.runs("scale_model")` is a pandas frame.

Nothing is loaded before it is asked for, and nothing here trains, launches or writes. A number that nobody has measured
is NaN, never 0. Every error that a person can mend is a StudyError that says what to type.
"""

# pandas declares its types in part.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

import inspect
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.result import ScalingFit
    from sweeps.record import RunRecord

__all__ = ["StudyError", "cells", "curves", "figures", "fit", "picks", "plot", "runs"]

RUN_COLUMNS = (
    "study", "model", "family", "epochs", "peak_lr", "seed", "batch_images", "params", "images", "flops", "core_hours",
    "val_loss", "selection_loss", "train_loss", "val_error", "status", "tainted", "wall_s", "attempts", "device",
    "started", "cohort", "trial_id",
)  # fmt: skip
CURVE_COLUMNS = (
    "trial_id", "model", "epochs", "peak_lr", "seed", "status", "step", "images", "flops", "core_hours", "train_loss",
    "val_loss", "wall_s",
)  # fmt: skip
CELL_COLUMNS = (
    "model", "epochs", "core_hours", "flops", "params", "tokens", "peak_lr", "batch_images", "loss", "seed_sd", "seeds",
    "edge", "weight", "tainted", "on_frontier",
)  # fmt: skip
TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".pq", ".gz")
"""A text that ends so, or names a folder, is the path of a table; any other is the name of a study."""
PICK_COLUMNS = (
    "budget", "core_hours", "flops", "model", "params", "epochs", "tokens", "peak_lr", "batch_images", "predicted_loss",
    "low", "high", "extrapolation_factor", "support", "refused",
)  # fmt: skip


def runs(study: str | None = None) -> "pd.DataFrame":
    """Returns the runs of a study, or of all studies, oldest first: one row a run, failures and running ones too.

    Flops and core_hours are what a run was priced at, in the study's own hardware; wall_s is the training time that it
    took [s]; losses are in nats. `cohort` names data, schedule and recipe: runs of one law share it.

    Raises:
        StudyError: nothing of that name was run here.
    """
    rows = [_run(name, record) for name, records in _recorded(study) for record in records]
    frame = _frame(rows, RUN_COLUMNS)
    import pandas as pd

    return frame.assign(started=pd.to_datetime(frame["started"].astype(float), unit="s", utc=True))


def curves(study: str) -> "pd.DataFrame":
    """Returns the points of all curves of a study, one row a point, in order of step within each run.

    Raises:
        StudyError: nothing of that name was run here.
    """
    rows = [point for _, records in _recorded(study, curves=True) for record in records for point in _points(record)]
    return _frame(rows, CURVE_COLUMNS)


def fit(source: Any = None, **options: Any) -> "ScalingFit":
    """Returns the law that runs follow, as `python analysis/fit_scaling.py` finds it.

    Args:
        source: the name of a recorded study, None for the latest one, or a table: a DataFrame (your own, or rows of
            `runs`) or the path of a file.
        options: those of `analysis.fit`: law, budgets, budgets_flops, targets, columns, filters, huber, bootstrap, ...

    Raises:
        StudyError: the source or an option is not understood, or there is no law.
    """
    from analysis.face import fit as fit_rows

    known = [name for name in inspect.signature(fit_rows).parameters if name not in ("table", "study")]
    if unknown := [name for name in options if name not in known]:
        raise StudyError(
            f"fit has no option {', '.join(unknown)}; it has {', '.join(known)} "
            "(try: loglog.fit('scale_model', budgets='10k,110k'))"
        )
    if source is None or (isinstance(source, str) and not _is_path(source)):
        return fit_rows(study=source, **options)
    _refuse_mixed(source)
    return fit_rows(source, **options)


def cells(result: "ScalingFit") -> "pd.DataFrame":
    """Returns the cells of a fit, one row a model and number of epochs, at its best learning rate."""
    frontier = {id(cell) for cell in result.frontier}
    rows = [
        vars(cell)
        | {name: getattr(cell, name) for name in ("loss", "seed_sd", "weight")}
        | {"peak_lr": cell.best.peak_lr, "batch_images": cell.best.batch_images, "seeds": len(cell.best.losses)}
        | {"tainted": cell.is_tainted, "on_frontier": id(cell) in frontier}
        for cell in result.cells
    ]
    return _frame(rows, CELL_COLUMNS)


def picks(result: "ScalingFit") -> "pd.DataFrame":
    """Returns what to train for each budget of a fit; `refused` holds the reason where no pick can be made."""
    return _frame(
        [vars(pick) | {"refused": pick.refused.reason if pick.refused else None} for pick in result.picks], PICK_COLUMNS
    )


def figures(result: "ScalingFit") -> "dict[str, Figure]":
    """Returns every figure that a fit has something for, by name."""
    from analysis.face import figures as draw_all

    return draw_all(result)


def plot(result: "ScalingFit", name: str = "loss_vs_compute") -> "Figure":
    """Returns one figure of a fit, as the report has it; a notebook shows it.

    Raises:
        StudyError: no figure of that name, or the fit has nothing for it.
    """
    import matplotlib

    from analysis.report.figure_style import STYLE
    from analysis.report.figures import FIGURES

    if name not in FIGURES:
        raise StudyError(f"no figure called {name!r}; there are {', '.join(FIGURES)} (try: loglog.plot(fit))")
    with matplotlib.rc_context(STYLE):
        figure = FIGURES[name](result)
    if figure is None:
        raise StudyError(
            f"this fit has nothing for the figure {name} (try: loglog.figures(fit), which draws the others)"
        )
    return figure


def _refuse_mixed(table: Any) -> None:
    """Raises StudyError for rows of `runs` that no one law describes."""
    if {"cohort", "trial_id"} <= set(getattr(table, "columns", ())):
        cohorts = list(table["cohort"].value_counts().index)
        if len(cohorts) > 1:
            raise StudyError(
                f"these runs differ in data, schedule or recipe: their cohorts are {', '.join(cohorts)}; one law holds "
                f"for one of them (try: loglog.fit(frame[frame.cohort == {cohorts[0]!r}]))"
            )


def _is_path(source: str) -> bool:
    return "/" in source or Path(source).suffix.lower() in TABLE_ENDINGS


def _recorded(study: str | None, *, curves: bool = False) -> "list[tuple[str, list[RunRecord]]]":
    """Returns the records of each study asked for, those of journals that MLflow has not got yet included."""
    from tracking.ledger import load_records
    from tracking.paths import project_paths
    from tracking.run_table import list_studies

    paths = project_paths()
    known = list_studies(paths) if study is None or paths.runs_sqlite.is_file() else []
    found = [(name, load_records(paths, name, curves=curves)) for name in ([study] if study is not None else known)]
    if not any(records for _, records in found):
        there = f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}" if known else "nothing was run here"
        advice = f"loglog.runs({known[-1]!r})" if known else f"make sweep BUDGET=2k STUDY={study or 'scale_model'}"
        raise StudyError(f"no runs of study {study!r} are recorded; {there} (try: {advice})")
    return found


def _run(study: str, record: "RunRecord") -> dict[str, Any]:
    trial, outcome = record.trial, record.outcome
    losses = ("selection_loss", "train_loss", "val_error", "wall_s")
    return {
        **{name: getattr(trial, name) for name in _OF_TRIALS},
        **{name: getattr(outcome, name, None) for name in losses},
        "study": study,
        "params": trial.shape.params(
            image_px=trial.data.image_px, channels=trial.data.channels, classes=trial.data.classes
        ),
        "flops": record.cost.flops,
        "core_hours": record.cost.core_hours,
        "val_loss": record.val_loss,
        "status": record.status.value,
        "tainted": record.tainted,
        "attempts": record.attempts,
        "device": record.device,
        "started": record.started_unix_s,
        "trial_id": trial.id,
    }


_OF_TRIALS = ("model", "family", "epochs", "peak_lr", "seed", "batch_images", "images", "cohort")


def _points(record: "RunRecord") -> Iterable[dict[str, Any]]:
    trial = record.trial
    for point in record.curve:
        done = point.step / trial.steps
        yield {
            **{name: getattr(trial, name) for name in ("model", "epochs", "peak_lr", "seed")},
            **vars(point),
            "trial_id": trial.id,
            "status": record.status.value,
            "flops": done * record.cost.flops,
            "core_hours": done * record.cost.core_hours,
        }


def _frame(rows: Iterable[dict[str, Any]], columns: tuple[str, ...]) -> "pd.DataFrame":
    """Returns the rows as a frame of these columns; what is missing is NaN."""
    import pandas as pd

    return pd.DataFrame([[_or_nan(row.get(name)) for name in columns] for row in rows], columns=list(columns))


def _or_nan(value: Any) -> Any:
    return math.nan if value is None else value
