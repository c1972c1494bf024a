"""The field: every cell and learning rate that a strategy may choose from, as columns of numbers."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sweeps.budget import READING_TOLERANCE
from sweeps.grid import Grid
from sweeps.study import Study
from sweeps.trial import Trial

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """The cells of a study up to a budget, cheapest first, each with the learning rates of a widened grid."""

    study: Study
    """As it was asked for."""
    budget_core_hours: float
    """What one run may cost: the dearest cell that may be picked."""
    ceiling_core_hours: float | None = None
    """What a run that is trained may cost; absent: the budget. Dearer cells are predicted only."""

    @functools.cached_property
    def grid(self) -> Grid:
        """The study's grid with its learning rates one octave wider at both ends, where it has a grid of them."""
        study = self.study
        families = tuple(replace(one, peak_lrs=widened(one.peak_lrs)) for one in study.families)
        return Grid(study=replace(study, peak_lrs=widened(study.peak_lrs), families=families))

    @functools.cached_property
    def cells(self) -> Ints:
        """Numbers of the grid's cells within the budget, cheapest first, (cells,)."""
        core_hours = self.grid.columns.core_hours
        order = np.argsort(core_hours, kind="stable")
        return order[core_hours[order] <= READING_TOLERANCE * self.budget_core_hours].astype(np.intp)

    @functools.cached_property
    def core_hours(self) -> Floats:
        """The price of a run of each cell, (cells,)."""
        return self.grid.columns.core_hours[self.cells]

    def is_within(self, budget_core_hours: float) -> npt.NDArray[np.bool_]:
        """Returns whether a run of each cell is within a budget, (cells,)."""
        return self.core_hours <= READING_TOLERANCE * budget_core_hours

    @functools.cached_property
    def is_trainable(self) -> npt.NDArray[np.bool_]:
        """Whether a run of each cell is within the ceiling, (cells,)."""
        return self.is_within(self.budget_core_hours if self.ceiling_core_hours is None else self.ceiling_core_hours)

    @functools.cached_property
    def model(self) -> Ints:
        """Position of each cell's model in the study, (cells,)."""
        return self.grid.columns.model[self.cells].astype(np.intp)

    @functools.cached_property
    def log_params(self) -> Floats:
        """Log of each cell's parameters, (cells,)."""
        return np.log(np.array([rate.params for rate in self.grid.rates], dtype=np.float64))[self.model]

    @functools.cached_property
    def log_images(self) -> Floats:
        """Log of the images that a run of each cell is trained on, (cells,)."""
        return np.log(self.grid.columns.images[self.cells].astype(np.float64))

    @functools.cached_property
    def epochs(self) -> Floats:
        """Epochs of each cell, (cells,)."""
        return self.grid.columns.epochs[self.cells]

    @functools.cached_property
    def family(self) -> Ints:
        """Position of each cell's family among `families`, (cells,)."""
        place = {name: index for index, name in enumerate(self.families)}
        return np.array([place[self.study.models[int(model)].family] for model in self.model.tolist()], dtype=np.intp)

    @functools.cached_property
    def families(self) -> tuple[str, ...]:
        """The families of the study's models, in order of appearance."""
        return tuple(dict.fromkeys(model.family for model in self.study.models))

    @functools.cached_property
    def rate_count(self) -> int:
        """Learning rates of each cell on the widened grid."""
        return len(self._rates[0])

    def peak_lrs(self, cell: int) -> tuple[float, ...]:
        """Returns the learning rates of a cell on the widened grid, rising."""
        return self._rates[int(self.model[cell])]

    @functools.cached_property
    def octaves(self) -> Floats:
        """log2 of each cell's learning rates, (cells, rates)."""
        return np.log2(np.array(self._rates, dtype=np.float64))[self.model]

    @functools.cached_property
    def middle_octaves(self) -> Floats:
        """Mean log2 of the study's own learning rates in each family, (families,)."""
        first = [next(k for k, one in enumerate(self.study.models) if one.family == name) for name in self.families]
        return np.log2(np.array(self._rates, dtype=np.float64))[first][:, self.asked_rates].mean(axis=1)

    @functools.cached_property
    def asked_rates(self) -> Ints:
        """Positions of a cell's own learning rates among the widened ones: the same in all cells."""
        return np.arange(self.rate_count)[1:-1] if self.rate_count > 1 else np.arange(1)

    @functools.cached_property
    def _rates(self) -> tuple[tuple[float, ...], ...]:
        """The learning rates of each model, rising."""
        study = self.grid.study
        return tuple(tuple(sorted(study.peak_lrs_of(model))) for model in study.models)

    @property
    def grid_core_hours(self) -> float:
        """The price of the full grid: all cells within the budget x the study's learning rates x its seeds."""
        return float(self.core_hours.sum()) * len(self.asked_rates) * len(self.study.seeds)

    def name(self, cell: int) -> str:
        """Returns a cell as people call it, f3-e2."""
        return f"{self.study.models[int(self.model[cell])].name}-e{self.epochs[cell]:g}"

    def trial(self, cell: int, rate: int, seed: int) -> Trial:
        """Returns the trial of a cell, a learning rate (positions) and a seed, which may be one the study has not."""
        model = self.study.models[int(self.model[cell])]
        columns = self.grid.columns
        number = int(self.cells[cell])
        return Trial(
            model=model.name,
            family=model.family,
            shape=model.shape,
            data=self.study.data,
            epochs=float(columns.epochs[number]),
            batch_images=int(columns.batch_images[number]),
            peak_lr=self.peak_lrs(cell)[rate],
            schedule=self.study.schedule,
            recipe=self.study.recipe_of(model),
            seed=seed,
            program=self.study.program,
        )

    @functools.cached_property
    def _place(self) -> dict[tuple[str, float, int], int]:
        columns = self.grid.columns
        return {
            (self.study.models[int(self.model[k])].name, float(columns.epochs[n]), int(columns.batch_images[n])): k
            for k, n in enumerate(self.cells.tolist())
        }

    def find(self, trial: Trial) -> tuple[int, int] | None:
        """Returns the positions of a trial's cell and learning rate; None where it is none of this field's.

        Remembered by id: every round looks for the same records, and comparing trials means hashing them.
        """
        if trial.id not in self._found:
            self._found[trial.id] = self._find(trial)
        return self._found[trial.id]

    @functools.cached_property
    def _found(self) -> dict[str, tuple[int, int] | None]:
        return {}

    def _find(self, trial: Trial) -> tuple[int, int] | None:
        cell = self._place.get((trial.model, trial.epochs, trial.batch_images))
        if cell is None or trial.trunk_id is not None or trial.peak_lr not in self.peak_lrs(cell):
            return None
        rate = self.peak_lrs(cell).index(trial.peak_lr)
        return (cell, rate) if self.trial(cell, rate, trial.seed).id == trial.id else None


def widened(peak_lrs: Sequence[float]) -> tuple[float, ...]:
    """Returns learning rates with one more octave at both ends; a single one stays as it is."""
    rates = sorted(peak_lrs)
    return tuple(rates) if len(rates) < 2 else (rates[0] / 2, *rates, rates[-1] * 2)
