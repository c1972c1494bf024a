"""What a fit says: frozen nouns. report/fit_json.py turns them into JSON."""

from dataclasses import dataclass

from analysis.estimators.best_rate import UNITS, Cell, RateTrend
from analysis.estimators.bootstrap import SeedNoise
from analysis.estimators.downstream import Downstream
from analysis.estimators.frontier import Curves, Envelope, HandOver
from analysis.estimators.isoflop import IsoFlopFit
from analysis.estimators.isoflop_loss import IsoFlopLoss
from analysis.estimators.rate_law import RateLaw
from analysis.fitting import Prior
from analysis.laws import Floats, Law
from analysis.refusal import FitRefused as FitRefused
from analysis.refusal import Refusal
from analysis.tables.points import PointSet
from analysis.trust.backtest import BackTest
from analysis.trust.forms import FormScore
from analysis.trust.identifiability import Identifiability
from analysis.trust.profile_curves import Profile
from analysis.trust.sensitivity import Variant


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something a reader of the fit should know before believing it."""

    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its uncertainty; what no resample could give is missing."""

    value: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Another form fitted to the same rows and resamples: beyond the sampled range nobody can tell which one holds."""

    law: Law
    values: dict[str, float]
    draws: dict[str, Floats]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A law fitted to a study."""

    law: Law
    axis: str
    """What it is a law of: core_hours | flops, or params | tokens where no compute is known."""
    fitted_on: str
    """interpolated envelope | measured frontier | every run."""
    parameters: dict[str, Estimate]
    priors: tuple[Prior, ...]
    """What was pinned, or pulled, beforehand."""
    draws: dict[str, Floats]
    """Parameters of every resample whose fit succeeded, so moved that they cover; empty without resamples."""
    case_draws: dict[str, Floats]
    """The same as they were drawn, where `draws` were moved about the fit and shrunk; empty where they were not."""
    shrink: float
    """How much."""
    rivals: tuple[Rival, ...]
    """Other forms of a law of compute; empty for surfaces."""
    n_points: int
    """Measured rows behind the law: the frontier's cells, or every run for a surface."""
    objective: float
    """Sum over those rows of Huber(log residual)."""
    huber_delta: float
    """The Huber delta of `objective`."""
    is_least_squares: bool
    """Whether the law minimises squared log residuals instead of `objective`."""
    r2: float
    """Squared correlation of log loss and log compute over the measured frontier."""
    r2_envelope: float | None
    """The same over the interpolated envelope."""
    residual_sd: float
    """Standard deviation of the rows' log losses about the law."""
    residuals: Floats
    """Log residual of each row the law was fitted to."""
    converged: bool
    slopes: tuple[float, float] | None
    """Log-log slope of the envelope's cheap half and dear half."""
    sampled: tuple[float, float]
    """Cheapest and dearest compute among the cells."""
    level: float
    """Coverage that intervals are meant to have."""
    interval_method: str
    """seeds | cells | residuals | linearised | none."""
    stderr_method: str
    """What the standard errors come from, in the same words."""
    resamples: int
    failed_resamples: int
    in_flops: tuple[float, float] | None
    """Coefficient and exponent of the power law of FLOPs, when the law is of core-hours and FLOPs are known."""

    @property
    def values(self) -> dict[str, float]:
        """The fitted parameters alone."""
        return {name: estimate.value for name, estimate in self.parameters.items()}


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """Another real model at the same budget."""

    model: str
    epochs: float | None
    predicted_loss: float
    excess: float
    """Relative loss left on the table by training it instead of the pick."""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The best configuration for one budget."""

    budget: float
    """On the fit's axis."""
    core_hours: float | None
    flops: float | None
    model: str | None
    """The real model to train: the nearest one where sizes are continuous."""
    params: float | None
    epochs: float | None
    tokens: float | None
    peak_lr: float | None
    batch_images: int | None
    predicted_loss: float | None
    """From the law."""
    low: float | None
    high: float | None
    """Prediction interval, for the loss of one run: the law's uncertainty and the scatter of runs about it."""
    widened_by: float
    """Factor by which `low` and `high` were moved apart in log loss, for the back-test missed so far out; 1: none."""
    law_low: float | None
    law_high: float | None
    """Interval for the mean loss that the law describes: the parameters' uncertainty alone."""
    continuous: tuple[float, float] | None
    """Best parameters and data with sizes as continuous as the surface has them; missing without a surface."""
    params_interval: tuple[float, float] | None
    """Of the best size: the parameters' uncertainty carried on."""
    tokens_interval: tuple[float, float] | None
    params_as_good: tuple[float, float] | None
    """Sizes whose loss at this budget is within the scatter of a run of the least: nobody could tell them apart."""
    extrapolation_factor: float
    """How far the budget lies outside the sampled compute: 1 inside."""
    support: float | None
    """Share of resamples in which this model is the best choice here."""
    is_at_epoch_cap: bool
    """Whether the model's longest run is the limit, so that longer training might do better."""
    neighbours: tuple[Neighbour, ...]
    """Other models at this budget, best first."""
    best_measured: Cell | None
    """The best cell within the budget that was run."""
    refused: Refusal | None


@dataclass(frozen=True, kw_only=True)
class Target:
    """The inverse question: how much compute reaches a loss."""

    loss: float
    compute: float | None
    """On the fit's axis; None where the law never reaches the loss."""
    low: float | None
    high: float | None
    """Interval; a missing high end is infinite: some resamples never reach the loss."""
    never: float | None
    """Share of resamples whose floor is not below the loss."""
    extrapolation_factor: float | None
    refused: Refusal | None


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """A hand-over, and how surely it is there."""

    hand_over: HandOver
    low: float | None
    high: float | None
    share: float | None
    """Share of resamples in which the same two models follow each other."""


@dataclass(frozen=True, kw_only=True)
class AllocationEstimate:
    """How the best size grows with compute, N* ~ C^a, by one of three approaches (arXiv:2203.15556 sec. 3)."""

    approach: str
    """envelope | isoflop | isoflop_parabola | surface."""
    exponent_params: Estimate | None
    exponent_data: Estimate | None
    """1 - a where C = k N D."""
    points: int
    """Budgets, or rows, behind it."""
    remark: str
    refused: Refusal | None


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How far the law can be believed."""

    backtest: BackTest | None
    forms: tuple[FormScore, ...]
    variants: tuple[Variant, ...]
    profiles: tuple[Profile, ...]
    identifiability: Identifiability | None


@dataclass(frozen=True, kw_only=True)
class ScalingFit:
    """Everything read from one study or table."""

    points: PointSet
    cells: tuple[Cell, ...]
    frontier: tuple[Cell, ...]
    curves: Curves
    lower: Envelope
    fit: Fit
    crossings: tuple[Crossing, ...]
    picks: tuple[Pick, ...]
    targets: tuple[Target, ...]
    allocations: tuple[AllocationEstimate, ...]
    isoflop: IsoFlopFit | None
    isoflop_loss: IsoFlopLoss | None
    trust: Trust
    noise: SeedNoise
    notices: tuple[Notice, ...]
    rates: RateTrend | None
    """How the best learning rate moves with epochs; missing where too few cells say so."""
    rate_law: RateLaw | None
    """The best learning rate as a power of size and data; missing likewise."""
    downstream: Downstream | None
    """Downstream error as a function of loss; missing where no error was given."""
    flops_per_core_hour: float | None
    """The scale of the study: missing unless it is one number for all cells."""
    surface: Fit | None
    """The law itself where it is a surface, or one beside a law of compute; missing where the runs carry none."""
    resampled: Envelope | None
    """The envelope in each resample; missing without one."""

    @property
    def compute_unit(self) -> str:
        """core-hours | FLOPs | parameters | examples."""
        return UNITS[self.fit.axis]
