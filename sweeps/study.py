"""A study: the grid of trials somebody asks for, and the hardware whose core-hours it is priced in."""

from dataclasses import dataclass

from sweeps.hardware import Hardware
from sweeps.shape import Shape
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec


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
