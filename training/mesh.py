"""One mesh over all devices of all hosts: what is spread over it, and what every device holds."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sweeps.compute import ComputeSpec
from sweeps.errors import StudyError

AXIS = "devices"
SMALLEST_SPREAD = 4096
"""Arrays of fewer numbers stay whole on every device: gathering them costs more than holding them."""


def make_mesh(devices: Any = None) -> Mesh:
    """Returns the mesh of these devices, by default of all that the processes of this trial have."""
    return Mesh(np.asarray(jax.devices() if devices is None else devices), (AXIS,))


def whole(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds."""
    return NamedSharding(mesh, PartitionSpec())


def along(mesh: Mesh, axis: int) -> NamedSharding:
    """Returns the sharding of arrays whose given axis, the batch, is spread over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def of_state(state: Any, mesh: Mesh, compute: ComputeSpec) -> Any:
    """Returns the sharding of each leaf of a training state, arrays or their shapes.

    fsdp spreads each large array along the longest axis that the devices divide (arXiv:1910.02054, stage 3); XLA
    gathers parameters where they are used and scatters gradients back.
    """

    def of_leaf(leaf: Any) -> NamedSharding:
        if compute.sharding != "fsdp" or leaf.size < SMALLEST_SPREAD:
            return whole(mesh)
        divisible = [axis for axis, length in enumerate(leaf.shape) if length % mesh.size == 0]
        return along(mesh, max(divisible, key=lambda axis: leaf.shape[axis])) if divisible else whole(mesh)

    return jax.tree.map(of_leaf, state)


def place(tree: Any, sharding: NamedSharding) -> Any:
    """Returns arrays that every process has alike as global arrays; each device gets its part and no more."""

    def put(leaf: Any) -> jax.Array:
        if sharding.mesh.size == 1:
            return jax.device_put(leaf, sharding)
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    return jax.tree.map(put, tree)


def place_rows(tree: Any, sharding: NamedSharding) -> Any:
    """Returns global arrays of which each process brings its own rows, in the order of the processes."""
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, rows), tree)


def my_rows(batch_images: int) -> slice:
    """Returns the rows of a batch that this process brings."""
    share = batch_images // jax.process_count()
    return slice(share * jax.process_index(), share * (jax.process_index() + 1))


def check_batch(batch_images: int, mesh: Mesh, compute: ComputeSpec) -> None:
    """Raises StudyError where a batch cannot be split evenly over microbatches and devices."""
    parts = mesh.size * compute.microbatches
    if batch_images % parts:
        raise StudyError(
            f"batch_images={batch_images} cannot be split evenly over {mesh.size} devices x compute.microbatches="
            f"{compute.microbatches} (try: batch_images={max(1, round(batch_images / parts)) * parts})"
        )
