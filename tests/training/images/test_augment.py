"""Augmentation of a batch: nothing by default, targets that stay distributions, labels by what is seen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sweeps.errors import StudyError
from sweeps.trial import RecipeSpec
from training.images.augment import augment, cutmix, mixup

ALL = RecipeSpec(mixup_alpha=0.2, cutmix_alpha=1.0, randaugment_layers=2, randaugment_magnitude=10.0)
RANGE = (jnp.float32(-1.5), jnp.float32(2.0))

_augment = jax.jit(augment, static_argnames="recipe")
_cutmix = jax.jit(cutmix)


def _batch(seed: int, batch: int, px: int, channels: int, classes: int) -> tuple[jax.Array, jax.Array]:
    random = np.random.default_rng(seed)
    images = random.uniform(-1.5, 2.0, (batch, px, px, channels)).astype(np.float32)
    targets = random.dirichlet(np.ones(classes), batch).astype(np.float32)
    return jnp.asarray(images), jnp.asarray(targets)


def test_nothing_by_default() -> None:
    """A recipe that asks for nothing adds no operation to the program."""
    images, targets = _batch(0, 8, 16, 3, 5)
    program = jax.make_jaxpr(lambda i, t, k: augment(i, t, k, RecipeSpec()))(images, targets, jax.random.key(0))
    assert not program.eqns


@pytest.mark.parametrize(("batch", "channels"), [(1, 3), (9, 1)])
def test_targets_stay_distributions(batch: int, channels: int) -> None:
    """Targets sum to one and are never negative, images keep shape, type and range, for batches of any size."""
    recipe = dataclasses.replace(ALL, randaugment_layers=0)
    for seed in range(8):
        images, targets = _batch(seed, batch, 16, channels, 4)
        mixed, labels = _augment(images, targets, jax.random.key(seed), recipe)
        assert mixed.shape == images.shape
        assert mixed.dtype == images.dtype
        np.testing.assert_allclose(np.sum(labels, axis=1), 1.0, atol=1e-5)
        assert float(labels.min()) >= 0.0
        assert float(mixed.min()) >= float(images.min()) - 1e-5
        assert float(mixed.max()) <= float(images.max()) + 1e-5


@given(seed=st.integers(0, 2**31), px=st.sampled_from([8, 15]), alpha=st.sampled_from([0.2, 1.0, 3.0]))
@examples(max_examples=20)
def test_cutmix_labels_are_pixel_shares(seed: int, px: int, alpha: float) -> None:
    """The mass of each label is the part of the pixels that are of its image, boxes at the border included."""
    batch = 6
    images = jnp.broadcast_to(jnp.arange(batch, dtype=jnp.float32)[:, None, None, None], (batch, px, px, 1))
    mixed, labels = _cutmix(images, jnp.eye(batch), jax.random.key(seed), alpha)
    share = np.stack([(np.asarray(mixed) == i).mean(axis=(1, 2, 3)) for i in range(batch)], axis=1)
    np.testing.assert_allclose(labels, share, atol=1e-6)


def test_cutmix_pastes_boxes() -> None:
    """What is pasted in is one rectangle, and areas vary from image to image."""
    images = jnp.concatenate([jnp.zeros((32, 16, 16, 1)), jnp.ones((32, 16, 16, 1))])
    mixed, labels = _cutmix(images, jnp.eye(64), jax.random.key(0), 1.0)
    for image in np.asarray(mixed[:32, :, :, 0]):
        np.testing.assert_array_equal(image, np.outer(image.any(axis=1), image.any(axis=0)))
    assert len(set(np.asarray(labels.max(axis=1)).tolist())) > 16


def test_mixup_blends_both_alike() -> None:
    """An image and its target are blended in the same shares, each image in its own."""
    images = jnp.broadcast_to(jnp.arange(8.0)[:, None, None, None], (8, 4, 4, 1))
    mixed, labels = mixup(images, jnp.eye(8), jax.random.key(1), 1.0)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], labels @ jnp.arange(8.0), rtol=1e-5)
    assert len(set(np.asarray(labels.max(axis=1)).tolist())) > 4


def test_halves() -> None:
    """MixUp leaves the second half of a batch alone, CutMix the first."""
    images, targets = _batch(3, 10, 16, 3, 4)
    mixed, _ = _augment(images, targets, jax.random.key(0), RecipeSpec(mixup_alpha=1.0))
    np.testing.assert_array_equal(mixed[5:], images[5:])
    assert not np.array_equal(mixed[:5], images[:5])
    cut, _ = _augment(images, targets, jax.random.key(0), RecipeSpec(cutmix_alpha=1.0))
    np.testing.assert_array_equal(cut[:5], images[:5])
    assert not np.array_equal(cut[5:], images[5:])


def test_randaugment_needs_pictures() -> None:
    """Images without a pixel range are refused by RandAugment; with one they stay within it."""
    images, targets = _batch(0, 8, 16, 3, 5)
    with pytest.raises(StudyError, match="randaugment_layers=0"):
        augment(images, targets, jax.random.key(0), ALL)
    distorted, same = _augment(images, targets, jax.random.key(0), RecipeSpec(randaugment_layers=1), pixel_range=RANGE)
    np.testing.assert_array_equal(same, targets)
    assert not np.allclose(distorted, images)
    assert float(distorted.min()) >= -1.5 - 1e-4
    assert float(distorted.max()) <= 2.0 + 1e-4


def test_compiles_as_one_program() -> None:
    """All of it together lives inside a compiled step, and the key alone decides."""
    images, targets = _batch(0, 8, 16, 3, 5)
    program = jax.jit(lambda i, t, k: augment(i, t, k, ALL, pixel_range=RANGE))
    one, again, other = (program(images, targets, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert not np.array_equal(one[0], other[0])
