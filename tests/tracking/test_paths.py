from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.paths import CHECKOUT, ProjectPaths, folder_name, project_paths

PLAIN = ("scale_model", "jft", "f3-vs-f4", "2026")
WEIRD = (
    "Scale_Model",
    "scale model",
    "scale/model",
    "scale'model",
    'scale"model',
    "scale.model",
    "..",
    ".",
    "",
    "/",
    "artifacts",
    "studie äöü",
    "a\nb",
    "x" * 300,
    folder_name("scale model"),
)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_names_stay(name: str) -> None:
    """A study with a plain name has a folder of that name."""
    assert folder_name(name) == name


@pytest.mark.parametrize("name", WEIRD)
def test_weird_names_become_safe_folders(name: str, tmp_path: Path) -> None:
    """Any name makes one folder directly in runs/, hidden nowhere and not longer than file systems allow."""
    paths = ProjectPaths(root=tmp_path)
    paths.study_dir(name).mkdir(parents=True)
    (found,) = paths.runs_dir.iterdir()
    assert found.resolve() == paths.study_dir(name)
    assert not found.name.startswith(".")


def test_listed_names_have_folders_of_their_own() -> None:
    """No two names share a folder, also where the file system does not tell A from a."""
    folders = sorted(folder_name(name).casefold() for name in (*PLAIN, *WEIRD))
    assert all(one != other for one, other in pairwise(folders))
    assert "artifacts" not in folders


@given(one=st.text(max_size=12), other=st.text(max_size=12))
def test_different_names_have_different_folders(one: str, other: str) -> None:
    """Whatever letters two names have, they share a folder only if they are the same."""
    assert (folder_name(one).casefold() == folder_name(other).casefold()) == (one == other)


def test_root_is_the_variable_else_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """LOGLOG_ROOT moves everything; without it, all lies in the checkout."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    assert project_paths().runs_sqlite == tmp_path / "runs.sqlite"
    for nothing in (None, ""):
        if nothing is None:
            monkeypatch.delenv("LOGLOG_ROOT")
        else:
            monkeypatch.setenv("LOGLOG_ROOT", nothing)
        assert project_paths().root == CHECKOUT
    assert (CHECKOUT / "pyproject.toml").is_file()


def test_every_path_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative root is read from the current folder once; leaving the folder changes nothing."""
    monkeypatch.chdir(tmp_path)
    paths = ProjectPaths(root=Path("here"))
    every = [getattr(paths, name) for name, kind in vars(ProjectPaths).items() if isinstance(kind, property)]
    every += [paths.root, paths.study_dir("s"), paths.journal_dir("s"), paths.checkpoint_dir("s", "0123")]
    monkeypatch.chdir("/")
    assert len(every) >= 10
    assert all(path.is_absolute() and path.is_relative_to(tmp_path / "here") for path in every)
