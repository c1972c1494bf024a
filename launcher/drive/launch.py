"""Puts one sweep in motion: back end, ingester, display, ledger and the loop, for the pending trials of a plan."""

import dataclasses
import functools
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from launcher.contract.backend import TRAINER, Backend, Order, Task
from launcher.drive.driver_note import DriverNote, NoteKeeper
from launcher.drive.expected_time import calibration_of, foreknowledge
from launcher.drive.ingestion import Ingestion
from launcher.drive.open_backend import open_backend
from launcher.drive.reconcile import Settlement, Surroundings, run
from launcher.drive.requests_file import take
from launcher.drive.spending import SpendLedger
from launcher.drive.trunks import milestones_of, with_trunks
from launcher.settings.request import LocalCluster, RayCluster, Request, SlurmCluster
from launcher.show.progress import SilenceTeller, View, open_view
from launcher.show.tally import Tally
from sweeps.errors import StudyError
from sweeps.hardware import Hardware
from sweeps.plan import Pack, Plan, packs_of
from sweeps.pricing import price_trial
from sweeps.record import RunRecord
from sweeps.trial import Trial
from sweeps.wall_time import Speeds, with_wall_hours
from tracking.code_version import code_version
from tracking.journal import read_record
from tracking.paths import ProjectPaths

COMMAND_TRAINER = "launcher.work.command_trainer:train"
HANG_FACTOR, HANG_FREE_S = 10.0, 900.0
"""An attempt that takes so much longer than predicted, and so long on top, is taken to hang."""


NextPacks = Callable[[SpendLedger, View, frozenset[str]], Iterable[Pack]]
"""What is to be run next, given what was spent, where to tell it, and the ids of the trials that were given up."""


def launch(
    request: Request,
    paths: ProjectPaths,
    plan: Plan,
    records: Sequence[RunRecord],
    *,
    besides: Iterable[Trial] = (),
    trainer: str = TRAINER,
    say: Callable[[str], None] = lambda text: None,
) -> Settlement:
    """Returns what became of the pending trials of a plan, once MLflow knows all that ended.

    Args:
        request: what was asked.
        paths: where the project lies.
        plan: what is run.
        records: of the study.
        besides: pending trials that are none of the plan's.
        trainer: `module:function`.
        say: takes lines for people before the runs begin.

    Raises:
        SweepStopped: the sweep cannot go on.
        StudyError: the user has to mend something.
    """
    at_hand = calibration_of(request, paths)
    more = packs_of(besides, request.study)
    packs = timed_packs(request, [*plan.packs(), *more], records, at_hand)
    pending = [task for pack in packs for task in pack]
    settled = sum(cell.settled_runs for cell in plan.cells)
    known, workers = foreknowledge(request, records, at_hand)
    price = plan.total.core_hours + sum(
        price_trial(t, request.study.hardware).core_hours for p in more for t in p.trials
    )
    tally = Tally(pending=pending, runs=settled + len(pending), core_hours=price, known=known, workers=workers)
    return _follow(request, paths, packs, tally, records, trainer=trainer, say=say)


def launch_rounds(
    request: Request,
    paths: ProjectPaths,
    next_packs: NextPacks,
    records: Sequence[RunRecord],
    *,
    trainer: str = TRAINER,
    say: Callable[[str], None] = lambda text: None,
) -> Settlement:
    """Returns what became of all trials of a strategy that asks for them round by round; likewise."""
    known, workers = foreknowledge(request, records, calibration_of(request, paths))
    tally = Tally(pending=(), runs=0, core_hours=0.0, known=known, workers=workers, is_by_rounds=True)
    return _follow(request, paths, (), tally, records, next_packs=next_packs, trainer=trainer, say=say)


def _follow(
    request: Request,
    paths: ProjectPaths,
    packs: Sequence[Sequence[Task]],
    tally: Tally,
    records: Sequence[RunRecord],
    *,
    next_packs: NextPacks = lambda ledger, view, given_up: (),
    trainer: str,
    say: Callable[[str], None],
) -> Settlement:
    """Opens all that a sweep needs and runs its loop to the end."""
    order = order_of(request, paths, trainer=trainer)
    at_hand = calibration_of(request, paths)
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
            teller = SilenceTeller(lambda: backend.silence, view)

            def on_turn() -> None:
                keeper.turn()
                teller.turn()

            def chained(packs: Sequence[Sequence[Task]]) -> Sequence[Sequence[Task]]:
                if order.trainer != TRAINER:  # another program leaves nothing to longer runs
                    return packs
                return with_trunks(packs, milestones_of(paths, request.study.name))

            def more(given_up: frozenset[str]) -> Sequence[Sequence[Task]]:
                return chained(timed_packs(request, next_packs(ledger, view, given_up), records, at_hand))

            around = Surroundings(
                tally=tally,
                view=view,
                ledger=ledger,
                on_settled=ingestion.settle,
                known=functools.partial(read_record, paths, request.study.name),
                saved_mark=lambda trial_id: newest_change_s(paths.checkpoint_dir(request.study.name, trial_id)),
                asked=functools.partial(take, study_dir),
                on_turn=on_turn,
                more=more,
            )
            packs = chained(packs)
            tally.retell(task for pack in packs for task in pack)
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
    request: Request, packs: Iterable[Pack], records: Sequence[RunRecord], at_hand: Hardware | None = None
) -> list[tuple[Task, ...]]:
    """Returns packs as priced tasks with what is known of their time.

    Args:
        request: where they run.
        packs: what is run.
        records: of runs that were timed.
        at_hand: what was calibrated of the devices that will train them; None: nothing.
    """
    speeds, cores, hardware = Speeds.of(records), cores_per_trial(request), request.study.hardware

    def timed(trial: Trial) -> Task:
        price = price_trial(trial, hardware)
        cost = with_wall_hours(price, trial, speeds=speeds, hardware=hardware, cores=cores, at_hand=at_hand)
        limit_s = None if cost.wall_hours is None else HANG_FREE_S + HANG_FACTOR * 3600.0 * cost.wall_hours
        return Task(trial=trial, cost=cost, limit_s=limit_s)

    return [tuple(map(timed, pack.trials)) for pack in packs]


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
