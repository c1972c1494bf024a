import resource

import pytest

from training.streams.open_files import shards_kept_open


@pytest.mark.parametrize(
    ("limit", "shards"), [(1024, 256), (20, 16), (10**6, 8192), (resource.RLIM_INFINITY, 8192), (8192, 2048)]
)
def test_half_of_the_limit_is_for_shards(limit: int, shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files a shard, and never so few or so many that it makes no sense."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert shards_kept_open() == shards
