"""A study: the grid of trials somebody asks for, and the hardware whose core-hours it is priced in."""

import functools
from dataclasses import dataclass

from sweeps.hardware import Hardware
from sweeps.shape import Shape
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, cohort_of


@dataclass(frozen=True, kw_only=True)
class Model:
    """A named architecture of the study's ladder."""

    name: str
    """f0 ... f7p, vit_b16, ..."""
    family: str
    shape: Shape


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A point that a fit has named, on the axes of a study or between them; run with every seed of it."""

    model: str
    """The name of one of the study's models."""
    epochs: float
    batch_images: int
    peak_lr: float
    trunk_id: str | None = None
    """The trial whose final weights it starts from; absent: from scratch."""


@dataclass(frozen=True, kw_only=True)
class FamilySettings:
    """What the models of one family have of their own in a study of several."""

    family: str
    recipe: RecipeSpec
    peak_lrs: tuple[float, ...]
    lr_params_exponent: float = 0.0
    """How the peak learning rates change with size: by the factor (parameters / lr_at_params) ^ this.

    Adam's best rate goes with one over the width (arXiv:2203.03466): -0.5 here. With 0 all sizes have the same.
    """
    lr_at_params: float = 1.0
    """Parameters at which peak_lrs hold as they stand, where the exponent is not 0."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """The axes of a grid and what its trials share. Trials = models x epochs x batch_images x peak_lrs x seeds."""

    name: str
    """Also the name of its MLflow experiment."""
    title: str
    """One line for people."""
    models: tuple[Model, ...]
    epochs: tuple[float, ...]
    batch_images: tuple[int, ...]
    peak_lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    data: DataSpec
    schedule: ScheduleSpec
    recipe: RecipeSpec
    hardware: Hardware
    picks: tuple[Pick, ...] = ()
    """Points to be run in place of the grid, so that trials = picks x seeds; empty: the grid."""
    program: str | None = None
    """The user's own program that trains its trials, with its version; absent: this project's training."""
    families: tuple[FamilySettings, ...] = ()
    """Families with a recipe and learning rates of their own (vit: {peak_lrs, recipe}), equally many rates in each;
    others have the study's. lr_params_exponent and lr_at_params let a family's rates change with size."""

    def recipe_of(self, model: Model) -> RecipeSpec:
        """Returns the recipe that a model is trained by: its family's, or the study's."""
        own = self._settings.get(model.family)
        return self.recipe if own is None else own.recipe

    def peak_lrs_of(self, model: Model) -> tuple[float, ...]:
        """Returns the learning rates that a model is run with: its family's, or the study's."""
        own = self._settings.get(model.family)
        if own is None:
            return self.peak_lrs
        return own.peak_lrs if own.lr_params_exponent == 0.0 else self._scaled_rates[model.name]

    def cohort(self, model: Model) -> str:
        """Returns the cohort of a model's trials: runs of one law share it."""
        recipe = self.recipe_of(model)
        return cohort_of(data=self.data, schedule=self.schedule, recipe=recipe, program=self.program)

    @property
    def cohorts(self) -> tuple[str, ...]:
        """The cohorts of all models, in their order: several where families have recipes of their own."""
        return tuple(dict.fromkeys(self.cohort(model) for model in self.models))

    @property
    def compares_families(self) -> bool:
        """Whether it asks how families differ, each having its own: then no one law holds for all of its models."""
        return bool(self.families) and len({model.family for model in self.models}) > 1

    @functools.cached_property
    def _scaled_rates(self) -> dict[str, tuple[float, ...]]:
        """Model -> its rates in three digits, of families whose rates change with size."""
        data, found = self.data, dict[str, tuple[float, ...]]()
        for model in self.models:
            own = self._settings.get(model.family)
            if own is not None and own.lr_params_exponent != 0.0:
                params = model.shape.params(image_px=data.image_px, classes=data.classes, channels=data.channels)
                factor = (params / own.lr_at_params) ** own.lr_params_exponent
                found[model.name] = tuple(float(f"{rate * factor:.3g}") for rate in own.peak_lrs)
        return found

    @functools.cached_property
    def _settings(self) -> dict[str, FamilySettings]:
        return {settings.family: settings for settings in self.families}
