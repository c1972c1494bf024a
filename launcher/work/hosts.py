"""The processes that train one trial together, one a host: how they meet, and how they agree on what to do next."""

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GATHER_S = 300.0
"""After an attempt, hosts whose companions do not appear within this end their process."""
RENDEZVOUS_S = 600.0
"""A host that has not met the others by then gives up: the scheduler may start them far apart."""


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """This process among its companions; by itself, it is its own leader."""

    rank: int = 0
    count: int = 1

    @property
    def is_leader(self) -> bool:
        """Whether this is the process that journals and reports."""
        return self.rank == 0

    def leader_says(self, word: bool) -> bool:
        """Returns the leader's word in every process; all of them must ask."""
        if self.count == 1:
            return word
        import numpy as np
        from jax.experimental import multihost_utils

        said: Any = multihost_utils.broadcast_one_to_all(np.int32(word))
        return bool(said)

    def everyone_says(self, word: bool) -> bool:
        """Returns whether every process says so; all of them must ask."""
        if self.count == 1:
            return word
        import numpy as np
        from jax.experimental import multihost_utils

        said: Any = multihost_utils.process_allgather(np.int32(word))
        return bool(np.all(said))

    def abandon(self) -> None:
        """Ends this process, and with it the job, where the others wait for it in a collective that it has left."""
        if self.count > 1:
            os._exit(1)

    def gather(self) -> None:
        """Waits for the others; the process ends where they do not come.

        One host that raises leaves its companions in a collective for ever, alive and silent; this ends the job.
        """
        if self.count == 1:
            return
        alarm = threading.Timer(GATHER_S, os._exit, (1,))
        alarm.daemon = True
        alarm.start()
        self.leader_says(True)
        alarm.cancel()


def meet(rank: int, count: int, rendezvous: Path) -> Hosts:
    """Returns this process among `count` of one job, once JAX has connected them.

    Args:
        rank: 0 for the leader, who writes where it can be reached into `rendezvous`.
        count: how many processes there are.
        rendezvous: a file that no earlier start of the job has used: an old address would be waited for in vain.

    Raises:
        TimeoutError: the leader has not shown up.
    """
    if count == 1:
        return Hosts()
    import jax

    address = _announce(rendezvous) if rank == 0 else _await_leader(rendezvous)
    initialize: Any = jax.distributed.initialize
    initialize(coordinator_address=address, num_processes=count, process_id=rank)
    return Hosts(rank=rank, count=count)


def part(hosts: Hosts) -> None:
    """Ends the connection that `meet` made."""
    if hosts.count > 1:
        import jax

        shutdown: Any = jax.distributed.shutdown
        with contextlib.suppress(RuntimeError):  # a companion that has died is the scheduler's business
            shutdown()


def _announce(rendezvous: Path) -> str:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    address = f"{socket.gethostname()}:{port}"
    unfinished = rendezvous.with_name(f"{rendezvous.name}.{os.getpid()}")
    unfinished.write_text(address)
    unfinished.replace(rendezvous)
    return address


def _await_leader(rendezvous: Path) -> str:
    deadline = time.monotonic() + RENDEZVOUS_S
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            return rendezvous.read_text()
        time.sleep(0.1)
    raise TimeoutError(f"the leading process has not written {rendezvous} within {RENDEZVOUS_S:.0f} s")
