"""A trainer of one's own in NumPy: regression on random features. docs/any-trainer.md says what it has to do."""

import functools
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

trial = json.loads(Path(os.environ["LOGLOG_TRIAL"]).read_text())
saved = Path(os.environ["LOGLOG_CHECKPOINT_DIR"], "weights.npz")
stops: list[int] = []
signal.signal(signal.SIGTERM, lambda number, frame: stops.append(number))


def tell(event: str, **numbers: object) -> None:
    """Appends a line to the journal."""
    with Path(os.environ["LOGLOG_JOURNAL"]).open("a") as journal:
        journal.write(json.dumps({"event": event, **numbers}) + "\n")


# ---- the task: a function of three numbers, learnt from noisy samples -----------------------------------------------
world = np.random.default_rng(trial["data"]["generator_seed"])
waves = world.normal(size=(3, 64)) * np.geomspace(0.3, 3.0, 64)
heights = np.geomspace(0.3, 0.1, 64) * world.choice([-1.0, 1.0], 64)


def wanted_of(inputs: np.ndarray, *seeds: int) -> np.ndarray:
    """Returns what to predict, with noise; the same for the same seeds."""
    return np.cos(inputs @ waves) @ heights + 0.3 * np.random.default_rng(seeds).normal(size=len(inputs))


# ---- the model: its size is that of the trial's shape ---------------------------------------------------------------
width = round(trial["params"] ** 0.5)
frozen = np.random.default_rng([trial["seed"], 1]).normal(size=(width, 4)).T


def features(inputs: np.ndarray) -> np.ndarray:
    """Returns what the weights are applied to."""
    return np.sqrt(2 / width) * np.cos(1.5 * inputs @ frozen[:3] + 10.0 * frozen[3])


def loss(images: int, *seeds: int) -> float:
    """Returns half the mean squared error on samples that are not trained on."""
    inputs = np.random.default_rng(seeds).normal(size=(images, 3))
    return float(np.mean((features(inputs) @ weights - wanted_of(inputs, *seeds, 1)) ** 2) / 2)


# ---- the samples: each once an epoch, and the certificate that shows it ---------------------------------------------
images, batch = trial["data"]["images_per_epoch"], trial["batch_images"]
training = world.normal(size=(images, 3))
seen = np.zeros((-(-trial["images"] // images), 2), np.uint64)  # epoch -> samples, sum of their hashes modulo 2^64


@functools.lru_cache(maxsize=2)
def order(epoch: int) -> np.ndarray:
    """Returns the samples of an epoch."""
    return np.random.default_rng([trial["seed"], 2, epoch]).permutation(images)


def next_samples(step: int) -> np.ndarray:
    """Returns the samples of a batch, and counts them."""
    places = np.arange(step * batch, (step + 1) * batch)
    samples = np.array([order(int(place) // images)[place % images] for place in places])
    np.add.at(seen, places // images, np.stack([np.ones(batch, np.uint64), hashes(samples)], axis=1))
    return samples


def hashes(samples: np.ndarray) -> np.ndarray:
    """Returns the splitmix64 of each sample's number."""
    x = samples.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


# ---- the run: from the checkpoint, if there is one ------------------------------------------------------------------
weights, step, train_loss = np.zeros(width), 0, 0.0
if saved.exists():
    with np.load(saved) as state:
        weights, seen = state["weights"], state["seen"]
        step, train_loss = int(state["step"]), float(state["train_loss"])
while step < trial["steps"]:
    inputs = training[next_samples(step)]
    known = features(inputs)
    errors = known @ weights - wanted_of(inputs, trial["seed"], 3, step)
    rate = trial["peak_lr"] * (1 - step / trial["steps"])
    weights -= rate * known.T @ errors / len(errors)
    step, train_loss = step + 1, float(np.mean(errors**2) / 2)
    if stops or step % 1000 == 0:
        np.savez(saved.with_suffix(".new.npz"), weights=weights, seen=seen, step=step, train_loss=train_loss)
        saved.with_suffix(".new.npz").replace(saved)  # whole or not at all
    if stops:
        sys.exit()
    if step & (step - 1) == 0:  # 1, 2, 4, 8 ...: a curve needs few points
        tell("progress", step=step, train_loss=train_loss)
sampling = [{"epoch": i, "images": int(n), "digest": f"{digest:016x}"} for i, (n, digest) in enumerate(seen)]
tell("ended", val_loss=loss(4096, 3), selection_loss=loss(4096, 4), train_loss=train_loss, sampling=sampling)
