"""Puts one sweep in motion: back end, ingester, display, ledger and the loop, for the pending trials of a plan."""

import dataclasses
import functools
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from launcher.contract.backend import TRAINER, Backend, Order, Task
from launcher.drive.driver_note import DriverNote, NoteKeeper
from launcher.drive.expected_time import calibration_of, expected_s
from launcher.drive.ingestion import Ingestion
from launcher.drive.open_backend import open_backend
from launcher.drive.reconcile import Settlement, Surroundings, pending_packs, run
from launcher.drive.requests_file import take
from launcher.drive.spending import SpendLedger
from launcher.settings.request import LocalCluster, RayCluster, Request, SlurmCluster
from launcher.show.progress import open_view
from launcher.show.tally import Tally
from sweeps.errors import StudyError
from sweeps.hardware import Hardware
from sweeps.plan import Plan
from sweeps.record import RunRecord
from sweeps.wall_time import Speeds, with_wall_hours
from tracking.code_version import code_version
from tracking.journal import read_record
from tracking.paths import ProjectPaths

COMMAND_TRAINER = "launcher.work.command_trainer:train"
HANG_FACTOR, HANG_FREE_S = 10.0, 900.0
"""An attempt that takes so much longer than predicted, and so long on top, is taken to hang."""


def launch(
    request: Request,
    paths: ProjectPaths,
    plan: Plan,
    records: Sequence[RunRecord],
    *,
    trainer: str = TRAINER,
    say: Callable[[str], None] = lambda text: None,
) -> Settlement:
    """Returns what became of the pending trials of a plan, once MLflow knows all that ended.

    Raises:
        SweepStopped: the sweep cannot go on.
        StudyError: the user has to mend something.
    """
    order = order_of(request, paths, trainer=trainer)
    at_hand = calibration_of(request, paths)
    packs = timed_packs(request, plan, records, at_hand)
    pending = [task for pack in packs for task in pack]
    settled = sum(cell.settled_runs for cell in plan.cells)
    expected, _ = expected_s(request, plan, records, at_hand) or (None, 0)
    runs, core_hours = settled + len(pending), plan.total.core_hours
    tally = Tally(pending=pending, runs=runs, core_hours=core_hours, expected_s=expected)
    ledger = SpendLedger(request.spend_cap_core_hours, records)
    study_dir = paths.study_dir(request.study.name)
    with (
        Ingestion(paths, request.study.name, tracking_uri=request.tracking_uri) as ingestion,
        open_backend(request.cluster, order, asha=request.asha) as backend,
    ):
        if underway := len(backend.underway()):
            say(f"going on with {underway} runs that an earlier command has queued or started")
        with open_view(tally, is_silent=request.json) as view:
            keeper = NoteKeeper(study_dir, lambda: _note(request, tally, ledger, backend))
            around = Surroundings(
                tally=tally,
                view=view,
                ledger=ledger,
                on_settled=ingestion.settle,
                known=functools.partial(read_record, paths, request.study.name),
                saved_mark=lambda trial_id: newest_change_s(paths.checkpoint_dir(request.study.name, trial_id)),
                asked=functools.partial(take, study_dir),
                on_turn=keeper.turn,
            )
            return run(packs, backend, around)


def newest_change_s(folder: Path) -> float:
    """Returns when anything in a folder of checkpoints was last changed, by the disk's clock [unix s]; 0 for none."""
    try:
        return max((path.stat().st_mtime for path in folder.rglob("*")), default=0.0)
    except OSError:  # it is being written
        return 0.0


def order_of(request: Request, paths: ProjectPaths, *, trainer: str = TRAINER) -> Order:
    """Returns what all tasks of the request share; raises StudyError where the user's program cannot be started."""
    order = Order(
        paths=paths,
        study=request.study.name,
        budget_core_hours=request.budget.core_hours,
        code_version=code_version(),
        trainer=trainer,
        compute=request.compute,
        is_code_pinned=True,
    )
    if request.trainer.name != "command":
        return order
    from launcher.work.command_trainer import check_command

    hosts = hosts_per_trial(request)
    if hosts > 1:
        raise StudyError(
            f"trainer=command starts one program a trial, but cluster={request.cluster.name} is set to {hosts} hosts a "
            "trial, each of which would start one in the same folder; ask for one (try: cluster.nodes=1), and let the "
            "program reach its other devices by itself"
        )
    return dataclasses.replace(order, trainer=COMMAND_TRAINER, command=check_command(request.trainer.command or ""))


def timed_packs(
    request: Request, plan: Plan, records: Sequence[RunRecord], at_hand: Hardware | None = None
) -> list[tuple[Task, ...]]:
    """Returns the pending packs of a plan with what is known of their time; single trials where rates compete.

    Args:
        request: where they run.
        plan: what is run.
        records: of runs that were timed.
        at_hand: what was calibrated of the devices that will train them; None: nothing.
    """
    speeds, cores, hardware = Speeds.of(records), cores_per_trial(request), request.study.hardware

    def timed(task: Task) -> Task:
        cost = with_wall_hours(task.cost, task.trial, speeds=speeds, hardware=hardware, cores=cores, at_hand=at_hand)
        limit_s = None if cost.wall_hours is None else HANG_FREE_S + HANG_FACTOR * 3600.0 * cost.wall_hours
        return dataclasses.replace(task, cost=cost, limit_s=limit_s)

    return [tuple(map(timed, pack)) for pack in pending_packs(plan)]


def hosts_per_trial(request: Request) -> int:
    """Returns how many hosts train one trial together."""
    match request.cluster:
        case SlurmCluster() as slurm:
            return slurm.nodes
        case RayCluster() as ray:
            return ray.hosts
        case _:
            return 1


def cores_per_trial(request: Request) -> int | None:
    """Returns how many cores of the study's hardware one trial gets; None where the cluster does not say."""
    hosts = hosts_per_trial(request)
    match request.cluster:
        case SlurmCluster() as slurm:
            return hosts * (slurm.gpus or slurm.cpus)
        case RayCluster() as ray:
            return max(1, round(hosts * (ray.tpus or ray.gpus or ray.cpus)))
        case LocalCluster() as local:
            return local.gpus  # 1 on processor cores
        case _:
            return None


def _note(request: Request, tally: Tally, ledger: SpendLedger, backend: Backend) -> DriverNote:
    return DriverNote(
        pid=os.getpid(),
        host=socket.gethostname(),
        cluster=request.cluster.name,
        budget_core_hours=request.budget.core_hours,
        spend_cap_core_hours=request.spend_cap_core_hours,
        runs=tally.runs,
        done=tally.done,
        total_core_hours=tally.core_hours,
        reserved_core_hours=ledger.reserved_core_hours,
        spent_core_hours=ledger.spent_core_hours,
        eta_s=tally.eta_s(),
        silence=backend.silence,
    )
