"""Which back end a cluster's settings stand for."""

import contextlib

from launcher.contract.backend import Backend, Order
from launcher.settings.request import AshaSpec, ClusterSpec, InlineCluster, LocalCluster, RayCluster


def open_backend(spec: ClusterSpec, order: Order, *, asha: AshaSpec | None = None) -> contextlib.closing[Backend]:
    """Returns the back end of a cluster, to be used in a with statement.

    Raises:
        StudyError: the cluster cannot be reached from here.
    """
    return contextlib.closing(_open(spec, order, asha))


def _open(spec: ClusterSpec, order: Order, asha: AshaSpec | None) -> Backend:
    # Each is imported where it is wanted: nobody waits for Ray who has no use for it.
    if isinstance(spec, InlineCluster):
        from launcher.on_this_machine.inline import InlineBackend

        return InlineBackend(order)
    if isinstance(spec, LocalCluster):
        from launcher.on_this_machine.local import LocalBackend

        return LocalBackend(order, workers=spec.workers, gpus=spec.gpus)
    if isinstance(spec, RayCluster):
        from launcher.on_ray.ray_backend import RayBackend

        return RayBackend(order, spec, asha=asha)
    from launcher.on_slurm.slurm_backend import SlurmBackend

    return SlurmBackend(order, spec)
