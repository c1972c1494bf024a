"""What the pages show is run: Python and cheap commands on a recorded study, the tutorial from nothing."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import show_help
from launcher.settings.compose import compose
from tests.docs.page_examples import CHECKOUT, Block, blocks, commands, pages
from tests.docs.record_study import record_study

PAGES = pages()
_MAKE = 'make() { command make --old-file=.venv/.ready --no-print-directory "$@"; }\n'
"""The checkout is set up, and an edit of its settings is no reason to install it again in the middle of the tests."""


def _with(*marks: str) -> list[Path]:
    return [page for page in PAGES if any(block.is_run and block.mark in marks for block in blocks(page))]


def _id(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recorded sweep of the default study."""
    root = tmp_path_factory.mktemp("recorded")
    record_study(root)
    return root


@pytest.fixture
def environment(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The checkout as the folder of commands, and the recorded study as what was run."""
    monkeypatch.setenv("LOGLOG_ROOT", str(recorded))
    monkeypatch.chdir(CHECKOUT)
    with pytest.MonkeyPatch.context() as quiet:
        quiet.setenv("MPLBACKEND", "agg")
        yield


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("page", _with("python"), ids=_id)
def test_the_python_of_a_page_runs(page: Path) -> None:
    """The Python blocks of a page run one after the other, as one reads them."""
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if block.mark == "python" and block.is_run:
            exec(compile(block.text, _id(page), "exec"), names)


@pytest.mark.real
@pytest.mark.parametrize("page", _with("sh"), ids=_id)
def test_the_cheap_commands_of_a_page_run(page: Path, recorded: Path) -> None:
    """The commands of a page that train nothing run, and say what stands below them."""
    _run([block for block in blocks(page) if block.mark in ("sh", "text")], recorded)


@pytest.mark.real
@pytest.mark.endurance
def test_the_tutorial_runs_from_nothing(tmp_path: Path) -> None:
    """Every command of the tutorial, in an empty folder, with real training."""
    tutorial = CHECKOUT / "docs" / "tutorial.md"
    shown = _run([block for block in blocks(tutorial) if block.mark in ("sh", "sh long", "text")], tmp_path)
    assert "nothing to train" in shown
    assert (tmp_path / "reports" / "scale_model" / "report.html").is_file()


def _run(of_page: list[Block], root: Path) -> str:
    """Runs commands in one shell each, and returns what they said; a block of text holds lines of the one before."""
    said = everything = ""
    for block in of_page:
        if block.mark == "text":
            assert not [line for line in block.text.splitlines() if line.strip() not in said], said
        elif block.is_run:
            script = _MAKE + block.text.replace(
                "=reports/", f"={root}/reports/"
            )  # in the checkout, where nobody says else
            done = subprocess.run(
                ["bash", "-euc", script], cwd=CHECKOUT, env=_clean(root), capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            said = "\n".join(line.strip() for line in done.stdout.splitlines())
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
            everything += said
    return everything


def _clean(root: Path) -> dict[str, str]:
    """Returns an environment as a terminal has it: without the words of a `make test` around this one."""
    words = show_help.words((CHECKOUT / "Makefile").read_text())
    kept = {name: value for name, value in os.environ.items() if not re.match(r"MAKE|MFLAGS$", name)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {name: value for name, value in kept.items() if name not in words} | {
        "LOGLOG_ROOT": str(root), "PATH": path, "COLUMNS": "120",
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on PATH")
@pytest.mark.parametrize("page", [page for page in PAGES if any(map(commands, blocks(page)))], ids=_id)
def test_every_command_shown_is_understood(page: Path, tmp_path: Path) -> None:
    """What make is told exists, and the settings and options behind it are ones that the program knows."""
    lines = [line for block in blocks(page) for line in commands(block)]
    script = _MAKE.replace("command make", "command make --dry-run") + "\n".join(
        line for line in lines if line.startswith("make ")
    )
    done = subprocess.run(
        ["bash", "-euc", script], cwd=CHECKOUT, env=_clean(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for words in re.findall(r"-m launcher action=(?:plan|sweep) (.*)", done.stdout + "\n".join(lines)):
        _compose(words)


def _compose(words: str) -> None:
    """Reads the settings of a command, unless it names a file that somebody has yet to write."""
    settings = shlex.split(words)
    if not re.search(r"pick=|cluster=mysite|trainer=mine|hardware=measured|data=image|study=mine", words):
        assert compose(settings).study.models


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_what_is_not_run_says_why(page: Path) -> None:
    """Every block that could be run is, or gives its reason in a sentence."""
    idle = [block for block in blocks(page) if block.mark.split(" ")[0] in ("python", "sh") and not block.is_run]
    assert not [block.text for block in idle if not block.reason or len(block.reason.split()) < 3]
    assert all(block.mark in ("sh", "sh long", "python", "text", "yaml", "toml", "json", "") for block in blocks(page))
