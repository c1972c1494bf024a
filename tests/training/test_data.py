from pathlib import Path

import pytest

from sweeps.errors import StudyError
from tests.training.small_nets import PARTS, changed
from training.data import open_source


@pytest.mark.parametrize("field", ["held_out_images", "selection_images"])
@pytest.mark.parametrize("images", [0, 100, 300])
def test_held_out_sets_are_whole_batches(field: str, images: int) -> None:
    """A number of held-out images that would not be used as asked is refused, with one that would."""
    with pytest.raises(StudyError, match="multiples of 256"):
        open_source(changed(PARTS, **{field: images}), Path())


def test_the_procedural_set_needs_no_files() -> None:
    """Every place of the stream is a fresh image, whatever the seed."""
    source = open_source(PARTS, Path("nowhere"))
    assert source.order(0, 10, 3).tolist() == [10, 11, 12]
