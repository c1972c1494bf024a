import io
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from sweeps.errors import StudyError
from tests.training.streams.small_shards import KINDS, samples, write_shard
from training.streams.shards import open_shards


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_in_order_of_shards_and_positions(kind: str, tmp_path: Path) -> None:
    """Numbers run through the shards by name; an empty shard does no harm."""
    content = samples(11)
    for name, part in (("b", content[5:]), ("a-2", content[3:5]), ("a-1", content[:3]), ("c", [])):
        write_shard(tmp_path / f"{name}.{kind}", part)
    row = open_shards(tmp_path)
    assert [row.read(number) for number in range(len(row))] == content
    assert row.where(4) == f"{tmp_path / 'a-2'}.{kind}, record 1"


def test_a_folder_holds_shards_of_one_kind(tmp_path: Path) -> None:
    """None and two kinds are errors that say what is allowed."""
    with pytest.raises(StudyError, match=r"holds no shards; it must hold shards of one kind: \*.arrayrecord"):
        open_shards(tmp_path / "absent")
    for kind in KINDS:
        write_shard(tmp_path / f"a.{kind}", samples(1))
    with pytest.raises(StudyError, match=r"holds .arrayrecord and .parquet and .tar beside one another"):
        open_shards(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shard_that_is_written_anew_is_read_anew(kind: str, tmp_path: Path) -> None:
    """A process that has read a shard does not remember what it held when it is opened again."""
    content = samples(9)
    for part in (content[:4], content[4:]):
        write_shard(tmp_path / f"a.{kind}", part)
        row = open_shards(tmp_path)
        assert [row.read(number) for number in range(len(row))] == part


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_no_shard_is_named(kind: str, tmp_path: Path) -> None:
    """Text, and a shard cut in half, are errors with the file's name."""
    (tmp_path / f"a.{kind}").write_text("not a shard\n" * 1000)
    with pytest.raises(StudyError, match=rf"a.{kind} cannot be read as"):
        open_shards(tmp_path)
    write_shard(tmp_path / f"a.{kind}", samples(20))
    whole = (tmp_path / f"a.{kind}").read_bytes()
    for length in (len(whole) // 2 // 512 * 512, len(whole) // 2 // 512 * 512 + 100):
        (tmp_path / f"a.{kind}").write_bytes(whole[:length])
        with pytest.raises(StudyError, match=rf"a.{kind} cannot be read as"):
            open_shards(tmp_path)


def test_a_damaged_array_record_has_no_image(tmp_path: Path) -> None:
    """Damage within one record is that record's alone."""
    content = samples(20)
    path = tmp_path / "a.arrayrecord"
    write_shard(path, content)
    damaged = bytearray(path.read_bytes())
    at = damaged.index(content[0][0][:20]) if content[0][0][:20] in damaged else len(damaged) // 4
    damaged[at : at + 20] = bytes(20)
    path.write_bytes(damaged)
    row = open_shards(tmp_path)
    bad = [number for number in range(20) if row.read(number) != content[number]]
    assert len(bad) == 1
    assert row.read(bad[0]).encoded == b""


def test_array_records_of_something_else_have_no_image(tmp_path: Path) -> None:
    """A record that is no Example with image and label counts as an image that cannot be decoded."""
    writer = ArrayRecordWriter(str(tmp_path / "a.arrayrecord"), "group_size:1")
    writer.write(b"\xff\xfe something else")
    writer.close()
    assert open_shards(tmp_path).read(0) == (b"", 0)


def test_grouped_array_records_are_refused(tmp_path: Path) -> None:
    """Records packed together would be read together for each image."""
    writer = ArrayRecordWriter(str(tmp_path / "a.arrayrecord"), "group_size:64")
    writer.write(b"one")
    writer.close()
    with pytest.raises(StudyError, match=r"was written with group_size:64.*write it with group_size:1"):
        open_shards(tmp_path)


def _tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_tar_members_are_paired_by_key(tmp_path: Path) -> None:
    """Folders belong to the key, other kinds of members are passed over, and endings are told in any case."""
    long = "a" * 120
    members = {"x/1.jpg": b"one", "x/1.json": b"{}", "x/1.cls": b" 3\n", "y/1.PNG": b"two", "y/1.cls": b"4"}
    _tar(tmp_path / "a.tar", members | {f"{long}/2.cls": b"5", f"{long}/2.jpeg": b"three"})
    row = open_shards(tmp_path)
    assert [row.read(number) for number in range(3)] == [(b"one", 3), (b"two", 4), (b"three", 5)]


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"1.jpg": b"one"}, r"a.tar: 1 has no label \(.cls\)"),
        ({"1.cls": b"1"}, r"a.tar: 1 has no image"),
        ({"1.jpg": b"one", "1.cls": b"cat"}, r"1.cls holds b'cat'; it must hold the number of a class"),
    ],
)
def test_tar_samples_that_are_not_whole_are_errors(members: dict[str, bytes], fault: str, tmp_path: Path) -> None:
    """An image without a label cannot be learnt from."""
    _tar(tmp_path / "a.tar", members)
    with pytest.raises(StudyError, match=fault):
        open_shards(tmp_path)


def test_tar_contents_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is kept beside the shards, and made anew for a shard that was written anew."""
    path = tmp_path / "a.tar"
    _tar(path, {"1.jpg": b"one", "1.cls": b"1"})
    open_shards(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("read again"))
        assert open_shards(tmp_path).read(0) == (b"one", 1)
    replaced = tmp_path / "new"
    _tar(replaced, {"1.jpg": b"other", "1.cls": b"2", "2.jpg": b"third", "2.cls": b"3"})
    os.utime(replaced, ns=(1, 1))
    replaced.replace(path)
    assert len(open_shards(tmp_path)) == 2


def test_tar_contents_of_a_folder_that_is_not_ours_are_kept_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing may be written beside the shards, XDG_CACHE_HOME holds the table."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / ".contents").write_text("in the way: even the super-user cannot write below a file")
    _tar(folder / "a.tar", {"1.jpg": b"one", "1.cls": b"1"})
    assert open_shards(folder).read(0) == (b"one", 1)
    assert len(list((tmp_path / "cache").rglob("a.tar.*.npy"))) == 1


def test_parquet_images_are_bytes_or_structs(tmp_path: Path) -> None:
    """Plain columns of bytes are read as those of Hugging Face are; no image is no bytes."""
    table = pa.table({"label": pa.array([7, 8], pa.int32()), "image": pa.array([b"one", None], pa.large_binary())})
    pq.write_table(table, tmp_path / "a.parquet")
    row = open_shards(tmp_path)
    assert [row.read(number) for number in range(2)] == [(b"one", 7), (b"", 8)]


def test_parquet_columns_are_named_where_they_do_not_fit(tmp_path: Path) -> None:
    """Other columns are an error that says which there are; so is a row without a label."""
    pq.write_table(pa.table({"picture": [b"one"], "label": ["cat"]}), tmp_path / "a.parquet")
    with pytest.raises(StudyError, match=r"has columns picture \(binary\), label \(string\); it must have image"):
        open_shards(tmp_path)
    pq.write_table(pa.table({"image": [b"one"], "label": pa.array([None], pa.int64())}), tmp_path / "a.parquet")
    with pytest.raises(StudyError, match="has 1 rows without a label"):
        open_shards(tmp_path).shards[0].label_bounds()
