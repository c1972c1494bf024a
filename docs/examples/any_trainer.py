"""A trainer of one's own in NumPy: regression on random features. docs/any-trainer.md says what it has to do."""

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


def tell(event: str, **numbers: float) -> None:
    """Appends a line to the journal."""
    with Path(os.environ["LOGLOG_JOURNAL"]).open("a") as journal:
        journal.write(json.dumps({"event": event, **numbers}) + "\n")


# ---- the task: a function of three numbers, learnt from noisy samples -----------------------------------------------
world = np.random.default_rng(trial["data"]["generator_seed"])
waves = world.normal(size=(3, 64)) * np.geomspace(0.3, 3.0, 64)
heights = np.geomspace(0.3, 0.1, 64) * world.choice([-1.0, 1.0], 64)


def sample(images: int, *seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns inputs and what to predict; the same for the same seeds."""
    rng = np.random.default_rng(seeds)
    inputs = rng.normal(size=(images, 3))
    return inputs, np.cos(inputs @ waves) @ heights + 0.3 * rng.normal(size=images)


# ---- the model: its size is that of the trial's shape ---------------------------------------------------------------
width = round(trial["params"] ** 0.5)
frozen = np.random.default_rng([trial["seed"], 1]).normal(size=(width, 4)).T


def features(inputs: np.ndarray) -> np.ndarray:
    """Returns what the weights are applied to."""
    return np.sqrt(2 / width) * np.cos(1.5 * inputs @ frozen[:3] + 10.0 * frozen[3])


def loss(images: int, *seeds: int) -> float:
    """Returns half the mean squared error on samples that are not trained on."""
    inputs, wanted = sample(images, *seeds)
    return float(np.mean((features(inputs) @ weights - wanted) ** 2) / 2)


# ---- the run: from the checkpoint, if there is one ------------------------------------------------------------------
weights, step, train_loss = np.zeros(width), 0, 0.0
if saved.exists():
    with np.load(saved) as state:
        weights, step, train_loss = state["weights"], int(state["step"]), float(state["train_loss"])
while step < trial["steps"]:
    inputs, wanted = sample(trial["batch_images"], trial["seed"], 2, step)
    known = features(inputs)
    errors = known @ weights - wanted
    rate = trial["peak_lr"] * (1 - step / trial["steps"])
    weights -= rate * known.T @ errors / len(errors)
    step, train_loss = step + 1, float(np.mean(errors**2) / 2)
    if stops or step % 1000 == 0:
        np.savez(saved.with_suffix(".new.npz"), weights=weights, step=step, train_loss=train_loss)
        saved.with_suffix(".new.npz").replace(saved)  # whole or not at all
    if stops:
        sys.exit()
    if step & (step - 1) == 0:  # 1, 2, 4, 8 ...: a curve needs few points
        tell("progress", step=step, train_loss=train_loss)
tell("ended", val_loss=loss(4096, 3), selection_loss=loss(4096, 4), train_loss=train_loss)
