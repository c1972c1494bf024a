"""The architectures the tree knows at full size, as a table and as one JSON object."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

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
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for header in ("model", "family"):
        table.add_column(header, no_wrap=True)
    for header in (f"params, {data.classes:,} classes", "params, 1,000 classes", f"GMAC at {data.image_px} px"):
        table.add_column(header, justify="right")
    for row in models_as_json(models, data)["models"]:
        counts = (
            f"{row['params'] / 1e6:.1f}M",
            f"{row['params_1k_classes'] / 1e6:.1f}M",
            f"{row['forward_macs'] / 1e9:.2f}",
        )
        table.add_row(row["name"], row["family"], *counts)
    console.print(table)
