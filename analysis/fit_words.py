"""The words behind fit_scaling.py and make report: what they are, and which points and options they ask for."""

import argparse
from pathlib import Path
from typing import NoReturn

from analysis.estimators.best_rate import UNITS
from analysis.fitting import Prior
from analysis.laws import LAWS
from analysis.options import FitOptions
from analysis.solver.quantiles import LEVEL
from analysis.tables.columns import KINDS, parse_columns
from analysis.tables.filters import parse_filters
from analysis.tables.points import PointSet
from analysis.tables.recorded import recorded_points
from sweeps.budget import parse_core_hours
from sweeps.errors import StudyError

_NO_FLOOR = 1e-9
"""A floor of zero has no logarithm; this one is below every loss that was ever measured."""
_EXAMPLES = """examples:
  python analysis/fit_scaling.py
  python analysis/fit_scaling.py --study scale_model --law power_floor --budgets 10k,110k
  python analysis/fit_scaling.py --data runs.csv --columns loss=loss core_hours=core_hours epochs=epochs group=model
  python analysis/fit_scaling.py --data points.csv --columns loss=loss params=N tokens=D --budgets-flops 1e21,1e22
  python analysis/fit_scaling.py --mlflow sqlite:///mlflow.db --experiment ladder --metric eval_loss
"""


class _JsonParser(argparse.ArgumentParser):
    """Says what is wrong with the words as an object on stdout, for that is what was asked for."""

    def error(self, message: str) -> NoReturn:
        """Raises StudyError instead of printing and leaving."""
        raise StudyError(message)


def fit_parser(prog: str, description: str, *, as_json: bool = False) -> argparse.ArgumentParser:
    """Returns the parser of a command that fits; with `as_json` it raises StudyError instead of leaving."""
    parser = (_JsonParser if as_json else argparse.ArgumentParser)(
        prog=prog,
        description=description,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--study", metavar="NAME", help="which study of runs.sqlite (default: the latest)")
    parser.add_argument("--cohort", metavar="HASH", help="which of its data, schedule and recipe (default: most runs)")
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="a .csv, .tsv, .jsonl, .json or .parquet table instead"
    )
    parser.add_argument("--mlflow", metavar="URI", help="an MLflow store instead: sqlite:///FILE, http://..., a folder")
    parser.add_argument("--experiment", metavar="NAME", help="which experiment of --mlflow")
    parser.add_argument("--metric", metavar="NAME", help="which metric of --mlflow is the loss")
    parser.add_argument(
        "--columns", nargs="+", metavar="KIND=COLUMN",
        help=f"what the table's columns mean (default: by their names); kinds: {', '.join(KINDS)}",
    )  # fmt: skip
    parser.add_argument(
        "--filter", nargs="+", action="extend", default=[], metavar="COLUMN=VALUE",
        help="rows to keep; also COLUMN!=VALUE, COLUMN<NUMBER, <=, >, >=",
    )  # fmt: skip
    parser.add_argument("--law", metavar="NAME", help=f"{' | '.join(LAWS)} (default: what the columns allow)")
    parser.add_argument("--huber", type=float, metavar="DELTA", help="minimise the sum of Huber on log loss")
    parser.add_argument("--floor", metavar="E", help="pin the floor (1.69) or give what is known of it (1.69+-0.05)")
    parser.add_argument("--bootstrap", type=int, default=4000, metavar="N", help="resamples (default: 4000; 0: none)")
    parser.add_argument(
        "--resample",
        choices=("residuals", "cells"),
        help="what is drawn anew for a surface (default: what covers best)",
    )
    parser.add_argument(
        "--level", type=float, default=LEVEL, metavar="P", help=f"of the intervals (default: {LEVEL:g})"
    )
    budgets = parser.add_mutually_exclusive_group()
    budgets.add_argument("--budgets", metavar="10k,110k", help="core-hours to pick for (default: the sampled range)")
    budgets.add_argument("--budgets-flops", metavar="1e21,1e22", help="FLOPs to pick for; the law is then of FLOPs")
    parser.add_argument("--axis", choices=tuple(UNITS), help="what the law is of (default: the compute most rows have)")
    parser.add_argument("--targets", metavar="2.5,2.2", help="losses whose compute is asked for")
    parser.add_argument("--quick", action="store_true", help="without back-test, rival forms, variants and profiles")
    # A sweep of picks leaves the file that it was asked for with as it is: typed again, it trains nothing new.
    parser.add_argument("--keep-picks", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where fit.json and figures go (reports/STUDY)")
    return parser


def read_points(arguments: argparse.Namespace) -> PointSet:
    """Returns the points that the words name; raises StudyError or FitRefused where there are none."""
    if arguments.data is not None and arguments.mlflow is not None:
        raise StudyError("--data and --mlflow both say where the runs are; give one of them")
    if arguments.mlflow is None and (arguments.experiment or arguments.metric):
        raise StudyError("--experiment and --metric describe an MLflow store; add --mlflow URI")
    if arguments.data is None and arguments.mlflow is None:
        if arguments.columns or arguments.filter:
            raise StudyError("--columns and --filter describe a table; add --data FILE or --mlflow URI")
        return recorded_points(arguments.study, arguments.cohort)
    if arguments.study or arguments.cohort:
        raise StudyError("--study and --cohort read runs.sqlite; give them without --data and --mlflow")
    words = [*(arguments.columns or ()), *([f"loss={arguments.metric}"] if arguments.metric else ())]
    columns = parse_columns(words) if words else None
    filters = parse_filters(arguments.filter)
    if arguments.data is not None:
        from analysis.tables.table_file import points_from_table

        return points_from_table(arguments.data, columns=columns, filters=filters)
    if arguments.mlflow is None or not arguments.experiment:
        raise StudyError("--mlflow needs the name of an experiment (try: --experiment NAME)")
    from analysis.tables.foreign_points import points_from_mlflow

    return points_from_mlflow(arguments.mlflow, arguments.experiment, columns=columns, filters=filters)


def read_options(arguments: argparse.Namespace) -> FitOptions:
    """Returns how the words want the points fitted; raises StudyError where they make no sense."""
    if arguments.huber is not None and not arguments.huber > 0:
        raise StudyError(f"--huber {arguments.huber:g} is not above zero (try: --huber 1e-3)")
    if arguments.bootstrap < 0:
        raise StudyError(f"--bootstrap {arguments.bootstrap} is negative (try: --bootstrap 4000, or 0 for none)")
    if not 0.5 <= arguments.level < 1:
        raise StudyError(f"--level {arguments.level:g} is no coverage between 0.5 and 1 (try: --level 0.9)")
    axis, budgets = arguments.axis, ()
    if arguments.axis and (arguments.budgets or arguments.budgets_flops):
        raise StudyError("--budgets and --budgets-flops say what the law is of; give them without --axis")
    if arguments.budgets:
        axis, budgets = "core_hours", tuple(parse_core_hours(word) for word in _listed(arguments.budgets))
    if arguments.budgets_flops:
        axis = "flops"
        budgets = tuple(
            _above_zero(word, "budget", "--budgets-flops 1e21,1e22") for word in _listed(arguments.budgets_flops)
        )
    return FitOptions(
        law=arguments.law,
        huber=arguments.huber,
        resamples=arguments.bootstrap,
        budgets=budgets,
        targets=tuple(_above_zero(word, "target", "--targets 2.5,2.2") for word in _listed(arguments.targets)),
        axis=axis,
        level=arguments.level,
        priors=_floor(arguments.floor),
        resample=arguments.resample,
        has_trust=not arguments.quick,
    )


def _listed(words: str | None) -> list[str]:
    """Returns the words between commas, each once; a comma too many is none."""
    return list(dict.fromkeys(word.strip() for word in (words or "").split(",") if word.strip()))


def _above_zero(word: str, what: str, example: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise StudyError(f"{what} {word!r} not understood; write numbers above zero (try: {example})")
    return value


def _floor(word: str | None) -> tuple[Prior, ...]:
    if word is None:
        return ()
    value, plus_minus, sd = word.replace("±", "+-").partition("+-")
    example = "--floor 1.69, or --floor 1.69+-0.05"
    if not plus_minus and value.strip() in ("0", "0.0"):
        return (Prior(parameter="E", value=_NO_FLOOR),)
    return (
        Prior(
            parameter="E",
            value=_above_zero(value, "floor", example),
            sd=_above_zero(sd, "floor", example) if plus_minus else 0.0,
        ),
    )
