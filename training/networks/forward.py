"""How a network is computed: nothing here changes its function, apart from the noise that training adds."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Forward:
    """Choices that every architecture honours; hashable, so that it can key a compiled program."""

    path: str
    """xla | im2col: how convolutions are computed."""
    remat: bool = False
    """Whether each residual block is computed again in the backward pass instead of kept in memory."""
    dropout: float = 0.0
    """Part of the features before the classifier that is dropped, where a key for noise is given."""
    stochastic_depth: float = 0.0
    """Chance that the last residual branch is dropped for an image, from 0 linearly over the blocks; likewise."""
    whole: Any = None
    """Sharding that has an array whole on every device, where parameters are spread: a block's are gathered to it when
    it is their turn. Left alone, XLA spreads activations as the parameters are, and sums them up over all devices."""
