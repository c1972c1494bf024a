"""`make sweep`: plan, run what is not recorded yet, bring it into MLflow, and end with the law."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from launcher.contract.backend import TRAINER
from launcher.drive.conclusion import conclusion
from launcher.drive.driver_lock import driver_lock
from launcher.drive.expected_time import time_line
from launcher.drive.ingestion import ingest_ended
from launcher.drive.interruption import interruption_text
from launcher.drive.launch import launch
from launcher.drive.reconcile import Settlement, SweepStopped
from launcher.drive.requests_file import take
from launcher.drive.rounds import settle_rounds
from launcher.drive.spot_checks import all_spot_checks, pending_spot_checks
from launcher.settings.request import Request
from launcher.show.typed_command import typed_command
from sweeps.errors import StudyError
from sweeps.plan import Plan
from sweeps.record import RunRecord
from tracking.paths import ProjectPaths
from tracking.remote_stores import check_tracking_uri
from tracking.store import store_name

INCOMPLETE, INTERRUPTED = 1, 130
"""Exit codes: runs failed or were left; somebody pressed Ctrl-C."""


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """One command: what was asked, where its records are, what trains."""

    request: Request
    paths: ProjectPaths
    trainer: str

    @property
    def study(self) -> str:
        return self.request.study.name

    def records(self) -> list[RunRecord]:
        from tracking.ledger import load_records

        # What an unfinished run has used is in its curve; only a cap asks for it.
        return load_records(self.paths, self.study, curves=self.request.spend_cap_core_hours is not None)

    def plan(self, records: list[RunRecord]) -> Plan:
        return self.request.plan(records).require_cells()

    def say(self, text: str) -> None:
        """Prints for people; a program reads one JSON object and nothing else."""
        if not self.request.json:
            print(text, flush=True)


def run_sweep(request: Request, paths: ProjectPaths, *, trainer: str = TRAINER) -> int:
    """Returns the exit code of a sweep: 0 with a law, 2 without one, 1 where runs failed, 130 when interrupted.

    Raises:
        StudyError: the user has to mend something: the budget, the data, a second driver.
    """
    sweep = _Sweep(request=request, paths=paths, trainer=trainer)
    answer: dict[str, Any] = {"study": sweep.study, "budget_core_hours": request.budget.core_hours}
    try:
        check_tracking_uri(request.tracking_uri)
        records = sweep.records()
        plan = sweep.plan(records)
        _show_plan(sweep, plan, records)
        with driver_lock(paths.study_dir(sweep.study), sweep.study):
            take(paths.study_dir(sweep.study))  # what was asked of an earlier driver is no business of this one
            settlement = _settle_all(sweep, answer)
        answer["runs"] = asdict(settlement) | {"total": _total(sweep, settlement, plan)}
        code = _fit(sweep, answer)
        if code == 0 and not request.study.compares_families:  # a comparison makes no report of picks
            _publish(sweep, answer)
        _say_more(sweep, answer)
    except SweepStopped as error:
        return _end(sweep, answer | {"stopped": str(error)}, INCOMPLETE, str(error))
    except KeyboardInterrupt:
        saved = _interruption(sweep)
        return _end(sweep, answer | {"stopped": saved}, INTERRUPTED, saved)
    is_complete = not (settlement.failed or settlement.left)
    return _end(sweep, answer, code if is_complete or code else INCOMPLETE, None)


def _settle_all(sweep: _Sweep, answer: dict[str, Any]) -> Settlement:
    """Returns what became of the pending trials, once MLflow knows all that ended."""
    request, paths = sweep.request, sweep.paths
    if (inquiry := request.inquiry) is not None:
        settlement, rounds = settle_rounds(request, paths, inquiry, trainer=sweep.trainer, say=sweep.say)
        answer["rounds"] = [{"runs": len(one.trials), "lines": list(one.lines)} for one in rounds]
        sweep.say(_account(settlement))
        return settlement
    records = sweep.records()  # again: before the lock was held, another driver may have added some
    plan = sweep.plan(records)
    besides = pending_spot_checks(request, records)
    if not plan.pending() and not besides:
        ingest_ended(paths, sweep.study, tracking_uri=request.tracking_uri)
        sweep.say("everything in this plan is recorded already: nothing to train")
        return Settlement(finished=0, diverged=0, failed=(), left=())
    settlement = launch(request, paths, plan, records, besides=besides, trainer=sweep.trainer, say=sweep.say)
    sweep.say(_account(settlement))
    return settlement


def _total(sweep: _Sweep, settlement: Settlement, plan: Plan) -> int:
    """Returns how many runs the sweep holds: of a strategy by rounds, those it has asked for in this command."""
    if sweep.request.strategy.is_by_rounds:
        given_up = (*settlement.out_of_memory, *settlement.failed, *settlement.left)
        return settlement.finished + settlement.diverged + settlement.stopped + len(given_up)
    return len(list(plan.trials())) + len(all_spot_checks(sweep.request))


def _say_more(sweep: _Sweep, answer: dict[str, Any]) -> None:
    """Says what the strategy makes of the records: its choice, or how two schedules compare."""
    found = conclusion(sweep.request, sweep.records())
    if found is None:
        return
    answer["strategy"] = found.as_json
    sweep.say("\n".join(["", *found.lines]))


def _show_plan(sweep: _Sweep, plan: Plan, records: list[RunRecord]) -> None:
    if sweep.request.json:
        return
    from analysis.report.narrow_table import printing_console
    from launcher.show.plan_table import print_plan

    print_plan(plan, printing_console(), time=time_line(sweep.request, plan, records, sweep.paths))


def _account(settlement: Settlement) -> str:
    """Returns what the runs came to, in a line, and one more for each that is missing."""
    head = f"trained {settlement.finished} runs to the end; {settlement.diverged} diverged"
    if settlement.stopped:
        head += f"; {settlement.stopped} were stopped early, behind other learning rates of their cell"
    memory = [f"  out of memory: {name}" for name in settlement.out_of_memory]
    failed = [f"  failed at every attempt: {name}" for name in settlement.failed]
    left = [f"  left to the next command: {line}" for line in settlement.left]
    hint = "  (make retry gives all of them another go)" if memory or failed or left else ""
    return "\n".join([head, *memory, *failed, *left, *filter(None, [hint])])


def _interruption(sweep: _Sweep) -> str:
    records, command = sweep.records(), typed_command(sys.argv[1:], os.environ)
    return interruption_text(sweep.request, sweep.plan(records), records, sweep.paths, command=command)


def _fit(sweep: _Sweep, answer: dict[str, Any]) -> int:
    """Returns the exit code of the fit, whose report it prints or puts into `answer`."""
    fit, words = _fit_command(sweep.request)
    if not sweep.request.json:
        code = fit(words)
        # The fit has just said where its report and figures are.
        where = store_name(sweep.paths, sweep.request.tracking_uri)
        sweep.say(f"every run: {where}" + ("" if sweep.request.tracking_uri else " (look at it with: make ui)"))
        return code
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = fit([*words, "--json"])
    answer.update(json.loads(printed.getvalue()))
    return code


def _publish(sweep: _Sweep, answer: dict[str, Any]) -> None:
    """Shows the report in MLflow; where that is away, the next command does it, and the sweep has ended well."""
    from tracking.publishing import publish_report
    from tracking.run_store import StoreUnavailableError

    study = sweep.request.study
    try:
        cohort, tracking_uri = study.cohort(study.models[0]), sweep.request.tracking_uri
        found = publish_report(sweep.paths, study.name, cohort=cohort, tracking_uri=tracking_uri)
    except (StudyError, StoreUnavailableError) as error:
        answer["published"] = {"models": [], "lines": [str(error)]}
        sweep.say(f"the report is not in MLflow yet ({error}); the same command brings it there")
        return
    answer["published"] = {"models": list(found.models), "lines": list(found.lines)}
    for line in found.lines:
        sweep.say(line)


def _fit_command(request: Request) -> tuple[Callable[[Sequence[str]], int], list[str]]:
    """Returns what reads the runs of a request: their law of loss, or of error where checkpoints were fine-tuned.

    Families that have recipes and learning rates of their own have a law each: they are compared.
    """
    study = request.study
    budgets = ["--budgets", f"{request.budget.core_hours:.6f}".rstrip("0").rstrip(".")]
    if study.compares_families:
        from analysis.compare_families import main as compare_families

        return compare_families, ["--study", study.name]  # read at round budgets within what all families cover
    words = ["--study", study.name, "--cohort", study.cohort(study.models[0])]
    if any(pick.trunk_id for pick in study.picks):
        from analysis.fit_transfer import main as fit_transfer

        return fit_transfer, words
    from analysis.fit_scaling import main as fit_scaling

    words += budgets
    if study.picks:
        words.append("--keep-picks")  # the file that was asked for stays as it is: typed again, nothing new is trained
    return fit_scaling, words


def _end(sweep: _Sweep, answer: dict[str, Any], code: int, message: str | None) -> int:
    if sweep.request.json:
        print(json.dumps(answer), flush=True)
    elif message is not None:
        print(message, file=sys.stderr, flush=True)
    return code
