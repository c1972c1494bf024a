"""Variables that a law bends before it raises them to a power, with first and second derivatives.

Every shape parameter is above zero and is solved for on a log scale: derivatives are by its logarithm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A parameter of a bend, and where the search for it begins."""

    name: str
    low: float
    high: float
    scale: str | None = None
    """low and high are multiples of the smallest and the largest value of this variable; None: they are values."""

    def tried(self, count: int, log_values: Mapping[str, Floats]) -> Floats:
        """Returns `count` logarithms of it, evenly spaced."""
        least, most = (0.0, 0.0) if self.scale is None else _ends(log_values[self.scale])
        return np.asarray(np.linspace(least + np.log(self.low), most + np.log(self.high), count), dtype=np.float64)


def _ends(values: Floats) -> tuple[float, float]:
    return float(values.min()), float(values.max())


@dataclass(frozen=True, kw_only=True)
class Bent:
    """The log of a bent variable over rows, for R members: every array is (R, n) or broadcasts to it."""

    value: Floats
    first: tuple[Floats, ...]
    """Derivative by the log of each shape."""
    second: tuple[tuple[Floats, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Bend:
    """What becomes of a variable."""

    reads: tuple[str, ...]
    shapes: tuple[Shape, ...]
    of: Callable[[Mapping[str, Floats], tuple[Floats, ...]], Bent]
    """(log variables, log shapes) -> the log of the bent variable."""


def bent(
    bend: Bend | None, variable: str, parameters: Mapping[str, float | Floats], log_values: Mapping[str, float | Floats]
) -> Floats:
    """Returns the log of a variable, bent where it is."""
    if bend is None:
        return np.asarray(log_values[variable], dtype=np.float64)
    arrays = {name: np.asarray(log_values[name], dtype=np.float64) for name in bend.reads}
    shapes = tuple(np.log(np.asarray(parameters[shape.name], dtype=np.float64)) for shape in bend.shapes)
    return bend.of(arrays, shapes).value


def shifted(shape: str) -> Bend:
    """Returns log(C + d): small computes are no better than d."""

    def of(log_values: Mapping[str, Floats], shapes: tuple[Floats, ...]) -> Bent:
        value = np.logaddexp(log_values["compute"], shapes[0])
        share = np.exp(shapes[0] - value)
        return Bent(value=value, first=(share,), second=((share * (1.0 - share),),))

    return Bend(reads=("compute",), shapes=(Shape(name=shape, low=1e-3, high=1.0, scale="compute"),), of=of)


def broken(place: str, width: str) -> Bend:
    """Returns f log(1 + (C/d)^(1/f)): zero below d, log(C/d) above it, the corner f wide on a log scale."""

    def of(log_values: Mapping[str, Floats], shapes: tuple[Floats, ...]) -> Bent:
        d, f = shapes[0], np.exp(shapes[1])
        u = (log_values["compute"] - d) / f
        soft, on = np.logaddexp(0.0, u), 0.5 * (1.0 + np.tanh(0.5 * u))
        bump = on * (1.0 - on)
        # g = f soft(u): dg/dd = -on, dg/dlog f = f (soft - u on), and so on.
        by_width = f * (soft - u * on)
        across = u * bump
        return Bent(
            value=f * soft,
            first=(-on, by_width),
            second=((bump / f, across), (across, by_width + f * u * u * bump)),
        )

    shapes = (Shape(name=place, low=2.0, high=0.5, scale="compute"), Shape(name=width, low=0.05, high=2.0))
    return Bend(reads=("compute",), shapes=shapes, of=of)


def repeated_data(shape: str) -> Bend:
    """Returns log D' of D examples of which U are distinct: each repetition is worth less than the one before."""
    return _decaying(shape, whole="data", fresh="unique_data")


def excess_params(shape: str) -> Bend:
    """Returns log N' of N parameters where U_N of them would be the best size for the distinct data."""
    return _decaying(shape, whole="params", fresh="useful_params")


def _decaying(shape: str, *, whole: str, fresh: str) -> Bend:
    """Returns log of U (1 + R (1 - exp(-r/R))), r = whole/U - 1 repetitions, R their half-worth [repetitions]."""

    def of(log_values: Mapping[str, Floats], shapes: tuple[Floats, ...]) -> Bent:
        worth = np.exp(shapes[0])
        repetitions = np.maximum(np.expm1(log_values[whole] - log_values[fresh]), 0.0)
        u = repetitions / worth
        left = np.exp(-u)
        # f = 1 + R (1 - e^-u) with u = r/R; derivatives by log R.
        f = 1.0 - worth * np.expm1(-u)
        f1 = -worth * (np.expm1(-u) + u * left)
        f2 = f1 - worth * u * u * left
        slope = f1 / f
        return Bent(
            value=np.minimum(log_values[whole], log_values[fresh]) + np.log(f),
            first=(slope,),
            second=((f2 / f - slope * slope,),),
        )

    return Bend(reads=(whole, fresh), shapes=(Shape(name=shape, low=0.3, high=100.0),), of=of)
