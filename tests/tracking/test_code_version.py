import shutil
import subprocess
from pathlib import Path

import pytest

from tracking.code_version import code_version

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not on this machine")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with a source, a test and a note, all committed."""
    for name in ("sweeps/plan.py", "conf/study/jft.yaml", "tests/test_plan.py", "docs/note.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    (tmp_path / ".gitignore").write_text("runs/\n")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "first")
    return tmp_path


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_clean_checkout_is_its_commit(checkout: Path) -> None:
    """Unchanged code bears the name of its commit."""
    version = code_version(checkout)
    assert len(version) == 12
    assert _git(checkout, "rev-parse", "HEAD").startswith(version)


@pytest.mark.parametrize(
    ("name", "is_dirty"),
    [
        ("sweeps/plan.py", True),
        ("conf/study/jft.yaml", True),
        ("sweeps/new file.py", True),
        ("tests/test_plan.py", False),
        ("docs/note.md", False),
        ("runs/journal.py", False),
    ],
)
def test_changed_sources_are_dirty(checkout: Path, name: str, is_dirty: bool) -> None:
    """A changed or new source makes the version dirty; tests, notes and ignored files do not."""
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("2\n")
    assert ("-dirty-" in code_version(checkout)) == is_dirty


def test_checkout_within_a_larger_one(checkout: Path) -> None:
    """In a subfolder of a repository, only what lies in the subfolder counts."""
    (checkout / "docs" / "sketch.py").write_text("2\n")
    assert "-dirty" not in code_version(checkout / "sweeps")
    assert "-dirty-" in code_version(checkout / "docs")


def test_without_git_it_is_unversioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is no checkout has no version, nor has any where git is missing; neither is an error."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code_version(tmp_path / "nowhere") == "unversioned"
    monkeypatch.setenv("PATH", "")
    assert code_version(tmp_path) == "unversioned"


def test_two_changes_are_two_versions(checkout: Path) -> None:
    """Each state of changed sources has a name of its own, and the same state the same one."""
    versions: list[str] = []
    for text in ("2\n", "3\n", "2\n"):
        (checkout / "sweeps" / "plan.py").write_text(text)
        versions.append(code_version(checkout))
    assert versions[0] == versions[2] != versions[1]
