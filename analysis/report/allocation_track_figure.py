"""What each approach says of the best size and data at a compute: the lines of the figure of optimal allocation."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.estimators.allocation import Surface, data_of
from analysis.laws import Floats
from analysis.report.law_figure import common_price
from analysis.result import ScalingFit

_SAMPLES = 80
BEYOND = 10.0
"""How far lines go beyond the dearest run: so far intervals were checked (benchmarks/results/coverage.json)."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """What one approach says: log sizes and log data at log computes, with bands where it has them."""

    approach: str
    log_compute: Floats
    log_params: Floats
    params_half: Floats | None
    """Half the band of log sizes, (below, above) by compute."""
    log_data: Floats | None
    """None where a size does not tell the data."""
    has_steps: bool = False

    @property
    def data_half(self) -> Floats | None:
        """The band of log data: what sizes gain, data lose."""
        return None if self.params_half is None else self.params_half[::-1]


def allocation_tracks(result: ScalingFit) -> list[Track]:
    """Returns the approaches that have an answer: surface, isoFLOP, envelope."""
    tracks = (_surface(result), _isoflop(result), _envelope(result))
    return [track for track in tracks if track is not None]


def _grid(result: ScalingFit) -> Floats:
    low, high = result.fit.sampled
    return np.unique(np.append(np.linspace(math.log(low), math.log(high * BEYOND), _SAMPLES), math.log(high)))


def _surface(result: ScalingFit) -> Track | None:
    """Returns the surface's own optimum, or where the law is of compute that of the surface fitted beside it."""
    fit, price = result.fit, common_price(result)
    if price is None:
        return None
    x = _grid(result)
    if fit.law.fits_frontier:
        known = {pick.budget: pick.continuous[0] for pick in result.picks if pick.continuous and pick.budget > 0}
        # In closed form a line, so that two budgets tell all of it.
        if len(known) < 2:
            return None
        slope, level = np.polyfit(np.log(list(known)), np.log(list(known.values())), 1)
        log_n, half = level + slope * x, None
    else:
        log_n = Surface.of(fit.law, fit.values).log_params(x - price.log_k)
        drawn = Surface.of(fit.law, {k: v[:, None] for k, v in fit.draws.items()}) if fit.draws else None
        half = None if drawn is None else _half(drawn.log_params(x[None] - price.log_k), log_n, fit.level)
    if not np.isfinite(log_n).all():
        return None
    log_d = x - price.log_k - log_n
    return Track(approach="surface", log_compute=x, log_params=log_n, params_half=half, log_data=log_d)


def _half(drawn: Floats, middle: Floats, level: float) -> Floats | None:
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if len(drawn) < 20:
        return None
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.stack([middle - low, high - middle])


def _isoflop(result: ScalingFit) -> Track | None:
    shift = log_flops_per_unit(result)
    if result.isoflop is None or shift is None:
        return None
    line, price, x = result.isoflop.line, common_price(result), _grid(result)
    log_n = line.intercept + line.slope * (x + shift - line.centre)
    half = np.array([line.half_width(float(at), result.fit.level) for at in x + shift])
    log_d = None if price is None else x - price.log_k - log_n
    return Track(
        approach="isoflop", log_compute=x, log_params=log_n, params_half=np.stack([half, half]), log_data=log_d
    )


def log_flops_per_unit(result: ScalingFit) -> float | None:
    """Returns what turns log compute on the fit's axis into log FLOPs; None where that is not one number."""
    if result.fit.axis == "flops":
        return 0.0
    return math.log(result.flops_per_core_hour) if result.flops_per_core_hour else None


def _envelope(result: ScalingFit) -> Track | None:
    """Returns the sizes of named models that hold the envelope in turn."""
    points = result.points
    is_named = points.has_models and (points.study is not None or "group" in dict(points.columns))
    cells = [result.cells[int(members[0])] for members in result.curves.members]
    if not is_named or not all(cell.params for cell in cells):
        return None
    winner, covered = result.lower.winner[0], result.lower.is_covered[0] & (result.lower.winner[0] >= 0)
    if len(set(winner[covered].tolist())) < 2:
        return None
    sizes = np.log(np.array([cell.params for cell in cells], dtype=np.float64))
    paid = [
        [
            (cell.compute(result.fit.axis) or math.nan) / (data_of(cell) or math.nan)
            for cell in (result.cells[int(i)] for i in members)
        ]
        for members in result.curves.members
    ]
    per_datum = np.log([float(np.median(ratios)) for ratios in paid])
    x, held = result.curves.grid[covered], winner[covered]
    # No line from one model's data to the next one's: nothing lies between.
    changes = np.append(np.diff(held) != 0, False)
    log_d = np.where(changes, np.nan, x - per_datum[held]) if np.isfinite(per_datum).all() else None
    return Track(
        approach="envelope", log_compute=x, log_params=sizes[held], params_half=None, log_data=log_d, has_steps=True
    )
