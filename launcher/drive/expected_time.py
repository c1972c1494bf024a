"""How long the pending runs of a plan will take on this machine, before any of them has run."""

import statistics
from collections.abc import Hashable, Sequence

from launcher.contract.backend import Task
from launcher.on_this_machine.local import local_slots
from launcher.on_this_machine.warm_process import Slot
from launcher.settings.calibrations import hardware_at_hand, this_machine
from launcher.settings.request import InlineCluster, LocalCluster, Request
from launcher.show.durations import about
from launcher.show.paces import Foreknowledge
from launcher.show.timing import COMPILED_FROM_S
from sweeps.hardware import Hardware
from sweeps.plan import Plan
from sweeps.pricing import find_throughput, gradients_a_step
from sweeps.record import RunRecord
from sweeps.wall_time import Speeds, with_wall_hours
from tracking.paths import ProjectPaths

MAX_CELLS = 10_000
"""Of plans with more cells the time is not added up."""
CORE_STEP_S, CORE_FLOPS_PER_S, CORE_COMPILE_S = 6e-4, 40e9, 10.0
"""A step on one processor core takes so long, its FLOPs at so many a second on top; a program is compiled in so long.

Measured with the six scale models on one core of a shared server; other cores lie within a factor of two or so. It
counts until something has been timed.
"""


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
    speeds, cores = Speeds.typical_of(records), 1 if slots[0].gpu is None else len(slots[0].gpu.split(","))
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
    return f"time: {about(seconds)} on {workers} worker{'s' * (workers > 1)} here, without compiling ({basis})"


def foreknowledge(
    request: Request, records: Sequence[RunRecord], at_hand: Hardware | None
) -> tuple[Foreknowledge, int | None]:
    """Returns what is known of a sweep's time before it begins, and how many workers there are; None: it will show.

    Args:
        request: what is run, and where.
        records: of the study.
        at_hand: what was calibrated of the devices that will train it; None: nothing.
    """
    slots, hardware = _slots(request), request.study.hardware
    cores = 1 if not slots or slots[0].gpu is None else len(slots[0].gpu.split(","))
    step_s: dict[Hashable, float] = {}
    for model in request.study.models:
        data, gradients = request.study.data, gradients_a_step(request.study.recipe_of(model))
        found = None if at_hand is None else find_throughput(at_hand, model.family, model.name, data)
        if found is not None:
            images_per_s = found.images_per_s_per_core * cores / gradients
            step_s.update(((model.name, batch), batch / images_per_s) for batch in request.study.batch_images)
    step_s.update(Speeds.typical_of(records).s_per_step)
    compiled = [r.outcome.compile_s for r in records if r.outcome is not None and r.outcome.compile_s > COMPILED_FROM_S]

    is_on_core = bool(slots) and slots[0].core is not None and request.trainer.name == "jax"

    def guess_s(task: Task) -> float | None:
        if is_on_core:
            return CORE_STEP_S + task.cost.flops / task.trial.steps / CORE_FLOPS_PER_S
        if hardware.flops_per_core_hour is None and task.cost.wall_hours is not None:
            return 3600.0 * task.cost.wall_hours / task.trial.steps
        return None

    known = Foreknowledge(
        step_s=step_s,
        guess_s=guess_s,
        cold_compile_s=statistics.median(compiled) if compiled else (CORE_COMPILE_S if is_on_core else None),
        compiled=frozenset((r.trial.model, r.trial.batch_images) for r in records if r.is_settled),
        reached_steps={r.trial.id: r.attempt_step for r in records if not r.is_settled and r.attempt_step},
    )
    return known, len(slots) or None


def _slots(request: Request) -> tuple[Slot, ...]:
    """Returns where the runs of a request are trained at the same time; nothing where that is not on this machine."""
    match request.cluster:
        case LocalCluster() as local:
            return local_slots(local.workers, gpus=local.gpus)
        case InlineCluster():
            return local_slots(1)
        case _:
            return ()
