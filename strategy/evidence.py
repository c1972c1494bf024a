"""What the records of a study say about its field."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strategy.field import Field, Floats, Ints
from sweeps.record import RunRecord, Status


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What records say about a field; one row a finished run."""

    cell: Ints
    """Position of the run's cell, (n,)."""
    rate: Ints
    """Position of its learning rate, (n,)."""
    seed: Ints
    log_loss: Floats
    """Log held-out loss, (n,)."""
    log_selection: Floats
    """Log of the loss on which learning rates are chosen, (n,)."""
    is_tainted: npt.NDArray[np.bool_]
    diverged: frozenset[tuple[int, int]] = frozenset()
    """(cell, rate) at which a run diverged."""

    @classmethod
    def read(cls, field: Field, records: Iterable[RunRecord]) -> "Evidence":
        """Returns what the records of the field's own trials say; other runs are passed over."""
        rows: list[tuple[int, int, int, float, float, bool]] = []
        diverged: set[tuple[int, int]] = set()
        for record in records:
            place = field.find(record.trial)
            if place is None:
                continue
            if record.status is Status.DIVERGED:
                diverged.add(place)
            loss = record.val_loss
            if loss is None or record.outcome is None or not 0.0 < loss < np.inf:
                continue
            chosen_on = record.outcome.selection_loss
            rows.append((*place, record.trial.seed, loss, chosen_on or loss, record.tainted))
        rows.sort()
        return cls(
            cell=np.array([row[0] for row in rows], dtype=np.intp),
            rate=np.array([row[1] for row in rows], dtype=np.intp),
            seed=np.array([row[2] for row in rows], dtype=np.intp),
            log_loss=np.log(np.array([row[3] for row in rows], dtype=np.float64)),
            log_selection=np.log(np.array([row[4] for row in rows], dtype=np.float64)),
            is_tainted=np.array([row[5] for row in rows], dtype=bool),
            diverged=frozenset(diverged),
        )

    def __len__(self) -> int:
        return len(self.cell)

    @functools.cached_property
    def runs(self) -> npt.NDArray[np.intp]:
        """Finished runs at each (cell, rate) that has any: rows of (cell, rate, runs)."""
        pairs = np.stack([self.cell, self.rate], axis=1).reshape(-1, 2)
        where, counts = np.unique(pairs, axis=0, return_counts=True)
        return np.concatenate([where, counts[:, None]], axis=1)


def best_rates(evidence: Evidence) -> dict[int, int]:
    """Returns the learning rate of each cell that has runs: the least mean selection loss of those that never diverged.

    A cell at whose every rate a run diverged has none.
    """
    best: dict[int, tuple[float, int]] = {}
    for cell, rate, _ in evidence.runs.tolist():
        if (cell, rate) in evidence.diverged:
            continue
        own = evidence.log_selection[(evidence.cell == cell) & (evidence.rate == rate)]
        # Diverging losses pull a mean of losses further than one of their logs: what counts is the typical run.
        mean = float(own.mean())
        if cell not in best or mean < best[cell][0]:
            best[cell] = mean, rate
    return {cell: rate for cell, (_, rate) in best.items()}
