"""Which strategy was asked for, with its settings."""

from dataclasses import dataclass

STRATEGIES = ("grid", "two_trial", "trunk", "informed", "ladder", "asha")
BY_ROUNDS = ("two_trial", "informed", "ladder")
"""Strategies that look at what was trained before they say what is trained next."""
SETTINGS: dict[str, tuple[str, ...]] = {
    "grid": (),
    "two_trial": (),
    "trunk": ("spot_checks",),
    "informed": ("question", "spend_share", "batch_runs", "tolerance"),
    "ladder": ("question", "spend_share", "batch_runs", "ceiling", "rung_factor"),
    "asha": ("reduction_factor", "grace_fraction"),
}
"""Which settings each strategy has."""


@dataclass(frozen=True, kw_only=True)
class StrategySpec:
    """How the trials of a study are chosen; a setting that a strategy has no use for is absent."""

    name: str = "grid"
    """One of STRATEGIES."""
    question: str | None = None
    """informed, ladder: optimum@110k | loss@110k | exponent | gap@10k."""
    spend_share: float | None = None
    """informed, ladder: the part of the full grid's core-hours up to which runs are begun, whatever the first few cost.

    What pre-emptions make be trained again may come on top; SPEND is the hard cap.
    """
    batch_runs: int | None = None
    """informed, ladder: runs of a batch at least, as can be trained at the same time."""
    tolerance: float | None = None
    """informed: an optimum is known when its loss is expected to lie so little above the least, relatively."""
    ceiling: str | None = None
    """ladder: core-hours of the dearest run that is trained; absent: BUDGET."""
    rung_factor: float | None = None
    """ladder: ratio of one rung's budget to that of the rung below."""
    spot_checks: int | None = None
    """trunk: cells that are also trained with the study's own schedule."""
    reduction_factor: int | None = None
    """asha: at every rung the best 1/reduction_factor goes on."""
    grace_fraction: float | None = None
    """asha: no run is stopped before this part of its steps."""

    @property
    def is_by_rounds(self) -> bool:
        """Whether what is trained next depends on what was trained."""
        return self.name in BY_ROUNDS
