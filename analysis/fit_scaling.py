"""`python analysis/fit_scaling.py`: reads the recorded runs, or a table, and says which law of loss they follow.

Prints the law with its intervals, the compute-optimal configuration for each budget and every warning; writes fit.json
and the figures. Exit code 0 when there is a law, 2 when there is none or the input is bad.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from analysis.estimators.best_rate import UNITS
from analysis.fitting import Prior
from analysis.laws import LAWS
from analysis.options import FitOptions
from analysis.refusal import FitRefused, Refusal
from analysis.report.fit_json import refused_json, to_json, write_fit
from analysis.result import ScalingFit
from analysis.solver.quantiles import LEVEL
from analysis.study_fit import fit_study
from analysis.tables.columns import KINDS, parse_columns
from analysis.tables.filters import parse_filters
from analysis.tables.points import PointSet, points_from_records
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


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of the command: 0 with a law, 2 without one."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser(as_json="--json" in words).parse_args(words)
    except StudyError as error:
        return _refuse(_bad_input(error), None, as_json=True)
    points: PointSet | None = None
    try:
        points = _points(arguments)
        result = fit_study(points, _options(arguments))
        written = _write(result, arguments)
    except FitRefused as error:
        return _refuse(error.refusal, points, as_json=arguments.json)
    except StudyError as error:
        return _refuse(_bad_input(error), points, as_json=arguments.json)
    if arguments.json:
        print(json.dumps(to_json(result), allow_nan=False))
    else:
        from analysis.report.report_text import print_report

        print_report(result, written)
    return 0


def _bad_input(error: StudyError) -> Refusal:
    """Returns the refusal of a message that ends in what to type."""
    reason, found, advice = str(error).rpartition("(try: ")
    if not found:
        return Refusal(code="bad_input", reason=str(error), next="see: --help")
    return Refusal(code="bad_input", reason=reason.rstrip(" ;"), next=f"try: {advice.removesuffix(')')}")


class _JsonParser(argparse.ArgumentParser):
    """Says what is wrong with the words as an object on stdout, for that is what was asked for."""

    def error(self, message: str) -> NoReturn:
        """Raises StudyError instead of printing and leaving."""
        raise StudyError(message)


def _parser(*, as_json: bool = False) -> argparse.ArgumentParser:
    parser = (_JsonParser if as_json else argparse.ArgumentParser)(
        prog="fit_scaling.py",
        description="Fits the scaling law of recorded runs (runs.sqlite) or of a table, with intervals, and picks the "
        "compute-optimal configuration for each budget.",
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


def _points(arguments: argparse.Namespace) -> PointSet:
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


def recorded_points(study: str | None, cohort: str | None) -> PointSet:
    """Returns the points of a study in runs.sqlite, by default the one that a run was started in last."""
    from tracking.paths import project_paths
    from tracking.predictions import read_predictions
    from tracking.run_table import list_studies, read_records

    paths = project_paths()
    if not paths.runs_sqlite.is_file():
        reason = f"there is no {paths.runs_sqlite.name} yet: nothing was run"
        raise FitRefused(code="no_runs", reason=reason, next="try: make sweep BUDGET=10k")
    studies = list_studies(paths)
    if not studies:
        reason = f"{paths.runs_sqlite.name} holds no runs"
        raise FitRefused(code="no_runs", reason=reason, next="try: make sweep BUDGET=10k")
    if study is not None and study not in studies:
        reason = f"no study called {study!r} in {paths.runs_sqlite.name}; it has {', '.join(studies)}"
        raise FitRefused(code="unknown_study", reason=reason, next=f"try: --study {studies[-1]}")
    recorded = {name: read_records(paths, name) for name in ([study] if study else studies)}
    latest = max(recorded, key=lambda name: max((r.started_unix_s for r in recorded[name]), default=0.0))
    cohorts = sorted({record.trial.cohort for record in recorded[latest]})
    if cohort is not None and cohort not in cohorts:
        reason = f"no cohort {cohort!r} in study {latest}; it has {', '.join(cohorts)}"
        raise FitRefused(code="unknown_cohort", reason=reason, next=f"try: --cohort {cohorts[-1]}")
    source = f"study {latest} in {paths.runs_sqlite.name}"
    predictions = read_predictions(paths, latest)
    return points_from_records(recorded[latest], study=latest, source=source, cohort=cohort, predictions=predictions)


def _options(arguments: argparse.Namespace) -> FitOptions:
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


def _write(result: ScalingFit, arguments: argparse.Namespace) -> tuple[Path, ...]:
    """Returns the files written; `--json` on a table writes none unless told where."""
    if arguments.out is not None:
        folder = arguments.out
    elif arguments.json and result.points.study is None:
        return ()
    else:
        from tracking.paths import folder_name, project_paths

        table = arguments.data.stem if arguments.data else arguments.experiment
        folder = project_paths().reports_dir / folder_name(result.points.study or table)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out DIR") from error
    from analysis.picks.foresight import foreseen
    from analysis.picks.pick_file import write_picks
    from analysis.report.figures import write_figures

    written = [write_fit(result, folder)]
    if result.points.study is not None:
        from tracking.paths import project_paths
        from tracking.predictions import freeze

        freeze(project_paths(), result.points.study, foreseen(result))
    if not arguments.keep_picks:
        written.append(write_picks(result, folder / "pick.yaml"))
    return (*written, *write_figures(result, folder))


def _refuse(refusal: Refusal, points: PointSet | None, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(refused_json(refusal, points.set_aside if points else ())))
    else:
        print("; ".join(part for part in (refusal.reason, refusal.next) if part), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
