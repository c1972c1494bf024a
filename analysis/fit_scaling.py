"""`python analysis/fit_scaling.py`: reads the recorded runs, or a table, and says which law of loss they follow.

Prints the law with its intervals, the compute-optimal configuration for each budget and every warning; writes fit.json,
the figures and report.html. Exit code 0 when there is a law, 2 when there is none or the input is bad.
"""

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence

from analysis.fit_words import fit_parser, read_options, read_points
from analysis.refusal import FitRefused, Refusal
from analysis.report.fit_json import refused_json, to_json
from analysis.result import ScalingFit
from analysis.study_fit import fit_study
from analysis.tables.points import PointSet
from sweeps.errors import StudyError

INTERRUPTED = 130
"""What a shell reports for a command that was ended by Ctrl-C: 128 + 2."""

_DESCRIPTION = (
    "Fits the scaling law of recorded runs (runs.sqlite) or of a table, with intervals, and picks the compute-optimal "
    "configuration for each budget."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of the command: 0 with a law, 2 without one."""
    words = list(sys.argv[1:] if argv is None else argv)

    def show(result: ScalingFit, arguments: argparse.Namespace) -> None:
        files = None
        if arguments.out is not None or not arguments.json or result.points.study is not None:
            # What draws and writes takes longer to load than what fits.
            from analysis.fit_files import folder_of, write_files

            folder = folder_of(result, arguments)
            files = write_files(result, folder, words=words, keep_picks=arguments.keep_picks)
        if arguments.json:
            print(json.dumps(to_json(result), allow_nan=False))
            return
        from analysis.report.report_text import print_report

        print_report(result, files.paths if files else ())
        if files is not None:
            print(f"report: {files.report.as_uri()}")

    return fit_and_show(words, show, prog="fit_scaling.py", description=_DESCRIPTION)


def fit_and_show(
    words: Sequence[str],
    show: Callable[[ScalingFit, argparse.Namespace], None],
    *,
    prog: str,
    description: str,
) -> int:
    """Returns the exit code of a command that fits what its words name and shows it; a refusal is told and is 2."""
    try:
        arguments = fit_parser(prog, description, as_json="--json" in words).parse_args(words)
    except StudyError as error:
        return _refuse(_bad_input(error), None, as_json=True)
    points: PointSet | None = None
    try:
        points = read_points(arguments)
        show(fit_study(points, read_options(arguments)), arguments)
    except FitRefused as error:
        return _refuse(error.refusal, points, as_json=arguments.json)
    except StudyError as error:
        return _refuse(_bad_input(error), points, as_json=arguments.json)
    return 0


def _bad_input(error: StudyError) -> Refusal:
    """Returns the refusal of a message that ends in what to type."""
    reason, found, advice = str(error).rpartition("(try: ")
    if not found:
        return Refusal(code="bad_input", reason=str(error), next="see: --help")
    return Refusal(code="bad_input", reason=reason.rstrip(" ;"), next=f"try: {advice.removesuffix(')')}")


def _refuse(refusal: Refusal, points: PointSet | None, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(refused_json(refusal, points.set_aside if points else ())))
    else:
        print("; ".join(part for part in (refusal.reason, refusal.next) if part), file=sys.stderr)
    return 2


def run_command(command: Callable[[], int]) -> int:
    """Returns the exit code of a whole process: a terminal without UTF-8, and Ctrl-C, end in no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        return command()
    except KeyboardInterrupt:
        print("interrupted: every run is as it was, and the same command begins anew", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(run_command(main))
