from pathlib import Path

import pytest

from tests.training.streams.small_shards import encoded, picture
from training.streams.shards import open_shards
from training.streams.write_shards import main


def _folders(root: Path, classes: dict[str, int]) -> dict[bytes, str]:
    """Makes so many images of each class; returns the class of each."""
    made: dict[bytes, str] = {}
    for name, images in classes.items():
        (root / name).mkdir(parents=True)
        for number in range(images):
            file = encoded(picture(len(made)), "PNG" if number % 2 else "JPEG")
            (root / name / f"{number}.{'PNG' if number % 2 else 'jpg'}").write_bytes(file)
            made[file] = name
    return made


def test_folders_become_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every image comes out byte for byte with the number of its class, mixed, and alike each time."""
    made = _folders(tmp_path / "images", {"cat": 12, "ant": 9, "bee": 4})
    for name in ("one", "two"):
        target = tmp_path / name / "train"
        assert main([str(tmp_path / "images"), str(target), "--per-shard", "10"]) == 0
    assert "25 images, data.classes=3" in capsys.readouterr().out
    rows = [open_shards(tmp_path / name / "train") for name in ("one", "two")]
    assert [len(shard) for shard in rows[0].shards] == [10, 10, 5]
    read = [[row.read(number) for number in range(25)] for row in rows]
    assert read[0] == read[1]
    assert {encoded: ["ant", "bee", "cat"][label] for encoded, label in read[0]} == made
    assert len({label for _, label in read[0][:10]}) == 3


def test_parts_of_a_set_have_the_same_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Held-out images with fewer classes keep the numbers of training; a new class is an error."""
    _folders(tmp_path / "images", {"ant": 1, "bee": 1, "cat": 1})
    _folders(tmp_path / "fewer", {"cat": 2})
    _folders(tmp_path / "other", {"dog": 2})
    assert main([str(tmp_path / "images"), str(tmp_path / "set" / "train")]) == 0
    assert main([str(tmp_path / "fewer"), str(tmp_path / "set" / "held_out")]) == 0
    assert {open_shards(tmp_path / "set" / "held_out").read(number).label for number in range(2)} == {2}
    assert main([str(tmp_path / "other"), str(tmp_path / "set" / "more")]) == 2
    assert "class 'dog' is not in" in capsys.readouterr().err


def test_what_is_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that exists, and one without images, are refused."""
    _folders(tmp_path / "images", {"ant": 1})
    assert main([str(tmp_path / "images"), str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([str(tmp_path / "images" / "ant"), str(tmp_path / "new")]) == 2
    assert "has no CLASS/*.jpg" in capsys.readouterr().err
