import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.small_nets import PARTS, changed
from training.images import parts
from training.images.counter_random import hashed, standardised, uniform

WORLD = parts.make_world(PARTS)


def draw(indices: list[int], stream: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Images and log labels."""
    images, log_targets = parts.draw(WORLD, jnp.asarray(indices, jnp.uint32), jnp.uint32(stream), image_px=16)
    return np.asarray(images), np.asarray(log_targets)


def test_an_image_depends_on_its_index_alone() -> None:
    """The same index gives the same image in any company and order."""
    images, targets = draw([5, 9, 2**31])
    again, targets_again = draw([2**31, 5])
    np.testing.assert_array_equal(images[[2, 0]], again)
    np.testing.assert_allclose(targets[[2, 0]], targets_again, rtol=1e-5)


def test_streams_and_indices_give_different_images() -> None:
    """No two of a thousand images from two streams are alike."""
    images = np.concatenate([draw(list(range(500)), stream)[0] for stream in (0, 1)])
    assert len({image.tobytes() for image in images}) == 1000


def test_worlds_differ_by_generator_seed_and_nothing_else() -> None:
    """A generator seed fixes the dictionary and the teacher."""
    same, other = parts.make_world(PARTS), parts.make_world(changed(PARTS, generator_seed=6))
    np.testing.assert_array_equal(same.tiles, WORLD.tiles)
    np.testing.assert_array_equal(same.votes, WORLD.votes)
    assert not np.array_equal(other.tiles, WORLD.tiles)
    assert not np.array_equal(other.votes, WORLD.votes)


def test_labels_are_probabilities_that_the_images_decide() -> None:
    """Soft labels sum to one and vary from image to image."""
    _, log_targets = draw(list(range(2000)))
    np.testing.assert_allclose(np.exp(log_targets).sum(axis=1), 1, rtol=1e-5)
    assert np.exp(log_targets).std(axis=0).min() > 0.01


def test_parts_come_up_as_often_as_zipf_says() -> None:
    """The cumulative table is that of k^-exponent."""
    weights = np.arange(1, parts.PARTS + 1) ** -parts.ZIPF_EXPONENT
    np.testing.assert_allclose(np.diff(WORLD.cumulative, prepend=0), weights / weights.sum(), atol=1e-6)


def test_rolling_an_image_does_not_change_what_the_teacher_sees() -> None:
    """Neighbours wrap round, so the label of a rolled grid is the label of the grid."""
    grid = jnp.asarray(np.random.default_rng(0).integers(0, parts.PARTS, (3, 4, 4)))
    rolled = jnp.roll(grid, (1, 2), axis=(1, 2))
    np.testing.assert_allclose(parts._teach(WORLD, grid), parts._teach(WORLD, rolled), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 768])
def test_counted_randomness_is_uniform(count: int) -> None:
    """Uniforms have the mean and spread of uniforms, across indices and counters."""
    seeds = hashed(jnp.arange(20_000 // count + 100, dtype=jnp.uint32), jnp.uint32(3))
    chance = np.asarray(uniform(seeds, count), np.float64)
    assert chance.min() >= 0 and chance.max() < 1
    assert chance.mean() == pytest.approx(0.5, abs=5 / np.sqrt(12 * chance.size))
    assert np.histogram(chance, 10, (0, 1))[0].std() < 5 * np.sqrt(chance.size / 10)
    assert float(standardised(jnp.asarray(chance)).std()) == pytest.approx(1, abs=0.03)


def test_seeds_of_a_stream_never_collide() -> None:
    """The hash is one-to-one within a stream."""
    seeds = np.asarray(hashed(jnp.arange(100_000, dtype=jnp.uint32), jnp.uint32(11)))
    assert len(np.unique(seeds)) == 100_000
