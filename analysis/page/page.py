"""One HTML file that holds a whole study: the answer, its charts, its runs, and how to make it again."""

import base64
import datetime
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.page.answer import answers, facts
from analysis.page.background import Background
from analysis.page.chart import Chart, Table, chart_json, table_json
from analysis.page.loss_chart import compute_axes, loss_beside, loss_chart
from analysis.page.provenance import commands, package_version, provenance
from analysis.page.rate_charts import best_rate_chart, rate_map, tried_chart
from analysis.page.reference_charts import (
    SOURCE,
    error_chart,
    reference_error_chart,
    reference_loss_chart,
    reference_models,
    reference_rate_chart,
)
from analysis.page.series import Series, page_title, series_of
from analysis.page.sheets import cells_sheet, costs_sheet, doubtful_sheet, facts_sheet, law_sheet, picks_sheet
from analysis.page.shown_runs import (
    ShownRun,
    cells_table,
    picks_table,
    runs_table,
    shown_points,
    shown_records,
)
from analysis.page.trust_charts import backtest_chart, judged_chart
from analysis.page.valley_chart import valley_chart
from analysis.report.report_text import basis_lines
from analysis.result import ScalingFit
from sweeps.budget import format_core_hours

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("numbers.js", "chart.js", "pointer.js", "runs.js", "start.js")
MLFLOW_ADDRESS = "http://127.0.0.1:5000"
"""Where `make ui` opens MLflow's pages."""
PAGE = "report.html"
_AXIS_NAMES = {"core_hours": "core-hours", "flops": "FLOPs"}


def write_page(result: ScalingFit, folder: Path, background: Background | None = None) -> Path:
    """Returns the HTML file written to `folder`."""
    path = folder / PAGE
    path.write_text(page_html(result, background or Background()), encoding="utf-8")
    return path


def page_html(result: ScalingFit, background: Background) -> str:
    """Returns the page: one file that fetches nothing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    series, own = _series(result, background)
    charts, tables = _charts(result, background, series, own)
    axes = [axis for axis in compute_axes(result) if axis.key in _AXIS_NAMES]
    families = list(dict.fromkeys(one.family for one in series[:own] if one.family))
    script = "".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    data = {
        "series": [vars(one) for one in series],
        "families": families,
        "axes": [axis.key for axis in axes] or [result.fit.axis],
        "mlflow": MLFLOW_ADDRESS,
        "tables": {name: table_json(table) for name, table in tables.items()},
        "charts": [chart_json(chart) for chart in charts.values()],
    }
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        page=_words(result, background, series[:own], axes_names=[(axis.key, _AXIS_NAMES[axis.key]) for axis in axes])
        | {"families": families, "mlflow": MLFLOW_ADDRESS, "reference_rows": _reference_rows(charts, result)},
        charts={name: charts.get(name) for name in (*charts, "loss", "valleys", "tried", "backtest", "judged")},
        titles={one.name: one.title for one in series},
        css=Markup((ASSETS / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=Markup("sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        data=Markup(_json_in_html(data)),
    )


def _json_in_html(value: Any) -> str:
    """Returns JSON that no name in it can end the element of."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _series(result: ScalingFit, background: Background) -> tuple[tuple[Series, ...], int]:
    """Returns the study's series, behind them those of the reference study alone, and how many are the study's."""
    families = {record.trial.model: record.trial.family for record in background.records}
    own = list(result.curves.models)
    others = [model for model in reference_models() if model not in own]
    models = [*own, *others]
    titles = [page_title(model) for model in models]
    own_series = series_of(own, titles[: len(own)], [families.get(model, "") for model in own])
    family = own_series[0].family if own_series else ""
    return (*own_series, *series_of(others, titles[len(own) :], [family for _ in others])), len(own)


def _charts(
    result: ScalingFit, background: Background, series: Sequence[Series], own: int
) -> tuple[dict[str, Chart], dict[str, Table]]:
    """Returns all charts that the result has something for, and the tables behind their dots, by name."""
    runs = _runs(result, background)
    tables = [
        runs_table(runs, series), cells_table(result.cells, series), picks_table(result, series)
    ]  # fmt: skip
    names = [one.name for one in series]
    loss = loss_chart(result, has_runs=len(runs) > len(result.cells))
    charts = [] if loss is None else [loss, loss_beside(loss)]
    if (valleys := valley_chart(result)) is not None:
        charts.append(valleys[0])
        tables += valleys[1]
    reference = (reference_loss_chart, reference_rate_chart, reference_error_chart)
    pairs = [
        *(draw(result) for draw in (tried_chart, best_rate_chart, backtest_chart, judged_chart)),
        *(draw(names) for draw in reference),
    ]
    if background.checkpoints:
        pairs.append(
            error_chart(
                "error", background.checkpoints, names[:own],
                title=f"This study: {background.fine_tuned_on} after fine-tuning",
                caption="Error of the best fine-tuning rate against compute of pre-training.",
            )
        )  # fmt: skip
    for pair in pairs:
        if pair is not None:
            charts.append(pair[0])
            tables.append(pair[1])
    return {chart.name: chart for chart in charts}, {table.name: table for table in tables}


def _runs(result: ScalingFit, background: Background) -> tuple[ShownRun, ...]:
    if background.records:
        return shown_records(background.records, background.mlflow_pages)
    return shown_points(result.points.points)


def _reference_rows(charts: Mapping[str, Chart], result: ScalingFit) -> list[dict[str, str | None]]:
    study = result.points.study
    finetune = f"make finetune STUDY={study}" if study else "make finetune"
    rows = (
        ("Error after fine-tuning (Fig. 1)", "error", "reference_error", f"Nothing was fine-tuned yet: {finetune}"),
        ("Loss against compute (Fig. 2)", "own_loss", "reference_loss", "These runs have no compute."),
        ("Best learning rate (Fig. 3)", "rates", "reference_rates", "These runs have no learning rates by epochs."),
    )
    return [
        {"title": title, "own": own if own in charts else None, "reference": reference, "why_missing": why}
        for title, own, reference, why in rows
    ]


def _last_end(background: Background) -> str | None:
    """Returns when the last run ended: the same records make the same page, whenever it is written."""
    ends = [record.ended_unix_s for record in background.records if record.ended_unix_s]
    if not ends:
        return None
    return datetime.datetime.fromtimestamp(max(ends), tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _words(
    result: ScalingFit, background: Background, series: Sequence[Series], *, axes_names: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Returns every text of the page."""
    points = result.points
    titles = {one.name: one.title for one in series}

    has_picks = background.pick_file and any(pick.refused is None and pick.model for pick in result.picks)
    return {
        "title": points.study or Path(points.source).stem,
        "subtitle": f"{points.source}: {len(points.points):,} runs of {len(series):,} models; "
        f"what to train with how much compute, and what loss to expect",
        "answers": answers(result, titles),
        "facts": facts(result),
        "notices": [notice.text for notice in result.notices],
        "axes": [{"key": key, "name": name} for key, name in axes_names],
        "series": series,
        "budgets": [
            {"value": f"{budget:.6g}", "text": format_core_hours(budget)} for budget in points.budgets_core_hours
        ],
        "law": law_sheet(result.fit),
        "basis": basis_lines(result),
        "cells": cells_sheet(result, titles),
        "picks": picks_sheet(result, titles),
        "pick_command": f"make sweep PICK={shlex.quote(background.pick_file or '')}" if has_picks else None,
        "rate_map": rate_map(result),
        "reference_text": f"The reference study is {SOURCE}: NFNets F0 to F7+ on JFT-4B, 0.4k to 110k TPU-v4 "
        "core-hours. Its points are drawn beside this study's own; the two share axes, not values.",
        "costs": costs_sheet(result, titles),
        "doubtful": doubtful_sheet(points),
        "provenance": facts_sheet("What this page rests on", provenance(result, background.records)),
        "commands": commands(result, background.records, background.typed),
        "version": package_version("loglog"),
        "runs_until": _last_end(background),
    }
