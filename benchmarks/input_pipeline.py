"""Images a second and core: JPEGs decoded and augmented, beside torchvision and tf.data; whole streams; their order.

All sides have one core and take turns in one run, so that what else the machine does touches all alike; what is counted
is processor time. The rivals run in a Python of their own: EXTRA="--rivals /path/to/python". tf.data runs twice: as it
is mostly written, where each pixel comes of four neighbours and what lies between is skipped, and with antialias=True,
where it is a mean over what it covers, as it is here and in torchvision. Only the latter is the same work.
"""

import argparse
import contextlib
import io
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT / "benchmarks"), str(CHECKOUT)]

import grain  # noqa: E402 -- all are found by the line above, however this file is called
import numpy as np  # noqa: E402
from array_record.python.array_record_module import ArrayRecordWriter  # noqa: E402
from PIL import Image  # noqa: E402
from result_file import Figure, write_result  # noqa: E402

from sweeps.trial import DataSpec  # noqa: E402
from training.streams.crops import CHANCES, random_box  # noqa: E402
from training.streams.decode import Picture  # noqa: E402
from training.streams.example_record import make_example  # noqa: E402
from training.streams.image_slabs import Rows, TrainingSlabs  # noqa: E402
from training.streams.image_stream import ImageStream, open_stream  # noqa: E402
from training.streams.sample_order import sample_at  # noqa: E402

PX = 224
WIDTH, HEIGHT = 500, 375
IMAGES = 64
TURNS = 15
SAMPLES = 4_000_000_000
RIVALS = ("torchvision", "tf_data", "tf_data_antialias")
Turn = Callable[[], float]
"""Returns the processor seconds of one pass over the images."""


def make_jpegs() -> list[bytes]:
    """Returns pictures of 1/f noise, which has as much detail at every scale as photographs have, about 100 KB each."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None, :])
    frequency[0, 0] = np.inf
    files: list[bytes] = []
    for _ in range(IMAGES):
        planes = [
            np.fft.irfft2(np.fft.rfft2(rng.normal(size=(HEIGHT, WIDTH))) / frequency, (HEIGHT, WIDTH)) for _ in range(3)
        ]
        light, blue, red = (plane / plane.std() for plane in planes)
        yuv = np.stack([128 + 36 * light, 128 + 12 * blue, 128 + 12 * red], axis=-1)
        file = io.BytesIO()
        Image.fromarray(np.uint8(np.clip(yuv, 0, 255)), "YCbCr").save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def our_turn(files: list[bytes]) -> Turn:
    """Returns decoding and augmentation alone, as TrainingSlabs does them."""

    def turn() -> float:
        started = time.process_time()
        for place, file in enumerate(files):
            picture = Picture(file, channels=3)
            chances = np.random.Generator(np.random.Philox(key=[0, place])).random(CHANCES).tolist()
            picture.cut(random_box(picture.width, picture.height, chances), PX, is_mirrored=chances[-1] < 0.5)
        return time.process_time() - started

    return turn


def write_set(files: list[bytes], folder: Path) -> ImageStream:
    """Returns the stream of ArrayRecord shards of these files, through one thread."""
    for part in ("train", "held_out"):
        (folder / part).mkdir(parents=True)
        writer = ArrayRecordWriter(str(folder / part / "all.arrayrecord"), "group_size:1,uncompressed")
        for number, file in enumerate(files):
            writer.write(make_example(file, number))
        writer.close()
    data = DataSpec(
        name="noise",
        image_px=PX,
        channels=3,
        classes=IMAGES,
        images_per_epoch=IMAGES,
        held_out_images=IMAGES,
        selection_images=0,
    )
    return open_stream(data, folder, threads=1)


def stream_turn(stream: ImageStream, *, multiplicity: int) -> Turn:
    """Returns the whole way from shards to batches of 64 rows."""
    rows = Rows(batch_images=IMAGES, first=0, stop=IMAGES)
    slabs = TrainingSlabs(row=stream.train, data=stream.data, rows=rows, seed=0, multiplicity=multiplicity)

    def turn() -> float:
        started = time.process_time()
        # Four batches and no more: what training() would decode ahead belongs to no turn.
        batches = sum(1 for _ in stream._batches(slabs, rows, first=0, stop=4 * rows.slabs))
        return (time.process_time() - started) / batches

    return turn


@contextlib.contextmanager
def rival_turn(python: str, rival: str, jpegs: Path) -> Generator[Turn | None]:
    """Yields the turn of a rival in its own process, or None where it cannot be had, which is said."""
    command = [python, str(CHECKOUT / "benchmarks" / "input_rivals.py"), rival, str(jpegs)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True, bufsize=1) as process:
        assert process.stdin and process.stdout and process.stderr
        asked, answers = process.stdin, process.stdout
        version = answers.readline().strip()
        if not version:
            reason = process.stderr.read().strip().splitlines()[-1:]
            print(f"{rival}: skipped: {python}: {reason[0] if reason else 'ended without a word'}")
            yield None
            return
        print(f"{rival}: {version}")

        def turn() -> float:
            asked.write("turn\n")
            return float(answers.readline())

        yield turn
        asked.close()


def order_figures() -> list[Figure]:
    """Returns what it costs to know the sample at a place, in slabs of 32 as the stream asks for them."""
    slabs = [np.arange(first, first + 32, dtype=np.int64) for first in range(0, SAMPLES, SAMPLES // 500)]
    shuffled = grain.MapDataset.range(SAMPLES).seed(0).shuffle()
    ours: list[float] = []
    grains: list[float] = []
    for _ in range(TURNS):
        started = time.process_time()
        for slab in slabs:
            sample_at(slab, 0, SAMPLES)
        ours.append((time.process_time() - started) / (32 * len(slabs)))
        started = time.process_time()
        for slab in slabs[:50]:
            for place in slab.tolist():
                _ = shuffled[place]
        grains.append((time.process_time() - started) / (32 * 50))
    return [
        Figure(name="order_at_4e9", value=1e6 * statistics.median(ours), bar=20.0, unit="us an image"),
        Figure(name="order_at_4e9_grain_shuffle", value=1e6 * statistics.median(grains), bar=None, unit="us an image"),
    ]


def measure(rivals_python: str) -> list[Figure]:
    """Returns all figures."""
    files = make_jpegs()
    print(f"{IMAGES} JPEGs of {np.mean([len(file) for file in files]) / 1e3:.0f} KB")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "jpegs.pickle").write_bytes(pickle.dumps(files))
        turns: dict[str, Turn | None] = {"decode": our_turn(files)}
        stream = write_set(files, folder)
        turns["stream"] = stream_turn(stream, multiplicity=1)
        turns["stream_multiplicity_4"] = stream_turn(stream, multiplicity=4)
        for rival in RIVALS:
            turns[rival] = stack.enter_context(rival_turn(rivals_python, rival, folder / "jpegs.pickle"))
        seconds: dict[str, list[float]] = {name: [] for name, turn in turns.items() if turn}
        for _ in range(TURNS):
            for name, turn in turns.items():
                if turn:
                    seconds[name].append(turn() / IMAGES)
    figures = [
        Figure(
            name=name,
            value=1 / statistics.median(seconds[name]) if name in seconds else None,
            bar=None,
            unit="images/s/core",
        )
        for name in turns
    ]
    for rival in RIVALS:
        ratios = [theirs / ours for theirs, ours in zip(seconds.get(rival, []), seconds["decode"], strict=False)]
        value = statistics.median(ratios) if ratios else None
        bar = None if rival == "tf_data" else 1.0
        figures.append(Figure(name=f"decode_over_{rival}", value=value, bar=bar, unit="x"))
    return figures + order_figures()


def main() -> None:
    """Measures on one core and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rivals", default=sys.executable, help="a Python that has torchvision and tensorflow")
    words = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    write_result("input_pipeline", measure(words.rivals), command="make bench NAME=input_pipeline")


if __name__ == "__main__":
    main()
