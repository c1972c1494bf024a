from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sweeps.errors import StudyError
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import Trial
from tests.training.small_nets import PARTS, TRIAL, changed
from training import loop, nfnet
from training.checkpoint import CheckpointFolder, Resumable
from training.data import open_source
from training.forward import Forward
from training.source import HELD_OUT
from training.step import divergence, make_programs


class Killed(Exception):
    """Stands for the moment in which a process dies."""


def run(trial: Trial, checkpoint_dir: Path | None = None, die_at_step: int | None = None) -> tuple[Outcome, list]:
    """Trains the trial, or dies when it reports a step past `die_at_step`."""
    points: list[Progress] = []

    def report(point: Progress) -> None:
        points.append(point)
        if die_at_step is not None and point.step > die_at_step:
            raise Killed

    return loop.train(trial, data_dir=Path(), checkpoint_dir=checkpoint_dir, report=report), points


@pytest.fixture(scope="module")
def unbroken() -> tuple[Outcome, list]:
    """The outcome and curve of the small trial, run in one go."""
    return run(TRIAL)


def test_a_run_ends_with_finite_losses_below_where_it_began(unbroken: tuple[Outcome, list]) -> None:
    """Training learns: the last loss is below the first, and all of the outcome is there."""
    outcome, points = unbroken
    assert outcome.status is Status.FINISHED
    assert outcome.steps == TRIAL.steps == points[-1].step
    assert outcome.val_loss is not None and outcome.selection_loss is not None
    assert outcome.val_loss != outcome.selection_loss
    assert outcome.val_loss < 0.9 * points[0].train_loss
    assert points[-1].val_loss == outcome.val_loss


def test_the_same_trial_gives_the_same_numbers(unbroken: tuple[Outcome, list]) -> None:
    """A run is a pure function of its trial, to the last bit on one machine."""
    again, points = run(TRIAL)
    assert (again.val_loss, again.selection_loss) == (unbroken[0].val_loss, unbroken[0].selection_loss)
    assert [point.train_loss for point in points] == [point.train_loss for point in unbroken[1]]


@pytest.mark.parametrize("field", [{"seed": 1}, {"peak_lr": 0.05}, {"epochs": 0.5}])
def test_another_trial_gives_other_numbers(unbroken: tuple[Outcome, list], field: dict) -> None:
    """Seed, learning rate and horizon each change the result though the compiled program is shared."""
    compiled = loop._programs.cache_info().misses
    outcome, _ = run(changed(TRIAL, **field))
    assert outcome.val_loss != unbroken[0].val_loss
    assert loop._programs.cache_info().misses == compiled


@pytest.mark.parametrize("die_at_step", [10, 60, 100])
def test_a_killed_run_resumes_to_the_same_losses(
    unbroken: tuple[Outcome, list], die_at_step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dying at any step and running the same trial again gives the unbroken curve and outcome, bit for bit."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    folder = tmp_path / 'it\'s a "folder"'
    with pytest.raises(Killed):
        run(TRIAL, folder, die_at_step)
    resumed_from = max(int(path.name) for path in folder.iterdir())
    assert resumed_from >= die_at_step / 2
    outcome, points = run(TRIAL, folder)
    assert points[0].step > resumed_from
    assert (outcome.val_loss, outcome.selection_loss, outcome.train_loss) == (
        unbroken[0].val_loss,
        unbroken[0].selection_loss,
        unbroken[0].train_loss,
    )
    expected = {point.step: point.train_loss for point in unbroken[1]}
    assert {point.step: point.train_loss for point in points}.items() <= expected.items()


def test_a_damaged_checkpoint_falls_back_to_the_older_one(tmp_path: Path) -> None:
    """When the newest checkpoint cannot be read the one before serves."""
    source = open_source(PARTS, Path())
    programs = make_programs(TRIAL.shape, PARTS, TRIAL.recipe, TRIAL.schedule, source)
    state = programs.start(0)
    folder = CheckpointFolder(tmp_path / "checkpoints")
    for step in (1, 2, 3):
        folder.save(Resumable(state, step=step, wall_s=0.5 * step))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]
    for path in (tmp_path / "checkpoints" / "3").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    found = folder.load(like=state)
    assert found is not None
    assert (found.step, found.wall_s) == (2, 1.0)
    jax.tree.map(np.testing.assert_array_equal, found.state.params, state.params)


def test_no_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    """A folder that is not there gives nothing to resume from."""
    assert CheckpointFolder(tmp_path / "none").load(like=None) is None  # type: ignore[arg-type]
    assert CheckpointFolder(None).load(like=None) is None  # type: ignore[arg-type]


def test_a_rate_that_is_far_too_high_diverges_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is not finite ends the run as diverged, with the losses missing."""
    outcome, _ = run(changed(TRIAL, peak_lr=1e30))
    assert outcome.status is Status.DIVERGED
    assert outcome.val_loss is None and outcome.selection_loss is None
    assert outcome.error is None


def test_the_held_out_loss_is_the_mean_over_the_held_out_images() -> None:
    """The compiled evaluation equals the loss computed image by image outside of it."""
    source = open_source(PARTS, Path())
    programs = make_programs(TRIAL.shape, PARTS, TRIAL.recipe, TRIAL.schedule, source)
    state = programs.start(3)
    indices = jnp.arange(PARTS.held_out_images, dtype=jnp.uint32)
    images, targets = source.draw_held_out(source.arrays, indices, jnp.uint32(HELD_OUT))
    logits = nfnet.apply(state.params, images, TRIAL.shape, forward=Forward(path="xla"))
    expected = float(jnp.mean(divergence(logits, targets)))
    assert loop.held_out_loss(programs, source, state, PARTS, HELD_OUT) == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_zero_for_the_teacher_itself_and_cross_entropy_for_labels() -> None:
    """KL to soft labels vanishes at the labels; with one-hot labels it is -log p."""
    soft = jax.nn.softmax(jnp.asarray([[1.0, 2.0, -1.0]]))
    assert float(divergence(jnp.log(soft), soft)[0]) == pytest.approx(0, abs=1e-6)
    hard = jnp.asarray([[0.0, 1.0, 0.0]])
    assert float(divergence(jnp.log(soft), hard)[0]) == pytest.approx(-float(jnp.log(soft[0, 1])), rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 128, 16384])
def test_curves_report_at_log_spaced_steps_and_at_the_end(steps: int) -> None:
    """Points rise, are within the run, end with its last step and are few."""
    points = loop.curve_steps(steps)
    assert points == sorted(set(points))
    assert points[0] >= 1 and points[-1] == steps
    assert len(points) <= 40


def test_a_data_set_without_a_reader_is_refused_by_name() -> None:
    """A private data set is one clear error with what can be read."""
    with pytest.raises(StudyError, match=r"jft4b.*parts, fashion_mnist and cifar10"):
        run(changed(TRIAL, data=changed(PARTS, name="jft4b")))


def test_bfloat16_trains_to_a_loss_close_to_float32(unbroken: tuple[Outcome, list]) -> None:
    """The bf16 recipe runs the whole loop and loses a few per cent at most."""
    outcome, _ = run(changed(TRIAL, recipe=changed(TRIAL.recipe, compute_dtype="bfloat16")))
    assert outcome.val_loss is not None and unbroken[0].val_loss is not None
    assert outcome.val_loss == pytest.approx(unbroken[0].val_loss, rel=0.1)
    assert outcome.val_loss != unbroken[0].val_loss
