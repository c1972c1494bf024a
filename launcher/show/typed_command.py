"""The command as it was typed, so that an answer can end with what to type next."""

import re
import shlex
from collections.abc import Mapping, Sequence

_MAKE_WORDS = {
    "budget": "BUDGET",
    "study": "STUDY",
    "spend": "SPEND",
    "seeds": "SEEDS",
    "model": "MODEL",
    "strategy": "STRATEGY",
    "until": "UNTIL",
    "cluster": "CLUSTER",
    "pick": "PICK",
    "finetune": "DATA",
    "budgets": "BUDGETS",
    "format": "FORMAT",
}
"""Of the Makefile, by the word that it hands on."""
_PLAIN = re.compile(r"[\w@%+=:,./\[\]-]+")
_UNTYPED = "hydra.searchpath"
"""What begins the words that nobody has typed."""


def typed_command(words: Sequence[str], environment: Mapping[str, str], *, action: str = "sweep") -> str:
    """Returns a command line that does the same again: make's where make has started this process.

    Args:
        words: of the process, `budget=10k seeds=2`.
        environment: of the process; make counts its levels there.
        action: where the words name none.
    """
    told = [word for word in words if not word.startswith(_UNTYPED)]
    if "MAKELEVEL" not in environment:
        return shlex.join(["python", "-m", "launcher", *told])
    named: list[str] = []
    extra: list[str] = []
    for word in told:
        name, is_set, value = word.partition("=")
        if name == "action" and is_set:
            action = value
        elif name in _MAKE_WORDS and is_set:
            named.append(f"{_MAKE_WORDS[name]}={shlex.quote(_unquoted(value))}")
        else:
            extra.append(word)
    return " ".join(
        ["make", action, *named, *([f"EXTRA={shlex.quote(' '.join(map(_of_extra, extra)))}"] if extra else [])]
    )


def _of_extra(word: str) -> str:
    """Returns a word as it stands within EXTRA, which a shell reads once more."""
    return word if _PLAIN.fullmatch(word) else shlex.quote(word)


def _unquoted(value: str) -> str:
    """Returns the value as typed: what holds a comma is quoted once more for Hydra."""
    is_quoted = len(value) > 1 and value[0] == value[-1] == "'"
    return value[1:-1] if is_quoted else value
