import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AbstractMesh

from sweeps.compute import ComputeSpec
from sweeps.errors import StudyError
from training.mesh import AXIS, SMALLEST_SPREAD, check_batch, make_mesh, my_rows, of_state, place, place_rows, whole

MESH = make_mesh(jax.devices()[:1])


def eight_devices() -> AbstractMesh:
    """A mesh of eight devices that need not be there."""
    return AbstractMesh((8,), (AXIS,))


@given(images=st.integers(1, 5000), microbatches=st.integers(1, 9))
def test_a_batch_fits_exactly_when_parts_divide_it(images: int, microbatches: int) -> None:
    """What is refused would have left a rest, and what is proposed instead is accepted."""
    compute, mesh = ComputeSpec(microbatches=microbatches), eight_devices()
    try:
        check_batch(images, mesh, compute)  # type: ignore[arg-type]
    except StudyError as error:
        assert images % (8 * microbatches)
        proposed = int(str(error).rpartition("batch_images=")[2].rstrip(")"))
        check_batch(proposed, mesh, compute)  # type: ignore[arg-type]
    else:
        assert images % (8 * microbatches) == 0


def test_a_batch_that_devices_do_not_divide_is_refused_in_words() -> None:
    """The error says what was asked, over what it is split, and what to type."""
    with pytest.raises(StudyError, match=r"batch_images=20 .* 8 devices x compute.microbatches=2 .*batch_images=16"):
        check_batch(20, eight_devices(), ComputeSpec(microbatches=2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((512, 64), 0), ((64, 512), 1), ((3, 3, 64, 96), 3), ((4099, 3), None), ((8, 8), None), ((), None)],
)
def test_fsdp_spreads_the_longest_axis_that_devices_divide(shape: tuple[int, ...], axis: int | None) -> None:
    """Small arrays and those that cannot be divided stay whole; with `data` all do."""
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    spread = of_state(leaf, eight_devices(), ComputeSpec(sharding="fsdp")).spec  # type: ignore[arg-type]
    assert [name for name in spread if name] == ([] if axis is None else [AXIS])
    assert axis is None or spread[axis] == AXIS
    assert not [name for name in of_state(leaf, eight_devices(), ComputeSpec()).spec if name]  # type: ignore[arg-type]
    assert SMALLEST_SPREAD == 4096


def test_one_process_brings_every_row() -> None:
    """By itself a process has the whole batch, and what it places are its own numbers."""
    assert my_rows(24) == slice(0, 24)
    rows = {"images": np.arange(24, dtype=np.float32).reshape(8, 3), "labels": np.arange(8)}
    placed = place_rows(rows, whole(MESH))
    jax.tree.map(np.testing.assert_array_equal, placed, rows)
    jax.tree.map(np.testing.assert_array_equal, place(rows, whole(MESH)), rows)
