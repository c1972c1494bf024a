"""A fit as JSON: the one place that names its fields."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.estimators.best_rate import Cell
from analysis.refusal import Refusal
from analysis.report.trust_json import allocation_json, isoflop_json, target_json, trust_json
from analysis.result import Crossing, Fit, Pick, ScalingFit
from analysis.tables.costs import cost_ratios
from analysis.tables.judged import calibration
from analysis.tables.points import SetAside

_DRAWS_KEPT = 500
"""Draws written to fit.json, so that a later tool can carry the uncertainty on."""


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
            "targets": [target_json(target) for target in result.targets],
            "allocation": [allocation_json(estimate) for estimate in result.allocations],
            "isoflop": isoflop_json(result.isoflop, result.isoflop_loss, result.fit.level),
            "trust": trust_json(result.trust),
            "best_peak_lr_law": None if result.rate_law is None else vars(result.rate_law),
            "downstream": None if result.downstream is None else vars(result.downstream),
            "tainted": {
                "runs": result.points.tainted,
                "weight": result.points.tainted_weight,
                "reasons": [{"reason": item.reason, "count": item.count} for item in result.points.taints],
            },
            "costs": _costs_json(result),
            "predictions": _predictions_json(result),
            "columns": dict(result.points.columns),
            "derived": list(result.points.derived),
            "set_aside": set_aside_json(result.points.set_aside),
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
        "set_aside": set_aside_json(set_aside),
        "warnings": [],
        "refused": {"code": refusal.code, "reason": refusal.reason, "next": refusal.next},
    }


def set_aside_json(set_aside: Sequence[SetAside]) -> list[dict[str, Any]]:
    """Returns the rows no fit uses: why, how many, and the first of them."""
    return [{"reason": item.reason, "count": item.count, "rows": list(item.rows)} for item in set_aside]


def write_fit(result: ScalingFit, folder: Path) -> Path:
    """Returns the path of the fit.json written to `folder`: what --json prints, and some draws of the parameters."""
    fit = result.fit
    total = next((len(values) for values in fit.draws.values()), 0)
    every = max(1, total // _DRAWS_KEPT)
    draws = {name: [float(f"{v:.8g}") for v in values[::every]] for name, values in fit.draws.items()}
    path = folder / "fit.json"
    path.write_text(
        json.dumps(to_json(result) | {"draws": _clean(draws)}, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )
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
        "priors": {prior.parameter: {"value": prior.value, "sd": prior.sd} for prior in fit.priors},
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
            "level": fit.level,
            "method": fit.interval_method,
            "resamples": fit.resamples,
            "failed": fit.failed_resamples,
            "stderr_method": fit.stderr_method,
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
        "weight": cell.weight,
        "tainted": cell.is_tainted,
    }


def _predictions_json(result: ScalingFit) -> dict[str, Any]:
    """Returns every prediction of the study with what came of it."""
    found = calibration(result.points.judged)
    return {
        "calibration": None if found is None else vars(found) | {"text": found.sentence},
        "frozen": [
            vars(one.prediction) | {"actual_loss": one.actual_loss, "is_within": one.is_within}
            for one in result.points.judged
        ],
    }


def _costs_json(result: ScalingFit) -> list[dict[str, Any]]:
    costs = result.points.costs
    ratios = cost_ratios(costs, is_relative=result.flops_per_core_hour is not None)
    return [
        {
            "model": row.model,
            "runs": row.runs,
            "predicted_core_hours": row.predicted_core_hours,
            "billed_core_hours": row.billed_core_hours,
            "ratio": ratio,
            **{f"{part}_share": share for part, share in row.shares.items()},
        }
        for row, ratio in zip(costs, ratios, strict=True)
    ]


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
        "budget": pick.budget,
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
        "widened_by": pick.widened_by,
        "law_low": pick.law_low,
        "law_high": pick.law_high,
        "params_low": pick.params_interval[0] if pick.params_interval else None,
        "params_high": pick.params_interval[1] if pick.params_interval else None,
        "tokens_low": pick.tokens_interval[0] if pick.tokens_interval else None,
        "tokens_high": pick.tokens_interval[1] if pick.tokens_interval else None,
        "params_as_good": pick.params_as_good,
        "continuous_params": pick.continuous[0] if pick.continuous else None,
        "continuous_data": pick.continuous[1] if pick.continuous else None,
        "batch_images": pick.batch_images,
        "neighbours": [vars(neighbour) for neighbour in pick.neighbours],
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
