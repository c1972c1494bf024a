import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.certificate import (
    Certificate,
    EpochSamples,
    SampleTally,
    certificate_from,
    certificate_text,
    fault,
    faultless,
    merged,
    set_digest,
)

IMAGES, PER_EPOCH = 250, 100


def tally(samples: np.ndarray, places: np.ndarray, earlier: Certificate = ()) -> Certificate:
    """What is counted of samples at their places, after what was counted before."""
    counted = SampleTally(earlier)
    counted.add(places, samples, images_per_epoch=PER_EPOCH)
    return counted.certificate()


def shuffled(seed: int) -> np.ndarray:
    """Two and a half epochs, each in an order of its own."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(PER_EPOCH) for _ in range(3)])[:IMAGES]


@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, IMAGES), max_size=4), hosts=st.integers(1, 4))
def test_any_order_any_attempts_any_hosts(seed: int, cuts: list[int], hosts: int) -> None:
    """Every sample once an epoch is faultless, in whatever order, parts and on however many hosts it was seen."""
    samples, places = shuffled(seed), np.arange(IMAGES)
    parts: list[Certificate] = [()] * hosts
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), IMAGES], strict=True):
        for host in range(hosts):
            mine = places[first:last][places[first:last] % hosts == host]
            parts[host] = tally(samples[mine], mine, parts[host])
    assert merged(parts) == tally(samples, places)
    assert fault(merged(parts), images=IMAGES, images_per_epoch=PER_EPOCH) is None


@given(seed=st.integers(0, 1000), place=st.integers(0, 2 * PER_EPOCH - 1), other=st.integers(1, PER_EPOCH - 1))
def test_one_wrong_sample_is_found(seed: int, place: int, other: int) -> None:
    """A sample that comes twice in place of another one is a fault of its epoch."""
    samples = shuffled(seed)
    samples[place] = (samples[place] + other) % PER_EPOCH
    found = fault(tally(samples, np.arange(IMAGES)), images=IMAGES, images_per_epoch=PER_EPOCH)
    assert found == f"epoch {place // PER_EPOCH} did not hold every sample once"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: (), "it has no sampling certificate"),
        (lambda c: c[:2], "epoch 2 held 0 samples instead of 50"),
        (lambda c: c[1:], "epoch 0 held 0 samples instead of 100"),
        (lambda c: (c[0], dataclasses.replace(c[1], images=99), c[2]), "epoch 1 held 99 samples instead of 100"),
        (lambda c: (*c, dataclasses.replace(c[2], epoch=3)), "it tells of 4 epochs instead of 3"),
        (lambda c: (dataclasses.replace(c[0], digest="0" * 16), *c[1:]), "epoch 0 did not hold every sample once"),
    ],
)
def test_faults_are_named(change: Callable[[Certificate], Certificate], said: str) -> None:
    """The first epoch with too few or too many samples, or with the wrong ones."""
    whole = faultless(images=IMAGES, images_per_epoch=PER_EPOCH)
    assert fault(change(whole), images=IMAGES, images_per_epoch=PER_EPOCH) == said


@given(images=st.integers(1, 500), per_epoch=st.integers(1, 200))
def test_faultless_is_without_fault(images: int, per_epoch: int) -> None:
    """A run in the order of the numbers sees each sample once an epoch."""
    certificate = faultless(images=images, images_per_epoch=per_epoch)
    assert fault(certificate, images=images, images_per_epoch=per_epoch) is None
    assert sum(item.images for item in certificate) == images


def test_digests_are_those_of_splitmix64() -> None:
    """The generator's first output from the state 0 is known from its author's code: it is what sample 0 hashes to."""
    assert set_digest(1) == "e220a8397b1dcdaf"


def test_a_long_epoch_is_hashed_in_parts() -> None:
    """The digest of more samples than one part holds is the sum of its parts'."""
    count = (1 << 20) + 5
    rest = tally(np.arange(1 << 20, count), np.zeros(5, dtype=np.int64))
    total = int(set_digest(1 << 20), 16) + int(rest[0].digest, 16)
    assert set_digest(count) == f"{total % 2**64:016x}"


certificates = st.lists(
    st.builds(
        EpochSamples,
        epoch=st.integers(0, 4),
        images=st.integers(0, 2),
        digest=st.sampled_from(["0123456789abcdef", "f" * 16]),
    ),
    max_size=8,
).map(tuple)


@given(certificate=certificates)
def test_the_text_of_a_certificate_says_it_all(certificate: Certificate) -> None:
    """Certificate to text to certificate changes nothing, whatever is wrong with it."""
    assert certificate_from(certificate_text(certificate)) == certificate


def test_like_epochs_share_a_word() -> None:
    """A thousand faultless epochs are as short as one."""
    text = certificate_text(faultless(images=99_950, images_per_epoch=100))
    assert text == f"0-998:100:{set_digest(100)} 999:50:{set_digest(50)}"


@pytest.mark.parametrize("text", ["0", "0:1:xyz", "0:-1:0123456789abcdef", "a-b:1:0123456789abcdef"])
def test_other_texts_are_no_certificate(text: str) -> None:
    """What cannot be read is refused, not taken for an empty certificate."""
    with pytest.raises(ValueError, match="no part of a sampling certificate"):
        certificate_from(text)
