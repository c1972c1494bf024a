import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from sweeps.certificate import fault
from sweeps.compute import ComputeSpec
from sweeps.curve import curve_steps
from sweeps.errors import StudyError
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import Trial
from tests.training.small_nets import PARTS, TRIAL, changed
from tests.training.small_pool import TOKENS
from tests.training.small_streams import SmallStream
from training import compilation, loop
from training import run as run_of
from training.data import fed_source
from training.step import divergence
from training.weights import weights_file

EAGER = ComputeSpec(checkpoint_every_s=1e-9)
"""A checkpoint after every dispatch, where there is a folder."""


class Killed(Exception):
    """Stands for the moment in which a process dies."""


def run(
    trial: Trial,
    checkpoint_dir: Path | None = None,
    die_at_step: int | None = None,
    stop_at_step: int | None = None,
    weights_dir: Path | None = None,
) -> tuple[Outcome, list]:
    """Trains the trial; it dies, or is asked to stop, when it reports a step past the given one."""
    points: list[Progress] = []

    def report(point: Progress) -> None:
        points.append(point)
        if die_at_step is not None and point.step > die_at_step:
            raise Killed

    def should_stop() -> bool:
        return stop_at_step is not None and bool(points) and points[-1].step > stop_at_step

    outcome = loop.train(
        trial,
        data_dir=Path(),
        checkpoint_dir=checkpoint_dir,
        report=report,
        should_stop=should_stop,
        compute=EAGER,
        weights_dir=weights_dir,
    )
    return outcome, points


def losses(outcome: Outcome) -> tuple[float | None, ...]:
    """All that a run is compared by."""
    return outcome.val_loss, outcome.selection_loss, outcome.train_loss, outcome.val_error


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
    assert outcome.val_error is not None and 0 < outcome.val_error < 0.8
    assert outcome.cores == 1
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
    compiled = compilation.compiled.cache_info().misses
    outcome, _ = run(changed(TRIAL, **field))
    assert outcome.val_loss != unbroken[0].val_loss
    assert compilation.compiled.cache_info().misses == compiled


@pytest.mark.parametrize("die_at_step", [10, 60, 100])
def test_a_killed_run_resumes_to_the_same_losses(
    unbroken: tuple[Outcome, list], die_at_step: int, tmp_path: Path
) -> None:
    """Dying at any step and running the same trial again gives the unbroken curve and outcome, bit for bit."""
    folder = tmp_path / 'it\'s a "folder"'
    with pytest.raises(Killed):
        run(TRIAL, folder, die_at_step)
    assert (folder / "heartbeat.json").exists()
    resumed_from = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    assert resumed_from >= die_at_step / 2
    outcome, points = run(TRIAL, folder)
    assert points[0].step > resumed_from
    assert losses(outcome) == losses(unbroken[0])
    assert outcome.certificate == unbroken[0].certificate
    expected = {point.step: point.train_loss for point in unbroken[1]}
    assert {point.step: point.train_loss for point in points}.items() <= expected.items()


def test_a_run_that_is_asked_to_stop_saves_and_goes_on_from_there(
    unbroken: tuple[Outcome, list], tmp_path: Path
) -> None:
    """It ends as killed at a step that is on disk, and nothing of it is lost."""
    stopped, _ = run(TRIAL, tmp_path, stop_at_step=20)
    assert stopped.status is Status.KILLED
    assert (tmp_path / str(stopped.steps)).is_dir() and 20 < stopped.steps < TRIAL.steps
    outcome, _ = run(TRIAL, tmp_path)
    assert losses(outcome) == losses(unbroken[0])
    assert outcome.clock is not None and outcome.clock.lost_s == 0
    assert outcome.wall_s > stopped.wall_s


def test_work_after_the_last_checkpoint_is_counted_as_lost(tmp_path: Path) -> None:
    """What the dead attempt's last beat says beyond its checkpoint is in the clock, and so in the bill."""
    with pytest.raises(Killed):
        run(TRIAL, tmp_path, 60)
    beat = tmp_path / "heartbeat.json"
    beat.write_text(json.dumps({**json.loads(beat.read_text()), "step_s": 1000.0}))
    outcome, _ = run(TRIAL, tmp_path)
    assert outcome.clock is not None and 900 < outcome.clock.lost_s < 1100
    assert outcome.clock.total_s >= outcome.clock.lost_s + outcome.wall_s


def test_the_clock_tells_where_the_time_went(unbroken: tuple[Outcome, list], tmp_path: Path) -> None:
    """Steps, evaluation, compilation and checkpoints each take some time, and an unbroken run loses none."""
    clock = run(TRIAL, tmp_path)[0].clock
    assert clock is not None and min(clock.step_s, clock.evaluation_s, clock.checkpoint_s) > 0
    assert clock.lost_s == 0
    first = unbroken[0].clock
    assert first is not None and first.compile_s == unbroken[0].compile_s > 0


@pytest.mark.parametrize("epochs", [0.25, 1.0, 2.5])
def test_the_certificate_of_a_run_is_faultless(epochs: float) -> None:
    """Every sample once an epoch, and what was begun of the last one."""
    trial = changed(TRIAL, epochs=epochs)
    outcome, _ = run(trial)
    assert fault(outcome.certificate, images=trial.images, images_per_epoch=1024) is None
    assert outcome.corrupt_images == 0


def test_final_weights_are_the_same_file_whether_a_run_was_killed_or_not(tmp_path: Path) -> None:
    """They are kept when a run finishes, and only then."""
    run(TRIAL, weights_dir=tmp_path / "unbroken")
    with pytest.raises(Killed):
        run(TRIAL, tmp_path / "checkpoints", 60, weights_dir=tmp_path / "killed")
    assert not (tmp_path / "killed").exists()
    run(TRIAL, tmp_path / "checkpoints", weights_dir=tmp_path / "killed")
    kept, again = (weights_file(tmp_path / name, TRIAL.id).read_bytes() for name in ("unbroken", "killed"))
    assert kept == again


def test_a_run_starts_from_its_trunk_and_resumes_as_itself(unbroken: tuple[Outcome, list], tmp_path: Path) -> None:
    """Fine-tuning begins where the trunk ended; killed, it goes on from its own checkpoint."""
    run(TRIAL, weights_dir=tmp_path)
    branch = changed(TRIAL, trunk_id=TRIAL.id, epochs=0.25, peak_lr=0.01)
    outcome, points = run(branch, weights_dir=tmp_path)
    assert points[0].train_loss < 0.9 * unbroken[1][0].train_loss
    with pytest.raises(Killed):
        run(branch, tmp_path / "checkpoints", 8, weights_dir=tmp_path)
    assert losses(run(branch, tmp_path / "checkpoints", weights_dir=tmp_path)[0]) == losses(outcome)
    with pytest.raises(StudyError, match="final weights of trial"):
        run(branch, weights_dir=tmp_path / "elsewhere")


def test_a_streamed_set_trains_resumes_and_counts_what_was_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images from the host: same losses after a kill, a faultless certificate, bad images counted and left out."""
    data = changed(PARTS, name="small", image_px=8, images_per_epoch=100, held_out_images=300, selection_images=40)
    source = fed_source(SmallStream(data, bad_samples=(3, 17)), data)
    for module in (run_of, compilation):
        monkeypatch.setattr(module, "open_source", lambda data, data_dir: source)
    trial = changed(TRIAL, family="vit", shape=TOKENS, data=data, epochs=2.5, batch_images=10)
    outcome, _ = run(trial)
    assert outcome.status is Status.FINISHED and outcome.val_loss is not None
    assert fault(outcome.certificate, images=250, images_per_epoch=100) is None
    assert 4 <= outcome.corrupt_images <= 6
    with pytest.raises(Killed):
        run(trial, tmp_path, 10)
    again, _ = run(trial, tmp_path)
    assert losses(again) == losses(outcome)
    assert (again.certificate, again.corrupt_images) == (outcome.certificate, outcome.corrupt_images)


def test_a_rate_that_is_far_too_high_diverges_and_says_so() -> None:
    """A loss that is not finite ends the run as diverged, with the losses missing."""
    outcome, _ = run(changed(TRIAL, peak_lr=1e30))
    assert outcome.status is Status.DIVERGED
    assert outcome.val_loss is None and outcome.selection_loss is None
    assert outcome.error is None


def test_the_loss_is_zero_for_the_teacher_itself_and_cross_entropy_for_labels() -> None:
    """KL to soft labels vanishes at the labels; with one-hot labels it is -log p."""
    soft = jax.nn.softmax(jnp.asarray([[1.0, 2.0, -1.0]]))
    assert float(divergence(jnp.log(soft), soft)[0]) == pytest.approx(0, abs=1e-6)
    hard = jnp.asarray([[0.0, 1.0, 0.0]])
    assert float(divergence(jnp.log(soft), hard)[0]) == pytest.approx(-float(jnp.log(soft[0, 1])), rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 128, 16384])
def test_curves_report_at_log_spaced_steps_and_at_the_end(steps: int) -> None:
    """Points rise, are within the run, end with its last step and are few."""
    points = curve_steps(steps)
    assert list(points) == sorted(set(points))
    assert points[0] >= 1 and points[-1] == steps
    assert len(points) <= 40


def test_a_data_set_without_a_reader_is_looked_for_as_shards() -> None:
    """A private data set that is not there is one clear error: where it was looked for, and what may lie there."""
    with pytest.raises(StudyError, match=r"jft4b.*shards"):
        run(changed(TRIAL, data=changed(PARTS, name="jft4b")))


def test_bfloat16_trains_to_a_loss_close_to_float32(unbroken: tuple[Outcome, list]) -> None:
    """The bf16 recipe runs the whole loop and loses a few per cent at most."""
    outcome, _ = run(changed(TRIAL, recipe=changed(TRIAL.recipe, compute_dtype="bfloat16")))
    assert outcome.val_loss is not None and unbroken[0].val_loss is not None
    assert outcome.val_loss == pytest.approx(unbroken[0].val_loss, rel=0.1)
    assert outcome.val_loss != unbroken[0].val_loss
