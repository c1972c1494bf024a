"""The law that beliefs are about, with its slopes, and what is thought likely of it before anything was run."""

import functools
from dataclasses import dataclass

import numpy as np

from strategy.evidence import Evidence
from strategy.field import Field, Floats, Ints

LAW = ("log_E", "log_A", "log_alpha", "log_B", "log_beta", "c0", "cN", "cD", "log_kappa")
"""Parameters of one family's law. Behind those of all families, theta holds a shift of each cell's best rate
[octaves]."""

_SD = (1.0, 1.0, 0.5, 1.0, 0.5, 1.0, 0.15, 0.15, 1.0)
"""Wide: factors of e^1 for the three terms, e^0.5 for exponents, an octave for the optimum, a factor of e for how
much a wrong rate costs."""
_FLOOR_SHARE, _TERM_SHARE = 0.5, 0.2
"""Of the least loss seen: the floor, and each of the other two terms at the middle of the field."""
_ALPHA, _BETA = 0.4, 0.3
"""Between those of language models (0.34 and 0.28, arXiv:2203.15556) and of images."""
_FALL = 0.15
"""Octaves by which the best rate falls when size or data double: slowly, monotonically (arXiv:2310.16764, Fig. 3)."""
_SHIFT_SD, _SHIFT_DOUBLINGS = 0.5, 2.0
"""How far the best rate of a cell lies off its plane [octaves], and over how many doublings of size or data it keeps
that shift: the published optima stay level for short runs and fall for long ones."""
_OWN_SHIFT_SD = 0.15
"""The part of that shift that a cell shares with no other [octaves]."""
_KAPPA = 0.01
"""Relative loss one octave off the best rate."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    """A normal prior of theta."""

    mean: Floats
    """(families x LAW + cells,)"""
    covariance: Floats
    origin: tuple[float, float]
    """Mean log parameters and log images of the field's cells, about which the law is written."""

    @functools.cached_property
    def whitening(self) -> Floats:
        """What turns deviations from the mean into independent ones of variance 1, (p, p)."""
        return np.asarray(np.linalg.inv(np.linalg.cholesky(self.covariance)), dtype=np.float64)


def prior_of(field: Field, evidence: Evidence) -> Prior:
    """Returns the prior of a field; the scale of the losses is that of the runs."""
    middle = float(field.log_params.mean()), float(field.log_images.mean())
    least = float(evidence.log_loss.min())
    mean = (
        least + np.log(_FLOOR_SHARE), least + np.log(_TERM_SHARE), np.log(_ALPHA), least + np.log(_TERM_SHARE),
        np.log(_BETA), 0.0, _FALL, _FALL, np.log(_KAPPA),
    )  # fmt: skip
    families, cells = len(field.families), len(field.cells)
    means = np.tile(mean, (families, 1))
    means[:, LAW.index("c0")] = field.middle_octaves
    law = np.tile(np.square(_SD), families)
    covariance = np.zeros((len(law) + cells, len(law) + cells))
    covariance[: len(law), : len(law)] = np.diag(law)
    covariance[len(law) :, len(law) :] = _shifts(field)
    return Prior(mean=np.concatenate([means.ravel(), np.zeros(cells)]), covariance=covariance, origin=middle)


def _shifts(field: Field) -> Floats:
    """Returns the covariance of the cells' shifts of the best rate, (cells, cells): near cells shift alike."""
    where = np.stack([field.log_params, field.log_images], axis=1) / (np.log(2) * _SHIFT_DOUBLINGS)
    squares = ((where[:, None, :] - where[None, :, :]) ** 2).sum(axis=2)
    alike = field.family[:, None] == field.family[None, :]
    return _SHIFT_SD**2 * np.exp(-0.5 * squares) * alike + _OWN_SHIFT_SD**2 * np.eye(len(squares))


def law_and_slopes(
    theta: Floats, field: Field, origin: tuple[float, float], cells: Ints, rates: Ints
) -> tuple[Floats, Floats]:
    """Returns the log loss that the law gives runs at (cells, rates), (n,), and its derivatives by theta, (n, p)."""
    shared = len(field.families) * len(LAW)
    table = theta[:shared].reshape(-1, len(LAW))[field.family[cells]]
    log_e, log_a, log_alpha, log_b, log_beta, c0, c_n, c_d, log_kappa = table.T
    x, y = field.log_params[cells] - origin[0], field.log_images[cells] - origin[1]
    alpha, beta, kappa = np.exp(log_alpha), np.exp(log_beta), np.exp(log_kappa)
    terms = np.stack([log_e, log_a - alpha * x, log_b - beta * y])
    top = terms.max(axis=0)
    parts = np.exp(terms - top)
    total = parts.sum(axis=0)
    share = parts / total
    u, v = x / np.log(2), y / np.log(2)
    off = field.octaves[cells, rates] - (c0 - c_n * u - c_d * v + theta[shared + cells])
    law = top + np.log(total) + kappa * off**2
    by = np.stack(
        [
            share[0], share[1], -share[1] * alpha * x, share[2], -share[2] * beta * y,
            *(2 * kappa * off * one for one in (-1.0, u, v)), kappa * off**2,
        ],
        axis=1,
    )  # fmt: skip
    slopes = np.zeros((len(cells), len(theta)))
    columns = field.family[cells][:, None] * len(LAW) + np.arange(len(LAW))
    np.put_along_axis(slopes, columns, by, axis=1)
    slopes[np.arange(len(cells)), shared + cells] = -2 * kappa * off
    return law, slopes


def best_rate_slopes(field: Field, origin: tuple[float, float], parameters: int) -> Floats:
    """Returns the derivatives of each cell's best rate [octaves] by theta, (cells, p): it is linear in theta."""
    cells = np.arange(len(field.cells))
    first = field.family * len(LAW)
    slopes = np.zeros((len(cells), parameters))
    slopes[cells, first + LAW.index("c0")] = 1.0
    slopes[cells, first + LAW.index("cN")] = -(field.log_params - origin[0]) / np.log(2)
    slopes[cells, first + LAW.index("cD")] = -(field.log_images - origin[1]) / np.log(2)
    slopes[cells, len(field.families) * len(LAW) + cells] = 1.0
    return slopes


def kappas(theta: Floats, field: Field) -> Floats:
    """Returns the price of a rate one octave off in each cell [of log loss], (cells,)."""
    return np.exp(theta[field.family * len(LAW) + LAW.index("log_kappa")])
