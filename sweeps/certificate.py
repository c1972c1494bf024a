"""The sampling certificate: which samples a run has seen in each epoch, as a hash that does not depend on their order.

The reference study's loader could not promise that every image comes up once an epoch after a pre-emption, and its
largest model paid for it (arXiv:2310.16764). A run that carries a certificate can show that it did not happen to it.
"""

import functools
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_CERTIFICATE = "it has no sampling certificate"
"""The fault of a run whose trainer says nothing, or was older than certificates."""
_CHUNK = 1 << 15
"""So that the arrays stay in a core's cache: about 5 s for 1e9 samples, five times as fast as in long parts."""
_WORD = re.compile(r"(?P<first>\d+)(?:-(?P<last>\d+))?:(?P<images>\d+):(?P<digest>[0-9a-f]{16})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class EpochSamples:
    """The samples of one epoch, in whatever order and on however many hosts they were seen."""

    epoch: int
    images: int
    digest: str
    """Sixteen hexadecimal digits: the sum of the samples' 64-bit hashes modulo 2^64."""


Certificate = tuple[EpochSamples, ...]
"""One entry an epoch, in order; the last epoch may be incomplete."""


class SampleTally:
    """Counts samples up as they are trained on; merges what other hosts and earlier attempts have counted."""

    def __init__(self, certificate: Certificate = ()) -> None:
        self._epochs = {item.epoch: (item.images, int(item.digest, 16)) for item in certificate}

    def add(self, places: NDArray[np.int64], samples: NDArray[np.int64], *, images_per_epoch: int) -> None:
        """Counts samples (n,) that stood at these places (n,) of the run's stream, numbered from its start."""
        epochs = places // images_per_epoch
        for epoch in np.unique(epochs):
            seen = samples[epochs == epoch]
            images, total = self._epochs.get(int(epoch), (0, 0))
            self._epochs[int(epoch)] = images + len(seen), (total + _hash_sum(seen)) % 2**64

    def certificate(self) -> Certificate:
        """Returns what was counted so far."""
        return _certificate(self._epochs)


def merged(certificates: Iterable[Certificate]) -> Certificate:
    """Returns the certificate of what several hosts have seen, each its own rows."""
    epochs: dict[int, tuple[int, int]] = {}
    for item in itertools.chain.from_iterable(certificates):
        images, total = epochs.get(item.epoch, (0, 0))
        epochs[item.epoch] = images + item.images, (total + int(item.digest, 16)) % 2**64
    return _certificate(epochs)


def fault(certificate: Certificate, *, images: int, images_per_epoch: int) -> str | None:
    """Returns what is wrong with the certificate of a run that saw `images` images, or None where nothing is.

    Whole epochs must hold each of the samples 0 ... images_per_epoch - 1 once; of the last, incomplete one only the
    number of samples is known.
    """
    if not certificate:
        return NO_CERTIFICATE
    whole, rest = divmod(images, images_per_epoch)
    held = {item.epoch: item.images for item in certificate}
    for epoch, expected in enumerate([images_per_epoch] * whole + ([rest] if rest else [])):
        if held.get(epoch, 0) != expected:
            return f"epoch {epoch} held {held.get(epoch, 0):,} samples instead of {expected:,}"
    if [item.epoch for item in certificate] != list(range(whole + bool(rest))):
        return f"it tells of {len(certificate)} epochs instead of {whole + bool(rest)}"
    for item in certificate[:whole]:
        if item.digest != set_digest(images_per_epoch):
            return f"epoch {item.epoch} did not hold every sample once"
    return None


def faultless(*, images: int, images_per_epoch: int) -> Certificate:
    """Returns the certificate of a run that saw `images` images in the order of their numbers."""
    whole, rest = divmod(images, images_per_epoch)
    return tuple(
        EpochSamples(epoch=epoch, images=seen, digest=set_digest(seen))
        for epoch, seen in enumerate([images_per_epoch] * whole + ([rest] if rest else []))
    )


def certificate_text(certificate: Certificate) -> str:
    """Returns a certificate in short: `0-6:3200:0123456789abcdef 7:1600:fedcba9876543210`.

    That is epochs, samples in each of them and digest; neighbouring epochs that are alike share a word.
    """
    words: list[tuple[int, int, int, str]] = []
    for item in certificate:
        first, last, *known = words[-1] if words else (0, -2, 0, "")
        if (item.epoch, item.images, item.digest) == (last + 1, *known):
            words[-1] = (first, item.epoch, item.images, item.digest)
        else:
            words.append((item.epoch, item.epoch, item.images, item.digest))
    return " ".join(f"{a if a == b else f'{a}-{b}'}:{images}:{digest}" for a, b, images, digest in words)


def certificate_from(text: str) -> Certificate:
    """Returns the certificate that `certificate_text` wrote; raises ValueError where it is none."""
    found: list[EpochSamples] = []
    for word in text.split():
        match = _WORD.fullmatch(word)
        if match is None:
            raise ValueError(f"{word!r} is no part of a sampling certificate")
        first, last = int(match["first"]), int(match["last"] or match["first"])
        found += [
            EpochSamples(epoch=epoch, images=int(match["images"]), digest=match["digest"])
            for epoch in range(first, last + 1)
        ]
    return tuple(found)


@functools.cache
def set_digest(images_per_epoch: int) -> str:
    """Returns the digest of an epoch that holds each of the samples 0 ... images_per_epoch - 1 once."""
    starts = range(0, images_per_epoch, _CHUNK)
    parts = (_hash_sum(np.arange(first, min(first + _CHUNK, images_per_epoch), dtype=np.int64)) for first in starts)
    return f"{sum(parts) % 2**64:016x}"


def _certificate(epochs: Mapping[int, tuple[int, int]]) -> Certificate:
    return tuple(
        EpochSamples(epoch=epoch, images=images, digest=f"{total:016x}")
        for epoch, (images, total) in sorted(epochs.items())
    )


def _hash_sum(samples: NDArray[np.int64]) -> int:
    """Returns the sum modulo 2^64 of each sample's splitmix64 (S. Vigna, public domain)."""
    x = samples.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int(np.sum(x ^ (x >> np.uint64(31)), dtype=np.uint64))
