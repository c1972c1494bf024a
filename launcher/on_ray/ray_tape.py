"""What the driver and the Tune loop tell one another: files in the study's folder, which both sides must see.

The loop runs in a process of Ray, maybe on another host, and so do the actors. All of them share a file system with
the driver anyway, since journals and checkpoints lie there; so no further process has to live for the queue to live.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CANCELLED = "cancelled"
"""The mark on a pack that its driver no longer wants."""
OUTRUN = "outrun"
"""The mark on a pack whose trial has fallen behind others of its cell."""


@dataclass(frozen=True, kw_only=True)
class Slip:
    """A pack that waits to be run."""

    batch: str
    """The name of its batch's folder."""
    place: int
    cell: str = ""
    """Trials with the same word compete; empty where nothing is stopped early."""
    trial: str = ""
    """The one trial of a pack that competes."""
    steps: int = 0
    """How many it has."""


@dataclass(frozen=True, kw_only=True)
class News:
    """Tune is done with a pack."""

    batch: str
    place: int
    reason: str | None = None
    """Why Tune gave up; absent where the pack came to its end."""


class Tape:
    """The queue of one Tune loop, in a folder of the loop's own; everything in it is appended, nothing is taken out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._slips, self._news, self._closed = folder / "packs.jsonl", folder / "news.jsonl", folder / "closed"
        self._slips_read = self._news_read = 0

    def put(self, slips: Iterable[Slip]) -> None:
        """Queues packs."""
        _append(self._slips, [vars(slip) for slip in slips])

    def take(self) -> list[Slip]:
        """Returns the packs that were queued since the last call."""
        lines, self._slips_read = _read_from(self._slips, self._slips_read)
        return [Slip(**line) for line in lines]

    def tell(self, news: News) -> None:
        """Says that Tune is done with a pack."""
        _append(self._news, [vars(news)])

    def news(self) -> list[News]:
        """Returns what was told since the last call."""
        lines, self._news_read = _read_from(self._news, self._news_read)
        return [News(**line) for line in lines]

    def close(self) -> None:
        """Says that no more packs come."""
        self._closed.touch()

    @property
    def is_closed(self) -> bool:
        """Whether no more packs come."""
        return self._closed.exists()


def mark(batch_folder: Path, place: int, word: str) -> None:
    """Puts a mark on a pack, which whoever runs it looks for."""
    (batch_folder / word).mkdir(exist_ok=True)
    (batch_folder / word / str(place)).touch()


def is_marked(batch_folder: Path, place: int, word: str) -> bool:
    """Returns whether a pack bears a mark."""
    return (batch_folder / word / str(place)).exists()


def _append(path: Path, lines: list[dict[str, Any]]) -> None:
    # Opened and closed each time: that is when network file systems show it to others.
    with path.open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))


def _read_from(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Returns the whole lines from a position on, and the position after them."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            whole, newline, _ = file.read().rpartition(b"\n")
    except FileNotFoundError:
        return [], offset
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole) + len(newline)
