"""What a run would teach: posteriors over runs and questions together, narrowed run by run without being trained.

Everything is normal here, so a run narrows the posterior by the same amount whatever it will show. With s the
covariance of a run's true loss with what is asked and v its own variance, noise included, the variance of what is asked
falls by s^2 / v (Chaloner and Verdinelli, Bayesian Experimental Design: A Review, sec. 2.2).
"""

from dataclasses import dataclass

import numpy as np

from strategy.belief import Belief
from strategy.field import Floats

_NODES, _RAW = np.polynomial.hermite_e.hermegauss(9)
_WEIGHTS = _RAW / _RAW.sum()
"""Of a standard normal variable at the nodes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outlook:
    """Where things stand, and would stand after runs that are not trained yet."""

    mean: Floats
    """Expected log loss of every (cell, rate) without noise, (k,)."""
    covariance: Floats
    """Of these, (k, k)."""
    noise: Floats
    """Variance of one run's noise, (k,)."""
    asked: Floats
    """Covariance of what is asked with every (cell, rate), (k,)."""
    asked_variance: float

    def variances_left(self) -> Floats:
        """Returns the variance of what is asked after one more run at each (cell, rate), (k,)."""
        return self.asked_variance - self.asked**2 / (np.diag(self.covariance) + self.noise)

    def after(self, place: int) -> "Outlook":
        """Returns the outlook after one more run there."""
        column = self.covariance[:, place]
        own = float(column[place] + self.noise[place])
        return Outlook(
            mean=self.mean,
            covariance=self.covariance - np.outer(column, column) / own,
            noise=self.noise,
            asked=self.asked - self.asked[place] * column / own,
            asked_variance=self.asked_variance - float(self.asked[place]) ** 2 / own,
        )

    def gains(self, choices: np.ndarray) -> Floats:
        """Returns by how much one more run at each (cell, rate) is expected to lower the loss of the pick, (k,).

        The knowledge gradient: the expected least of the means after the run, against the least now (Frazier, Powell
        and Dayanik, The Knowledge-Gradient Policy for Correlated Normal Beliefs).

        Args:
            choices: places of what may be picked.
        """
        moves = self.covariance[choices] / np.sqrt(np.diag(self.covariance) + self.noise)[None, :]
        mean = self.mean[choices][:, None]
        least = sum(w * (mean + z * moves).min(axis=0) for z, w in zip(_NODES, _WEIGHTS, strict=True))
        return np.maximum(mean.min() - least, 0.0)


def outlook(belief: Belief, asked: Floats | None = None) -> Outlook:
    """Returns the outlook of a belief.

    Args:
        belief: what is known.
        asked: what is asked, as weights of the log losses of all (cell, rate), (k,); None asks nothing.
    """
    covariance = belief.loss_covariance
    asked = np.zeros(len(covariance)) if asked is None else asked
    return Outlook(
        mean=belief.mean.ravel(),
        covariance=covariance,
        noise=np.repeat(belief.noise.sd**2, belief.field.rate_count),
        asked=covariance @ asked,
        asked_variance=float(asked @ covariance @ asked),
    )
