"""How a study opens in MLflow's pages: columns, order, groups and charts, as tags of its experiment.

MLflow 3.17 keeps what its button "Share" makes in a tag of the experiment, as JSON, and opens it where an address names
its key; nothing else of a view can be set from the server's side. The names in the JSON are those of its pages.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

VIEW_KEY = "loglog"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
COLUMNS = (
    "params.`model`",
    "params.`epochs`",
    "params.`peak_lr`",
    "params.`seed`",
    "tags.`loglog.status`",
    "metrics.`val_loss`",
    "metrics.`core_hours`",
)
GROUPS = (("param", "model"), ("tag", "loglog.budget_core_hours"))
OWN_WORDS = "a scaling-law study. Each run is one trial"
"""By these a description is known as ours: one that a person has written stays."""
_SECTION = "loglog-loss-and-compute"


def view_address(base: str, experiment_id: str, *, charts: bool = False) -> str:
    """Returns the address at which a server's pages open the view, as a table or as charts.

    Without the word workflowType, MLflow opens the pages for language-model applications.
    """
    words = f"workflowType=machine_learning&viewStateShareKey={VIEW_KEY}" + ("&compareRunsMode=CHART" if charts else "")
    return f"{base}/#/experiments/{experiment_id}/runs?{words}"


def run_address(base: str, experiment_id: str, run_id: str) -> str:
    """Returns the address of a run's files."""
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}/artifacts?workflowType=machine_learning"


def view_tags() -> Mapping[str, str]:
    """Returns the tags of an experiment whose runs are a study's."""
    return {
        # Without it MLflow's pages ask what kind of experiment this is.
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.experiment.primaryMetric.name": "val_loss",
        "mlflow.experiment.primaryMetric.greaterIsBetter": "False",
        VIEW_TAG: json.dumps(_view(), separators=(",", ":")),
    }


def description(study: str, *, experiment_id: str, headline: tuple[str, ...] = (), run_id: str | None = None) -> str:
    """Returns what the study's page says of it, in Markdown: what it is, where the report is, how to go on.

    Links are relative: they hold wherever the server is.
    """
    # A study's name may have any letter; Markdown must not take it for its own.
    name = re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", study)
    where = "In the report" if run_id is None else f"In the [report]({run_address('', experiment_id, run_id)})"
    lines = [
        f"**{name}**: {OWN_WORDS}: a model, epochs, a peak learning rate and a seed.",
        *headline,
        f"[Table, grouped by model and budget]({view_address('', experiment_id)}) · "
        f"[charts of loss against compute]({view_address('', experiment_id, charts=True)})",
        f"{where}, and after `make fit` in `reports/`, are the law, its intervals and the pick. "
        f"A larger budget only adds runs: `make sweep BUDGET=... STUDY={name}`.",
    ]
    return "\n\n".join(lines)


def _view() -> dict[str, Any]:
    return {
        "orderByKey": "metrics.`val_loss`",
        "orderByAsc": True,
        "selectedColumns": list(COLUMNS),
        "groupBy": {
            "aggregateFunction": "min",
            "groupByKeys": [{"mode": mode, "groupByData": name} for mode, name in GROUPS],
        },
        "useGroupedValuesInCharts": False,
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,
        "compareRunSections": [
            {
                "uuid": _SECTION,
                "name": "Loss and compute",
                "display": True,
                "isReordered": False,
                "deleted": False,
                "isGenerated": False,
            }
        ],
        "compareRunCharts": [_law_chart(), _curve_chart()],
    }


def _chart(kind: str, name: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": f"{_SECTION}-{kind.lower()}",
        "metricSectionId": _SECTION,
        "deleted": False,
        "isGenerated": False,
        "displayName": name,
        "runsCountToCompare": 100,
    }


def _law_chart() -> dict[str, Any]:
    """A point for each run. MLflow's scatter charts know no logarithmic axis, so the metrics are logarithms."""
    axes = {"xaxis": "log10_core_hours", "yaxis": "log10_val_loss"}
    places = {axis: {"key": key, "type": "METRIC", "dataAccessKey": key} for axis, key in axes.items()}
    return _chart("SCATTER", "final loss against compute, log-log") | places


def _curve_chart() -> dict[str, Any]:
    """A curve for each run. MLflow draws y on a logarithmic axis, x only where it is steps."""
    return _chart("LINE", "loss during training, log-log") | {
        "metricKey": "val_loss",
        "selectedMetricKeys": ["val_loss"],
        "lineSmoothness": 0,
        "scaleType": "log",
        "xAxisScaleType": "linear",
        "xAxisKey": "metric",
        "selectedXAxisMetricKey": "log10_core_hours",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "ignoreOutliers": False,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": True,
    }
