from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from sweeps.errors import StudyError
from sweeps.trial import DataSpec
from training.images import real_images
from training.images.image_files import RealImages
from training.images.real_images import open_real, pass_order
from training.source import HELD_OUT, SELECTION

DATA = DataSpec(
    name="fashion_mnist",
    image_px=8,
    channels=1,
    classes=10,
    images_per_epoch=50,
    held_out_images=10,
    selection_images=10,
)


@pytest.fixture
def tiny_set(monkeypatch: pytest.MonkeyPatch) -> RealImages:
    """Sixty training and twenty test images whose pixels say which image they are."""
    train, test = np.arange(60, dtype=np.uint8), np.arange(100, 120, dtype=np.uint8)
    images = RealImages(
        train_images=np.broadcast_to(train[:, None, None, None], (60, 8, 8, 1)).copy(),
        train_labels=train.astype(np.int32) % 10,
        test_images=np.broadcast_to(test[:, None, None, None], (20, 8, 8, 1)).copy(),
        test_labels=test.astype(np.int32) % 10,
    )
    monkeypatch.setitem(real_images.READERS, "fashion_mnist", lambda folder: images)
    return images


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("cut", [1, 17, 50, 63])
def test_every_image_comes_up_once_an_epoch_however_the_order_is_cut(seed: int, cut: int) -> None:
    """Three epochs are three different permutations, the same whether asked for at once or in pieces."""
    whole = pass_order(50, seed, 0, 150)
    pieces = np.concatenate([pass_order(50, seed, first, min(cut, 150 - first)) for first in range(0, 150, cut)])
    np.testing.assert_array_equal(whole, pieces)
    epochs = whole.reshape(3, 50) % 50
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(pass_order(50, seed + 1, 0, 50), whole[:50])


def test_held_out_and_selection_images_share_none(tiny_set: RealImages) -> None:
    """The two halves of the test set are disjoint, complete and not augmented."""
    source = open_real(DATA, Path())
    halves = []
    for stream in (HELD_OUT, SELECTION):
        images, targets = source.draw_held_out(source.arrays, jnp.arange(10, dtype=jnp.uint32), jnp.uint32(stream))
        pixels = np.rint(np.asarray(images) / source.arrays.scale + source.arrays.mean)
        assert (pixels == pixels[:, :1, :1]).all()
        np.testing.assert_array_equal(np.argmax(targets, axis=1), pixels[:, 0, 0, 0] % 10)
        halves.append(set(pixels[:, 0, 0, 0]))
    assert not halves[0] & halves[1]
    assert halves[0] | halves[1] == set(range(100, 120))


def test_training_images_are_shifted_but_keep_their_label(tiny_set: RealImages) -> None:
    """Augmentation moves pixels, never labels, and differs from visit to visit."""
    source = open_real(DATA, Path())
    first = jnp.arange(1, 50, dtype=jnp.uint32)
    images, targets = source.draw(source.arrays, first, jnp.uint32(0))
    centres = np.rint(np.asarray(images[:, 4, 4, 0]) / source.arrays.scale + source.arrays.mean)
    np.testing.assert_array_equal(centres, np.arange(1, 50))
    np.testing.assert_array_equal(np.argmax(targets, axis=1), np.arange(1, 50) % 10)
    again, _ = source.draw(source.arrays, first + 50, jnp.uint32(0))
    assert not np.array_equal(images, again)


def test_asking_for_more_images_than_there_are_is_refused(tiny_set: RealImages) -> None:
    """The error says how many there are and what to type."""
    with pytest.raises(StudyError, match=r"60 training.*data.images_per_epoch=60"):
        open_real(DataSpec(**{**DATA.__dict__, "images_per_epoch": 61}), Path())
