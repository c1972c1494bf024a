"""The laws of loss, each a sum of a few powers of what was spent.

Symbols: L held-out loss [nats]; C compute of a run [core-hours or FLOPs]; N trainable parameters; D training examples
(tokens, images or epochs). E is the loss that no compute removes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Term:
    """One summand: `coefficient`, or `coefficient * variable ** -exponent`."""

    coefficient: str
    exponent: str | None = None
    variable: str | None = None
    """compute | params | data."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """A law L = sum of terms: on a log scale a log-sum-exp of lines, whose derivatives are in closed form."""

    name: str
    formula: str
    source: str
    terms: tuple[Term, ...]
    fits_frontier: bool
    """Whether it describes the best loss for a compute, rather than every cell."""

    @property
    def coefficients(self) -> tuple[str, ...]:
        """The names of the coefficients, in the order of the terms."""
        return tuple(term.coefficient for term in self.terms)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The names of the exponents, in the order of the terms that have one."""
        return tuple(term.exponent for term in self.terms if term.exponent)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Coefficients, then exponents: the order of every parameter vector."""
        return self.coefficients + self.exponents

    def log_loss(self, parameters: Mapping[str, float | Floats], log_values: Mapping[str, float | Floats]) -> Floats:
        """Returns log L; values broadcast, so draws of shape (R, 1) against computes of shape (K,) give (R, K)."""
        total = np.asarray(-np.inf)
        for term in self.terms:
            with np.errstate(divide="ignore"):
                log_term = np.log(np.asarray(parameters[term.coefficient], dtype=np.float64))
            if term.exponent and term.variable:
                log_term = log_term - np.asarray(parameters[term.exponent]) * np.asarray(log_values[term.variable])
            total = np.logaddexp(total, log_term)
        return np.asarray(total, dtype=np.float64)


POWER = Law(
    name="power",
    formula="L = a C^-b",
    source="arXiv:2310.16764 fig. 2: a straight line in log-log",
    terms=(Term(coefficient="a", exponent="b", variable="compute"),),
    fits_frontier=True,
)
POWER_FLOOR = Law(
    name="power_floor",
    formula="L = E + a C^-b",
    source="arXiv:2010.14701 eq. 1.1",
    terms=(Term(coefficient="E"), Term(coefficient="a", exponent="b", variable="compute")),
    fits_frontier=True,
)
SURFACE = Law(
    name="surface",
    formula="L = E + A N^-alpha + B D^-beta",
    source="arXiv:2203.15556 sec. 3.3, objective as in arXiv:2404.10102",
    terms=(
        Term(coefficient="E"),
        Term(coefficient="A", exponent="alpha", variable="params"),
        Term(coefficient="B", exponent="beta", variable="data"),
    ),
    fits_frontier=False,
)
LAWS = {law.name: law for law in (POWER, POWER_FLOOR, SURFACE)}
