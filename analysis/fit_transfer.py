"""`python analysis/fit_transfer.py`: what fine-tuned checkpoints say of the study that they come from.

Prints the power law of error against pre-training compute, and for each budget the checkpoint that loss names and the
one that error names; writes transfer.json and the figure. Exit code 0 when there is a law, 2 when there is none.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.options import FitOptions
from analysis.transfer.checkpoint import checkpoints_of
from analysis.transfer.published import SOURCE, landmarks, published_checkpoints
from analysis.transfer.transfer_fit import TransferFit, fit_transfer
from analysis.transfer.transfer_json import transfer_json
from sweeps.budget import parse_core_hours
from sweeps.errors import StudyError
from sweeps.record import RunRecord

_EXAMPLES = """examples:
  python analysis/fit_transfer.py
  python analysis/fit_transfer.py --study scale_model_on_fashion_mnist --budgets 2k,10k
  python analysis/fit_transfer.py --published
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of the command: 0 with a law, 2 without one."""
    arguments = _parser().parse_args(argv)
    try:
        options = _options(arguments)
        result = _published(options) if arguments.published else _recorded(arguments, options)
        written = _write(result, arguments)
    except StudyError as error:
        if arguments.json:
            print(json.dumps({"law": None, "refused": {"code": "bad_input", "reason": str(error), "next": ""}}))
        else:
            print(error, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(transfer_json(result), allow_nan=False))
    else:
        from analysis.transfer.transfer_text import print_transfer

        print_transfer(result, written)
    return 0 if result.law is not None else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fit_transfer.py",
        description="Error of fine-tuned checkpoints against their pre-training compute, and whether the least "
        "pre-training loss names the best of them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--study", metavar="NAME", help="which fine-tuning study of runs.sqlite (default: the latest)")
    parser.add_argument("--cohort", metavar="HASH", help="which of its data, schedule and recipe (default: the latest)")
    parser.add_argument("--published", action="store_true", help=f"the points of {SOURCE} instead")
    parser.add_argument("--budgets", metavar="2k,10k", help="pre-training core-hours (default: each doubling)")
    parser.add_argument("--bootstrap", type=int, default=4000, metavar="N", help="resamples (default: 4000; 0: none)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where transfer.json and the figure go (reports/STUDY)")
    return parser


def _options(arguments: argparse.Namespace) -> FitOptions:
    if arguments.bootstrap < 0:
        raise StudyError(f"--bootstrap {arguments.bootstrap} is negative (try: --bootstrap 4000, or 0 for none)")
    words = [word for word in (arguments.budgets or "").split(",") if word.strip()]
    return FitOptions(resamples=arguments.bootstrap, budgets=tuple(parse_core_hours(word) for word in words))


def _published(options: FitOptions) -> TransferFit:
    return fit_transfer(
        published_checkpoints(),
        title="JFT-4B to ImageNet, as published",
        source=SOURCE,
        study=None,
        landmarks=landmarks(),
        options=options,
    )


def _recorded(arguments: argparse.Namespace, options: FitOptions) -> TransferFit:
    """Returns the fit of a study in runs.sqlite; its trunks are looked for in all studies."""
    from tracking.paths import project_paths
    from tracking.run_table import list_studies, read_records

    paths = project_paths()
    if not paths.runs_sqlite.is_file():
        raise StudyError(f"there is no {paths.runs_sqlite.name} yet: nothing was run (try: make sweep BUDGET=10k)")
    recorded = {name: read_records(paths, name) for name in list_studies(paths)}
    study = arguments.study or _latest_study(recorded)
    if study not in recorded:
        raise StudyError(
            f"no study called {study!r} in {paths.runs_sqlite.name}; it has {', '.join(recorded)} (try: make finetune)"
        )
    tuned = _of_cohort(recorded[study], arguments.cohort, study)
    trunks = {record.trial.id: record for records in recorded.values() for record in records}
    checkpoints, set_aside = checkpoints_of(tuned, trunks)
    if not checkpoints:
        raise StudyError(f"study {study} has no checkpoint with an error (try: make finetune again)")
    home = next(
        name for name, records in recorded.items() if any(r.trial.id == tuned[0].trial.trunk_id for r in records)
    )
    return fit_transfer(
        checkpoints,
        title=f"{home} to {tuned[0].trial.data.name}",
        source=f"study {study} in {paths.runs_sqlite.name}",
        study=study,
        set_aside=set_aside,
        options=options,
    )


def _latest_study(recorded: dict[str, list[RunRecord]]) -> str:
    tuned = {
        name: max(record.started_unix_s for record in records if record.trial.trunk_id)
        for name, records in recorded.items()
        if any(record.trial.trunk_id for record in records)
    }
    if not tuned:
        raise StudyError("no checkpoint was fine-tuned yet (try: make sweep BUDGET=10k, then make finetune BUDGET=10k)")
    return max(tuned, key=lambda name: tuned[name])


def _of_cohort(records: list[RunRecord], cohort: str | None, study: str) -> list[RunRecord]:
    """Returns the fine-tuning runs of one data set, schedule and recipe, by default of those begun last."""
    tuned = [record for record in records if record.trial.trunk_id]
    if not tuned:
        raise StudyError(f"study {study} holds no fine-tuning runs (try: make finetune STUDY={study})")
    chosen = cohort or max(tuned, key=lambda record: record.started_unix_s).trial.cohort
    kept = [record for record in tuned if record.trial.cohort == chosen]
    if not kept:
        known = ", ".join(sorted({record.trial.cohort for record in tuned}))
        raise StudyError(
            f"no cohort {chosen!r} in study {study}; it has {known} (try: --cohort {known.split(', ')[0]})"
        )
    return kept


def _write(result: TransferFit, arguments: argparse.Namespace) -> tuple[Path, ...]:
    """Returns the files written; of published points none, unless told where."""
    from analysis.transfer.transfer_files import write_transfer

    if arguments.out is not None:
        return write_transfer(result, arguments.out)
    if result.study is None:
        return ()
    from tracking.paths import folder_name, project_paths

    return write_transfer(result, project_paths().reports_dir / folder_name(result.study))


if __name__ == "__main__":
    sys.exit(main())
