from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from sweeps.certificate import Certificate, fault
from sweeps.compute import ComputeSpec
from sweeps.errors import StudyError
from sweeps.trial import DataSpec, Trial
from tests.training.small_nets import PARTS, TRIAL, changed
from tests.training.small_streams import SmallStream
from training.data import fed_source, open_source
from training.feed import STEPS_PER_DISPATCH, DrawnFeed, HostFeed, Seen, open_feed
from training.images import real_images
from training.images.image_files import RealImages
from training.mesh import make_mesh
from training.source import AnySource

SMALL_SET = changed(
    PARTS, name="cifar10", image_px=8, images_per_epoch=60, held_out_images=10, selection_images=10, classes=10
)


def small_set(data: DataSpec, monkeypatch: pytest.MonkeyPatch) -> AnySource:
    """A set like CIFAR-10, of a hundred random images."""
    rng = np.random.default_rng(0)
    images = RealImages(
        train_images=rng.integers(0, 256, (80, 8, 8, 3), np.uint8),
        train_labels=rng.integers(0, 10, 80, np.int32),
        test_images=rng.integers(0, 256, (20, 8, 8, 3), np.uint8),
        test_labels=rng.integers(0, 10, 20, np.int32),
    )
    monkeypatch.setitem(real_images.READERS, "cifar10", lambda folder: images)
    return real_images.open_real(data, Path())


def parts(data: DataSpec, monkeypatch: pytest.MonkeyPatch) -> AnySource:
    """The procedural set."""
    return open_source(changed(data, name="parts", held_out_images=256, selection_images=256), Path())


def streamed(data: DataSpec, monkeypatch: pytest.MonkeyPatch) -> AnySource:
    """Images from the host, of which some cannot be decoded."""
    return fed_source(SmallStream(data, bad_samples=(3, 17)), data)


KINDS: dict[str, Callable[[DataSpec, pytest.MonkeyPatch], AnySource]] = {
    "parts": parts,
    "pool": small_set,
    "stream": streamed,
}
ONE_DEVICE = make_mesh(jax.devices()[:1])


def seen_after(source: AnySource, trial: Trial, *, stops: tuple[int, ...] = ()) -> Seen:
    """What a run has seen at its end, interrupted and taken up again at these steps."""
    seen = Seen()
    for first, last in zip((0, *stops), (*stops, trial.steps), strict=True):
        feed = open_feed(source, trial, ONE_DEVICE, ComputeSpec(), seen)
        step = first
        while step < last:
            count = min(STEPS_PER_DISPATCH, last - step)
            assert sum(dispatch.count for dispatch in feed.dispatches(step, count)) == count
            step += count
        seen = feed.seen()
    return seen


def fault_of(certificate: Certificate, trial: Trial) -> str | None:
    """What is wrong with the certificate of the trial."""
    images = trial.images // trial.recipe.augmentation_multiplicity
    return fault(certificate, images=images, images_per_epoch=trial.data.images_per_epoch)


@pytest.mark.parametrize("epochs", [0.25, 1.0, 2.5])
@pytest.mark.parametrize(("kind", "copies"), [("parts", 1), ("pool", 1), ("pool", 2), ("stream", 1), ("stream", 2)])
def test_the_certificate_is_faultless_however_a_run_is_cut(
    kind: str, epochs: float, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, part and several epochs, batches across epoch ends, with copies, interrupted or not: the same samples."""
    source = KINDS[kind](SMALL_SET, monkeypatch)
    recipe = changed(TRIAL.recipe, augmentation_multiplicity=copies)
    trial = changed(TRIAL, data=SMALL_SET, epochs=epochs * copies, batch_images=8, recipe=recipe)
    unbroken = seen_after(source, trial)
    assert fault_of(unbroken.certificate, trial) is None
    stops = tuple(sorted({1, trial.steps // 2, trial.steps - 1} - {0, trial.steps}))
    assert seen_after(source, trial, stops=stops) == unbroken
    bad_an_epoch = 2 * copies if kind == "stream" else 0
    assert int(epochs) * bad_an_epoch <= unbroken.corrupt_images <= np.ceil(epochs) * bad_an_epoch


def test_a_batch_that_is_fed_twice_shows_in_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong in the reference study would be seen: an epoch that holds samples twice."""
    source, trial = small_set(SMALL_SET, monkeypatch), changed(TRIAL, data=SMALL_SET, batch_images=10)
    feed = open_feed(source, trial, ONE_DEVICE, ComputeSpec(), Seen())
    for step in (0, 1, 2, 3, 4, 4):
        list(feed.dispatches(step, 1))
    assert fault_of(feed.seen().certificate, trial) is not None


def test_copies_stand_beside_one_another_and_are_augmented_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a multiplicity of 4 a batch of 8 holds two samples, four times each, each time another index."""
    recipe = changed(TRIAL.recipe, augmentation_multiplicity=4)
    trial = changed(TRIAL, data=SMALL_SET, recipe=recipe)
    feed = open_feed(small_set(SMALL_SET, monkeypatch), trial, ONE_DEVICE, ComputeSpec(microbatches=2), Seen())
    assert isinstance(feed, DrawnFeed)
    (dispatch,) = feed.dispatches(0, 3)
    indices = np.asarray(dispatch.indices)
    assert indices.shape == (STEPS_PER_DISPATCH, 2, 4)
    assert (indices % 60 == indices[:, :, :1] % 60).all()
    assert len(np.unique(indices)) == indices.size
    order = real_images.pass_order(60, trial.seed, 0, 2 * STEPS_PER_DISPATCH)
    np.testing.assert_array_equal(indices[:, :, 0].ravel(), order)


def test_copies_of_an_image_without_augmentation_are_refused() -> None:
    """The very same image several times in a batch would be of no use."""
    recipe = changed(TRIAL.recipe, augmentation_multiplicity=2)
    with pytest.raises(StudyError, match="parts has no augmentation"):
        open_feed(open_source(PARTS, Path()), changed(TRIAL, recipe=recipe), ONE_DEVICE, ComputeSpec(), Seen())


def test_a_batch_is_a_multiple_of_the_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that copies do not divide is refused."""
    recipe = changed(TRIAL.recipe, augmentation_multiplicity=3)
    source, trial = small_set(SMALL_SET, monkeypatch), changed(TRIAL, data=SMALL_SET, recipe=recipe)
    with pytest.raises(StudyError, match="no multiple of augmentation_multiplicity=3"):
        open_feed(source, trial, ONE_DEVICE, ComputeSpec(), Seen())


def test_a_stream_gives_its_rows_in_microbatches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images, labels and what could be decoded come as (microbatches, rows, ...), in the order of the stream."""
    source, trial = streamed(SMALL_SET, monkeypatch), changed(TRIAL, data=SMALL_SET)
    feed = open_feed(source, trial, ONE_DEVICE, ComputeSpec(microbatches=2), Seen())
    assert isinstance(feed, HostFeed)
    dispatches = list(feed.dispatches(5, 2))
    stream = SmallStream(SMALL_SET, bad_samples=(3, 17))
    batches = stream.training(seed=trial.seed, first_step=5, batch_images=8, rows=slice(0, 8))
    for dispatch, batch in zip(dispatches, batches, strict=False):
        images, labels, is_good = dispatch.arrays
        assert images.shape == (2, 4, 8, 8, 3) and dispatch.count == 1
        np.testing.assert_array_equal(images.reshape(batch.images.shape), batch.images)
        np.testing.assert_array_equal(labels.ravel(), batch.labels)
        np.testing.assert_array_equal(is_good.ravel(), batch.is_good)
