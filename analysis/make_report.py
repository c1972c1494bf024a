"""`make report`: fits a study as `make fit` does, writes it down as one HTML page, and shows that in MLflow.

Prints where the page is and its answer in a line; `--json` prints one object: `html`, `figures`.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from analysis.fit_scaling import fit_and_show, run_command
from analysis.result import ScalingFit
from sweeps.errors import StudyError

_DESCRIPTION = (
    "Fits recorded runs (runs.sqlite) or a table as fit_scaling.py does, and writes report.html: answer, charts, runs, "
    "costs and provenance in one file."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of the command: 0 with a page, 2 without one."""
    words = list(sys.argv[1:] if argv is None else argv)

    def show(result: ScalingFit, arguments: argparse.Namespace) -> None:
        from analysis.fit_files import folder_of, write_files

        folder = folder_of(result, arguments)
        files = write_files(result, folder, words=words, keep_picks=arguments.keep_picks)
        lines = _publish(result)
        if arguments.json:
            answer = {"html": str(files.report), "figures": [str(path) for path in files.figures]}
            print(json.dumps(answer))
            return
        from analysis.page.answer import answer_lines

        print("\n".join([*answer_lines(result), *lines, f"report: {files.report.as_uri()}"]))

    return fit_and_show(words, show, prog="make report", description=_DESCRIPTION)


def _publish(result: ScalingFit) -> list[str]:
    """Shows the files in MLflow, beside the study's runs; returns what there is to say of it."""
    study = result.points.study
    if study is None:
        return []
    from tracking.paths import project_paths
    from tracking.publishing import publish_report
    from tracking.run_store import StoreUnavailableError

    try:
        return list(publish_report(project_paths(), study, cohort=result.points.cohort).lines)
    except (StudyError, StoreUnavailableError) as error:
        return [f"the report is not in MLflow yet ({error}); the same command brings it there"]


if __name__ == "__main__":
    sys.exit(run_command(main))
