"""What a rehearsal's cluster is like."""

from dataclasses import dataclass


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
    checkpoint_every_h: float = 0.5
    """Between checkpoints of a run [h]; one that is killed loses what came after the last."""
    speed_spread: float = 0.1
    """Standard deviation of log(true time / priced time), the same for all runs of a model."""
    failures_per_run: float = 0.0
    """Chance that an attempt ends with an exception."""
    out_of_memory_per_model: float = 0.0
    """Chance that a model does not fit on the devices."""
