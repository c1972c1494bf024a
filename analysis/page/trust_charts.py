"""How far the law can be believed: the rolling back-test, and predictions that were frozen before they were trained."""

import numpy as np

from analysis.page.chart import Axis, Band, Chart, Dots, Layer, Line, Table, Value
from analysis.result import ScalingFit
from analysis.tables.judged import calibration

BACKTEST, JUDGED = "backtest", "judged"
_LEAST = 2
_MOST_DOTS = 20_000


def _percent(log_error: float) -> float:
    return 100 * float(np.expm1(min(log_error, 50.0)))


def backtest_chart(result: ScalingFit) -> tuple[Chart, Table] | None:
    """Returns the error of each prediction from cheaper runs by how far it reached; None without a back-test."""
    tested = result.trust.backtest
    found = [] if tested is None else [p for p in tested.predictions if np.isfinite(p.error) and p.factor >= 1.0]
    if tested is None or len(found) < _LEAST:
        return None
    found = found[:: max(1, len(found) // _MOST_DOTS)]
    columns: dict[str, list[Value]] = {
        "series": [-1 for _ in found],
        "factor": [p.factor for p in found],
        "error_percent": [_percent(p.error) for p in found],
        "loss": [float(np.exp(p.log_loss)) for p in found],
        "predicted": [float(np.exp(p.log_predicted)) for p in found],
        result.fit.axis: [float(np.exp(p.log_compute)) for p in found],
    }
    held = tuple(i for i, p in enumerate(found) if abs(p.error) <= p.half_width)
    missed = tuple(i for i, p in enumerate(found) if abs(p.error) > p.half_width)
    farthest = max(1.3, max(p.factor for p in found) * 1.1)
    layers: list[Layer] = []
    for b in tested.bins:
        high = min(b.high, farthest)
        if b.predictions and b.low < high:
            ends = np.array([max(1.0, b.low), high])
            rms = np.array([b.rms_error, b.rms_error])
            layers.append(Band(x={"factor": ends}, low=100 * np.expm1(-rms), high=100 * np.expm1(rms)))
    layers.append(Line(x={"factor": np.array([1.0, farthest])}, y=np.zeros(2), style="solid"))
    layers.append(Dots(table=BACKTEST, mark="hollow", rows=held, label="within its interval"))
    layers.append(Dots(table=BACKTEST, mark="cross", rows=missed, label="outside"))
    chart = Chart(
        name="backtest",
        title="Back-test: predictions from cheaper runs",
        caption=f"{len(tested.predictions)} predictions by {len(tested.cuts)} fits to what was cheaper than a cut. "
        "Band: root mean square error of a range.",
        summary=f"The root mean square error is {tested.rms_error:.2%}; {len(held)} of {len(found)} predictions held.",
        x=(Axis(key="factor", label="compute over the dearest fitted", unit="factor"),),
        y=Axis(key="error_percent", label="predicted above measured by", unit="percent", is_log=False),
        layers=tuple(layers),
        height_px=360,
    )
    return chart, Table(name=BACKTEST, columns=columns)


def judged_chart(result: ScalingFit) -> tuple[Chart, Table] | None:
    """Returns predicted against actual loss of what was predicted before it was trained; None where nothing was."""
    judged = [one for one in result.points.judged if one.actual_loss is not None]
    found = calibration(judged)
    if found is None:
        return None
    index = {model: i for i, model in enumerate(result.curves.models)}
    columns: dict[str, list[Value]] = {
        "series": [index.get(one.prediction.model, -1) for one in judged],
        "epochs": [one.prediction.epochs for one in judged],
        "peak_lr": [one.prediction.peak_lr for one in judged],
        "loss": [one.actual_loss for one in judged],
        "predicted": [one.prediction.predicted_loss for one in judged],
        "low": [one.prediction.low for one in judged],
        "high": [one.prediction.high for one in judged],
    }
    values = [value for name in ("loss", "low", "high") for value in columns[name] if isinstance(value, float)]
    ends = np.array([min(values), max(values)])
    within = tuple(i for i, one in enumerate(judged) if one.is_within)
    outside = tuple(i for i, one in enumerate(judged) if not one.is_within)
    layers: list[Layer] = [Line(x={"loss": ends}, y=ends, style="solid")]
    layers.append(Dots(table=JUDGED, mark="large", rows=within, bars=("low", "high"), label="within its interval"))
    layers.append(Dots(table=JUDGED, mark="cross", rows=outside, bars=("low", "high"), label="outside"))
    chart = Chart(
        name="judged",
        title="Predicted before it was trained",
        caption=f"Bars: {found.level:.0%} intervals. On the line the run reached what was predicted.",
        summary=found.sentence,
        x=(Axis(key="loss", label="held-out loss reached [nats]", unit="loss"),),
        y=Axis(key="predicted", label="held-out loss predicted [nats]", unit="loss"),
        layers=tuple(layers),
        height_px=360,
    )
    return chart, Table(name=JUDGED, columns=columns)
