"""What a fit was asked for."""

from dataclasses import dataclass

from analysis.fitting import Prior
from analysis.solver.quantiles import LEVEL

HUBER_DELTA = 1e-3
"""arXiv:2203.15556 sec. 3.3."""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What was asked for."""

    law: str | None = None
    """One of LAWS; None chooses: surface for a table with params and data, power otherwise."""
    huber: float | None = None
    """Delta of the Huber objective; None is least squares for laws of the frontier, HUBER_DELTA for surfaces."""
    resamples: int = 4000
    budgets: tuple[float, ...] = ()
    """Empty: the sampled range."""
    targets: tuple[float, ...] = ()
    """Losses whose compute is asked for."""
    axis: str | None = None
    """core_hours | flops | params | tokens; None takes the compute that most rows have."""
    level: float = LEVEL
    """Coverage that intervals are meant to have."""
    priors: tuple[Prior, ...] = ()
    """What is pinned or known of parameters, the floor above all."""
    resample: str | None = None
    """seeds | cells | residuals; None takes what covers best for these rows."""
    seed: int = 0
    """Of the resampling."""
    has_trust: bool = True
    """Whether back-test, rival forms, variants and profiles are worked out as well."""
