"""`python analysis/compare_families.py`: do families of models meet at equal compute, and if not, what makes up for it?

Prints the verdict in one sentence, the laws side by side, the loss gap and the compute multiplier by budget, the answer
on every other axis and every warning; writes compare.json and the figures. Exit code 0 with a verdict, 2 without one.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from analysis.compare.axes import AXES
from analysis.compare.compare_json import comparison_json, refused_json
from analysis.compare.comparison import RESAMPLES, compare
from analysis.compare.findings import Comparison
from analysis.compare.recorded_families import recorded_families
from analysis.refusal import FitRefused, Refusal
from analysis.solver.quantiles import LEVEL
from sweeps.budget import parse_core_hours
from sweeps.errors import StudyError

_LEAST_RESAMPLES = 100
_EXAMPLES = """examples:
  python analysis/compare_families.py
  python analysis/compare_families.py --study families --budgets 1k,3k,10k
  python analysis/compare_families.py --axis billed
  python analysis/compare_families.py --maps edge_parts,edge,edge_few
  python analysis/compare_families.py --published
"""


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong with the words, so that it is said in the form that was asked for."""

    def error(self, message: str) -> NoReturn:
        """Raises StudyError instead of printing and leaving."""
        raise StudyError(f"{message} (try: python analysis/compare_families.py --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of the command: 0 with a verdict, 2 without one."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser().parse_args(words)
        budgets = _budgets(arguments)
        if arguments.published:
            return _published(arguments)
        if arguments.maps is not None:
            return _maps(arguments)
        families = recorded_families(arguments.study, _words(arguments.families))
        result = compare(families, axis=arguments.axis, resamples=arguments.bootstrap, level=arguments.level)
        _show(result, arguments, budgets)
    except FitRefused as error:
        return _refuse(error.refusal, as_json="--json" in words)
    except StudyError as error:
        reason, found, advice = str(error).rpartition("(try: ")
        reason, next_step = (reason.rstrip(" ;"), f"try: {advice.removesuffix(')')}") if found else (str(error), "")
        return _refuse(Refusal(code="bad_input", reason=reason, next=next_step), as_json="--json" in words)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="compare_families.py",
        description="Families of models at equal compute: laws, loss gap, compute multiplier, crossing and verdict.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--study", metavar="NAME", help="which study of runs.sqlite (default: the latest with two)")
    parser.add_argument("--families", metavar="A,B", help="which of its families, and in which order (default: all)")
    parser.add_argument("--published", action="store_true", help="the points of arXiv:2310.16764 Fig. 1 instead")
    parser.add_argument("--maps", metavar="A,B", help="studies whose maps of who leads where stand side by side")
    parser.add_argument("--budgets", metavar="1k,10k", help="core-hours to read at (default: round ones in range)")
    parser.add_argument(
        "--axis", default="core_hours", metavar="AXIS", help=f"{' | '.join(AXES)} (default: core_hours)"
    )
    parser.add_argument(
        "--bootstrap", type=int, default=RESAMPLES, metavar="N", help=f"resamples (default: {RESAMPLES})"
    )
    parser.add_argument(
        "--level", type=float, default=LEVEL, metavar="P", help=f"of the intervals (default: {LEVEL:g})"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where compare.json and figures go (reports/STUDY)")
    return parser


def _budgets(arguments: argparse.Namespace) -> tuple[float, ...]:
    """Returns the budgets [core-hours]; raises StudyError where words make no sense."""
    if arguments.bootstrap < _LEAST_RESAMPLES:
        raise StudyError(f"--bootstrap {arguments.bootstrap} is below {_LEAST_RESAMPLES} (try: --bootstrap 2000)")
    if not 0.5 <= arguments.level < 1:
        raise StudyError(f"--level {arguments.level:g} is no coverage between 0.5 and 1 (try: --level 0.9)")
    words = _words(arguments.budgets)
    if words and arguments.axis not in ("core_hours", "flops"):
        raise StudyError(
            f"--budgets are core-hours of the reference hardware, which the axis {arguments.axis} does not count "
            "(try: --axis core_hours)"
        )
    return tuple(dict.fromkeys(parse_core_hours(word) for word in words))


def _words(listed: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (listed or "").split(",") if word.strip())


def _show(result: Comparison, arguments: argparse.Namespace, budgets: Sequence[float]) -> None:
    """Writes the files and prints what was asked for."""
    # What draws and writes takes longer to load than what compares.
    from analysis.compare.compare_files import write_comparison
    from tracking.paths import folder_name, project_paths

    amounts = tuple(budget * _unit_of(result, arguments.axis) for budget in budgets)
    folder = arguments.out or project_paths().reports_dir / folder_name(result.families[0].study or "families")
    written = write_comparison(result, folder, amounts)
    if arguments.json:
        print(json.dumps(comparison_json(result, amounts), allow_nan=False))
        return
    from analysis.compare.compare_text import print_comparison

    print_comparison(result, amounts, written)


def _unit_of(result: Comparison, axis: str) -> float:
    """Returns what a core-hour is on the axis."""
    if axis != "flops":
        return 1.0
    if result.flops_per_core_hour is None:
        raise StudyError("a core-hour is not one number of FLOPs in this study (try: --axis core_hours)")
    return result.flops_per_core_hour


def _published(arguments: argparse.Namespace) -> int:
    """Shows the published comparison; files of it are written only where the words say to where."""
    from analysis.compare.published_families import compare_published
    from analysis.compare.published_out import print_published, published_json, write_published

    result = compare_published(resamples=arguments.bootstrap, level=arguments.level)
    if arguments.out is not None:
        write_published(result, arguments.out)
    if arguments.json:
        print(json.dumps(published_json(result), allow_nan=False))
    else:
        print_published(result)
    return 0


def _maps(arguments: argparse.Namespace) -> int:
    """Shows who leads where in several studies, side by side."""
    from analysis.compare.compare_files import write_maps
    from analysis.compare.compare_text import print_maps
    from tracking.paths import project_paths

    studies = _words(arguments.maps)
    if not studies:
        raise StudyError("--maps names no study (try: --maps edge_parts,edge,edge_few)")
    wanted = _words(arguments.families)
    results = [
        compare(
            recorded_families(study, wanted), axis=arguments.axis, resamples=arguments.bootstrap, level=arguments.level
        )
        for study in studies
    ]
    written = write_maps(results, arguments.out or project_paths().reports_dir)
    if arguments.json:
        print(json.dumps([comparison_json(result) for result in results], allow_nan=False))
    else:
        print_maps(results, written)
    return 0


def _refuse(refusal: Refusal, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(refused_json(refusal)))
    else:
        print("; ".join(part for part in (refusal.reason, refusal.next) if part), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
