"""What a fit says: frozen nouns, and the one place that turns them into JSON."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.best_rate import Cell, RateTrend
from analysis.bootstrap import LEVEL, SeedNoise
from analysis.frontier import Curves, Envelope, HandOver
from analysis.laws import Floats, Law
from analysis.points import PointSet, SetAside
from sweeps.errors import StudyError

_DRAWS_KEPT = 500
"""Draws written to fit.json, so that a later tool can carry the uncertainty on."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why something cannot be said, and the command that would change it."""

    code: str
    reason: str
    next: str


class FitRefused(StudyError):
    """No law can be fitted; `refusal` says why."""

    def __init__(self, *, code: str, reason: str, next: str) -> None:
        super().__init__(f"{reason}; {next}")
        self.refusal = Refusal(code=code, reason=reason, next=next)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something a reader of the fit should know before believing it."""

    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A fitted number; what no resample could give is missing."""

    value: float
    stderr: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A law fitted to a study."""

    law: Law
    axis: str
    """core_hours | flops: the compute it is a law of."""
    fitted_on: str
    """interpolated envelope | measured frontier | every run."""
    parameters: dict[str, Estimate]
    draws: dict[str, Floats]
    """Parameters of every resample whose fit succeeded; empty without resamples."""
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
    converged: bool
    slopes: tuple[float, float] | None
    """Log-log slope of the envelope's cheap half and dear half."""
    sampled: tuple[float, float]
    """Cheapest and dearest compute among the cells."""
    interval_method: str
    """seeds | cells | none."""
    resamples: int
    failed_resamples: int
    in_flops: tuple[float, float] | None
    """Coefficient and exponent of the power law of FLOPs, when the law is of core-hours and FLOPs are known."""

    @property
    def values(self) -> dict[str, float]:
        """The fitted parameters alone."""
        return {name: estimate.value for name, estimate in self.parameters.items()}


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The best configuration for one budget."""

    budget: float
    """On the fit's axis."""
    core_hours: float | None
    flops: float | None
    model: str | None
    params: float | None
    epochs: float | None
    tokens: float | None
    peak_lr: float | None
    predicted_loss: float | None
    """From the law."""
    low: float | None
    high: float | None
    """Interval for the loss of one run: the law's uncertainty and the scatter of cells about it."""
    extrapolation_factor: float
    """How far the budget lies outside the sampled compute: 1 inside."""
    support: float | None
    """Share of resamples in which this model is the best choice here."""
    is_at_epoch_cap: bool
    """Whether the model's longest run is the limit, so that longer training might do better."""
    best_measured: Cell | None
    """The best cell within the budget that was run."""
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
    noise: SeedNoise
    notices: tuple[Notice, ...]
    rates: RateTrend | None
    """How the best learning rate moves with epochs; missing where too few cells say so."""
    flops_per_core_hour: float | None
    """The scale of the study: missing unless it is one number for all cells."""

    @property
    def compute_unit(self) -> str:
        """core-hours | FLOPs."""
        return "core-hours" if self.fit.axis == "core_hours" else "FLOPs"


def to_json(result: ScalingFit) -> dict[str, Any]:
    """Returns the JSON object that `--json` prints: JSON types only, missing numbers as null."""
    by_cell = {id(cell) for cell in result.frontier}
    return _clean(
        {
            "study": result.points.study,
            "source": result.points.source,
            "code_version": ", ".join(result.points.code_versions) or None,
            "compute_unit": result.compute_unit,
            "data_unit": result.points.data_unit,
            "flops_per_core_hour": result.flops_per_core_hour,
            "law": _law_json(result.fit),
            "frontier": [_cell_json(cell) for cell in result.frontier],
            "cells": [_cell_json(cell) | {"on_frontier": id(cell) in by_cell} for cell in result.cells],
            "handovers": [_crossing_json(crossing) for crossing in result.crossings],
            "picks": [_pick_json(pick) for pick in result.picks],
            "best_peak_lr": [_rate_json(cell) for cell in result.cells if cell.best.peak_lr is not None],
            "best_peak_lr_trend": None
            if result.rates is None
            else vars(result.rates) | {"text": result.rates.sentence},
            "seed_noise": {
                "relative_sd": result.noise.relative_sd,
                "by_model": result.noise.by_model,
                "cells": result.noise.cells,
                "seeds": result.noise.seeds,
            },
            "set_aside": [{"reason": item.reason, "count": item.count} for item in result.points.set_aside],
            "warnings": [{"code": notice.code, "text": notice.text} for notice in result.notices],
            "refused": None,
        }
    )


def refused_json(refusal: Refusal, set_aside: Sequence[SetAside] = ()) -> dict[str, Any]:
    """Returns the JSON object of an analysis that has no law."""
    return {
        "law": None,
        "frontier": [],
        "picks": [],
        "set_aside": [{"reason": item.reason, "count": item.count} for item in set_aside],
        "warnings": [],
        "refused": {"code": refusal.code, "reason": refusal.reason, "next": refusal.next},
    }


def write_fit(result: ScalingFit, folder: Path) -> Path:
    """Returns the path of the fit.json written to `folder`: what --json prints, and some draws of the parameters."""
    fit = result.fit
    total = next((len(values) for values in fit.draws.values()), 0)
    every = max(1, total // _DRAWS_KEPT)
    draws = {name: [float(f"{v:.8g}") for v in values[::every]] for name, values in fit.draws.items()}
    path = folder / "fit.json"
    path.write_text(json.dumps(to_json(result) | {"draws": draws}, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _law_json(fit: Fit) -> dict[str, Any]:
    power = fit.values if fit.law.name == "power" else {}
    return {
        "name": fit.law.name,
        "formula": fit.law.formula,
        "source": fit.law.source,
        "fitted_on": fit.fitted_on,
        "n_points": fit.n_points,
        "objective": fit.objective,
        "huber_delta": fit.huber_delta,
        "estimator": "least squares on log loss" if fit.is_least_squares else "sum of Huber on log loss",
        "r2": fit.r2,
        "r2_envelope": fit.r2_envelope,
        "residual_sd": fit.residual_sd,
        "converged": fit.converged,
        "slope": -power["b"] if power else None,
        "coefficient": power.get("a"),
        "slope_cheap_half": fit.slopes[0] if fit.slopes else None,
        "slope_dear_half": fit.slopes[1] if fit.slopes else None,
        "parameters": {
            name: {"value": e.value, "stderr": e.stderr, "low": e.low, "high": e.high}
            for name, e in fit.parameters.items()
        },
        "sampled": {"low": fit.sampled[0], "high": fit.sampled[1]},
        "interval": {
            "level": LEVEL,
            "method": fit.interval_method,
            "resamples": fit.resamples,
            "failed": fit.failed_resamples,
        },
        "in_flops": {"coefficient": fit.in_flops[0], "slope": -fit.in_flops[1]} if fit.in_flops else None,
    }


def _cell_json(cell: Cell) -> dict[str, Any]:
    return {
        "model": cell.model,
        "epochs": cell.epochs,
        "core_hours": cell.core_hours,
        "flops": cell.flops,
        "loss": cell.loss,
        "seed_sd": cell.seed_sd,
        "seeds": len(cell.best.losses),
        "peak_lr": cell.best.peak_lr,
        "batch_images": cell.best.batch_images,
        "params": cell.params,
        "tokens": cell.tokens,
    }


def _rate_json(cell: Cell) -> dict[str, Any]:
    return {
        "model": cell.model,
        "epochs": cell.epochs,
        "peak_lr": cell.best.peak_lr,
        "parabola_peak_lr": cell.parabola_peak_lr,
        "edge": cell.edge,
        "tried": [
            {"peak_lr": r.peak_lr, "selection_loss": r.selection_loss, "loss": r.loss, "seeds": len(r.losses)}
            for r in cell.tried
        ],
    }


def _crossing_json(crossing: Crossing) -> dict[str, Any]:
    at = crossing.hand_over
    return {
        "compute": at.compute,
        "low": crossing.low,
        "high": crossing.high,
        "share_of_resamples": crossing.share,
        "from": at.before,
        "to": at.after,
        "cut_off": list(at.cut_off),
        "forced_by_epoch_cap": at.is_forced_by_cap,
        "first_cell_of_to": at.is_first_cell,
        "free": at.is_free,
    }


def _pick_json(pick: Pick) -> dict[str, Any]:
    return {
        "budget_core_hours": pick.core_hours,
        "flops": pick.flops,
        "model": pick.model,
        "params": pick.params,
        "epochs": pick.epochs,
        "tokens": pick.tokens,
        "peak_lr": pick.peak_lr,
        "predicted_loss": pick.predicted_loss,
        "low": pick.low,
        "high": pick.high,
        "extrapolation_factor": pick.extrapolation_factor,
        "support": pick.support,
        "at_epoch_cap": pick.is_at_epoch_cap,
        "best_measured": _cell_json(pick.best_measured) if pick.best_measured else None,
        "refused": None
        if pick.refused is None
        else {"code": pick.refused.code, "reason": pick.refused.reason, "next": pick.refused.next},
    }


def _clean(value: Any) -> Any:
    """Returns `value` in JSON's own types; a number that is not finite is missing."""
    if isinstance(value, dict):
        return {str(key): _clean(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
