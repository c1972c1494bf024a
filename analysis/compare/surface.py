"""A smooth surface over size and data: a polynomial whose degree leave-one-out predicts best, with resamples of it."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimators.frontier import Ints
from analysis.laws import Floats

_DEGREES = (1, 2, 3)
_SPARE_CELLS = 2
"""Cells beyond the coefficients of a polynomial that may be fitted at all."""
_LEAST_LEFT = 0.05
"""A cell that pulls the surface so hard to itself that less than this is left of its residual counts as leaving it."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a family has rows: log FLOPs an image stand for size, log images for data."""

    size: Floats
    """Shape (rows,)."""
    images: Floats
    """Shape (rows,)."""

    def scaled(self, size: Floats, images: Floats) -> tuple[Floats, Floats]:
        """Returns places of any shape such that those of the rows run from -1 to 1."""
        return _scaled(size, self.size), _scaled(images, self.images)

    def monomials(self, size: Floats, images: Floats, degree: int) -> Floats:
        """Returns all products of powers up to a degree at other places (...,), as (..., coefficients)."""
        n, d = self.scaled(size, images)
        powers = [(i, j) for i, j in itertools.product(range(degree + 1), repeat=2) if i + j <= degree]
        return np.stack([n**i * d**j for i, j in powers], axis=-1)


def _scaled(x: Floats, own: Floats) -> Floats:
    low, high = float(own.min()), float(own.max())
    return (x - (high + low) / 2) / max((high - low) / 2, 1e-9)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Coefficients of a polynomial over places, and of what stands beside it."""

    places: Places
    degree: int
    coefficients: Floats
    """First those of the fit, then those of every resample, shape (1 + R, monomials + columns beside them)."""
    noise: Floats
    """Residuals, each as large as it would be had its own cell not drawn the surface to itself, shape (rows,)."""

    @classmethod
    def of(
        cls, places: Places, values: Floats, *, weights: Floats, cells: Ints, numbers: Floats,
        beside: Floats | None = None,
    ) -> "Surface":  # fmt: skip
        """Returns the surface through values (rows,), by weighted least squares.

        Args:
            places: of the rows.
            values: what is smoothed.
            weights: how much each row counts, (rows,).
            cells: which cell each row is of, (rows,): rows of one cell are left out, and drawn anew, together.
            numbers: of mean 0 and variance 1, (R, cells): what multiplies a cell's residuals in each resample.
            beside: further columns of the design, (rows, columns).
        """
        groups = [np.flatnonzero(cells == cell) for cell in range(int(cells.max()) + 1)]
        rest = np.zeros((len(values), 0)) if beside is None else beside
        fits = [
            _Fit.of(
                np.hstack([places.monomials(places.size, places.images, degree), rest]), values, weights, groups
            )
            for degree in _DEGREES
        ]  # fmt: skip
        allowed = [k for k, fit in enumerate(fits) if len(groups) >= fit.rank - rest.shape[1] + _SPARE_CELLS] or [0]
        chosen = min(allowed, key=lambda k: fits[k].left_out)
        best = fits[chosen]
        members = np.concatenate([values[None], best.smoothed + numbers[:, cells] * best.noise])
        return cls(
            places=places,
            degree=_DEGREES[chosen],
            coefficients=members @ best.solution.T,
            noise=best.noise,
        )

    def at(self, size: Floats, images: Floats) -> Floats:
        """Returns the polynomial of fit and resamples at places (K,), shape (1 + R, K)."""
        monomials = self.places.monomials(size, images, self.degree)
        return self.coefficients[:, : monomials.shape[-1]] @ monomials.T

    @property
    def beside(self) -> Floats:
        """The coefficients of what stands beside the polynomial, (1 + R, columns)."""
        count = (self.degree + 1) * (self.degree + 2) // 2
        return self.coefficients[:, count:]


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A polynomial of one degree."""

    smoothed: Floats
    solution: Floats
    """What makes coefficients of values, shape (coefficients, rows)."""
    noise: Floats
    left_out: float
    """Weighted sum of squares of what each cell misses when the others predict it."""
    rank: int

    @classmethod
    def of(cls, design: Floats, values: Floats, weights: Floats, groups: Sequence[Ints]) -> "_Fit":
        roots = np.sqrt(weights)
        left, sizes, right = np.linalg.svd(design * roots[:, None], full_matrices=False)
        # With one size, or one amount of data, some products say nothing new.
        kept = sizes > 1e-9 * sizes[0]
        basis = left[:, kept]
        solution = (right[kept].T / sizes[kept]) @ basis.T * roots
        smoothed = design @ (solution @ values)
        residual = (values - smoothed) * roots
        noise, left_out = np.zeros(len(values)), 0.0
        for rows in groups:
            # What is left of a cell's own residuals: the corrections CR2 and CR3 of R. M. Bell and D. F. McCaffrey
            # (Survey Methodology 28, 2002).
            parts, axes = np.linalg.eigh(np.eye(len(rows)) - basis[rows] @ basis[rows].T)
            parts, turned = np.maximum(parts, _LEAST_LEFT), axes.T @ residual[rows]
            noise[rows] = axes @ (turned / np.sqrt(parts)) / roots[rows]
            left_out += float(((turned / parts) ** 2).sum())
        return cls(smoothed=smoothed, solution=solution, noise=noise, left_out=left_out, rank=int(kept.sum()))
