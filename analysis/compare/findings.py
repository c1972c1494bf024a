"""What a comparison of families says: frozen nouns."""

import math
from dataclasses import dataclass

from analysis.compare.axes import Axis
from analysis.compare.best import BestLosses
from analysis.compare.family import Family
from analysis.compare.family_law import FamilyLaw
from analysis.compare.lead_map import LeadMap
from analysis.compare.smooth import SmoothLosses
from analysis.laws import Floats
from analysis.refusal import Refusal
from analysis.result import Estimate, Notice

_NOTHING = 1e-9
"""A log ratio that only rounding makes differ from 0."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """A quantity as a function of an amount, with its interval."""

    amount: Floats
    """On the comparison's axis, shape (K,)."""
    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """An amount at which the family that was behind draws level."""

    amount: float
    low: float | None
    high: float | None
    """Interval over the resamples that have it."""
    share: float
    """Part of the resamples in which it lies within the range both families cover."""
    ahead_below: str
    ahead_above: str
    is_sure: bool
    """Whether each of the two is ahead at its own end of the range in nearly all resamples, and the trend is sure."""


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Two families on one axis: `b` held against `a`."""

    a: str
    b: str
    axis: Axis
    span: tuple[float, float]
    """Amounts that both families cover; nothing is said outside."""
    mean_gap: Estimate
    """log of b's loss over a's at equal amounts, mean over log amounts in the span; above 0: b is worse."""
    gap_trend: Estimate
    """How much the gap rises for each factor of ten."""
    gap: Band
    mean_multiplier: Estimate | None
    """What b needs for each unit of a's, to reach the same loss: geometric mean over the losses that both reach.

    Missing where the axis is a size, or where they reach no common loss.
    """
    multiplier_trend: Estimate | None
    """Factor by which the multiplier rises for each factor of ten in compute."""
    multiplier: Band | None
    """As a function of what a was given."""
    meeting: Meeting | None
    """Where the two draw level, if they do within the span."""

    @property
    def log_edge(self) -> Estimate:
        """How far b is behind: the log multiplier, or the gap where there is none; 0 within its interval is a draw."""
        return self.mean_gap if self.mean_multiplier is None else _logged(self.mean_multiplier)

    @property
    def winner(self) -> str | None:
        """The family that is ahead over the span; None where they cannot be told apart, or swap places."""
        if self.meeting is not None and self.meeting.is_sure:
            return None
        low, high = self.log_edge.low, self.log_edge.high
        if low is None or high is None or (low <= _NOTHING and high >= -_NOTHING):
            return None
        return self.a if low > 0 else self.b


def _logged(ratio: Estimate) -> Estimate:
    return Estimate(
        value=math.log(ratio.value),
        low=None if ratio.low is None else math.log(ratio.low),
        high=None if ratio.high is None else math.log(ratio.high),
    )


@dataclass(frozen=True, kw_only=True)
class OnAxis:
    """Everything said on one axis, or why nothing can be."""

    axis: Axis
    bests: tuple[BestLosses, ...]
    """Of each family; empty where refused."""
    laws: tuple[FamilyLaw, ...]
    """Of each family; empty on axes of size and where refused."""
    duels: tuple[Duel, ...]
    """Of every pair, in the order of the families."""
    verdict: str
    """One sentence."""
    refused: Refusal | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several families of one study."""

    families: tuple[Family, ...]
    smoothed: tuple[SmoothLosses, ...]
    main: OnAxis
    """On the axis that was asked for."""
    others: tuple[OnAxis, ...]
    """On the other axes."""
    disagreement: str
    """Whether the axes agree, in one sentence."""
    maps: tuple[LeadMap, ...]
    """Which family leads within limits of size and compute: by MACs and by parameters, where both are known."""
    notices: tuple[Notice, ...]
    level: float
    """Coverage that intervals are meant to have."""
    resamples: int
    flops_per_core_hour: float | None
    """The scale of the study: missing unless it is one number for all cells."""

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        return self.main.verdict
