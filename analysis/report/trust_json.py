"""The rest of a fit as JSON: how far it can be believed, and what other estimators say."""

import math
from typing import Any

from analysis.estimators.isoflop import IsoFlopFit
from analysis.estimators.isoflop_loss import IsoFlopLoss
from analysis.estimators.line import Line
from analysis.result import AllocationEstimate, Estimate, Target, Trust


def trust_json(trust: Trust) -> dict[str, Any]:
    """Returns back-test, rival forms, variants, profiles and the design check."""
    known = trust.identifiability
    return {
        "backtest": None
        if trust.backtest is None
        else {
            "cuts": list(trust.backtest.cuts),
            "predictions": len(trust.backtest.predictions),
            "rms_error": trust.backtest.rms_error,
            "by_extrapolation_factor": [vars(b) for b in trust.backtest.bins],
        },
        "forms": [
            {
                "name": form.name,
                "formula": form.formula,
                "free_parameters": form.free_parameters,
                "delta_aicc": form.aicc,
                "weight": form.weight,
                "held_out_rms": form.held_out_rms,
                "held_out_predictions": form.held_out_predictions,
                "converged": form.converged,
                "is_fitted": form.is_fitted,
                "parameters": {name: float(value[0]) for name, value in form.batch.parameters.items()},
            }
            for form in trust.forms
        ],
        "variants": [vars(variant) for variant in trust.variants],
        "profiles": [
            {
                "parameter": profile.parameter,
                "low": profile.low,
                "high": profile.high,
                "critical": profile.critical,
                "values": profile.values.tolist(),
                "rise": profile.rise.tolist(),
            }
            for profile in trust.profiles
        ],
        "identifiability": None if known is None else vars(known),
    }


def allocation_json(estimate: AllocationEstimate) -> dict[str, Any]:
    """Returns one approach's exponents, or why it has none."""
    refused = estimate.refused
    return {
        "approach": estimate.approach,
        "exponent_params": _estimate_json(estimate.exponent_params),
        "exponent_data": _estimate_json(estimate.exponent_data),
        "points": estimate.points,
        "remark": estimate.remark,
        "refused": None if refused is None else vars(refused),
    }


def target_json(target: Target) -> dict[str, Any]:
    """Returns the compute that reaches a loss."""
    return vars(target) | {"refused": None if target.refused is None else vars(target.refused)}


def isoflop_json(fit: IsoFlopFit | None, loss: IsoFlopLoss | None, level: float) -> dict[str, Any] | None:
    """Returns the best size of each budget, and the lines through them."""
    if fit is None:
        return None
    return {
        "stiffness": fit.smoother.stiffness,
        "noise_sd": fit.smoother.noise_sd,
        "line": _line_json(fit.line, level),
        "parabola": None if fit.parabola is None else _line_json(fit.parabola, level),
        "loss_law": None if loss is None else {"formula": loss.law.formula, "parameters": loss.values},
        "budgets": [
            {
                "flops": math.exp(budget.log_flops),
                "sizes": len(budget.cells),
                "params": None if budget.log_params is None else math.exp(budget.log_params),
                "log_params_sd": budget.sd,
                "loss": None if budget.log_loss is None else math.exp(budget.log_loss),
                "refused": budget.refused,
            }
            for budget in fit.budgets
        ],
    }


def _line_json(line: Line, level: float) -> dict[str, Any]:
    half = line.slope_half_width(level)
    return {
        "exponent": line.slope,
        "low": line.slope - half,
        "high": line.slope + half,
        "log_coefficient": line.intercept - line.slope * line.centre,
    }


def _estimate_json(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else vars(estimate)
