"""The library face: fits a DataFrame, a file or the recorded runs, and picks for one more budget, in a line each.

It says what analysis/fit_scaling.py says, word for word: the options of the one are the arguments of the other.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.fitting import Prior
from analysis.laws import LAWS, Law
from analysis.options import FitOptions
from analysis.result import Pick, ScalingFit
from analysis.solver.quantiles import LEVEL
from analysis.study_fit import fit_study, pick_for
from analysis.tables.columns import parse_columns
from analysis.tables.filters import parse_filters
from analysis.tables.formats import Table
from analysis.tables.points import PointSet
from analysis.tables.table_file import points_from_rows, points_from_table
from sweeps.budget import parse_core_hours
from sweeps.errors import StudyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Amounts = float | str | Iterable[float | str]
"""One number or several, or as the command takes them: 10_000, [1e4, 1.1e5], "10k,110k"."""


def fit(
    table: Any = None, columns: Mapping[str, str] | None = None, *, law: Law | str | None = None,
    budgets: Amounts | None = None, budgets_flops: Amounts | None = None, targets: Amounts | None = None,
    huber: float | None = None, bootstrap: int = 4000, level: float = LEVEL,
    floor: float | tuple[float, float] | None = None, filters: str | Sequence[str] = (), study: str | None = None,
) -> ScalingFit:  # fmt: skip
    """Returns the law that runs follow, with intervals, picks and what speaks against it.

    Args:
        table: a pandas DataFrame, the path of a table, or None for the runs recorded here.
        columns: {kind: column}, as {"loss": "val_loss", "params": "N"}; by default told from the columns' names.
        law: one of `laws.LAWS` or its name; by default what the columns allow.
        budgets: core-hours to pick for; by default the sampled range.
        budgets_flops: FLOPs to pick for; the law is then of FLOPs.
        targets: losses whose compute is asked for.
        huber: delta of the Huber objective on log loss; by default 1e-3 for surfaces and least squares for the others.
        bootstrap: resamples behind the intervals; 0 for none.
        level: coverage that intervals are meant to have.
        floor: pins E, or gives what is known of it as (value, standard deviation).
        filters: rows to keep, as "optimizer=sgd" or "params>1e6".
        study: which of the recorded studies; by default the latest.

    Raises:
        StudyError: something is not understood, or there is no law: then it is a FitRefused, whose `refusal` says why.
    """
    axis, asked = _budgets(budgets, budgets_flops)
    if huber is not None and not 0 < huber < math.inf:
        raise StudyError(f"huber={huber:g} is not above zero (try: huber=1e-3)")
    if bootstrap < 0:
        raise StudyError(f"bootstrap={bootstrap} is negative (try: bootstrap=4000, or 0 for none)")
    if not 0.5 <= level < 1:
        raise StudyError(f"level={level:g} is no coverage between 0.5 and 1 (try: level=0.9)")
    options = FitOptions(
        law=_law_name(law),
        huber=huber,
        resamples=bootstrap,
        budgets=asked,
        targets=_above_zero(targets, "targets", "[2.5, 2.2]"),
        axis=axis,
        level=level,
        priors=_floor(floor),
    )
    return fit_study(_points(table, columns, filters, study), options)


def pick(result: ScalingFit, *, core_hours: float | str | None = None, flops: float | str | None = None) -> Pick:
    """Returns what to train for one budget by a law that was fitted already: what `fit` would have picked for it.

    Raises:
        StudyError: no budget or two, or one on another axis than the law's where no scale leads from one to the other.
    """
    axis, budgets = _budgets(core_hours, flops, names=("core_hours", "flops"))
    if len(budgets) != 1:
        raise StudyError("pick takes one budget (try: pick(result, core_hours=10_000), or flops=1e21)")
    budget, scale = budgets[0], result.flops_per_core_hour
    if axis != result.fit.axis:
        if scale is None:
            word = "budgets_flops=[1e21]" if axis == "flops" else "budgets=['10k']"
            raise StudyError(
                f"the law is of {result.compute_unit}, and no one number turns {axis} into them (try: fit(..., {word}))"
            )
        budget = budget / scale if axis == "flops" else budget * scale
    return pick_for(result, budget)


def figures(result: ScalingFit) -> "dict[str, Figure]":
    """Returns the figures that a fit has something for, by name; without a display they can still be saved."""
    import matplotlib

    from analysis.report.figure_style import STYLE
    from analysis.report.figures import FIGURES

    with matplotlib.rc_context(STYLE):  # pyright: ignore[reportUnknownMemberType]
        return {name: figure for name, draw in FIGURES.items() if (figure := draw(result)) is not None}


def _points(table: Any, columns: Mapping[str, str] | None, filters: str | Sequence[str], study: str | None) -> PointSet:
    kept = parse_filters([filters] if isinstance(filters, str) else filters)
    named = None if columns is None else parse_columns([f"{kind}={column}" for kind, column in columns.items()])
    if table is None:
        if named or kept:
            raise StudyError("columns and filters describe a table; give one (try: fit('runs.csv', columns={...}))")
        from analysis.tables.recorded import recorded_points

        return recorded_points(study, None)
    if study is not None:
        raise StudyError("study names runs recorded here; give it without a table (try: fit(study='scale_model'))")
    if isinstance(table, str | Path):
        return points_from_table(Path(table), columns=named, filters=kept)
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    if not isinstance(table, pd.DataFrame):
        raise StudyError(
            f"a table is a DataFrame or the path of a file, not {type(table).__name__} (try: pd.DataFrame)"
        )
    return points_from_rows(_named(table), columns=named, filters=kept)


def _named(frame: Any) -> Table:
    """Returns the rows of a DataFrame under names that are texts, each once."""
    names: list[str] = []
    repeated: set[str] = set()
    for name in map(str, frame.columns):
        count = sum(name == other.rpartition(" (")[0] or name == other for other in names)
        names.append(f"{name} ({count + 1})" if count else name)
        repeated |= {name} if count else set()
    return Table(frame=frame.set_axis(names, axis=1), source="the DataFrame", repeated=frozenset(repeated))


def _law_name(law: Law | str | None) -> str | None:
    if not isinstance(law, Law):
        return law
    if LAWS.get(law.name) != law:
        raise StudyError(f"{law.name!r} is none of laws.LAWS; write a law of your own into analysis/laws.py, and there")
    return law.name


def _budgets(
    core_hours: Amounts | None, flops: Amounts | None, *, names: tuple[str, str] = ("budgets", "budgets_flops")
) -> tuple[str | None, tuple[float, ...]]:
    """Returns the compute axis of the budgets asked for, and these."""
    if core_hours is not None and flops is not None:
        raise StudyError(f"{names[0]} are core-hours and {names[1]} are FLOPs; give one of them")
    if core_hours is not None:
        return "core_hours", tuple(_core_hours(one, names[0]) for one in _each(core_hours))
    return (None, ()) if flops is None else ("flops", _above_zero(flops, names[1], "[1e21, 1e22]"))


def _core_hours(amount: float | str, what: str) -> float:
    return parse_core_hours(amount) if isinstance(amount, str) else _above_zero(amount, what, "'10k,110k'")[0]


def _above_zero(amounts: Amounts | None, what: str, example: str) -> tuple[float, ...]:
    found: list[float] = []
    for one in () if amounts is None else _each(amounts):
        try:
            value = float(one)
        except (TypeError, ValueError):
            value = 0.0
        if not 0 < value < math.inf:
            raise StudyError(f"{what}={one!r} not understood; write numbers above zero (try: {what}={example})")
        found.append(value)
    return tuple(found)


def _each(amounts: Amounts) -> list[float | str]:
    if isinstance(amounts, str):
        return [word for word in amounts.split(",") if word]
    return list(amounts) if isinstance(amounts, Iterable) else [amounts]


def _floor(floor: float | tuple[float, float] | None) -> tuple[Prior, ...]:
    if floor is None:
        return ()
    example = "1.69, or (1.69, 0.05)"
    known = [*_above_zero(floor, "floor", example), 0.0]
    if len(known) not in (2, 3):
        raise StudyError(f"floor is a value, or a value and its standard deviation (try: floor={example})")
    return (Prior(parameter="E", value=known[0], sd=known[1]),)
