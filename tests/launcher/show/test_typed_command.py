"""The command that was typed, told again."""

import pytest

from launcher.show.typed_command import typed_command

MAKE = {"MAKELEVEL": "1"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["action=sweep", "budget=10k", "seeds=2"], "make sweep BUDGET=10k SEEDS=2"),
        (["action=rehearse", "study=jft", "budgets='3k,10k'"], "make rehearse STUDY=jft BUDGETS=3k,10k"),
        (["action=sweep", "budget=10k", "peak_lr=0.8"], "make sweep BUDGET=10k EXTRA=peak_lr=0.8"),
        (["budget=1k", "study.epochs=[1,2]"], "make sweep BUDGET=1k EXTRA='study.epochs=[1,2]'"),
        (["action=sweep", "until=loss@110k +- 1%"], "make sweep UNTIL='loss@110k +- 1%'"),
        (["action=sweep", "hydra.searchpath=[file:///x]", "budget=1k"], "make sweep BUDGET=1k"),
    ],
)
def test_make(words: list[str], told: str) -> None:
    """Where make has started the process, in make's words; what they do not name is EXTRA."""
    assert typed_command(words, MAKE) == told


def test_python() -> None:
    """Where nobody used make, as it was."""
    assert typed_command(["budget=1k", "until=a b"], {}) == "python -m launcher budget=1k 'until=a b'"
