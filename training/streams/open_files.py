"""How many shards a process keeps open: the more, the fewer have to be opened again for a sample."""

import resource

_MOST = 8192
_PER_SHARD = 2
"""Open files that a shard takes: a tar file and its table of contents."""


def shards_kept_open() -> int:
    """Returns half of what the limit on open files allows (`ulimit -n`), the rest being for everything else."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if allowed == resource.RLIM_INFINITY else max(16, min(_MOST, allowed // 2 // _PER_SHARD))
