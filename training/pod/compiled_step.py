"""Compiles the training step for TPUs that are not there, and reads what the compiler says of it."""

import importlib.util
import os
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from sweeps.compute import ComputeSpec
from sweeps.errors import StudyError
from sweeps.hardware import CompiledStep
from sweeps.study import Model
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec
from training import mesh as meshes
from training.data import fed_source
from training.pod.generation import generation
from training.pod.hlo_text import parse
from training.pod.hlo_traffic import traffic
from training.pod.matrix_flops import matrix_flops
from training.step import Horizon, Programs, make_programs

_TOO_LARGE = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is compiled."""

    model: Model
    topology: str
    """GENERATION:CHIPS, v4:4x4x4."""
    batch_images_per_core: int
    compute: ComputeSpec
    data: DataSpec
    recipe: RecipeSpec
    schedule: ScheduleSpec


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What came of it."""

    step: CompiledStep
    cores: int
    touched_bytes: float
    """Read and written in any memory, on the chip too: near what XLA calls bytes accessed."""
    arguments_bytes: float
    temporaries_bytes: float
    compile_s: float
    text: str
    """The optimised program."""
    complaint: str | None = None
    """The compiler's, where the step does not fit."""


def pod_mesh(topology: str) -> Mesh:
    """Returns the mesh of a pod's devices, none of which is there.

    Raises:
        StudyError: the compiler for TPUs is not installed, or knows no such topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise StudyError(
            "compiling for TPUs takes libtpu, which is not installed (480 MB; try: .venv/bin/python -m pip install "
            "'.[tpu]')"
        )
    generation(topology)
    # Asks no metadata server for a TPU of this machine, and leaves other processes their compiler.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    from jax.experimental import topologies

    try:
        devices = topologies.get_topology_desc(topology_name=topology, platform="tpu").devices
    except Exception as error:
        raise StudyError(
            f"libtpu knows no TOPOLOGY={topology}: {str(error).splitlines()[0]} (try: TOPOLOGY=v4:2x2x1 or v5e:4x4)"
        ) from error
    return meshes.make_mesh(devices)


def compile_step(request: Request) -> Compiled:
    """Returns what the compiler says of the very step that the trainer would run on that pod.

    Raises:
        StudyError: as pod_mesh.
    """
    mesh = pod_mesh(request.topology)
    programs, arguments = abstract_step(request, mesh)
    start_s = time.perf_counter()
    traced = programs.advance.trace(*arguments)
    flops = matrix_flops(traced.jaxpr.jaxpr) / mesh.size
    try:
        program = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if _TOO_LARGE not in str(error):
            raise
        return _too_large(request, mesh, flops, str(error), time.perf_counter() - start_s)
    text, memory = program.as_text(), program.memory_analysis()
    moved = traffic(parse(text))
    held = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    return Compiled(
        step=_step(request, mesh, flops, moved.main_memory_bytes, float(held - memory.alias_size_in_bytes)),
        cores=mesh.size,
        touched_bytes=moved.touched_bytes,
        arguments_bytes=float(memory.argument_size_in_bytes),
        temporaries_bytes=float(memory.temp_size_in_bytes),
        compile_s=time.perf_counter() - start_s,
        text=text,
    )


def abstract_step(request: Request, mesh: Mesh) -> tuple[Programs, tuple[Any, ...]]:
    """Returns the trainer's programs on `mesh`, and the shapes of what one dispatch of images from the hosts gets."""
    data, compute = request.data, request.compute
    source = fed_source(None, data)
    programs = make_programs(
        request.model.shape, data, request.recipe, request.schedule, source, compute=compute, mesh=mesh, path="xla"
    )
    meshes.check_batch(batch := request.batch_images_per_core * mesh.size, mesh, compute)
    state = jax.eval_shape(programs.start, jnp.int32(0))
    state = jax.tree.map(_abstract, state, programs.state_sharding)
    parts, rows = compute.microbatches, batch // compute.microbatches
    along, whole = meshes.along(mesh, 1), meshes.whole(mesh)
    images = jax.ShapeDtypeStruct((parts, rows, data.image_px, data.image_px, data.channels), np.uint8, sharding=along)
    labels = jax.ShapeDtypeStruct((parts, rows), np.int32, sharding=along)
    is_good = jax.ShapeDtypeStruct((parts, rows), np.bool_, sharding=along)
    number = jax.ShapeDtypeStruct((), np.float32, sharding=whole)
    stream = jax.ShapeDtypeStruct((), np.uint32, sharding=whole)
    horizon = Horizon(peak_lr=number, steps=number, warmup_steps=number, stream=stream)
    indices = jax.ShapeDtypeStruct((1, parts, rows), np.uint32, sharding=meshes.along(mesh, 2))
    count = jax.ShapeDtypeStruct((), np.int32, sharding=whole)
    return programs, (state, (images, labels, is_good), horizon, indices, count)


def _abstract(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _step(request: Request, mesh: Mesh, flops: float, traffic_bytes: float, memory_bytes: float) -> CompiledStep:
    device = generation(request.topology)
    compute = request.compute
    return CompiledStep(
        model=request.model.name,
        family=request.model.family,
        image_px=request.data.image_px,
        batch_images_per_core=request.batch_images_per_core,
        flops=flops,
        traffic_bytes=traffic_bytes,
        memory_bytes=memory_bytes,
        # Unlike max, unknown where the traffic is.
        floor_s=float(np.maximum(flops / device.peak_flops_per_s, traffic_bytes / device.bytes_per_s)),
        fits=memory_bytes <= device.memory_bytes,
        source=f"libtpu {_version('libtpu')}, jax {jax.__version__}, {request.topology} ({mesh.size} cores), "
        f"sharding {compute.sharding}, remat {compute.remat}, microbatches {compute.microbatches}",
    )


def _version(package: str) -> str:
    from importlib import metadata

    return metadata.version(package)


def _too_large(request: Request, mesh: Mesh, flops: float, complaint: str, compile_s: float) -> Compiled:
    """Returns what is known of a step that the compiler refused: no traffic, and more memory than there is."""
    return Compiled(
        step=_step(request, mesh, flops, float("nan"), float("inf")),
        cores=mesh.size,
        touched_bytes=float("nan"),
        arguments_bytes=float("nan"),
        temporaries_bytes=float("nan"),
        compile_s=compile_s,
        text="",
        complaint=next((line for line in complaint.splitlines() if _TOO_LARGE in line), complaint)[:300],
    )
