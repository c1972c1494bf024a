from pathlib import Path

import pytest

from training.disk_budget import DiskBudget


def fill(folder: Path, name: str, size: int) -> Path:
    """A checkpoint of so many bytes, in two files."""
    checkpoint = folder / name
    (checkpoint / "deep").mkdir(parents=True)
    (checkpoint / "a").write_bytes(bytes(size // 2))
    (checkpoint / "deep" / "b").write_bytes(bytes(size - size // 2))
    return checkpoint


def names(folder: Path) -> list[str]:
    """What is in the folder."""
    return sorted(path.name for path in folder.iterdir())


def test_without_a_limit_there_is_always_room(tmp_path: Path) -> None:
    """Nothing is counted and nothing goes."""
    fill(tmp_path, "1", 100)
    fill(tmp_path, "2", 100)
    assert DiskBudget().makes_room(tmp_path, 10**15)
    assert names(tmp_path) == ["1", "2"]


def test_all_trials_and_the_final_weights_count(tmp_path: Path) -> None:
    """What lies in any of the folders, at any depth, is used."""
    fill(tmp_path / "study" / "trial", "1", 100)
    fill(tmp_path / "study" / "other", "9", 50)
    fill(tmp_path / "weights", "w", 25)
    budget = DiskBudget(200, (tmp_path / "study", tmp_path / "weights", tmp_path / "not there"))
    assert budget.used_bytes() == 175
    assert budget.has_room(25) and not budget.has_room(26)


@pytest.mark.parametrize(("limit", "has_room", "left"), [(300, True, ["2", "3"]), (250, True, ["3"])])
def test_older_checkpoints_make_room(tmp_path: Path, limit: int, has_room: bool, left: list[str]) -> None:
    """As many of the older ones go as are needed, oldest by number first; other files stay."""
    for name in ("1", "2", "3"):
        fill(tmp_path / "trial", name, 100)
    assert DiskBudget(limit, (tmp_path,)).makes_room(tmp_path / "trial", 100) is has_room
    assert names(tmp_path / "trial") == left


def test_numbers_are_compared_as_numbers(tmp_path: Path) -> None:
    """Step 100 is newer than step 99."""
    for name in ("100", "99"):
        fill(tmp_path, name, 100)
    assert DiskBudget(200, (tmp_path,)).makes_room(tmp_path, 100)
    assert names(tmp_path) == ["100"]


def test_the_newest_checkpoint_never_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the limit leaves no room nothing is written, and the log says what to raise."""
    for name in ("8", "9"):
        fill(tmp_path, name, 100)
    fill(tmp_path, "10.orbax-checkpoint-tmp", 10)
    assert not DiskBudget(150, (tmp_path,)).makes_room(tmp_path, 100)
    assert names(tmp_path) == ["10.orbax-checkpoint-tmp", "9"]
    assert "compute.disk_budget_gb" in caplog.text
