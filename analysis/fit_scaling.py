"""`python analysis/fit_scaling.py`: reads the recorded runs, or a table, and says which law of loss they follow.

Prints the law with its intervals, the compute-optimal configuration for each budget and every warning; writes fit.json
and the figures. Exit code 0 when there is a law, 2 when there is none or the input is bad.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.laws import LAWS
from analysis.points import PointSet, points_from_records
from analysis.result import FitRefused, Refusal, ScalingFit, refused_json, to_json, write_fit
from analysis.study_fit import FitOptions, fit_study
from analysis.table_file import KINDS, guess_columns, parse_columns, parse_filters, points_from_table
from sweeps.budget import parse_core_hours
from sweeps.errors import StudyError

_EXAMPLES = """examples:
  python analysis/fit_scaling.py
  python analysis/fit_scaling.py --study scale_model --law power_floor --budgets 10k,110k
  python analysis/fit_scaling.py --data runs.csv --columns loss=loss core_hours=core_hours epochs=epochs group=model
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of the command: 0 with a law, 2 without one."""
    arguments = _parser().parse_args(argv)
    points: PointSet | None = None
    try:
        points = _points(arguments)
        result = fit_study(points, _options(arguments))
        written = _write(result, arguments)
    except FitRefused as error:
        return _refuse(error.refusal, points, as_json=arguments.json)
    except StudyError as error:
        return _refuse(Refusal(code="bad_input", reason=str(error), next=""), points, as_json=arguments.json)
    if arguments.json:
        print(json.dumps(to_json(result), allow_nan=False))
    else:
        from analysis.report_text import print_report

        print_report(result, written)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fit_scaling.py",
        description="Fits the scaling law of recorded runs (runs.sqlite) or of a table, with intervals, and picks the "
        "compute-optimal configuration for each budget.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--study", metavar="NAME", help="which study of runs.sqlite (default: the latest)")
    parser.add_argument("--cohort", metavar="HASH", help="which of its data, schedule and recipe (default: most runs)")
    parser.add_argument("--data", type=Path, metavar="FILE", help="a .csv, .tsv, .jsonl or .parquet table instead")
    parser.add_argument(
        "--columns", nargs="+", metavar="KIND=COLUMN", help=f"what the table's columns mean; kinds: {', '.join(KINDS)}"
    )
    parser.add_argument("--filter", nargs="+", action="extend", default=[], metavar="COLUMN=VALUE", help="rows to keep")
    parser.add_argument("--law", metavar="NAME", help=f"{' | '.join(LAWS)} (default: what the columns allow)")
    parser.add_argument("--huber", type=float, metavar="DELTA", help="minimise the sum of Huber on log loss")
    parser.add_argument("--bootstrap", type=int, default=4000, metavar="N", help="resamples (default: 4000; 0: none)")
    budgets = parser.add_mutually_exclusive_group()
    budgets.add_argument("--budgets", metavar="10k,110k", help="core-hours to pick for (default: the sampled range)")
    budgets.add_argument("--budgets-flops", metavar="1e21,1e22", help="FLOPs to pick for; the law is then of FLOPs")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where fit.json and figures go (reports/STUDY)")
    return parser


def _points(arguments: argparse.Namespace) -> PointSet:
    if arguments.data is None:
        if arguments.columns or arguments.filter:
            raise StudyError("--columns and --filter describe a table; add --data FILE")
        return _recorded_points(arguments.study, arguments.cohort)
    if arguments.study or arguments.cohort:
        raise StudyError("--study and --cohort read runs.sqlite and --data a table; give one of them")
    columns = parse_columns(arguments.columns) if arguments.columns else guess_columns(arguments.data)
    return points_from_table(arguments.data, columns=columns, filters=parse_filters(arguments.filter))


def _recorded_points(study: str | None, cohort: str | None) -> PointSet:
    """Returns the points of a study in runs.sqlite, by default the one that a run was started in last."""
    from tracking.paths import project_paths
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
    return points_from_records(recorded[latest], study=latest, source=source, cohort=cohort)


def _options(arguments: argparse.Namespace) -> FitOptions:
    if arguments.huber is not None and not arguments.huber > 0:
        raise StudyError(f"--huber {arguments.huber:g} is not above zero (try: --huber 1e-3)")
    if arguments.bootstrap < 0:
        raise StudyError(f"--bootstrap {arguments.bootstrap} is negative (try: --bootstrap 4000, or 0 for none)")
    axis, budgets = None, ()
    if arguments.budgets:
        axis, budgets = "core_hours", tuple(parse_core_hours(word) for word in arguments.budgets.split(","))
    if arguments.budgets_flops:
        axis, budgets = "flops", tuple(_flops(word) for word in arguments.budgets_flops.split(","))
    return FitOptions(
        law=arguments.law, huber=arguments.huber, resamples=arguments.bootstrap, budgets=budgets, axis=axis
    )


def _flops(word: str) -> float:
    try:
        flops = float(word)
    except ValueError:
        flops = 0.0
    if not 0 < flops < float("inf"):
        raise StudyError(f"budget {word!r} not understood; write FLOPs above zero (try: --budgets-flops 1e21,1e22)")
    return flops


def _write(result: ScalingFit, arguments: argparse.Namespace) -> tuple[Path, ...]:
    """Returns the files written; `--json` on a table writes none unless told where."""
    if arguments.out is not None:
        folder = arguments.out
    elif arguments.json and result.points.study is None:
        return ()
    else:
        from tracking.paths import folder_name, project_paths

        folder = project_paths().reports_dir / folder_name(result.points.study or arguments.data.stem)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out DIR") from error
    from analysis.figures import write_figures

    return (write_fit(result, folder), *write_figures(result, folder))


def _refuse(refusal: Refusal, points: PointSet | None, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(refused_json(refusal, points.set_aside if points else ())))
    else:
        print("; ".join(part for part in (refusal.reason, refusal.next) if part), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
