"""What somebody asked for: the study, its budget, and where it shall run."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from strategy.choosing import Inquiry
from strategy.spec import StrategySpec
from sweeps.budget import Budget
from sweeps.compute import ComputeSpec
from sweeps.finetuning import FinetuneSpec
from sweeps.plan import Plan, make_plan
from sweeps.record import RunRecord
from sweeps.study import Study
from sweeps.trial import ScheduleSpec


@dataclass(frozen=True, kw_only=True)
class InlineCluster:
    """This very process."""

    name: str = "inline"


@dataclass(frozen=True, kw_only=True)
class LocalCluster:
    """Warm worker processes on this machine."""

    name: str = "local"
    workers: int | None = None
    """How many; absent: one for each core, or for each group of devices."""
    gpus: int = 1
    """NVIDIA devices of one worker, which train one trial together; of no account where there are none."""


@dataclass(frozen=True, kw_only=True)
class SlurmCluster:
    """Job arrays of Slurm, submitted by submitit; one array task runs one pack."""

    name: str = "slurm"
    nodes: int = 1
    """Nodes of one job; more than one are connected by jax.distributed."""
    cpus: int = 1
    """Processor cores a node."""
    gpus: int = 0
    """Accelerators a node."""
    mem_gb: float | None = None
    """Memory a node [GB]; absent: the partition's default."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time_min: int | None = None
    """Time limit of a job [minutes]; absent: predicted, with slack."""
    trials_per_job: int | None = None
    """Trials of a cell that one job runs one after the other; absent: those predicted to take half an hour."""
    max_queued: int = 5000
    """Packs at Slurm at once; the others wait in the driver."""
    max_running: int | None = None
    """Array tasks of one array that run at once; absent: as many as Slurm likes."""
    signal_delay_s: int = 90
    """How long before its end a job is told to save [s]."""
    setup: tuple[str, ...] = ()
    """Lines of shell that a job runs first: module load cuda."""
    python: str | None = None
    """The Python of the jobs; absent: this one."""


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """Warm actors of Ray, fed by Ray Tune; one Tune trial runs one pack."""

    name: str = "ray"
    address: str | None = None
    """auto, host:port or ray://host:port; absent: a Ray of this machine's own, which ends with the command."""
    cpus: float = 1.0
    """Processor cores an actor."""
    gpus: float = 0.0
    """GPUs an actor."""
    tpus: int = 0
    """TPU chips an actor, all those of its host."""
    hosts: int = 1
    """Actors, one a host, that train one trial together: the hosts of a TPU slice."""
    resources: tuple[str, ...] = ()
    """Further resources an actor needs, as name=amount."""
    max_workers: int | None = None
    """Packs that run at once; absent: as many as the cluster has room for."""


ClusterSpec = InlineCluster | LocalCluster | SlurmCluster | RayCluster
CLUSTERS: dict[str, type[ClusterSpec]] = {
    "inline": InlineCluster,
    "local": LocalCluster,
    "slurm": SlurmCluster,
    "ray": RayCluster,
}
"""What cluster.name may say, and which settings belong to it."""


@dataclass(frozen=True, kw_only=True)
class TrainerSpec:
    """What trains a trial."""

    name: str = "jax"
    """jax: this project's training. command: a program of the user's."""
    command: str | None = None
    """The program's command line, as a shell would read it."""
    version: str | None = None
    """Which version of the program it is: runs of different versions are different trials."""


@dataclass(frozen=True, kw_only=True)
class AshaSpec:
    """How learning rates of a cell are stopped early."""

    reduction_factor: int = 2
    """At every rung the best 1/reduction_factor goes on."""
    grace_fraction: float = 0.125
    """No run is stopped before this part of its steps."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One command, checked and complete; nothing of Hydra is left in it."""

    study: Study
    budget: Budget
    """The compute of the largest single run."""
    spend_cap_core_hours: float | None
    """Hard cap on all runs of the study together; absent: none."""
    cluster: ClusterSpec
    trainer: TrainerSpec = TrainerSpec()
    strategy: StrategySpec = StrategySpec()
    """How the trials of the study are chosen."""
    until: str | None = None
    """When enough is known, as it was typed; absent: by the strategy's own rule."""
    own_schedule: ScheduleSpec | None = None
    """strategy=trunk: the schedule that the study has without it, for spot checks."""
    asha: AshaSpec | None = None
    """Present where learning rates that fall behind are stopped."""
    compute: ComputeSpec = ComputeSpec()
    """How one trial is spread over the devices that it gets."""
    finetune: FinetuneSpec | None = None
    """How checkpoints of the study are fine-tuned, where that is asked for."""
    tracking_uri: str | None = None
    """An MLflow server or a database; absent: runs.sqlite."""
    json: bool = False
    """Whether the answer is one JSON object on stdout instead of text for people."""

    @property
    def own_study(self) -> Study | None:
        """The study with the schedule that it has without strategy=trunk; None where it has that one."""
        return None if self.own_schedule is None else replace(self.study, schedule=self.own_schedule)

    @property
    def inquiry(self) -> Inquiry | None:
        """The study as a strategy that goes by rounds sees it; None for others.

        Raises:
            StudyError: the strategy's settings, its question or `until` cannot be.
        """
        if not self.strategy.is_by_rounds:
            return None
        return Inquiry.of(self.study, self.budget, self.strategy, self.until)

    def plan(self, records: Iterable[RunRecord] = ()) -> Plan:
        """Returns the plan: a pure function of what was asked and what is recorded."""
        return make_plan(
            self.study,
            self.budget,
            records=records,
            spend_cap_core_hours=self.spend_cap_core_hours,
            accepts_stopped=self.asha is not None,
        )
