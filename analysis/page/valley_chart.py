"""Loss against size at equal compute: the isoFLOP valleys (arXiv:2203.15556 fig. 3)."""

import math

import numpy as np

from analysis.estimators.isoflop import IsoFlop, IsoFlopFit
from analysis.estimators.smooth_valley import LEAST_SIZES, curve_of
from analysis.laws import Floats
from analysis.page.chart import Axis, Chart, Dots, Layer, Line, Table, Value
from analysis.page.loss_chart import LOSS
from analysis.result import ScalingFit

VALLEYS, MINIMA = "valleys", "minima"
_SAMPLES = 60
_PARAMS = Axis(key="params", label="parameters", unit="params")


def valley_chart(result: ScalingFit) -> tuple[Chart, tuple[Table, ...]] | None:
    """Returns the valleys and the rows behind their dots; None where runs do not come in budgets."""
    fit = result.isoflop
    if fit is None or len(fit.budgets) < 2:
        return None
    index = {model: i for i, model in enumerate(result.curves.models)}
    cells = [(budget, cell) for budget in fit.budgets for cell in budget.cells]
    rows: dict[str, list[Value]] = {
        "series": [index.get(cell.model, -1) for _, cell in cells],
        "loss": [cell.loss for _, cell in cells],
        "params": [cell.params for _, cell in cells],
        "epochs": [cell.epochs for _, cell in cells],
        "core_hours": [cell.core_hours for _, cell in cells],
        "flops": [cell.flops for _, cell in cells],
        "at_budget": [_name(budget) for budget, _ in cells],
    }
    seen = [budget for budget in fit.used if budget.log_params is not None and budget.log_loss is not None]
    best: dict[str, list[Value]] = {
        "series": [-1 for _ in seen],
        "at_budget": [_name(budget) for budget in seen],
        "loss": [math.exp(budget.log_loss or 0.0) for budget in seen],
        "params": [math.exp(budget.log_params or 0.0) for budget in seen],
    }
    layers: list[Layer] = []
    for budget in fit.budgets:
        x, y = _curve(budget, fit)
        layers.append(Line(x={"params": x}, y=y, style="dashed" if budget.refused else "solid", label=_name(budget)))
    layers.append(Dots(table=VALLEYS, mark="large", label="a cell"))
    layers.append(Dots(table=MINIMA, mark="diamond", label="best size of a budget"))
    unseen = len(fit.budgets) - len(fit.used)
    chart = Chart(
        name="valleys",
        title="Loss against size at equal compute",
        caption="A line for each budget [FLOPs]; diamonds: its best size."
        + (f" Dashed: {unseen} budgets whose optimum lies at or beyond an edge." if unseen else ""),
        summary=f"{len(fit.budgets)} budgets, {len(fit.used)} of them with a best size that was seen.",
        x=(_PARAMS,),
        y=LOSS,
        layers=tuple(layers),
    )
    return chart, (Table(name=VALLEYS, columns=rows), Table(name=MINIMA, columns=best))


def _name(budget: IsoFlop) -> str:
    mantissa, _, exponent = f"{math.exp(budget.log_flops):.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _curve(budget: IsoFlop, fit: IsoFlopFit) -> tuple[Floats, Floats]:
    """Returns the smooth curve over the sizes it was fitted to, or the runs themselves where there are too few."""
    valley = budget.valley
    if len(valley.log_params) < LEAST_SIZES:
        return np.exp(valley.log_params), np.exp(valley.log_loss)
    log_params: Floats = np.linspace(float(valley.log_params[0]), float(valley.log_params[-1]), _SAMPLES)
    return np.exp(log_params), np.exp(curve_of(valley, fit.smoother, log_params))
