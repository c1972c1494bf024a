"""Small studies and records that the tests of planning share."""

from collections.abc import Callable

import pytest

from sweeps.hardware import Hardware
from sweeps.nfnet_shape import NFNetShape
from sweeps.pricing import price_trial
from sweeps.record import Outcome, Progress, RunRecord, Status
from sweeps.study import Model, Study
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial

StudyMaker = Callable[..., Study]
RecordMaker = Callable[..., RunRecord]
HARDWARE = Hardware(name="toy", flops_per_core_hour=1e6)


def _model(name: str, width: int) -> Model:
    shape = NFNetShape(
        stage_depths=(1, 1),
        stage_widths=(width, 2 * width),
        stage_strides=(1, 2),
        stem_widths=(width,),
        stem_strides=(2,),
    )
    return Model(name=name, family="nfnet", shape=shape)


def _study(
    *,
    widths: tuple[int, ...] = (4, 8),
    epochs: tuple[float, ...] = (0.25, 1.0),
    batch_images: tuple[int, ...] = (32,),
    peak_lrs: tuple[float, ...] = (0.1, 0.2),
    seeds: tuple[int, ...] = (0,),
) -> Study:
    return Study(
        name="toy",
        title="A toy",
        models=tuple(_model(f"w{width}", width) for width in widths),
        epochs=epochs,
        batch_images=batch_images,
        peak_lrs=peak_lrs,
        seeds=seeds,
        data=DataSpec(
            name="parts",
            image_px=8,
            channels=3,
            classes=10,
            images_per_epoch=1000,
            held_out_images=10,
            selection_images=10,
        ),
        schedule=ScheduleSpec(name="cosine", warmup_steps=2),
        recipe=RecipeSpec(),
        hardware=HARDWARE,
    )


def _outcome(status: Status, steps: int) -> Outcome:
    return Outcome(
        status=status, steps=steps, val_loss=None, selection_loss=None, train_loss=None, wall_s=1.0, compile_s=0.0
    )


def _record(
    trial: Trial,
    status: Status = Status.FINISHED,
    *,
    steps: int | None = None,
    curve_step: int | None = None,
    attempts: int = 1,
) -> RunRecord:
    """Returns the record of a trial that did `steps` by its outcome, or `curve_step` by its curve."""
    point = [] if curve_step is None else [curve_step]
    return RunRecord(
        trial=trial,
        cost=price_trial(trial, HARDWARE),
        budget_core_hours=None,
        status=status,
        outcome=None if steps is None else _outcome(status, steps),
        curve=tuple(Progress(step=step, images=32 * step, train_loss=1.0, val_loss=None, wall_s=1.0) for step in point),
        attempts=attempts,
        code_version="unversioned",
        device="cpu",
        started_unix_s=0.0,
        ended_unix_s=None,
    )


@pytest.fixture(scope="session")
def make_study() -> StudyMaker:
    """Makes a two-model study; any axis may be given."""
    return _study


@pytest.fixture(scope="session")
def make_record() -> RecordMaker:
    """Makes the record of a trial."""
    return _record
