"""Clusters for the tests: each is started when the first test asks for it, and ended with the last test."""

from collections.abc import Iterator

import pytest

from tests.clusters import private_ray, private_slurm
from tests.clusters.private_ray import PrivateRay
from tests.clusters.private_slurm import PrivateSlurm


@pytest.fixture(scope="session")
def started_clusters() -> list[PrivateSlurm | PrivateRay]:
    """The clusters that run already."""
    return []


@pytest.fixture(autouse=True)
def _mended_clusters(started_clusters: list[PrivateSlurm | PrivateRay]) -> Iterator[None]:
    """Gives the next test whole clusters, whatever this one has killed."""
    yield
    for cluster in started_clusters:
        cluster.mend()


@pytest.fixture(scope="session")
def slurm(started_clusters: list[PrivateSlurm | PrivateRay]) -> Iterator[PrivateSlurm]:
    """A Slurm without accounting."""
    yield from _run_slurm(started_clusters, accounting=False)


@pytest.fixture(scope="session")
def slurm_accounted(started_clusters: list[PrivateSlurm | PrivateRay]) -> Iterator[PrivateSlurm]:
    """A Slurm whose sacct knows every job that ever was."""
    yield from _run_slurm(started_clusters, accounting=True)


def _run_slurm(started: list[PrivateSlurm | PrivateRay], *, accounting: bool) -> Iterator[PrivateSlurm]:
    reason = private_slurm.missing(accounting=accounting)
    if reason is not None:
        pytest.skip(f"no Slurm on this machine: {reason}")
    with PrivateSlurm(accounting=accounting) as cluster:
        started.append(cluster)
        yield cluster
        started.remove(cluster)


@pytest.fixture(scope="session")
def ray_cluster(started_clusters: list[PrivateSlurm | PrivateRay]) -> Iterator[PrivateRay]:
    """A Ray of a head without CPUs and two nodes of two CPUs."""
    reason = private_ray.missing()
    if reason is not None:
        pytest.skip(f"no Ray on this machine: {reason}")
    with PrivateRay() as cluster:
        started_clusters.append(cluster)
        yield cluster
        started_clusters.remove(cluster)
