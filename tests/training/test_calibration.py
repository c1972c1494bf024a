"""Measuring the trainer's own step, on a network of nothing for a few steps."""

from pathlib import Path

import pytest

from sweeps.calibration import Calibration, CalibrationTask
from sweeps.compute import ComputeSpec
from sweeps.errors import StudyError
from sweeps.trial import Trial
from tests.training.small_nets import PARTS, TRIAL, changed
from training import calibration
from training.calibration import MadeUpStream, calibrate
from training.device_peaks import DevicePeak

ELSEWHERE = changed(PARTS, name="jft4b", images_per_epoch=4_000_000_000, selection_images=0)


@pytest.fixture(autouse=True)
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of a thousand million FLOPs a second."""
    monkeypatch.setattr(calibration, "device_peak", lambda devices, dtype: DevicePeak(flops_per_s=1e9, source="told"))


def measured(trial: Trial, compute: ComputeSpec = ComputeSpec(), stages: list[str] | None = None) -> Calibration:
    """Returns what two turns of three steps show."""
    task = CalibrationTask(trial=trial, compute=compute, steps=6, turns=2, shortest_turn_s=0.0)
    return calibrate(task, data_dir=Path("nowhere"), say=(stages if stages is not None else []).append)


def test_what_is_measured_of_a_drawn_source() -> None:
    """Speed, spread, memory and FLOPs are all there, and the stages are told in their order."""
    stages: list[str] = []
    found = measured(TRIAL, stages=stages)
    assert stages == ["compiling", "warming up", "turn 1 of 2", "turn 2 of 2"]
    assert (found.model, found.family, found.image_px, found.batch_images) == ("tiny", "nfnet", 16, 8)
    assert (found.steps, found.turns, found.cores, found.gradients) == (6, 2, 1, 1)
    assert found.images == "parts, drawn inside the step"
    assert found.images_per_s_per_core > 0 and found.relative_spread >= 0 and found.compile_s > 0
    assert found.model_flops_per_image == 6 * TRIAL.shape.forward_macs(image_px=16, classes=8)
    assert found.traced_flops_per_image == pytest.approx(found.model_flops_per_image, rel=0.25)
    assert (found.compiler_flops_per_step or 0) > 0 and (found.compiled_memory_bytes or 0) > 0
    assert found.mfu == pytest.approx(found.model_flops_per_image * found.images_per_s_per_core / 1e9)


def test_images_that_are_not_here_are_made_up() -> None:
    """A study on private images is measured on noise of the same size, in microbatches where asked."""
    found = measured(changed(TRIAL, data=ELSEWHERE), ComputeSpec(microbatches=2))
    assert found.images.startswith("made up, in place of jft4b")
    assert found.compute.microbatches == 2
    assert found.traced_flops_per_image == pytest.approx(found.model_flops_per_image, rel=0.25)


def test_a_second_gradient_counts() -> None:
    """Sharpness-aware minimisation asks for twice the FLOPs."""
    ascent = changed(TRIAL, recipe=changed(TRIAL.recipe, sam_radius=0.05))
    assert calibration._model_flops_per_image(ascent) == 12 * TRIAL.shape.forward_macs(image_px=16, classes=8)


def test_a_batch_that_cannot_be_split_is_refused() -> None:
    """What the trainer would refuse is refused here, in its words."""
    with pytest.raises(StudyError, match="cannot be split evenly"):
        measured(TRIAL, ComputeSpec(microbatches=3))


def test_made_up_rows_are_those_of_a_host() -> None:
    """Each process makes its own rows, at the places of the stream that a real one would have."""
    batches = MadeUpStream(ELSEWHERE).training(seed=0, first_step=3, batch_images=8, rows=slice(4, 8))
    first, second = next(batches), next(batches)
    assert first.places.tolist() == [28, 29, 30, 31] and second.places.tolist() == [36, 37, 38, 39]
    assert first.images.shape == (4, 16, 16, 3) and first.is_good.all()
    assert set(first.labels.tolist()) <= set(range(ELSEWHERE.classes))
