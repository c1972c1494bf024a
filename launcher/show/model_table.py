"""The architectures the tree knows at full size, as a table and as one JSON object."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from analysis.report.narrow_table import Column, print_fitted
from sweeps.study import Model
from sweeps.trial import DataSpec


def models_as_json(models: Sequence[Model], data: DataSpec) -> dict[str, Any]:
    """Returns every model with its counts on this data: `params` and `forward_macs` with its classes and image size."""
    images = {"image_px": data.image_px, "channels": data.channels}
    return {
        "models": [
            {
                "name": model.name,
                "family": model.family,
                "params": model.shape.params(**images, classes=data.classes),
                "params_1k_classes": model.shape.params(**images, classes=1000),
                "forward_macs": model.shape.forward_macs(**images, classes=data.classes),
                "image_px": data.image_px,
            }
            for model in models
        ]
    }


def print_models(models: Sequence[Model], data: DataSpec, console: Console) -> None:
    """Prints one row for each model, in millions of parameters and 1e9 multiply-accumulates."""
    columns = [
        Column(header="model", is_words=True),
        Column(header="family", is_words=True, wanted=2),
        Column(header=f"params, {data.classes:,} classes", wanted=1),
        Column(header="params, 1,000 classes"),
        Column(header=f"GMAC at {data.image_px} px", wanted=3),
    ]
    rows = [
        (
            row["name"],
            row["family"],
            f"{row['params'] / 1e6:.1f}M",
            f"{row['params_1k_classes'] / 1e6:.1f}M",
            f"{row['forward_macs'] / 1e9:.2f}",
        )
        for row in models_as_json(models, data)["models"]
    ]
    print_fitted(console, columns, rows)
