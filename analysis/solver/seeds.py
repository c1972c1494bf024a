"""Where to begin: with exponents and shapes fixed a law is linear in its coefficients (variable projection).

A whole grid of exponents then costs a few matrix products: normal equations need only inner products of columns.
"""

import math

import numpy as np

from analysis.laws import Floats
from analysis.solver.design import Design, huber

_TRIED = {1: 96, 2: 48, 3: 14, 4: 7}
"""Values of each exponent or shape, by how many there are; fewer when there are more."""
_SEEDS = 8
_CANDIDATES = 48
_ROWS_AT_MOST = 512
_GRID_AT_ONCE = 4096


def seeds(design: Design, y: Floats) -> Floats:
    """Returns the most promising starts, theta of shape (seeds, p).

    They are local minima of the grid's squared relative error, and of those the least by the real objective.
    """
    rows = _spread_rows(y)
    axes = _axes(design)
    names = [*design.law.exponents, *design.law.shapes]
    held = {pull.index: pull.towards for pull in design.pulls if math.isinf(pull.strength)}
    first = len(design.law.terms)
    axes = [np.array([held[first + i]]) if first + i in held else axis for i, axis in enumerate(axes)]
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1).reshape(-1, len(names))
    logs, squares = _project(design, axes, rows, y[rows], held)
    candidates = _local_minima(squares, tuple(len(axis) for axis in axes))[:_CANDIDATES]
    theta = np.concatenate([logs[candidates], grid[candidates]], axis=1)
    residual = _residuals(design, theta, rows, y[rows])
    order = np.argsort(huber(residual, design.delta).sum(axis=1), kind="stable")
    return theta[order[:_SEEDS]]


def _spread_rows(y: Floats) -> np.ndarray:
    """Returns at most _ROWS_AT_MOST rows, evenly spread over the losses: a seed needs no more."""
    order = np.argsort(y, kind="stable")
    if len(y) <= _ROWS_AT_MOST:
        return np.sort(order)
    return np.unique(order[np.linspace(0, len(y) - 1, _ROWS_AT_MOST).astype(np.intp)])


def _axes(design: Design) -> list[Floats]:
    law = design.law
    count = _TRIED.get(len(law.exponents) + len(law.shapes), 7)
    spans = {power.exponent: power.exponents_tried for term in law.terms for power in term.powers}
    axes = [np.geomspace(*spans[e], count) if spans[e][0] > 0 else np.linspace(*spans[e], count) for e in law.exponents]
    shapes = {shape.name: shape for bend in law.bends for shape in bend.shapes}
    return axes + [shapes[name].tried(count, design.log_values) for name in law.shapes]


def _columns(design: Design, term: int, grid: Floats, rows: np.ndarray) -> Floats:
    """Returns a term without its coefficient, (G, rows), at each point of the grid of exponents and shapes."""
    offset = len(design.law.terms)
    z = np.zeros((len(grid), len(rows)))
    values = {name: column[rows] for name, column in design.log_values.items()}
    for k, power in enumerate(design.law.terms[term].powers):
        exponent = grid[:, design.exponent_at[term][k] - offset, None]
        if power.bend is None:
            x = values[power.variable][None]
        else:
            x = power.bend.of(values, tuple(grid[:, i - offset, None] for i in design.shapes_at[term][k])).value
        z = z - exponent * (x - design.centres[term][k])
    return np.exp(np.clip(z, -300.0, 300.0))


def _project(
    design: Design, axes: list[Floats], rows: np.ndarray, y: Floats, held: dict[int, float]
) -> tuple[Floats, Floats]:
    """Returns the best log coefficients (G, terms) and what squared relative error they leave (G,).

    Rows are weighted by 1 / L^2, so that the linear residual imitates the log residual. Each term's columns are made
    once for each distinct setting of its own exponents and shapes.
    """
    terms, offset = len(design.law.terms), len(design.law.terms)
    loss = np.exp(y)
    shape = tuple(len(axis) for axis in axes)
    at = np.indices(shape).reshape(len(shape), -1)
    columns: list[Floats] = []
    places: list[np.ndarray] = []
    for t in range(terms):
        own = sorted({i - offset for places_of in (design.exponent_at[t], *design.shapes_at[t]) for i in places_of})
        counts = tuple(shape[i] for i in own)
        settings = np.zeros((math.prod(counts), len(axes)))
        for i, index in zip(own, np.indices(counts).reshape(len(own), math.prod(counts)), strict=True):
            settings[:, i] = axes[i][index]
        columns.append(_columns(design, t, settings, rows) / loss)
        place = np.ravel_multi_index(tuple(at[own]), counts) if own else np.zeros_like(at[0])
        places.append(np.asarray(place))
    normal = np.empty((at.shape[1], terms, terms))
    right = np.empty((at.shape[1], terms))
    for i in range(terms):
        right[:, i] = columns[i].sum(axis=1)[places[i]]
        for j in range(i, terms):
            normal[:, i, j] = normal[:, j, i] = _inner(columns[i], columns[j], places[i], places[j])
    coefficients = _coefficients(normal, right, {i: math.exp(v) for i, v in held.items() if i < terms}, loss)
    squares = np.einsum("gi,gij,gj->g", coefficients, normal, coefficients) - 2 * (coefficients * right).sum(axis=1)
    return np.log(coefficients), squares


def _inner(left: Floats, right: Floats, left_place: np.ndarray, right_place: np.ndarray) -> Floats:
    """Returns the inner product of the two columns of each grid point: one matrix product where terms vary apart."""
    if len(left) * len(right) <= 4 * len(left_place):
        return (left @ right.T)[left_place, right_place]
    parts = [
        np.einsum("gn,gn->g", left[left_place[i : i + _GRID_AT_ONCE]], right[right_place[i : i + _GRID_AT_ONCE]])
        for i in range(0, len(left_place), _GRID_AT_ONCE)
    ]
    return np.concatenate(parts)


def _coefficients(normal: Floats, right: Floats, held: dict[int, float], loss: Floats) -> Floats:
    """Returns the coefficients (G, terms) that solve the normal equations, those held at their values, none below 0."""
    terms = right.shape[1]
    ridge = 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(terms)
    matrix, target = normal + ridge, right.copy()
    for i, value in held.items():
        target -= matrix[:, :, i] * value
        matrix[:, i, :] = matrix[:, :, i] = 0.0
        matrix[:, i, i], target[:, i] = 1.0, value
    # A negative coefficient has no logarithm: start from a small positive one, and let Newton decide.
    smallest = 1e-3 * float(loss.min()) / np.maximum(np.sqrt(np.einsum("gii->gi", normal) / len(loss)), 1e-12)
    found = solve(matrix, target)
    return np.where(np.isfinite(found) & (found > 0), np.maximum(found, 1e-6 * smallest), smallest)


def _local_minima(squares: Floats, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the grid points no worse than their neighbours along each axis, best first."""
    cube = squares.reshape(shape)
    is_least = np.isfinite(cube)
    for axis in range(cube.ndim):
        padded = np.pad(cube, [(1, 1) if a == axis else (0, 0) for a in range(cube.ndim)], constant_values=np.inf)
        for start in (0, 2):
            is_least &= cube <= np.take(padded, np.arange(start, start + cube.shape[axis]), axis=axis)
    found = np.flatnonzero(is_least.ravel())
    if not len(found):
        found = np.flatnonzero(np.isfinite(squares))
    found = found[np.argsort(squares[found], kind="stable")]
    if len(found) >= _SEEDS:
        return found
    # One basin: its best points differ along the valley, where the real objective may have its minimum.
    rest = np.argsort(squares, kind="stable")[:_CANDIDATES]
    return np.concatenate([found, rest[~np.isin(rest, found)]])


def _residuals(design: Design, theta: Floats, rows: np.ndarray, y: Floats) -> Floats:
    some = {name: values[rows] for name, values in design.log_values.items()}
    part = Design(
        law=design.law, log_values=some, centres=design.centres, exponent_at=design.exponent_at,
        shapes_at=design.shapes_at, delta=design.delta,
    )  # fmt: skip
    return part.residuals(theta, y)


def solve(matrices: Floats, right: Floats) -> Floats:
    """Returns the solutions (R, p), of least norm when a member is singular."""
    try:
        return np.asarray(np.linalg.solve(matrices, right[..., None])[..., 0], dtype=np.float64)
    except np.linalg.LinAlgError:
        pseudo = np.linalg.pinv(np.nan_to_num(matrices))
        return np.asarray(pseudo @ np.nan_to_num(right)[..., None], dtype=np.float64)[..., 0]
