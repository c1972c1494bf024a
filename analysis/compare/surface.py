"""A smooth surface over size and data: a polynomial fitted to all cells at once, with resamples of it."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimators.frontier import Ints
from analysis.laws import Floats

_DEGREES = (3, 2, 1)
_CELLS_A_COEFFICIENT = 2.0
"""Cells for each coefficient of the polynomial that a surface may have.

The degree follows from the number of cells alone: two families whose degrees were chosen by their noise would differ in
what no polynomial follows, and that would pass for a difference between them.
"""
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
    """What each row misses when the other cells predict it, shape (rows,)."""

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
        degree = next((k for k in _DEGREES if len(groups) >= _CELLS_A_COEFFICIENT * _count(k)), 1)
        design = np.hstack([places.monomials(places.size, places.images, degree), rest])
        best = _Fit.of(design, values, weights, groups)
        members = np.concatenate([values[None], best.smoothed + numbers[:, cells] * best.noise])
        return cls(
            places=places,
            degree=degree,
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
        return self.coefficients[:, _count(self.degree) :]


def _count(degree: int) -> int:
    """Returns how many products of powers of two variables there are up to a degree."""
    return (degree + 1) * (degree + 2) // 2


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A polynomial fitted to rows."""

    smoothed: Floats
    solution: Floats
    """What makes coefficients of values, shape (coefficients, rows)."""
    noise: Floats

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
        noise = np.zeros(len(values))
        for rows in groups:
            # What the cell misses when the others predict it: the correction CR3 of R. M. Bell and D. F. McCaffrey
            # (Survey Methodology 28, 2002). It is the one that covers where few cells carry the end of a range.
            parts, axes = np.linalg.eigh(np.eye(len(rows)) - basis[rows] @ basis[rows].T)
            parts, turned = np.maximum(parts, _LEAST_LEFT), axes.T @ residual[rows]
            noise[rows] = axes @ (turned / parts) / roots[rows]
        return cls(smoothed=smoothed, solution=solution, noise=noise)
