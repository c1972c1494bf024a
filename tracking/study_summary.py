"""What a fit found, as MLflow is to show it: plain fields, which come from the files of a report and no other room."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.budget import format_core_hours
from sweeps.errors import StudyError

FIT_FILE = "fit.json"
_POWERS = ("power", "power_floor", "saturating")
"""Laws whose b is the exponent of compute."""


@dataclass(frozen=True, kw_only=True)
class PickSummary:
    """The compute-optimal configuration for one budget."""

    core_hours: float
    """The budget."""
    model: str | None
    epochs: float | None
    peak_lr: float | None
    batch_images: int | None
    predicted_loss: float | None
    low: float | None
    high: float | None
    refused: str | None
    """Why there is none."""

    @property
    def budget(self) -> str:
        """The budget as people write it."""
        return format_core_hours(self.core_hours)

    @property
    def alias(self) -> str:
        """The alias of the model that was trained for it: letters, digits and dashes, as MLflow has it."""
        return f"compute-optimal-{self.budget.replace('.', '-')}"

    @property
    def prediction(self) -> str:
        """The predicted loss with its interval."""
        if self.predicted_loss is None:
            return "no prediction"
        spread = "" if self.low is None or self.high is None else f" ({self.low:.4g} to {self.high:.4g})"
        return f"{self.predicted_loss:.4g}{spread}"

    def __str__(self) -> str:
        epochs = "" if self.epochs is None else f" x {self.epochs:g} epochs"
        return f"{self.model or 'no model'}{epochs} for {self.budget} core-hours, loss {self.prediction}"


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """A report: its headline and its files."""

    law: str | None
    """Name and formula; missing where no law was fitted."""
    exponent: float | None
    """Of loss over compute, below zero where more compute helps."""
    exponent_low: float | None
    exponent_high: float | None
    picks: tuple[PickSummary, ...]
    cohort: str | None
    """Which data, schedule and recipe the fit is of; missing: whatever the study has."""
    fit_hash: str | None
    """SHA-256 of fit.json."""
    files: tuple[Path, ...]
    """The report, the fit and the figures; each has a name of its own."""


def read_summary(folder: Path, *, cohort: str | None = None) -> StudySummary:
    """Returns what the files in a study's folder of reports say; files whose names begin with a dot are passed over.

    Raises:
        StudyError: there is no such folder, or its fit.json cannot be read.
    """
    files = tuple(sorted(path for path in folder.glob("[!.]*") if path.is_file()))
    if not files:
        raise StudyError(f"no report has been written: {folder} holds no files (type: make fit)")
    path = folder / FIT_FILE
    try:
        fit: dict[str, Any] = json.loads(path.read_bytes()) if path in files else {}
        law: dict[str, Any] = fit.get("law") or {}
        parameters: dict[str, dict[str, float | None]] = law.get("parameters") or {}
        exponent = parameters.get("b") if law.get("name") in _POWERS else None
        picks = tuple(_pick(pick) for pick in fit.get("picks") or () if pick.get("budget_core_hours"))
        return StudySummary(
            law=f"{law['name']}: {law['formula']}" if law else None,
            exponent=_negative(exponent, "value"),
            # Loss falls as compute to the power of minus b: the ends change places.
            exponent_low=_negative(exponent, "high"),
            exponent_high=_negative(exponent, "low"),
            picks=picks,
            cohort=cohort,
            fit_hash=hashlib.sha256(path.read_bytes()).hexdigest() if path in files else None,
            files=files,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{path} is not a fit as `make fit` writes it ({error}); write it again (type: make fit)"
        ) from error


def _negative(estimate: dict[str, float | None] | None, end: str) -> float | None:
    value = (estimate or {}).get(end)
    return None if value is None else -value


def _pick(pick: dict[str, Any]) -> PickSummary:
    refused: dict[str, str] | None = pick["refused"]
    return PickSummary(
        core_hours=float(pick["budget_core_hours"]),
        model=pick["model"],
        epochs=pick["epochs"],
        peak_lr=pick["peak_lr"],
        batch_images=pick["batch_images"],
        predicted_loss=pick["predicted_loss"],
        low=pick["low"],
        high=pick["high"],
        refused=None if refused is None else refused["reason"],
    )
