"""The rows of a fit, and the objective with its exact derivatives for many members at once.

Inside the solver a member is a vector theta: log coefficients at the centre of the rows, exponents, log shapes.
Centring the log variables takes the condition of the surface from 1e11 to 1e3.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.laws import Floats, Law

_LARGEST_LOG = 300.0
"""Exponents are cut there, so that a wild trial step has a cost and no overflow."""


@dataclass(frozen=True, kw_only=True)
class Pull:
    """A quadratic pull of one parameter, 0.5 strength (theta - towards)^2, from a prior; an infinite one pins it."""

    index: int
    towards: float
    strength: float


@dataclass(frozen=True, kw_only=True)
class Derivatives:
    """Cost of R members with its gradient and Hessian."""

    cost: Floats
    """Shape (R,)."""
    gradient: Floats
    """Shape (R, p)."""
    hessian: Floats
    """Shape (R, p, p)."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Rows that all members share."""

    law: Law
    log_values: dict[str, Floats]
    """Each variable, shape (n,)."""
    centres: tuple[tuple[float, ...], ...]
    """For each term and power: what is subtracted from the log variable."""
    exponent_at: tuple[tuple[int, ...], ...]
    """For each term and power: where its exponent lies in theta."""
    shapes_at: tuple[tuple[tuple[int, ...], ...], ...]
    """For each term and power: where the shapes of its bend lie in theta."""
    delta: float | None
    """Of the Huber loss of log residuals; None: least squares."""
    pulls: tuple[Pull, ...] = ()

    @classmethod
    def of(
        cls, law: Law, log_values: Mapping[str, Floats], *, delta: float | None, as_written: Collection[str] = ()
    ) -> "Design":
        """Returns the design of a law over rows; the coefficients in `as_written` are not taken at the centre."""
        values = {name: np.asarray(log_values[name], dtype=np.float64) for name in law.variables}
        names = law.parameters
        return cls(
            law=law,
            log_values=values,
            centres=tuple(
                tuple(
                    0.0 if term.coefficient in as_written else float(values[power.variable].mean())
                    for power in term.powers
                )
                for term in law.terms
            ),
            exponent_at=tuple(tuple(names.index(power.exponent) for power in term.powers) for term in law.terms),
            shapes_at=tuple(
                tuple(tuple(names.index(s.name) for s in power.bend.shapes) if power.bend else () for power in t.powers)
                for t in law.terms
            ),
            delta=delta,
        )

    @property
    def pinned(self) -> npt.NDArray[np.bool_]:
        """Which parameters may not move, shape (p,)."""
        held = np.zeros(len(self.law.parameters), dtype=bool)
        held[[pull.index for pull in self.pulls if np.isinf(pull.strength)]] = True
        return held

    def outward(self, theta: Floats) -> dict[str, Floats]:
        """Returns the parameters people read, (R,) each, of theta (R, p)."""
        columns, law = theta.copy(), self.law
        for t, centres in enumerate(self.centres):
            for k, centre in enumerate(centres):
                columns[:, t] += columns[:, self.exponent_at[t][k]] * centre
        logs = [i for i, name in enumerate(law.parameters) if name not in law.exponents]
        with np.errstate(over="ignore"):
            columns[:, logs] = np.exp(columns[:, logs])
        return {name: columns[:, i] for i, name in enumerate(law.parameters)}

    def inward(self, parameters: Mapping[str, Floats]) -> Floats:
        """Returns theta (R, p) of the parameters people read."""
        law = self.law
        theta = np.stack([np.asarray(parameters[name], dtype=np.float64) for name in law.parameters], axis=1)
        logs = [i for i, name in enumerate(law.parameters) if name not in law.exponents]
        theta[:, logs] = np.log(np.maximum(theta[:, logs], 1e-300))
        for t, centres in enumerate(self.centres):
            for k, centre in enumerate(centres):
                theta[:, t] -= theta[:, self.exponent_at[t][k]] * centre
        return theta

    def residuals(self, theta: Floats, y: Floats) -> Floats:
        """Returns log prediction minus log loss `y` (n,) or (R, n), shape (R, n)."""
        terms, _ = self._terms(theta)
        return np.log(sum(terms[1:], terms[0])) - y

    def slopes(self, theta: Floats) -> Floats:
        """Returns the derivative of the log prediction by each parameter, (R, p, n)."""
        terms, rows = self._terms(theta)
        return _jacobian([term / sum(terms[1:], terms[0]) for term in terms], rows, theta.shape)

    def cost(self, theta: Floats, y: Floats, weights: Floats) -> Floats:
        """Returns the sum over rows of weight x Huber(log residual), and the pulls, shape (R,)."""
        return (weights * huber(self.residuals(theta, y), self.delta)).sum(axis=1) + self._pulled(theta)

    def derivatives(self, theta: Floats, y: Floats, weights: Floats, *, exact: bool) -> Derivatives:
        """Returns cost and derivatives; the Hessian is the positive, reweighted Gauss-Newton one unless `exact`."""
        terms, rows = self._terms(theta)
        total = sum(terms[1:], terms[0])
        residual = np.log(total) - y
        shares = [term / total for term in terms]
        slope = residual if self.delta is None else np.clip(residual, -self.delta, self.delta)
        jacobian = _jacobian(shares, rows, theta.shape)
        # What one matrix product gives: gradient and the part of the Hessian that comes from the residuals' slopes.
        pull = weights * slope
        gradient = np.matmul(jacobian, pull[:, :, None])[:, :, 0]
        bend = self._bend(residual, slope, exact=exact)
        hessian = np.matmul(jacobian * (weights * bend)[:, None], jacobian.transpose(0, 2, 1))
        if exact:
            for t, share in enumerate(shares):
                _add_curvature(hessian, t, pull * share, rows[t])
        for held in self.pulls:
            if np.isfinite(held.strength):
                gradient[:, held.index] += held.strength * (theta[:, held.index] - held.towards)
                hessian[:, held.index, held.index] += held.strength
        cost = (weights * huber(residual, self.delta)).sum(axis=1) + self._pulled(theta)
        return Derivatives(cost=cost, gradient=gradient, hessian=hessian)

    def _bend(self, residual: Floats, slope: Floats, *, exact: bool) -> Floats:
        """Returns what multiplies the outer products of slopes: exactly, or as iteratively reweighted squares."""
        if self.delta is None:
            return 1.0 - slope if exact else np.ones_like(residual)
        if exact:
            return (np.abs(residual) <= self.delta) - slope
        return np.minimum(1.0, self.delta / np.maximum(np.abs(residual), 1e-15))

    def _pulled(self, theta: Floats) -> Floats:
        total = np.zeros(len(theta))
        for pull in self.pulls:
            if np.isfinite(pull.strength):
                total += 0.5 * pull.strength * (theta[:, pull.index] - pull.towards) ** 2
        return total

    def _terms(self, theta: Floats) -> "tuple[list[Floats], list[_Rows]]":
        """Returns each term (R, n) and the derivatives of its logarithm by the parameters that it has."""
        terms: list[Floats] = []
        rows: list[_Rows] = []
        for t, term in enumerate(self.law.terms):
            z = theta[:, t, None]
            found = _Rows(first=[], second=[])
            for k, power in enumerate(term.powers):
                at = self.exponent_at[t][k]
                exponent = theta[:, at, None]
                if power.bend is None:
                    x = self.log_values[power.variable] - self.centres[t][k]
                    found.first.append((at, -x))
                else:
                    shapes = tuple(theta[:, i, None] for i in self.shapes_at[t][k])
                    bent = power.bend.of(self.log_values, shapes)
                    x = bent.value - self.centres[t][k]
                    found.add_bent(at, exponent, x, self.shapes_at[t][k], bent.first, bent.second)
                z = z - exponent * x
            terms.append(np.exp(np.minimum(z, _LARGEST_LOG)))
            rows.append(found)
        return terms, rows


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Derivatives of a term's logarithm; that by its log coefficient is 1 and not listed."""

    first: list[tuple[int, Floats]]
    """(parameter, derivative), (n,) or (R, n)."""
    second: list[tuple[int, int, Floats]]
    """(parameter, parameter, derivative) for each pair once, where it is not zero."""

    def add_bent(
        self, at: int, exponent: Floats, x: Floats, shapes_at: tuple[int, ...], first: tuple[Floats, ...],
        second: tuple[tuple[Floats, ...], ...],
    ) -> None:  # fmt: skip
        """Adds the derivatives of -exponent * x, whose x depends on shapes."""
        self.first.append((at, -x))
        for i, index in enumerate(shapes_at):
            self.first.append((index, -exponent * first[i]))
            self.second.append((at, index, -first[i]))
            self.second.extend((index, shapes_at[j], -exponent * second[i][j]) for j in range(i, len(shapes_at)))


def _jacobian(shares: "list[Floats]", rows: "list[_Rows]", shape: tuple[int, ...]) -> Floats:
    jacobian = np.zeros((*shape, max(share.shape[1] for share in shares)))
    for t, share in enumerate(shares):
        jacobian[:, t] += share
        for index, row in rows[t].first:
            jacobian[:, index] += share * row
    return jacobian


def _add_curvature(hessian: Floats, coefficient: int, pull: Floats, rows: _Rows) -> None:
    """Adds sum over rows of pull x (first first' + second), the curvature of one term, to R Hessians in place."""
    hessian[:, coefficient, coefficient] += pull.sum(axis=1)
    for i, (at, row) in enumerate(rows.first):
        _add(hessian, coefficient, at, _dot(pull, row))
        for other, row2 in rows.first[i:]:
            _add(hessian, at, other, _dot(pull, row * row2))
    for at, other, row in rows.second:
        _add(hessian, at, other, _dot(pull, row))


def _add(hessian: Floats, i: int, j: int, values: Floats) -> None:
    hessian[:, i, j] += values
    if i != j:
        hessian[:, j, i] += values


def _dot(pull: Floats, row: Floats) -> Floats:
    return pull @ row if row.ndim == 1 else (pull * row).sum(axis=1)


def huber(residual: Floats, delta: float | None) -> Floats:
    """Returns r^2 / 2 within `delta` of zero, delta (|r| - delta / 2) outside; r^2 / 2 everywhere without a delta."""
    if delta is None:
        return 0.5 * residual**2
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta))
