"""What somebody asked for: the study, its budget, and where it shall run."""

from dataclasses import dataclass

from sweeps.budget import Budget
from sweeps.study import Study


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """Where trials run."""

    name: str
    """local | inline."""
    workers: int | None = None
    """Worker processes; absent: one for each core or device."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One command, checked and complete; nothing of Hydra is left in it."""

    study: Study
    budget: Budget
    """The compute of the largest single run."""
    spend_cap_core_hours: float | None
    """Hard cap on all runs of the study together; absent: none."""
    cluster: ClusterSpec
    json: bool = False
    """Whether the answer is one JSON object on stdout instead of text for people."""
