import itertools
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sweeps.certificate import SampleTally, fault
from sweeps.errors import StudyError
from tests.training.streams.small_shards import KINDS, encoded, picture, samples, spec, write_set
from training.streams.host_batch import HostBatch
from training.streams.image_stream import ImageStream, open_stream

BATCH = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of 45 training and 20 held-out images, in each kind of shards."""
    root = tmp_path_factory.mktemp("sets")
    for kind in KINDS:
        write_set(root / kind, kind, train=samples(45), held_out=samples(20))
    return root


def _batches(stream: ImageStream, count: int, **options: Any) -> list[HostBatch]:
    asked: dict[str, Any] = {"seed": 3, "first_step": 0, "batch_images": BATCH, "rows": slice(0, BATCH)}
    with closing(stream.training(**asked | options)) as batches:
        return list(itertools.islice(batches, count))


def _same(one: HostBatch, other: HostBatch) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__)


def test_all_kinds_of_shards_hold_the_same(folder: Path) -> None:
    """A set gives the same batches, to the bit, whatever it is stored in."""
    found = [_batches(open_stream(spec(), folder / kind), 4) for kind in KINDS]
    assert all(_same(one, other) for others in found[1:] for one, other in zip(found[0], others, strict=True))
    first = found[0][0]
    assert first.images.shape == (BATCH, 16, 16, 3)
    assert first.images.dtype == np.uint8
    assert first.labels.dtype == np.int32
    assert first.is_good.all()
    assert np.array_equal(first.labels, first.samples % 10)


@settings(max_examples=15, deadline=None)
@given(hosts=st.sampled_from([1, 2, 4, 8]), first_step=st.integers(0, 7), copies=st.sampled_from([1, 2, 4]))
def test_hosts_and_restarts_change_nothing(folder: Path, hosts: int, first_step: int, copies: int) -> None:
    """Any split into hosts and any restart gives the same places, samples and pixels."""
    stream = open_stream(spec(), folder / "arrayrecord")
    (expected,) = _batches(stream, first_step + 1, multiplicity=copies)[-1:]
    rows = BATCH // hosts
    parts = [
        _batches(stream, 1, first_step=first_step, rows=slice(rows * host, rows * (host + 1)), multiplicity=copies)[0]
        for host in range(hosts)
    ]
    for name in expected.__dataclass_fields__:
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(expected, name))


@pytest.mark.parametrize("copies", [1, 4])
def test_certificate_is_faultless_and_equal_across_hosts(folder: Path, copies: int) -> None:
    """Counted by first copies, each sample comes up once an epoch, on however many hosts."""
    stream = open_stream(spec(), folder / "tar")
    certificates = []
    for hosts in (1, 4):
        tally = SampleTally()
        rows = BATCH // hosts
        for host in range(hosts):
            for batch in _batches(stream, 25, rows=slice(rows * host, rows * (host + 1)), multiplicity=copies):
                first = batch.places % copies == 0
                tally.add(batch.places[first] // copies, batch.samples[first], images_per_epoch=40)
        certificates.append(tally.certificate())
    assert certificates[0] == certificates[1]
    assert fault(certificates[0], images=25 * BATCH // copies, images_per_epoch=40) is None


def test_copies_of_a_sample_are_augmented_differently(folder: Path) -> None:
    """With multiplicity 4 a batch holds each of its samples four times, beside one another, in other crops."""
    (batch,) = _batches(open_stream(spec(), folder / "arrayrecord"), 1, multiplicity=4)
    assert np.array_equal(batch.samples, np.repeat(batch.samples[::4], 4))
    assert len(np.unique(batch.samples)) == BATCH // 4
    assert len({image.tobytes() for image in batch.images}) == BATCH
    with pytest.raises(StudyError, match="batch_images=16 must be a multiple of augmentation_multiplicity=3"):
        _batches(open_stream(spec(), folder / "arrayrecord"), 1, multiplicity=3)


@pytest.mark.slow
def test_threads_and_processes_change_nothing(folder: Path) -> None:
    """One thread, many, or workers beside them: the same batches."""
    data, path = spec(), folder / "parquet"
    one = _batches(open_stream(data, path, threads=1), 5, batch_images=80, rows=slice(0, 80))
    for stream in (open_stream(data, path, threads=7), open_stream(data, path, threads=1, processes=2)):
        assert all(
            _same(a, b) for a, b in zip(one, _batches(stream, 5, batch_images=80, rows=slice(0, 80)), strict=True)
        )


def test_held_out_images_are_split_by_even_and_odd_places(folder: Path) -> None:
    """Each set comes once, in order, filled up to whole batches; every host yields as many."""
    stream = open_stream(spec(evaluation_px=24), folder / "tar")
    for part, images in (("held_out", 9), ("selection", 8)):
        by_host = [list(_held_out(stream, part, slice(2 * host, 2 * host + 2))) for host in range(2)]
        assert [len(batches) for batches in by_host] == [-(-images // 4)] * 2
        whole = list(_held_out(stream, part, slice(0, 4)))
        found = np.concatenate([batch.samples for batch in whole])
        first = int(part == "selection")
        assert found[:images].tolist() == [first + 2 * image for image in range(images)]
        assert (found[images:] == -1).all()
        assert np.array_equal(np.concatenate([batch.is_good for batch in whole]), found >= 0)
        assert {batch.images.shape for batch in whole} == {(4, 24, 24, 3)}
        assert all(
            np.array_equal(np.concatenate([by_host[0][i].images, by_host[1][i].images]), batch.images)
            for i, batch in enumerate(whole)
        )


def test_without_selection_images_the_held_out_set_selects(folder: Path) -> None:
    """selection_images=0: both parts are the first held-out images."""
    stream = open_stream(spec(selection_images=0, held_out_images=20), folder / "tar")
    for part in ("held_out", "selection"):
        found = np.concatenate([batch.samples for batch in _held_out(stream, part, slice(0, 4))])
        assert found.tolist() == list(range(20))


def _held_out(stream: ImageStream, part: Any, rows: slice) -> Iterator[HostBatch]:
    return stream.held_out(part=part, batch_images=4, rows=rows)


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_cannot_be_decoded_are_skipped_and_told(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut short, not an image, empty: rows of zeros that are not good, and a line with shard and position."""
    train = samples(40)
    for number, damaged in ((5, train[5][0][:-200]), (17, b"<html>not found</html>"), (33, b"")):
        train[number] = (damaged, train[number][1])
    write_set(tmp_path, kind, train=train, held_out=samples(20), shards=2)
    with caplog.at_level(logging.WARNING, logger="training.streams"):
        batches = _batches(open_stream(spec(), tmp_path), 5, batch_images=8, rows=slice(0, 8))
    bad = {int(sample) for batch in batches for sample in batch.samples[~batch.is_good]}
    assert bad == {5, 17, 33}
    assert all(not batch.images[~batch.is_good].any() for batch in batches)
    assert all(np.array_equal(batch.labels, batch.samples % 10) for batch in batches)
    for place in ("s-0", "record 5", "record 17", "s-1", "record 13"):
        assert place in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_said_before_training(kind: str, folder: Path, tmp_path: Path) -> None:
    """Too few images and labels that are no classes are errors of one sentence."""
    path = folder / kind
    with pytest.raises(StudyError, match=r"train has 45 images; data.images_per_epoch asks for 46"):
        open_stream(spec(images_per_epoch=46), path)
    with pytest.raises(StudyError, match=r"held_out has 20 images; twice the larger .* asks for 22"):
        open_stream(spec(held_out_images=11), path)
    with pytest.raises(StudyError, match=r"held_out has 20 images; data.held_out_images asks for 21"):
        open_stream(spec(held_out_images=21, selection_images=0), path)
    with pytest.raises(StudyError, match=rf"s-\d.{kind} has an image of class 9; classes=9 allows 0 to 8"):
        open_stream(spec(classes=9), path)
    with pytest.raises(StudyError, match="channels=4 cannot be decoded"):
        open_stream(spec(channels=4), path)
    write_set(tmp_path, kind, train=[(image, label - 1) for image, label in samples(40)], held_out=samples(20))
    with pytest.raises(StudyError, match="has an image of class -1"):
        open_stream(spec(), tmp_path)


def test_an_unforeseen_label_ends_the_run_where_it_is_met(tmp_path: Path) -> None:
    """ArrayRecord shards tell a label only with its image: one that was not looked at is an error when it comes up."""
    train = samples(200)
    train[1] = (train[1][0], 10)
    write_set(tmp_path, "arrayrecord", train=train, held_out=samples(20), shards=1)
    stream = open_stream(spec(images_per_epoch=200), tmp_path)
    with pytest.raises(StudyError, match=r"s-0.arrayrecord, record 1 is of class 10; classes=10 allows 0 to 9"):
        _batches(stream, 25)


def test_grey_images_are_asked_for_with_one_channel(folder: Path) -> None:
    """channels=1 gives one."""
    (batch,) = _batches(open_stream(spec(channels=1), folder / "arrayrecord"), 1)
    assert batch.images.shape == (BATCH, 16, 16, 1)
    assert batch.is_good.all()


def test_training_images_are_crops_and_mirrors_of_their_sample(tmp_path: Path) -> None:
    """Over many epochs one sample comes in different crops, mirrored in about half of them."""
    ramp = np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    write_set(tmp_path, "tar", train=[(encoded(Image.fromarray(ramp), "PNG"), 0)], held_out=samples(1), shards=1)
    stream = open_stream(spec(images_per_epoch=1, held_out_images=1, selection_images=0), tmp_path)
    batches = _batches(stream, 20)
    images = np.concatenate([batch.images for batch in batches]).astype(int)
    assert {int(sample) for batch in batches for sample in batch.samples} == {0}
    is_mirrored = images[:, 0, 0, 0] > images[:, 0, -1, 0]
    assert 0.4 < is_mirrored.mean() < 0.6
    spans = np.abs(images[:, 0, -1, 0] - images[:, 0, 0, 0])
    assert spans.min() < 100 < 220 < spans.max()
    assert len({image.tobytes() for image in images}) > 0.7 * len(images)  # crops that differ only in height look alike


def test_held_out_images_are_the_middles(tmp_path: Path) -> None:
    """Evaluation resizes the short side to 32 px more than it looks at, and cuts the middle out."""
    whole = picture(0, width=600, height=512)
    held_out = [(encoded(whole, "PNG"), 0)]
    write_set(tmp_path, "parquet", train=samples(40), held_out=held_out, shards=1)
    stream = open_stream(spec(held_out_images=1, selection_images=0, evaluation_px=224), tmp_path)
    (batch,) = _held_out(stream, "held_out", slice(0, 4))
    resized = whole.resize((300, 256), Image.Resampling.BILINEAR)
    expected = np.asarray(resized.crop((38, 16, 38 + 224, 16 + 224))).astype(int)
    assert np.abs(batch.images[0] - expected).max() <= 1


@pytest.mark.slow
def test_a_process_may_end_with_a_stream_open(folder: Path) -> None:
    """Threads that decode ahead neither hold the process up nor complain when it goes."""
    program = (
        "from pathlib import Path\n"
        "from tests.training.streams.small_shards import spec\n"
        "from training.streams.image_stream import open_stream\n"
        f"stream = open_stream(spec(), Path({str(folder / 'tar')!r}))\n"
        "batches = stream.training(seed=0, first_step=0, batch_images=256, rows=slice(0, 256))\n"
        "print(len(next(batches)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout == "256\n"
    assert "Traceback" not in ended.stderr
