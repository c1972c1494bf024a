"""The fenced blocks of the pages, and which of them are run.

A block marked `python` is run, and so is one marked `sh`; `sh long` trains networks, so it is run among the tests that
take minutes. A comment `<!-- not run: REASON -->` in the line before keeps a block from being run. Blocks without a
mark are commands for other machines or with names to be filled in: those of this project are only understood.
"""

import re
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n+)?^```(?P<mark>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    mark: str
    """python | sh | sh long | text | yaml | ... | nothing."""
    text: str
    reason: str | None
    """Why it is not run; None where nobody says so."""

    @property
    def is_run(self) -> bool:
        """Whether some test runs it."""
        return self.mark in ("python", "sh", "sh long") and self.reason is None


def pages() -> list[Path]:
    """Returns every page of the project."""
    return sorted([CHECKOUT / "README.md", *(CHECKOUT / "docs").rglob("*.md")])


def blocks(page: Path) -> list[Block]:
    """Returns the fenced blocks of a page, in order."""
    return [
        Block(mark=found["mark"], text=found["text"], reason=found["reason"])
        for found in _BLOCK.finditer(page.read_text())
    ]


def commands(block: Block) -> list[str]:
    """Returns the lines of a block without a mark that call make or a script of this project, remarks left out."""
    lines = [re.sub(r" {2,}.*$| +# .*$", "", line.removeprefix("$ ")) for line in block.text.splitlines()]
    ours = re.compile(r"make |python (?!-m )|\.venv/bin/python -m launcher ")
    return [line for line in lines if ours.match(line) and not re.search(r"\.\.\.|[A-Z]+_[A-Z]+\b|yours|\|", line)]
