"""What a rehearsal's cluster is like."""

import dataclasses
from dataclasses import dataclass

from sweeps.errors import StudyError


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """A simulated cluster; times are virtual."""

    slots: int = 8
    """Runs that are trained at the same time."""
    cores_per_run: int = 256
    """Cores of the study's hardware that one run gets."""
    queue_wait_h: float = 1.0
    """Mean wait of a job in the queue, exponentially distributed [h]."""
    start_up_h: float = 0.1
    """From the start of a job to its first step: loading, compiling [h]."""
    preemptions_per_h: float = 0.003
    """Of a run, per hour of its time."""
    graceful_share: float = 0.5
    """Of pre-emptions, those that let the run save its state first."""
    requeued_share: float = 0.0
    """Of the others, those whose job the cluster itself begins again, telling nobody."""
    checkpoint_every_h: float = 0.5
    """Between checkpoints of a run [h]; one that is killed loses what came after the last."""
    speed_spread: float = 0.1
    """Standard deviation of log(true time / priced time), the same for all runs of a model."""
    failures_per_run: float = 0.0
    """Chance that an attempt ends with an exception."""
    out_of_memory_per_model: float = 0.0
    """Chance that a model does not fit on the devices."""


def check_conditions(spec: Conditions) -> None:
    """Raises StudyError where a setting of a simulated cluster cannot be."""
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        least = 1 if field.name in ("slots", "cores_per_run") else 0
        is_chance = field.name.endswith("_share") or field.name in ("failures_per_run", "out_of_memory_per_model")
        if not value >= least or (is_chance and value > 1) or (field.name == "checkpoint_every_h" and value == 0):
            allowed = "between 0 and 1" if is_chance else "1 or more" if least else "0 or more, checkpoints above 0"
            raise StudyError(f"rehearse.{field.name}={value} cannot be; it must be {allowed}")
