import numpy as np
import pytest

from analysis.compare.surface import Places, Surface

SIZE, IMAGES = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 3, 6), np.linspace(5, 9, 6)))
PLACES = Places(size=SIZE, images=IMAGES)
EACH = np.arange(36)


def surface(values: np.ndarray, *, rows: slice = slice(None), numbers: np.ndarray | None = None) -> Surface:
    """Returns the surface through values at some of the places, every row a cell of its own."""
    count = len(EACH[rows])
    return Surface.of(
        Places(size=SIZE[rows], images=IMAGES[rows]),
        values[rows],
        weights=np.ones(count),
        cells=np.arange(count),
        numbers=np.zeros((0, count)) if numbers is None else numbers,
    )


def test_a_cubic_is_found_again() -> None:
    """Where the truth is a polynomial of that degree the surface is the truth, also between the cells."""
    truth = 1 - 0.3 * SIZE - 0.1 * IMAGES + 0.05 * SIZE**2 + 0.01 * SIZE * IMAGES**2
    size, images = np.array([0.7, 2.2]), np.array([6.1, 8.3])
    expected = 1 - 0.3 * size - 0.1 * images + 0.05 * size**2 + 0.01 * size * images**2
    assert surface(truth).at(size, images)[0] == pytest.approx(expected)


@pytest.mark.parametrize(("cells", "degree"), [(36, 3), (20, 3), (19, 2), (12, 2), (11, 1)])
def test_the_degree_follows_from_the_number_of_cells(cells: int, degree: int) -> None:
    """Two families with as many cells have surfaces of one kind, whatever their noise."""
    assert surface(SIZE + IMAGES, rows=slice(0, cells)).degree == degree


def test_residuals_are_what_the_other_cells_predict() -> None:
    """Each is the cell's distance from a surface that was fitted without it."""
    values = SIZE - IMAGES + np.random.default_rng(0).normal(0, 0.1, 36)
    whole = surface(values)
    without = EACH != 7
    left_out = Surface.of(PLACES, values, weights=np.where(without, 1.0, 1e-12), cells=EACH, numbers=np.zeros((0, 36)))
    assert whole.noise[7] == pytest.approx(values[7] - left_out.at(SIZE[7:8], IMAGES[7:8])[0, 0], rel=1e-6)


def test_resamples_scatter_about_the_fit() -> None:
    """Numbers of zero give the fit again; numbers of opposite sign lie on opposite sides of it."""
    values = SIZE - IMAGES + np.random.default_rng(0).normal(0, 0.1, 36)
    numbers = np.random.default_rng(1).normal(size=36)
    found = surface(values, numbers=np.stack([np.zeros(36), numbers, -numbers])).at(SIZE, IMAGES)
    assert found[1] == pytest.approx(found[0])
    assert found[2] - found[0] == pytest.approx(found[0] - found[3])
    assert np.abs(found[2] - found[0]).max() > 0.01


def test_one_size_alone_is_a_curve() -> None:
    """Products with a size that never changes say nothing new, and do no harm."""
    one = Surface.of(
        Places(size=np.zeros(36), images=np.linspace(5, 9, 36)), np.linspace(5, 9, 36) ** 2, weights=np.ones(36),
        cells=EACH, numbers=np.zeros((0, 36)),
    )  # fmt: skip
    assert one.at(np.zeros(2), np.array([5.5, 8.5]))[0] == pytest.approx([5.5**2, 8.5**2])
