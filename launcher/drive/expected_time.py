"""How long the pending runs of a plan will take on this machine, before any of them has run."""

from collections.abc import Sequence

from launcher.on_this_machine.local import local_slots
from launcher.on_this_machine.warm_process import Slot
from launcher.settings.calibrations import hardware_at_hand, this_machine
from launcher.settings.request import InlineCluster, LocalCluster, Request
from launcher.show.progress import format_duration
from sweeps.hardware import Hardware
from sweeps.plan import Plan
from sweeps.record import RunRecord
from sweeps.wall_time import Speeds, with_wall_hours
from tracking.paths import ProjectPaths

MAX_CELLS = 10_000
"""Of plans with more cells the time is not added up."""


def calibration_of(request: Request, paths: ProjectPaths) -> Hardware | None:
    """Returns what was measured of the devices that will train the request, where they are those of this machine."""
    is_here = isinstance(request.cluster, (InlineCluster, LocalCluster)) and request.trainer.name == "jax"
    return hardware_at_hand(paths) if is_here else None


def expected_s(
    request: Request, plan: Plan, records: Sequence[RunRecord], at_hand: Hardware | None
) -> tuple[float, int] | None:
    """Returns the seconds that all pending runs take on this machine's workers, without compiling, and how many.

    None where that is unknown: on a cluster, and where a model was neither timed nor calibrated here.
    """
    hardware, slots = plan.study.hardware, _slots(request)
    is_of_here = hardware.flops_per_core_hour is not None or hardware.measured_on == this_machine()
    if not slots or not is_of_here or len(plan.kept) > MAX_CELLS:
        return None
    speeds, cores = Speeds.of(records), 1 if slots[0].gpu is None else len(slots[0].gpu.split(","))
    hours = 0.0
    for number, cell in zip(plan.kept, plan.cells, strict=True):
        trial = plan.grid.trial(plan.grid.cell_trials(int(number))[0])
        cost = with_wall_hours(cell.cost, trial, speeds=speeds, hardware=hardware, cores=cores, at_hand=at_hand)
        if cost.wall_hours is None:
            return None
        own_part = plan.grid.trained_core_hours[number] / cell.cost.core_hours  # the rest is a shorter run's
        hours += (cell.runs - cell.settled_runs) * cost.wall_hours * float(own_part)
    return 3600.0 * hours / len(slots), len(slots)


def time_line(request: Request, plan: Plan, records: Sequence[RunRecord], paths: ProjectPaths) -> str | None:
    """Returns what a plan says of its time; None where that is unknown, or nothing is left to be trained."""
    at_hand = calibration_of(request, paths)
    found = expected_s(request, plan, records, at_hand)
    if found is None or not found[0]:
        return None
    seconds, workers = found
    basis = "timed runs" if at_hand is None else at_hand.name
    return (
        f"time: about {format_duration(seconds)} on {workers} worker{'s' * (workers > 1)} here, without compiling "
        f"({basis})"
    )


def _slots(request: Request) -> tuple[Slot, ...]:
    """Returns where the runs of a request are trained at the same time; nothing where that is not on this machine."""
    match request.cluster:
        case LocalCluster() as local:
            return local_slots(local.workers, gpus=local.gpus)
        case InlineCluster():
            return local_slots(1)
        case _:
            return ()
