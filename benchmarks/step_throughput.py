"""Training speed of one CPU core: NFNet-F0 beside timm's, and the shape family of the scale models, against its peak.

Everything takes turns on one core. Times are CPU seconds of the process that computes, and the least over the turns
counts, so that what else the machine does touches all alike. The peak is the larger of a 2048 matrix product and a 3x3
convolution of 256 channels at 24 px. A step is forward and backward, without data and optimiser; its operations are
three times the forward multiply-accumulates, at two each.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.update(NPROC="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

import jax
import jax.numpy as jnp
from result_file import Figure, write_result

from sweeps.nfnet_shape import NFNetShape
from training.networks import nfnet
from training.networks.forward import Forward

F0 = NFNetShape(stage_depths=(1, 2, 6, 3), stage_widths=(256, 512, 1536, 1536))
F0_BATCH, F0_PX, F0_CLASSES = 8, 96, 1000
SCALE_WIDTHS, SCALE_BATCHES, SCALE_PX, SCALE_CLASSES = (8, 16, 32, 48, 64), (32, 64), 16, 64
SCALE_BAR_FROM_WIDTH = 48
PUBLISHED_OF_PEAK = 1.15 / 77
"""The authors' published code at the same size on another machine: images/s over the GFLOP/s of its peak."""
OWN_STEPS_A_TURN = 5
"""Of the scale models and the peak, which take milliseconds."""

TIMM = f"""
import sys, time, torch, timm
torch.set_num_threads(1)
net = timm.create_model("dm_nfnet_f0", num_classes={F0_CLASSES}, drop_rate=0.0).train()
images, targets = torch.randn({F0_BATCH}, 3, {F0_PX}, {F0_PX}), torch.arange({F0_BATCH})
for _ in sys.stdin:
    started = time.process_time()
    net.zero_grad(set_to_none=True)
    torch.nn.functional.cross_entropy(net(images), targets).backward()
    print(time.process_time() - started, flush=True)
"""

Step = Callable[[], float]
"""Does it once; returns CPU seconds."""


def main() -> None:
    """Measures everything in turns and writes figures and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument(
        "--torch-python",
        default=os.environ.get("TORCH_PYTHON"),
        help="Python with torch and timm (default: $TORCH_PYTHON); without it timm is not measured",
    )
    options = parser.parse_args()
    peaks = {f"peak {name}": step for name, step in _peak_steps().items()}
    nets = {f"f0 {path}": _net_step(F0, F0_PX, F0_BATCH, F0_CLASSES, path) for path in ("im2col", "xla")}
    with _Timm(options.torch_python) as timm:
        if timm.step:
            nets["f0 timm"] = timm.step
        seconds = _least(peaks | nets, options.turns)
    scale = {
        f"width{width}_batch{batch}": _net_step(_family(width), SCALE_PX, batch, SCALE_CLASSES, "im2col")
        for width in SCALE_WIDTHS
        for batch in SCALE_BATCHES
    }
    seconds |= _least(scale, options.turns)
    write_result("step_throughput", _figures(seconds), command="make bench NAME=step_throughput")


def _figures(seconds: dict[str, float]) -> list[Figure]:
    peak = max(2 * 2048**3 / seconds["peak product"], 2 * 8 * 24**2 * 9 * 256**2 / seconds["peak convolution"])
    rate = {name: F0_BATCH / seconds[name] for name in seconds if name.startswith("f0 ")}
    flops = 6 * F0.forward_macs(image_px=F0_PX, classes=F0_CLASSES)
    ours, timm = rate["f0 im2col"], rate.get("f0 timm")
    figures = [
        Figure(name="peak", value=peak / 1e9, bar=None, unit="GFLOP/s"),
        *(Figure(name=name.replace(" ", "_"), value=rate[name], bar=None, unit="images/s") for name in rate),
        Figure(name="f0_of_peak", value=ours * flops / peak, bar=None, unit="of peak"),
        Figure(name="f0_over_timm", value=ours / timm if timm else None, bar=1.0, unit="x"),
        Figure(name="f0_over_published", value=ours / (PUBLISHED_OF_PEAK * peak / 1e9), bar=4.5, unit="x"),
        Figure(name="f0_over_xla", value=ours / rate["f0 xla"], bar=None, unit="x"),
    ]
    for width in SCALE_WIDTHS:
        flops = 6 * _family(width).forward_macs(image_px=SCALE_PX, classes=SCALE_CLASSES)
        for batch in SCALE_BATCHES:
            name = f"width{width}_batch{batch}"
            part = batch * flops / seconds[name] / peak
            bar = 0.4 if width >= SCALE_BAR_FROM_WIDTH else None
            figures.append(Figure(name=f"{name}_of_peak", value=part, bar=bar, unit="of peak"))
    return figures


def _family(width: int) -> NFNetShape:
    """Returns the shape that the scale models vary by width."""
    return NFNetShape(
        stage_depths=(1, 1),
        stage_widths=(width, 2 * width),
        stage_strides=(1, 2),
        stem_widths=(width,),
        stem_strides=(2,),
    )


def _least(steps: dict[str, Step], turns: int) -> dict[str, float]:
    """Returns the least CPU seconds of each over `turns` turns; a turn before them warms up."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns + 1):
        for name, step in steps.items():
            taken[name].append(step())
    return {name: min(each[1:]) for name, each in taken.items()}


def _timed(program: Callable[[], jax.Array], *, steps: int) -> Step:
    def step() -> float:
        taken: list[float] = []
        for _ in range(steps):
            started = time.process_time()
            jax.block_until_ready(program())
            taken.append(time.process_time() - started)
        return min(taken)

    return step


def _peak_steps() -> dict[str, Step]:
    matrix = jax.random.normal(jax.random.key(0), (2048, 2048))
    images = jax.random.normal(jax.random.key(1), (8, 24, 24, 256))
    kernel = jax.random.normal(jax.random.key(2), (3, 3, 256, 256))
    product = jax.jit(jnp.matmul)
    convolution = jax.jit(
        lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    )
    return {
        "product": _timed(lambda: product(matrix, matrix), steps=OWN_STEPS_A_TURN),
        "convolution": _timed(lambda: convolution(images, kernel), steps=OWN_STEPS_A_TURN),
    }


def _net_step(shape: NFNetShape, px: int, batch: int, classes: int, path: str) -> Step:
    params = nfnet.init(jax.random.key(0), shape, channels=3, classes=classes, skip_init=1.0)
    images = jax.random.normal(jax.random.key(1), (batch, px, px, 3))
    targets = jnp.arange(batch) % classes

    def loss(params: nfnet.Params) -> jax.Array:
        logits = nfnet.apply(params, images, shape, forward=Forward(path=path))
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(batch), targets])

    program = jax.jit(jax.value_and_grad(loss))
    return _timed(lambda: program(params), steps=1 if shape is F0 else OWN_STEPS_A_TURN)


class _Timm:
    """timm's dm_nfnet_f0 in another Python, which does a step each time it is asked; `step` is absent without it."""

    def __init__(self, python: str | None) -> None:
        self.step: Step | None = None
        self._process: subprocess.Popen[str] | None = None
        if not python:
            print("timm is not measured: no Python with torch was named (--torch-python or TORCH_PYTHON)")
            return
        if subprocess.run([python, "-c", "import torch, timm"], check=False, capture_output=True).returncode:
            print(f"timm is not measured: {python} cannot import torch and timm")
            return
        self._process = subprocess.Popen(
            [python, "-c", TIMM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.step = self._ask

    def __enter__(self) -> "_Timm":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def _ask(self) -> float:
        assert self._process and self._process.stdin and self._process.stdout
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


if __name__ == "__main__":
    sys.exit(main())
