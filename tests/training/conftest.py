"""What the tests of training share."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def _programs_forgotten() -> Iterator[None]:
    """Forgets what a file has compiled: the programs of all files together take gigabytes."""
    yield
    jax.clear_caches()
