"""The pages of reference say what the code does."""

import re
import subprocess
import sys
from pathlib import Path

from launcher.settings.schema import known_keys

CHECKOUT = Path(__file__).resolve().parents[2]
GENERATOR = CHECKOUT / "docs" / "reference" / "generate.py"


def test_the_pages_are_those_that_the_code_writes() -> None:
    """`python docs/reference/generate.py` would write nothing new."""
    done = subprocess.run([sys.executable, str(GENERATOR), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_key_that_can_be_set_is_on_the_page() -> None:
    """docs/reference/config.md has each key that a command line may set, by the name that it has there."""
    page = (GENERATOR.parent / "config.md").read_text()
    again = ("finetune.data.", "finetune.schedule.", "finetune.recipe.", "study.families.")  # the keys of other groups
    keys = [key for key in known_keys() if not key.startswith(again)]
    assert len(keys) > 100
    assert not [key for key in keys if f"`{key}`" not in page]


def test_every_target_and_word_is_on_the_page() -> None:
    """docs/reference/cli.md has each target and each word of the Makefile."""
    page, makefile = (GENERATOR.parent / "cli.md").read_text(), (CHECKOUT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    (words,) = re.findall(r"^WORDS := (.+)$", makefile, re.MULTILINE)
    named = [f"`make {name}`" for name in targets.split()] + [f"| `{name}` |" for name in words.split()]
    assert not [name for name in named if name not in page and name != "| `SYSTEM_PYTHON` |"]
