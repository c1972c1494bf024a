"""A prediction: a loss that was named before anything was trained there."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one run is expected to reach, as known at one moment; never changed afterwards."""

    model: str
    epochs: float
    batch_images: int
    peak_lr: float | None
    """Absent: the best learning rate, whichever that is."""
    cohort: str
    """Data, schedule and recipe of the runs it speaks of."""
    predicted_loss: float
    """Middle of the prediction [nats]."""
    low: float
    high: float
    level: float
    """Part of such intervals that are meant to hold the loss of a run."""
    made_by: str
    """Who says so: informed, ladder, fit."""
    runs: int
    """Finished runs it rests on."""
    dearest_core_hours: float
    """The dearest of them."""
    core_hours: float
    """The price of the run that is predicted."""
    data_digest: str
    """Hash of the ids and losses of the runs it rests on."""
    code_version: str = ""
    made_unix_s: float = 0.0
    """When it was frozen; 0: not yet, so before any run."""
