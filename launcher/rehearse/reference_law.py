"""What the reference study's own figures say: a surface fitted to its losses, with resamples, and its best rates."""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import sweeps

Floats = npt.NDArray[np.float64]

IMAGES_PER_EPOCH = 4.0e9
PARAMS = {"F0": 160.6e6, "F1": 221.8e6, "F3": 344.0e6, "F3+": 543.9e6, "F7": 588.6e6, "F7+": 951.7e6}
"""Parameters with 30,000 classes, as `make models` counts them, rounded."""
_FOLDER = Path(sweeps.__file__).parent / "reference"
_RESAMPLES = 2000
_SURFACE = ("E", "A", "B", "alpha", "beta")


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceLaw:
    """L = E + A N^-alpha + B D^-beta over parameters and images of the reference study, and the spread of its fit."""

    resamples: Floats
    """E, A, B, alpha, beta of each resample, (resamples, 5)."""
    residuals: Floats
    """log L of the fit less that of each of the 36 figures, (36,)."""
    core_hours_per_epoch: Floats
    """Of the six models, rising, (6,)."""
    params: Floats
    """(6,)"""
    rate_core_hours_per_epoch: Floats
    """Of the models whose best rates are published, (3,)."""
    rate_epochs: Floats
    """(6,)"""
    rate_octaves: Floats
    """log2 of the best rate of each such model and number of epochs, less that of the grid's middle, (3, 6)."""


@functools.cache
def reference_law() -> ReferenceLaw:
    """Returns the law, fitted once a process."""
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    from analysis import fit

    losses = _read("jft4b_nfnet_loss.csv")
    columns = {
        "model": [row["model"] for row in losses],
        "epochs": [float(row["epochs"]) for row in losses],
        "core_hours": [float(row["core_hours"]) for row in losses],
        "loss": [float(row["loss"]) for row in losses],
        "params": [PARAMS[row["model"]] for row in losses],
        "images": [IMAGES_PER_EPOCH * float(row["epochs"]) for row in losses],
    }
    kinds = {"group": "model", "epochs": "epochs", "core_hours": "core_hours", "loss": "loss", "params": "params"}
    found = fit(pd.DataFrame(columns), {**kinds, "tokens": "images"}, law="surface", bootstrap=_RESAMPLES)
    longest = {row["model"]: float(row["core_hours"]) / float(row["epochs"]) for row in losses}
    optima = _read("jft4b_nfnet_optimal_lr.csv")
    named = list(dict.fromkeys(row["model"] for row in optima))
    table = np.log2(np.array([float(row["optimal_peak_lr"]) for row in optima])).reshape(len(named), -1)
    return ReferenceLaw(
        resamples=np.stack([found.fit.case_draws[name] for name in _SURFACE], axis=1),
        residuals=np.asarray(found.fit.residuals, dtype=np.float64),
        core_hours_per_epoch=np.array([longest[model] for model in PARAMS]),
        params=np.array(list(PARAMS.values())),
        rate_core_hours_per_epoch=np.array([longest[model] for model in named]),
        rate_epochs=np.array([float(row["epochs"]) for row in optima if row["model"] == named[0]]),
        rate_octaves=table - np.log2(0.8),
    )


def _read(name: str) -> list[dict[str, str]]:
    with (_FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
