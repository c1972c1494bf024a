from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sweeps.errors import StudyError
from sweeps.vit_shape import ViTShape
from training import weights
from training.disk_budget import DiskBudget
from training.networks import families
from training.step import TrainState
from training.weights import keep_weights, resized_positions, start_from, weights_file


def state(seed: int, *, classes: int = 5, image_px: int = 8, width: int = 8, has_average: bool = False) -> TrainState:
    """A fresh vision transformer."""
    shape = ViTShape(patch_px=4, width=width, depth=2, heads=2, mlp_width=8)
    params = families.init(jax.random.key(seed), shape, image_px=image_px, channels=3, classes=classes, skip_init=0.0)
    average = jax.tree.map(lambda leaf: leaf + 1, params) if has_average else None
    return TrainState(params, (), average, jnp.int32(0), jnp.float32(0))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with the weights of a finished run, `trunk`."""
    keep_weights(state(1), tmp_path / "weights", "trunk", DiskBudget())
    return tmp_path / "weights"


def test_a_run_starts_from_the_weights_of_its_trunk(kept: Path) -> None:
    """All numbers are those that were kept, and nothing else lies beside them."""
    assert [path.name for path in kept.iterdir()] == ["trunk.npz"]
    got = start_from(state(2, has_average=True), kept, "trunk")
    jax.tree.map(np.testing.assert_array_equal, got.params, state(1).params)
    jax.tree.map(np.testing.assert_array_equal, got.average, state(1).params)


def test_where_there_is_an_average_it_is_what_is_kept(tmp_path: Path) -> None:
    """The weights that were evaluated are the ones a reader gets, by name."""
    now = state(1, has_average=True)
    keep_weights(now, tmp_path, "run", DiskBudget())
    with np.load(weights_file(tmp_path, "run")) as archive:
        np.testing.assert_array_equal(archive["embed/weight"], now.average["embed"]["weight"])
        assert len(archive.files) == len(jax.tree.leaves(now.params))


def test_other_classes_keep_the_fresh_classifier(kept: Path) -> None:
    """Everything but the classifier comes from the trunk."""
    fresh = state(2, classes=7)
    got = start_from(fresh, kept, "trunk").params
    jax.tree.map(np.testing.assert_array_equal, got["classifier"], fresh.params["classifier"])
    jax.tree.map(np.testing.assert_array_equal, got["encoder"], state(1).params["encoder"])


def test_positions_are_resized_to_a_larger_image(kept: Path) -> None:
    """A table for 2 x 2 patches serves 4 x 4; the class token's row stays as it is."""
    got = start_from(state(2, image_px=16), kept, "trunk").params["encoder"]["positions"]
    old = np.asarray(state(1).params["encoder"]["positions"])
    assert got.shape == (17, 8)
    np.testing.assert_array_equal(got[0], old[0])
    corners = np.asarray(got[1:]).reshape(4, 4, 8)[[0, 0, 3, 3], [0, 3, 0, 3]]
    np.testing.assert_allclose(corners, old[1:], rtol=1e-5)


@pytest.mark.parametrize("has_token", [True, False])
def test_a_constant_grid_of_positions_stays_constant(has_token: bool) -> None:
    """Resizing interpolates: it makes no new extremes, and the same grid is left alone."""
    table = np.concatenate([np.full((int(has_token), 3), 9.0), np.full((9, 3), 2.0)]).astype(np.float32)
    bigger = resized_positions(table, (25 + has_token, 3))
    np.testing.assert_allclose(bigger[int(has_token) :], 2.0, rtol=1e-6)
    np.testing.assert_allclose(resized_positions(table, table.shape), table, rtol=1e-6)


def test_another_architecture_is_refused(kept: Path) -> None:
    """The error says which array does not fit and how."""
    with pytest.raises(StudyError, match=r"trunk has another architecture: of .* shape \(.*not shape"):
        start_from(state(2, width=16), kept, "trunk")


@pytest.mark.parametrize("folder", [True, False])
def test_weights_that_are_not_there_are_asked_for(tmp_path: Path, folder: bool) -> None:
    """Without the trunk's file the error says when it is kept and what to type."""
    with pytest.raises(StudyError, match=r"final weights of trial trunk are not on disk .*run the pre-training sweep"):
        start_from(state(2), tmp_path if folder else None, "trunk")


def test_weights_are_written_whole_or_not_at_all(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while it writes leaves the older file as it was."""
    before = weights_file(kept, "trunk").read_bytes()

    def die(file: Path, **leaves: np.ndarray) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(weights.np, "savez", die)
    with pytest.raises(KeyboardInterrupt):
        keep_weights(state(2), kept, "trunk", DiskBudget())
    with pytest.raises(KeyboardInterrupt):
        keep_weights(state(2), kept, "other", DiskBudget())
    assert weights_file(kept, "trunk").read_bytes() == before
    assert not weights_file(kept, "other").exists()


def test_the_same_weights_are_the_same_bytes(kept: Path) -> None:
    """Nothing of when or by whom a file was written is in it: runs can be compared by their files."""
    keep_weights(state(1), kept, "again", DiskBudget())
    assert weights_file(kept, "again").read_bytes() == weights_file(kept, "trunk").read_bytes()


def test_without_room_nothing_is_written_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The disk budget counts final weights too; without a folder nothing is kept at all."""
    keep_weights(state(1), tmp_path, "run", DiskBudget(100, (tmp_path,)))
    keep_weights(state(1), None, "run", DiskBudget())
    assert not list(tmp_path.iterdir())
    assert "compute.disk_budget_gb" in caplog.text
