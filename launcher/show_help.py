"""`make help`: prints what the Makefile says of its own targets and words. It needs no .venv: standard library only."""

import re
import sys
from pathlib import Path

_TARGET = re.compile(r"^([a-z-]+):.*?## (.+)$", re.MULTILINE)
_WORD = re.compile(r"^## ([A-Z]+) +(.+)$", re.MULTILINE)


def help_text(makefile: str) -> str:
    """Returns the lines to print: every documented target, then every word."""
    lines = ["loglog plans, runs and reads scaling-law experiments.", "", "make ..."]
    lines += [f"  {name:<14} {text}" for name, text in _TARGET.findall(makefile)]
    lines += ["", "words, as in: make sweep BUDGET=10k STUDY=fashion_mnist"]
    lines += [f"  {name:<14} {text}" for name, text in _WORD.findall(makefile)]
    return "\n".join(lines)


def words(makefile: str) -> list[str]:
    """Returns the variables that a person may set behind `make`."""
    return [name for name, _ in _WORD.findall(makefile)]


if __name__ == "__main__":
    print(help_text(Path(__file__).resolve().parents[1].joinpath("Makefile").read_text()), file=sys.stdout)
