"""Points from the runs of any MLflow tracking store: the pipeline of tables, a run for a row."""

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.tables.columns import check_columns, columns_named
from analysis.tables.filters import Filter
from analysis.tables.formats import Table
from analysis.tables.points import PointSet, clean_name
from analysis.tables.table_file import points_from_rows
from sweeps.errors import StudyError
from tracking.foreign_runs import ForeignRun, read_foreign_runs

_PREFIXES = ("params.", "metrics.", "tags.")


def points_from_mlflow(
    uri: str, experiment: str, *, columns: Mapping[str, str] | None = None, filters: Sequence[Filter] = ()
) -> PointSet:
    """Returns the points of the finished runs of an experiment; the others are set aside with their state.

    Args:
        uri: of any MLflow tracking store, as `read_foreign_runs` takes it.
        experiment: its name.
        columns: {kind: name of a param or metric}; by default told from the names.
        filters: that runs must pass.

    Raises:
        StudyError: the store cannot be read, or its runs have not what is wanted.
    """
    runs = read_foreign_runs(uri, experiment)
    source = clean_name(f"experiment {experiment}")
    if not runs:
        raise StudyError(f"{source} holds no runs; give the name of one that does (deleted runs are not read)")
    names = list(dict.fromkeys(name for run in runs for name in run.fields))
    plain = [name for name in names if not name.startswith(_PREFIXES)]
    found = dict(columns) if columns is not None else columns_named(plain, source=source)
    wanted = [*found.values(), *(one.column for one in filters)]
    hidden = [name for name in wanted if name in names and name not in plain]
    check_columns([*plain, *hidden], wanted, source=source)
    known_bad = np.array([_why_unfinished(run) for run in runs], dtype=object)
    table = _table(runs, dict.fromkeys(("run_id", *wanted)), source)
    return points_from_rows(table, columns=found, filters=filters, known_bad=known_bad)


def _table(runs: Sequence[ForeignRun], names: Mapping[str, None], source: str) -> Table:
    """Returns the runs as rows. With their ids among the columns no two are duplicates."""
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    cells = {name: pd.Series([run.fields.get(name) for run in runs], dtype=object) for name in names}
    return Table(frame=pd.DataFrame(cells), source=source)


def _why_unfinished(run: ForeignRun) -> str:
    return "" if run.status == "FINISHED" else f"run {_STATES.get(run.status, run.status.lower())}"


_STATES = {"RUNNING": "still running", "SCHEDULED": "not yet started"}
