"""The reference study's own Figs. 1, 2 and 3 (arXiv:2310.16764), from the points that the project carries."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from analysis.page.chart import Axis, Chart, Dots, Layer, Line, Table, Value
from analysis.page.loss_chart import CORE_HOURS, LOSS
from analysis.page.rate_charts import best_rates, epochs_axis, rate_axis
from analysis.transfer.checkpoint import Checkpoint, best_of_each_cell
from analysis.transfer.published import Landmark, conf_name, landmarks, published_checkpoints, reference_rows

SOURCE = "arXiv:2310.16764"
ERROR = Axis(key="error", label="top-1 error [%]", unit="count")


def reference_models() -> tuple[str, ...]:
    """Returns the reference study's models by rising size."""
    return tuple(dict.fromkeys(conf_name(row["model"]) for row in reference_rows("jft4b_nfnet_loss.csv")))


def reference_loss_chart(series: Sequence[str]) -> tuple[Chart, Table]:
    """Returns Fig. 2: held-out loss on JFT-4B against TPU-v4 core-hours."""
    rows = reference_rows("jft4b_nfnet_loss.csv")
    columns: dict[str, list[Value]] = {
        "series": [series.index(conf_name(row["model"])) for row in rows],
        "epochs": [float(row["epochs"]) for row in rows],
        "core_hours": [float(row["core_hours"]) for row in rows],
        "loss": [float(row["loss"]) for row in rows],
    }
    x, y = np.log(_floats(columns["core_hours"])), np.log(_floats(columns["loss"]))
    best = np.array([i for i in range(len(x)) if y[i] <= y[x <= x[i] + 1e-9].min()])
    slope, intercept = (float(value) for value in np.polyfit(x[best], y[best], 1))
    ends = np.geomspace(math.exp(x.min()), math.exp(x.max()), 40)
    law = Line(x={"core_hours": ends}, y=np.exp(intercept) * ends**slope, style="dashed")
    chart = Chart(
        name="reference_loss",
        title="The reference study: NFNets on JFT-4B",
        caption=f"Read off {SOURCE} Fig. 2 (TPU-v4 core-hours). Dashed: line through the cells that beat every cheaper "
        f"one, slope {slope:.3f}.".replace("-0", "\N{MINUS SIGN}0"),
        summary=f"{len(rows)} cells of {len(set(columns['series']))} models; log-log slope {slope:.3f}.",
        x=(CORE_HOURS,),
        y=LOSS,
        layers=(law, *_joined("reference_loss", columns, "core_hours", "loss")),
        height_px=360,
    )
    return chart, Table(name="reference_loss", columns=columns)


def reference_rate_chart(series: Sequence[str]) -> tuple[Chart, Table]:
    """Returns Fig. 3: best peak learning rate against epochs."""
    rows = sorted(reference_rows("jft4b_nfnet_optimal_lr.csv"), key=lambda row: float(row["epochs"]))
    points = [
        (series.index(conf_name(row["model"])), float(row["epochs"]), float(row["optimal_peak_lr"]), None)
        for row in rows
    ]
    table, layers = best_rates("reference_rates", points)
    chart = Chart(
        name="reference_rates",
        title="The reference study: best learning rate",
        caption=f"Read off {SOURCE} Fig. 3. Equal rates are drawn slightly apart.",
        summary=f"{len(rows)} cells; the best rate falls with size and epochs.",
        x=(epochs_axis(epochs for _, epochs, *_ in points),),
        y=rate_axis("drawn", "best peak learning rate", (rate for _, _, rate, _ in points)),
        layers=layers,
        height_px=360,
    )
    return chart, table


def reference_error_chart(series: Sequence[str]) -> tuple[Chart, Table]:
    """Returns Fig. 1: fine-tuned ImageNet top-1 error against pre-training compute."""
    return error_chart(
        "reference_error",
        published_checkpoints(),
        series,
        title="The reference study: ImageNet after fine-tuning",
        caption=f"Read off {SOURCE} Fig. 1 (TPU-v4 core-hours of pre-training). Diamonds: vision transformers, and F7+ "
        "with repeated augmentation.",
        others=landmarks(),
    )


def error_chart(
    name: str, checkpoints: Sequence[Checkpoint], series: Sequence[str], *, title: str, caption: str,
    others: Sequence[Landmark] = (),
) -> tuple[Chart, Table]:  # fmt: skip
    """Returns error against pre-training compute of fine-tuned checkpoints: the best of each cell."""
    cells = sorted(best_of_each_cell(checkpoints), key=lambda item: item.core_hours)
    columns: dict[str, list[Value]] = {
        "series": [*(series.index(c.model) if c.model in series else -1 for c in cells), *(-1 for _ in others)],
        "model": [*(None for _ in cells), *(other.name for other in others)],
        "epochs": [*(c.epochs for c in cells), *(None for _ in others)],
        "core_hours": [*(c.core_hours for c in cells), *(other.core_hours for other in others)],
        "error": [*(float(np.mean(c.errors)) for c in cells), *(other.error for other in others)],
    }
    joined = _joined(name, columns, "core_hours", "error")
    apart = tuple(range(len(cells), len(cells) + len(others)))
    layers: tuple[Layer, ...] = (*joined, *((Dots(table=name, mark="diamond", rows=apart),) if apart else ()))
    chart = Chart(
        name=name,
        title=title,
        caption=caption,
        summary=f"{len(cells)} checkpoints; the least error is {min(c.errors[0] for c in cells):.3g} %.",
        x=(CORE_HOURS,),
        y=ERROR,
        layers=layers,
        height_px=360,
    )
    return chart, Table(name=name, columns=columns)


def _joined(name: str, columns: dict[str, list[Value]], x: str, y: str) -> list[Layer]:
    """Returns the dots of a table, those of each series joined by a faint line in the order of `x`."""
    own: defaultdict[int, list[int]] = defaultdict(list)
    for row, series in enumerate(columns["series"]):
        if isinstance(series, int) and series >= 0:
            own[series].append(row)
    layers: list[Layer] = []
    for series, members in sorted(own.items()):
        members.sort(key=lambda row: float(columns[x][row] or 0.0))
        places = {x: _floats([columns[x][row] for row in members])}
        layers.append(Line(x=places, y=_floats([columns[y][row] for row in members]), style="faint", series=series))
    rows = tuple(row for members in own.values() for row in members)
    layers.append(Dots(table=name, mark="large", rows=rows, label="a cell"))
    return layers


def _floats(values: Sequence[Value]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)
