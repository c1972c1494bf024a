"""Trials and records to track, and a database that was made once."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from sweeps.certificate import EpochSamples, faultless
from sweeps.cost import Cost
from sweeps.nfnet_shape import NFNetShape
from sweeps.record import CostClock, Outcome, Progress, RunRecord, Status
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial
from tracking.journal import AttemptJournal, start_attempt
from tracking.paths import ProjectPaths
from tracking.store import ingest

TRIAL = Trial(
    model="f3",
    family="nfnet",
    shape=NFNetShape(stage_depths=(1, 2, 1, 1), stage_widths=(8, 16, 24, 24), group_width=8),
    data=DataSpec(
        name="parts",
        image_px=16,
        channels=3,
        classes=10,
        images_per_epoch=3200,
        held_out_images=64,
        selection_images=64,
    ),
    epochs=2.0,
    batch_images=32,
    peak_lr=0.8,
    schedule=ScheduleSpec(name="cosine", warmup_steps=10),
    recipe=RecipeSpec(),
    seed=0,
)
COST = Cost(flops=4e12, core_hours=800.0, wall_hours=None, relative_spread=0.02)
STUDY = "scale_model"


def progress_at(step: int, **changes: Any) -> Progress:
    """A point of a curve that is falling."""
    val_loss = 2.2 - 0.001 * step if step % 50 == 0 else None
    point = Progress(step=step, images=32 * step, train_loss=2.3 - 0.001 * step, val_loss=val_loss, wall_s=0.01 * step)
    return dataclasses.replace(point, **changes)


def outcome_of(status: Status = Status.FINISHED, **changes: Any) -> Outcome:
    """How an attempt at TRIAL ended."""
    has_loss = status is Status.FINISHED
    outcome = Outcome(
        status=status,
        steps=200,
        val_loss=1.5 if has_loss else None,
        selection_loss=1.25 if has_loss else None,
        train_loss=1.75 if has_loss else None,
        wall_s=2.5,
        compile_s=4.0,
        error="Traceback: boom" if status is Status.FAILED else None,
        certificate=faultless(images=6400, images_per_epoch=3200) if has_loss else (),
    )
    return dataclasses.replace(outcome, **changes)


def record_of(seed: int = 0, status: Status = Status.FINISHED, **changes: Any) -> RunRecord:
    """A record of the trial with this seed."""
    has_ended = status not in (Status.RUNNING, Status.KILLED)
    record = RunRecord(
        trial=dataclasses.replace(TRIAL, seed=seed),
        cost=COST,
        budget_core_hours=10_000.0,
        status=status,
        outcome=outcome_of(status) if has_ended else None,
        curve=tuple(progress_at(step) for step in range(25, 201, 25)),
        attempts=1,
        code_version="abc123",
        device="cpu",
        started_unix_s=1.7e9 + seed,
        ended_unix_s=1.7e9 + seed + 9.5 if has_ended else None,
    )
    return dataclasses.replace(record, **changes)


def start(paths: ProjectPaths, *, seed: int = 0, study: str = STUDY) -> AttemptJournal:
    """The journal of a new attempt at the trial with this seed."""
    return start_attempt(
        paths,
        study,
        dataclasses.replace(TRIAL, seed=seed),
        cost=COST,
        budget_core_hours=10_000.0,
        code_version="abc123",
        device="cpu",
    )


finite = st.floats(allow_nan=False, allow_infinity=False)
durations = st.floats(min_value=0, max_value=1e9)
losses = st.none() | finite
certificates = st.lists(
    st.builds(
        EpochSamples,
        epoch=st.integers(0, 5),
        images=st.integers(0, 2),
        digest=st.sampled_from(["0123456789abcdef", "f" * 16, "0" * 16]),
    ),
    max_size=6,
).map(tuple)


@st.composite
def records(draw: st.DrawFn) -> RunRecord:
    """Any record that a sweep can leave behind, numbers that are none left out: they are not equal to themselves."""
    steps = sorted(draw(st.sets(st.integers(0, 10**9), max_size=5)))
    points = st.builds(
        Progress,
        step=st.just(0),
        images=st.integers(0, 2**50),
        train_loss=finite,
        val_loss=losses,
        wall_s=durations,
        shared_steps=st.sampled_from([0, 1, 10**9]),
    )
    outcomes = st.builds(
        Outcome,
        status=st.sampled_from([status for status in Status if status is not Status.RUNNING]),
        steps=st.integers(0, 10**9),
        val_loss=losses,
        selection_loss=losses,
        train_loss=losses,
        wall_s=durations,
        compile_s=durations,
        error=st.none() | st.text(max_size=50),
        val_error=losses,
        clock=st.none() | st.builds(CostClock, **dict.fromkeys(vars(CostClock()), durations)),
        certificate=certificates,
        corrupt_images=st.integers(0, 10**9),
        cores=st.integers(1, 10**5),
        peak_memory_bytes=st.none() | st.integers(0, 2**50),
        shared_steps=st.sampled_from([0, 1, 10**9]),
    )
    words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
    return RunRecord(
        trial=dataclasses.replace(
            TRIAL,
            seed=draw(st.integers(0, 10**6)),
            peak_lr=draw(st.floats(1e-6, 1e3)),
            epochs=draw(st.floats(0.1, 1e3)),
        ),
        cost=draw(st.builds(Cost, flops=finite, core_hours=finite, wall_hours=losses, relative_spread=finite)),
        budget_core_hours=draw(losses),
        status=draw(st.sampled_from(Status)),
        outcome=draw(st.none() | outcomes),
        curve=tuple(dataclasses.replace(draw(points), step=step) for step in steps),
        attempts=draw(st.integers(1, 20)),
        code_version=draw(words),
        device=draw(words),
        started_unix_s=draw(st.floats(0, 4e9)),
        ended_unix_s=draw(st.none() | st.floats(0, 4e9)),
        is_marked=draw(st.booleans()),
    )


@dataclasses.dataclass(frozen=True)
class Made:
    """What tests are made of; importlib mode lets no test import a conftest."""

    trial: Trial
    cost: Cost
    study: str
    progress: Callable[..., Progress]
    outcome: Callable[..., Outcome]
    record: Callable[..., RunRecord]
    start: Callable[..., AttemptJournal]
    records: Callable[[], st.SearchStrategy[RunRecord]]


@pytest.fixture(scope="session")
def made() -> Made:
    """Makers of trials, records and journals."""
    return Made(TRIAL, COST, STUDY, progress_at, outcome_of, record_of, start, records)


@pytest.fixture
def paths(tmp_path: Path) -> ProjectPaths:
    """An empty project folder, with a name as people give them."""
    root = tmp_path / "my 'runs' #1 50%"
    root.mkdir()
    return ProjectPaths(root=root)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> ProjectPaths:
    """A database that MLflow made, with one run of another study; making one takes seconds."""
    paths = ProjectPaths(root=tmp_path_factory.mktemp("template"))
    ingest(paths, "another", [record_of()])
    return paths


@pytest.fixture
def database(template: ProjectPaths, paths: ProjectPaths) -> ProjectPaths:
    """A project folder with a database of its own, in which STUDY has no run yet."""
    shutil.copy(template.runs_sqlite, paths.runs_sqlite)
    return paths
