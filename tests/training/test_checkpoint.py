import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.certificate import faultless
from sweeps.record import CostClock
from training.checkpoint import CheckpointFolder, Resumable, digest
from training.disk_budget import DiskBudget
from training.feed import Seen
from training.step import TrainState

Load = Callable[[Path], Any]


@functools.cache
def state(seed: int = 0) -> TrainState:
    """A state of half a megabyte with every kind of leaf."""
    rng = np.random.default_rng(seed)
    params = {"w": jnp.asarray(rng.normal(size=(240, 170)), jnp.float32), "gain": jnp.float32(0.5)}
    trace = jax.tree.map(lambda leaf: leaf * 3, params)
    return TrainState(params, (trace,), params, jnp.int32(7), jnp.float32(0.1))


def saved(folder: Path, *steps: int, budget: DiskBudget = DiskBudget()) -> Path:
    """A folder with checkpoints of these steps."""
    checkpoints = CheckpointFolder(folder, budget=budget)
    for step in steps:
        checkpoints.save(Resumable(state(step), step=step, clock=CostClock(step_s=0.5 * step)))
    checkpoints.close()
    return folder


def numbers(folder: Path) -> list[int]:
    """The steps of the checkpoints that are complete."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


@pytest.fixture
def load() -> Iterator[Load]:
    """Reads the newest good checkpoint of a folder."""
    opened: list[CheckpointFolder] = []

    def read(folder: Path) -> Resumable | None:
        opened.append(CheckpointFolder(folder))
        return opened[-1].load(like=state())

    yield read
    for one in opened:
        one.close()


def test_everything_comes_back(tmp_path: Path, load: Load) -> None:
    """State to the last bit, and all the words: step, clock, what was seen and measured."""
    seen = Seen(certificate=faultless(images=150, images_per_epoch=60), corrupt_images=3)
    now = Resumable(state(1), 40, CostClock(step_s=1.5, lost_s=0.25), 32, 512, seen)
    folder = CheckpointFolder(tmp_path / 'it\'s a "folder"')
    folder.save(now)
    folder.close()
    found = load(tmp_path / 'it\'s a "folder"')
    jax.tree.map(np.testing.assert_array_equal, found.state, now.state)
    assert (found.step, found.clock, found.loss_step, found.evaluated_images, found.seen) == (
        now.step,
        now.clock,
        now.loss_step,
        now.evaluated_images,
        now.seen,
    )


def test_two_are_kept(tmp_path: Path) -> None:
    """Older ones go once newer ones are complete; other files stay."""
    (tmp_path / "heartbeat.json").write_text("{}")
    assert numbers(saved(tmp_path, 1, 2, 3, 40)) == [3, 40]
    assert (tmp_path / "heartbeat.json").exists()


def test_the_state_may_change_while_it_is_written(tmp_path: Path, load: Load) -> None:
    """A step that overwrites the state in place right after the call changes nothing of the checkpoint."""
    size = 2_000_000
    add = jax.jit(lambda s: jax.tree.map(lambda leaf: leaf + 1, s), donate_argnums=0)
    now = TrainState({"w": jnp.arange(size, dtype=jnp.float32)}, (), None, jnp.int32(0), jnp.float32(0))
    folder = CheckpointFolder(tmp_path)
    folder.save(Resumable(now, step=1))
    for _ in range(5):
        now = add(now)
    folder.close()
    found = CheckpointFolder(tmp_path)
    restored = found.load(like=now)
    found.close()
    assert restored is not None
    np.testing.assert_array_equal(restored.state.params["w"], np.arange(size, dtype=np.float32))


@pytest.mark.parametrize("damage", ["emptied", "removed", "other words"])
def test_a_damaged_checkpoint_falls_back_to_the_older_one(
    tmp_path: Path, load: Load, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """When the newest checkpoint cannot be read, or reads as other numbers, the one before serves, and it is said."""
    newest = saved(tmp_path, 2, 3) / "3"
    for path in [path for path in newest.rglob("*") if path.is_file()]:
        if damage == "emptied":
            path.write_bytes(b"")
        elif damage == "removed":
            path.unlink()
        elif path.parent.name == "words" and "digest" in path.read_text():
            words = json.loads(path.read_text())
            path.write_text(json.dumps({**words, "digest": [words["digest"][0] ^ 1, *words["digest"][1:]]}))
    found = load(tmp_path)
    assert (found.step, found.clock.step_s) == (2, 1.0)
    jax.tree.map(np.testing.assert_array_equal, found.state, state(2))
    assert "checkpoint 3" in caplog.text


def test_a_checkpoint_that_proved_bad_is_written_over(tmp_path: Path, load: Load) -> None:
    """The run goes on from the older one and comes by the same step again."""
    for path in (saved(tmp_path, 2, 3) / "3").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    folder = CheckpointFolder(tmp_path)
    found = folder.load(like=state())
    assert found is not None and found.step == 2
    folder.save(Resumable(state(3), step=3))
    folder.close()
    assert numbers(tmp_path) == [2, 3]
    assert load(tmp_path).step == 3


def test_nothing_good_is_nothing(tmp_path: Path, load: Load) -> None:
    """No folder, an empty one, one with a heartbeat alone: a fresh start, and so with damaged ones alone."""
    assert load(tmp_path / "none") is None
    assert CheckpointFolder(None).load(like=state()) is None
    CheckpointFolder(None).save(Resumable(state()))
    (tmp_path / "heartbeat.json").write_text("{}")
    assert load(tmp_path) is None
    for path in (saved(tmp_path, 5) / "5").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert load(tmp_path) is None


def test_what_a_kill_left_half_written_is_no_checkpoint(tmp_path: Path, load: Load) -> None:
    """A folder that was being written when its process died is passed over, and cleared away."""
    half = saved(tmp_path, 2) / "3.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "a").write_bytes(bytes(1000))
    assert load(tmp_path).step == 2
    saved(tmp_path, 4)
    saved(tmp_path, 5)
    assert not half.exists()


def test_the_disk_budget_is_kept(tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """With room for two and a half the older goes first; with less nothing is written, and the newest is kept."""
    one = sum(path.stat().st_size for path in saved(tmp_path / "a", 1).rglob("*") if path.is_file())
    tight = DiskBudget(2.5 * one, (tmp_path / "b",))
    assert numbers(saved(tmp_path / "b", 1, 2, 3, 4, budget=tight)) == [3, 4]
    assert "Unable to find" not in caplog.text
    assert numbers(saved(tmp_path / "a", 2, 3, budget=DiskBudget(1.5 * one, (tmp_path / "a",)))) == [1]
    assert load(tmp_path / "a").step == 1


LEAVES, TREE = jax.tree.flatten(state())


@given(leaf=st.integers(0, len(LEAVES) - 1), place=st.integers(0, 240 * 170 - 1), bit=st.integers(0, 31))
def test_the_digest_sees_any_flipped_bit(leaf: int, place: int, bit: int) -> None:
    """One bit of one number changes its leaf's word and no other."""
    words = [np.array(values).reshape(-1).view(np.uint32) for values in LEAVES]
    words[leaf][place % words[leaf].size] ^= np.uint32(1 << bit)
    leaves = [part.view(old.dtype).reshape(old.shape) for part, old in zip(words, LEAVES, strict=True)]
    before, after = np.asarray(digest(state())), np.asarray(digest(jax.tree.unflatten(TREE, leaves)))
    assert [before[i] != after[i] for i in range(len(LEAVES))] == [i == leaf for i in range(len(LEAVES))]


def test_the_digest_sees_numbers_that_changed_places() -> None:
    """The same numbers in another order are another state."""
    now = state()
    other = TrainState({**now.params, "w": now.params["w"][::-1]}, now.optimiser, now.average, now.step, now.loss_sum)
    assert np.asarray(digest(now)).tolist() != np.asarray(digest(other)).tolist()
