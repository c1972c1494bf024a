"""The laws of loss, each a sum of a few powers of what was spent.

| symbol | meaning |
|---|---|
| L | held-out loss [nats] |
| C | training compute of a run [core-hours or FLOPs] |
| N | trainable parameters |
| D | training examples seen [tokens, images or epochs]; U of them distinct |
| E | the loss that no compute removes |

To add a law: write its terms below, with its source, and put it into LAWS; solver, intervals, profile, back-test and
report take it from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.bends import Bend, bent, broken, excess_params, repeated_data, shifted

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Power:
    """One factor `variable ** -exponent` of a term."""

    exponent: str
    variable: str
    """compute | params | data: the logarithm of it is what the exponent multiplies."""
    bend: Bend | None = None
    """What becomes of the variable before it is raised to the power; None: nothing."""
    exponents_tried: tuple[float, float] = (0.01, 2.5)
    """Where the search for the exponent begins; the solution may lie outside."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One summand: a coefficient times powers; without powers a constant."""

    coefficient: str
    powers: tuple[Power, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Law:
    """A law L = sum of terms: on a log scale a log-sum-exp of lines, whose derivatives are in closed form."""

    name: str
    formula: str
    source: str
    terms: tuple[Term, ...]
    fits_frontier: bool
    """Whether it describes the best loss for a compute, rather than every run."""

    @property
    def coefficients(self) -> tuple[str, ...]:
        """The names of the coefficients, in the order of the terms."""
        return tuple(term.coefficient for term in self.terms)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The names of the exponents, in order of appearance; one name may stand in two terms."""
        return tuple(dict.fromkeys(power.exponent for term in self.terms for power in term.powers))

    @property
    def bends(self) -> tuple[Bend, ...]:
        """What bends the variables, in order of appearance."""
        return tuple(dict.fromkeys(p.bend for term in self.terms for p in term.powers if p.bend))

    @property
    def shapes(self) -> tuple[str, ...]:
        """The names of the bends' own parameters; all of them above zero."""
        return tuple(dict.fromkeys(shape.name for bend in self.bends for shape in bend.shapes))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Coefficients, exponents, shapes: the order of every parameter vector."""
        return self.coefficients + self.exponents + self.shapes

    @property
    def variables(self) -> tuple[str, ...]:
        """The columns that every row needs."""
        plain = [power.variable for term in self.terms for power in term.powers]
        return tuple(dict.fromkeys([*plain, *(name for bend in self.bends for name in bend.reads)]))

    def log_loss(self, parameters: Mapping[str, float | Floats], log_values: Mapping[str, float | Floats]) -> Floats:
        """Returns log L; values broadcast, so draws of shape (R, 1) against computes of shape (K,) give (R, K)."""
        total = np.asarray(-np.inf)
        for term in self.terms:
            with np.errstate(divide="ignore"):
                log_term = np.log(np.asarray(parameters[term.coefficient], dtype=np.float64))
            for power in term.powers:
                value = bent(power.bend, power.variable, parameters, log_values)
                log_term = log_term - np.asarray(parameters[power.exponent]) * value
            total = np.logaddexp(total, log_term)
        return np.asarray(total, dtype=np.float64)


_FLOOR = Term(coefficient="E")

POWER = Law(
    name="power",
    formula="L = a C^-b",
    source="arXiv:2310.16764 fig. 2: a straight line in log-log",
    terms=(Term(coefficient="a", powers=(Power(exponent="b", variable="compute"),)),),
    fits_frontier=True,
)
POWER_FLOOR = Law(
    name="power_floor",
    formula="L = E + a C^-b",
    source="arXiv:2010.14701 eq. 1.1",
    terms=(_FLOOR, *POWER.terms),
    fits_frontier=True,
)
SATURATING = Law(
    name="saturating",
    formula="L = E + a (C + d)^-b",
    source="arXiv:2106.04560 eq. 1",
    terms=(_FLOOR, Term(coefficient="a", powers=(Power(exponent="b", variable="compute", bend=shifted("d")),))),
    fits_frontier=True,
)
BROKEN = Law(
    name="broken",
    formula="L = E + a C^-b (1 + (C/d)^(1/f))^(-c f)",
    source="arXiv:2210.14891 eq. 1, one break",
    terms=(
        _FLOOR,
        Term(
            coefficient="a",
            powers=(
                Power(exponent="b", variable="compute"),
                Power(exponent="c", variable="compute", bend=broken("d", "f"), exponents_tried=(-0.5, 1.0)),
            ),
        ),
    ),
    fits_frontier=True,
)
SURFACE = Law(
    name="surface",
    formula="L = E + A N^-alpha + B D^-beta",
    source="arXiv:2203.15556 sec. 3.3, objective as in arXiv:2404.10102",
    terms=(
        _FLOOR,
        Term(coefficient="A", powers=(Power(exponent="alpha", variable="params"),)),
        Term(coefficient="B", powers=(Power(exponent="beta", variable="data"),)),
    ),
    fits_frontier=False,
)
REPEATED = Law(
    name="repeated",
    formula="L = E + A N'^-alpha + B D'^-beta, D' = U (1 + R (1 - exp(-(D/U - 1)/R))), N' likewise",
    source="arXiv:2305.16264 eq. 5 and 6: R_data and R_params are its R*_D and R*_N",
    terms=(
        _FLOOR,
        Term(coefficient="A", powers=(Power(exponent="alpha", variable="params", bend=excess_params("R_params")),)),
        Term(coefficient="B", powers=(Power(exponent="beta", variable="data", bend=repeated_data("R_data")),)),
    ),
    fits_frontier=False,
)
OVER_TRAINING = Law(
    name="over_training",
    formula="L = E + (a M^eta + b M^-eta) C^-eta, M = D/N, C = 6 N D",
    source="arXiv:2403.08540 eq. 4; M/C = 1/(6 N^2) and 1/(M C) = 1/(6 D^2)",
    terms=(
        _FLOOR,
        Term(coefficient="a", powers=(Power(exponent="eta", variable="six_params_squared"),)),
        Term(coefficient="b", powers=(Power(exponent="eta", variable="six_data_squared"),)),
    ),
    fits_frontier=False,
)
LAWS = {law.name: law for law in (POWER, POWER_FLOOR, SATURATING, BROKEN, SURFACE, REPEATED, OVER_TRAINING)}
