import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.certificate import SampleTally, fault
from training.streams.sample_order import sample_at

SEEDS = st.integers(0, 2**32)


def _epoch(samples: int, seed: int, epoch: int) -> np.ndarray:
    return sample_at(np.arange(samples * epoch, samples * (epoch + 1), dtype=np.int64), seed, samples)


@given(samples=st.integers(1, 3000), seed=SEEDS, epoch=st.integers(0, 1000))
def test_every_epoch_is_a_permutation(samples: int, seed: int, epoch: int) -> None:
    """Each sample comes up once an epoch."""
    assert np.array_equal(np.sort(_epoch(samples, seed, epoch)), np.arange(samples))


@given(
    samples=st.integers(1, 2**40),
    seed=SEEDS,
    places=st.lists(st.integers(0, 2**45), min_size=1, max_size=20),
)
def test_a_place_has_its_sample_whatever_it_is_asked_with(samples: int, seed: int, places: list[int]) -> None:
    """Places asked for together hold what they hold alone."""
    together = sample_at(np.array(places, np.int64), seed, samples)
    alone = [int(sample_at(np.array([place], np.int64), seed, samples)[0]) for place in places]
    assert together.tolist() == alone
    assert together.min() >= 0
    assert together.max() < samples


def test_epochs_and_seeds_differ() -> None:
    """No epoch has the order of another, nor that of any epoch of the next seed."""
    orders = [tuple(_epoch(500, seed, epoch)) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) == len(orders)
    matches = [np.mean(np.array(a) == b) for i, a in enumerate(orders) for b in orders[:i]]
    assert max(matches) < 0.02  # two random orders agree at 1 place of 500 on average


def test_order_is_that_of_earlier_versions() -> None:
    """A run that is resumed by a later version goes on in the same order."""
    assert sample_at(np.arange(6, dtype=np.int64), 7, 4_000_000_000).tolist() == [
        586192380,
        2824432172,
        3597961828,
        3458397795,
        2812378619,
        1508363884,
    ]


@pytest.mark.parametrize("samples", [30, 101])
def test_every_sample_is_as_likely_everywhere(samples: int) -> None:
    """Counts of (place, sample) over many epochs, and of neighbours' distances, are as even as chance makes them."""
    epochs = 4000
    orders = sample_at(np.arange(samples * epochs, dtype=np.int64), 3, samples).reshape(epochs, samples)
    places = np.tile(np.arange(samples), epochs)
    counts = np.bincount(places * samples + orders.reshape(-1), minlength=samples**2)
    assert _excess(counts, freedom=(samples - 1) ** 2) < 5
    steps = np.diff(orders, axis=1).reshape(-1) % samples
    assert _excess(np.bincount(steps, minlength=samples)[1:], freedom=samples - 2) < 5


def _excess(counts: np.ndarray, *, freedom: int) -> float:
    """Returns by how many standard deviations chi-squared exceeds its mean."""
    chi_squared = np.sum((counts - counts.mean()) ** 2) / counts.mean()
    return (chi_squared - freedom) / np.sqrt(2 * freedom)


def test_neighbours_in_the_order_are_far_apart_in_a_large_set() -> None:
    """At 4e9 samples, places next to one another hold unrelated samples."""
    found = sample_at(np.arange(100_000, dtype=np.int64) + 10**12, 1, 4_000_000_000) / 4e9
    assert len(np.unique(found)) == len(found)
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.02
    assert np.histogram(found, 10, (0, 1))[0] == pytest.approx(np.full(10, 10_000), rel=0.05)


def test_certificate_of_whole_and_part_epochs_is_faultless() -> None:
    """What the order promises is what a certificate proves."""
    tally = SampleTally()
    for first in range(0, 250, 10):
        places = np.arange(first, first + 10, dtype=np.int64)
        tally.add(places, sample_at(places, 5, 100), images_per_epoch=100)
    assert fault(tally.certificate(), images=250, images_per_epoch=100) is None
