"""A world in which the law is known: what a trial would reach there, so that a strategy can be judged by the truth.

Each seed draws another law: the surface is one of the resamples of the fit to the reference study's figures, the best
learning rate moves as in its Fig. 3 with random shifts, and a wrong rate costs more or less. A study on other models is
laid onto the reference's by what an epoch of a model costs.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from launcher.rehearse.reference_law import IMAGES_PER_EPOCH, reference_law
from strategy.field import Field, Floats
from sweeps.canonical import short_hash
from sweeps.trial import Trial

NOISE_SD = 0.003
"""Of log loss, between runs that differ in their seed."""
_SELECTION_SD = 0.001
"""Between the held-out images of one run and those on which rates are chosen [of log loss]."""
_SHIFT, _MODEL_SHIFT_SD, _CELL_SHIFT_SD = 0.5, 0.25, 0.15
"""Of the best rate [octaves]: of all cells, evenly within +- this; of a model; of a cell."""
_KAPPA, _KAPPA_LOG_SD = 0.006, 0.4
"""Median price of a rate one octave off [of log loss], and how its log varies between worlds."""
STABLE_OCTAVES = 3.0
"""A rate so far above the best one diverges."""


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """One drawn law for the cells of a field."""

    field: Field
    seed: int
    log_loss: Floats
    """Of each cell at its best rate, (cells,)."""
    best_octave: Floats
    """log2 of each cell's best rate, (cells,)."""
    kappa: float
    noise_sd: float = NOISE_SD

    @classmethod
    def drawn(cls, field: Field, seed: int, *, noise_sd: float = NOISE_SD, deviations: float = 0.0) -> "World":
        """Returns the world of a seed.

        Args:
            field: the cells that are asked about.
            seed: of everything that is drawn; fields of one study share their world, whatever their budget.
            noise_sd: between seeds of a run [of log loss].
            deviations: how much of the reference fit's own residuals, shuffled, cells lie off the surface.
        """
        law, rng = reference_law(), np.random.default_rng([seed, 20231025])
        e, a, b, alpha, beta = law.resamples[rng.integers(len(law.resamples))]
        shift = rng.uniform(-_SHIFT, _SHIFT)
        kappa = _KAPPA * math.exp(rng.normal(0.0, _KAPPA_LOG_SD))
        residuals = rng.permutation(law.residuals)
        hours = field.core_hours / field.epochs
        log_n = np.interp(np.log(hours), np.log(law.core_hours_per_epoch), np.log(law.params))
        log_d = np.log(IMAGES_PER_EPOCH * field.epochs)
        log_loss = np.log(e + a * np.exp(-alpha * log_n) + b * np.exp(-beta * log_d))
        own = [np.random.default_rng([seed, int(short_hash(field.name(cell), digits=12), 16)]) for cell in _all(field)]
        models = [
            np.random.default_rng([seed, int(short_hash(model.name, digits=12), 16)]).normal(0.0, _MODEL_SHIFT_SD)
            for model in field.study.models
        ]
        cell_shift = np.array([rng.normal(0.0, _CELL_SHIFT_SD) for rng in own])
        off = np.array([residuals[rng.integers(len(residuals))] for rng in own])
        middle: Floats = field.octaves[:, field.asked_rates].mean(axis=1)
        octave = middle + _published_octaves(hours, field.epochs) + shift + np.array(models)[field.model] + cell_shift
        return cls(
            field=field,
            seed=seed,
            log_loss=log_loss - deviations * off,
            best_octave=octave,
            kappa=kappa,
            noise_sd=noise_sd,
        )

    @functools.cached_property
    def truth(self) -> Floats:
        """Log loss of a run without noise at every (cell, rate), (cells, rates)."""
        off = self.field.octaves - self.best_octave[:, None]
        return self.log_loss[:, None] + self.kappa * off**2

    def losses(self, trial: Trial) -> tuple[float, float] | None:
        """Returns held-out and selection loss of a trial [nats], always the same ones; None where it diverges."""
        place = self.field.find(trial)
        if place is None:
            raise ValueError(f"{trial.name} is no trial of this field")
        cell, rate = place
        if self.field.octaves[cell, rate] > self.best_octave[cell] + STABLE_OCTAVES:
            return None
        rng = np.random.default_rng([self.seed, int(trial.id[:12], 16)])
        log_loss = float(self.truth[cell, rate]) + rng.normal(0.0, self.noise_sd)
        return math.exp(log_loss), math.exp(log_loss + rng.normal(0.0, _SELECTION_SD))


def _published_octaves(core_hours_per_epoch: Floats, epochs: Floats) -> Floats:
    """Returns how far above the grid's middle the best rate lies by Fig. 3, between its points by interpolation."""
    law = reference_law()
    x, y = np.log(law.rate_core_hours_per_epoch), np.log(law.rate_epochs)
    at_epochs: Floats = np.array([np.interp(np.log(epochs), y, row) for row in law.rate_octaves], dtype=np.float64)
    hours = np.log(core_hours_per_epoch)
    return np.array([np.interp(hours[k], x, at_epochs[:, k]) for k in range(len(epochs))], dtype=np.float64)


def _all(field: Field) -> range:
    return range(len(field.cells))
