"""Every trial of a study as columns of numbers: a million cells are priced at once, trials are made when asked for."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeps.errors import StudyError
from sweeps.pricing import Rate, gradients_a_step, rate
from sweeps.study import Pick, Study
from sweeps.trial import Trial
from sweeps.trunk import last_entry, predecessors, shares_steps, stable_part

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_Key = str | float | Pick


@dataclass(frozen=True, kw_only=True, eq=False)
class CellColumns:
    """One entry for each cell: what a run there sees and costs."""

    model: Ints
    """Position of the model in the study."""
    epochs: Floats
    batch_images: Ints
    steps: Ints
    images: Ints
    flops: Floats
    core_hours: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """All trials of a study, numbered: models x epochs x batch_images x seeds x peak_lrs, the last running fastest.

    A cell is a model x epochs x batch: its trials cost the same and share one compiled program. Its learning rates are
    those of the model's family, equally many in each. Where the study has picks, each of them is a cell with a learning
    rate of its own, and trials are numbered picks x seeds.
    """

    study: Study

    def __post_init__(self) -> None:
        check_axes(self.study)

    @property
    def runs_per_cell(self) -> int:
        """Trials of each cell: seeds x learning rates."""
        study = self.study
        return len(study.seeds) * (1 if study.picks else len(study.peak_lrs_of(study.models[0])))

    @property
    def cell_count(self) -> int:
        """Cells: models x epochs x batches, or picks."""
        study = self.study
        return len(study.picks) or len(study.models) * len(study.epochs) * len(study.batch_images)

    def __len__(self) -> int:
        return self.cell_count * self.runs_per_cell

    @functools.cached_property
    def rates(self) -> tuple[Rate, ...]:
        """What one image costs each model, in the study's order."""
        study = self.study
        return tuple(
            rate(
                shape=model.shape,
                family=model.family,
                model=model.name,
                data=study.data,
                hardware=study.hardware,
                gradients=gradients_a_step(study.recipe_of(model)),
            )
            for model in study.models
        )

    @functools.cached_property
    def columns(self) -> CellColumns:
        """The cells as columns; one row a cell."""
        study = self.study
        model, epochs, batch_images = _pick_columns(study) if study.picks else _axis_columns(study)
        # The same operations in the same order as Trial.steps, so that both round alike.
        steps = np.maximum(1, np.rint(epochs * study.data.images_per_epoch / batch_images)).astype(np.int64)
        images = steps * batch_images
        flops_per_image = np.array([per_image.flops_per_image for per_image in self.rates], dtype=np.float64)
        core_hours_per_image = np.array([per_image.core_hours_per_image for per_image in self.rates], dtype=np.float64)
        return CellColumns(
            model=model,
            epochs=epochs,
            batch_images=batch_images,
            steps=steps,
            images=images,
            flops=flops_per_image[model] * images,
            core_hours=core_hours_per_image[model] * images,
        )

    @functools.cached_property
    def predecessors(self) -> Ints:
        """The cell whose runs each cell's runs take over steps of, rate by rate and seed by seed; -1 for none."""
        schedule, steps = self.study.schedule, self.columns.steps
        if not shares_steps(schedule, self.study.program):
            return np.full(self.cell_count, -1, dtype=np.int64)
        # A run too short for the whole warm-up has one of its own, and with it a trunk.
        is_cut = schedule.warmup_max_fraction * steps < schedule.warmup_steps
        length = np.where(is_cut, steps, 0)
        trunk = self._programs * (int(length.max()) + 1) + length
        return predecessors(trunk, stable_part(schedule, steps), last_entry(schedule, steps))

    @functools.cached_property
    def shared_steps(self) -> Ints:
        """Steps that a run of each cell takes over from a shorter one."""
        before = self.predecessors
        stable = stable_part(self.study.schedule, self.columns.steps)
        return np.where(before >= 0, stable[np.maximum(before, 0)], 0)

    @functools.cached_property
    def trained_core_hours(self) -> Floats:
        """What a run of each cell costs where it takes over those steps [core-hours]."""
        columns = self.columns
        return columns.core_hours * (1.0 - self.shared_steps / columns.steps)

    @property
    def _programs(self) -> Ints:
        """A number for each cell, alike where runs of the same rate and seed differ in their length alone."""
        columns, study = self.columns, self.study
        if not study.picks:
            return columns.model * (int(columns.batch_images.max()) + 1) + columns.batch_images
        keys = [(pick.model, pick.batch_images, pick.peak_lr, pick.trunk_id) for pick in study.picks]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return np.array([numbers[key] for key in keys], dtype=np.int64)

    def trial(self, index: int) -> Trial:
        """Returns the trial of this number; raises IndexError outside the grid."""
        study = self.study
        if not 0 <= index < len(self):
            raise IndexError(f"trial {index} of a grid of {len(self)}")
        cell, run = divmod(index, self.runs_per_cell)
        rates, columns = self.peak_lrs(cell), self.columns
        seed, lr = divmod(run, len(rates))
        model = study.models[int(columns.model[cell])]
        return Trial(
            model=model.name,
            family=model.family,
            shape=model.shape,
            data=study.data,
            epochs=float(columns.epochs[cell]),
            batch_images=int(columns.batch_images[cell]),
            peak_lr=rates[lr],
            schedule=study.schedule,
            recipe=study.recipe_of(model),
            seed=study.seeds[seed],
            trunk_id=self.trunk_id(cell),
            program=study.program,
        )

    def peak_lrs(self, cell: int) -> tuple[float, ...]:
        """Returns the learning rates that a cell is run with: those of its model, or that of the pick."""
        study = self.study
        if study.picks:
            return (study.picks[cell].peak_lr,)
        return study.peak_lrs_of(study.models[int(self.columns.model[cell])])

    def trunk_id(self, cell: int) -> str | None:
        """Returns the trial whose final weights a cell's runs start from, if any."""
        return self.study.picks[cell].trunk_id if self.study.picks else None

    def cell_trials(self, cell: int) -> range:
        """Returns the numbers of a cell's trials."""
        return range(cell * self.runs_per_cell, (cell + 1) * self.runs_per_cell)

    def find(self, trial: Trial) -> int | None:
        """Returns the number of a trial with the same id, or None where the grid has none.

        Looks along the axes first, so that no other trial of the grid is hashed.
        """
        study = self.study
        model, epochs, batch_images, peak_lr = trial.model, trial.epochs, trial.batch_images, trial.peak_lr
        keys: tuple[_Key, ...] = (model, epochs, batch_images, trial.seed)
        if study.picks:
            trunk_id = trial.trunk_id
            pick = Pick(model=model, epochs=epochs, batch_images=batch_images, peak_lr=peak_lr, trunk_id=trunk_id)
            keys = (pick, trial.seed)
        index = 0
        for place, key in zip(self._places, keys, strict=True):
            if key not in place:
                return None
            index = index * len(place) + place[key]
        if not study.picks:
            rates = study.peak_lrs_of(study.models[self._places[0][model]])
            if peak_lr not in rates:
                return None
            index = index * len(rates) + rates.index(peak_lr)
        return index if self.trial(index).id == trial.id else None

    @functools.cached_property
    def _places(self) -> tuple[dict[_Key, int], ...]:
        """Where a value lies on each axis along which trials are numbered; without rates, which are a model's own."""
        study = self.study
        names = tuple(model.name for model in study.models)
        axes: tuple[Sequence[_Key], ...] = (names, study.epochs, study.batch_images, study.seeds)
        if study.picks:
            axes = (study.picks, study.seeds)
        return tuple({value: place for place, value in enumerate(axis)} for axis in axes)


def _axis_columns(study: Study) -> tuple[Ints, Floats, Ints]:
    """Returns model, epochs and batch of each model x epochs x batch, in that order."""
    models, epoch_counts, batches = len(study.models), len(study.epochs), len(study.batch_images)
    model = np.repeat(np.arange(models, dtype=np.int64), epoch_counts * batches)
    epochs = np.tile(np.repeat(np.array(study.epochs, dtype=np.float64), batches), models)
    return model, epochs, np.tile(np.array(study.batch_images, dtype=np.int64), models * epoch_counts)


def _pick_columns(study: Study) -> tuple[Ints, Floats, Ints]:
    """Returns model, epochs and batch of each pick."""
    place = {model.name: index for index, model in enumerate(study.models)}
    model = np.array([place[pick.model] for pick in study.picks], dtype=np.int64)
    epochs = np.array([pick.epochs for pick in study.picks], dtype=np.float64)
    return model, epochs, np.array([pick.batch_images for pick in study.picks], dtype=np.int64)


def check_axes(study: Study) -> None:
    """Raises StudyError where an axis is empty, names a value twice or holds one that cannot be run."""
    names = tuple(model.name for model in study.models)
    axes: tuple[tuple[str, Sequence[str | float], float | None], ...] = (
        ("models", names, None),
        ("epochs", study.epochs, 0.0),
        ("batch_images", study.batch_images, 0.0),
        ("peak_lrs", study.peak_lrs, 0.0),
        ("seeds", study.seeds, -1.0),
    )
    for axis, values, above in axes:
        _check_axis(f"study {study.name}", axis, values, above, f"study.{axis}=[...]")
    if study.families:
        _check_families(study)


def _check_families(study: Study) -> None:
    named = [settings.family for settings in study.families]
    _check_axis(f"study {study.name}", "families", named, None, "")
    for settings in study.families:
        setting = f"study.families.{settings.family}.peak_lrs"
        who = f"family {settings.family} of study {study.name}"
        _check_axis(who, "peak_lrs", settings.peak_lrs, 0.0, f"{setting}=[...]")
    counts = {model.family: len(study.peak_lrs_of(model)) for model in study.models}
    if not study.picks and len(set(counts.values())) > 1:
        told = ", ".join(f"{family} {count}" for family, count in counts.items())
        family, most = min(counts, key=lambda family: counts[family]), max(counts.values())
        raise StudyError(
            f"study {study.name} has different numbers of learning rates in its families: {told}; give each as many "
            f"(try: study.families.{family}.peak_lrs=[...] with {most} of them)"
        )


def _check_axis(who: str, axis: str, values: Sequence[str | float], above: float | None, setting: str) -> None:
    if not values:
        raise StudyError(f"{who} has no {axis}; give at least one (try: {setting})")
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise StudyError(f"{who} names {', '.join(twice)} twice in {axis}; name each value once")
    if above is None:
        return
    wrong = [value for value in values if not float(value) > above or not np.isfinite(float(value))]
    if wrong:
        allowed = "0 or more" if above < 0 else "above zero"
        raise StudyError(f"{who} has {axis} {wrong[0]}; every value must be {allowed}")
