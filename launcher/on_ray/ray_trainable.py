"""One pack as a trial of Ray Tune. The actor outlives the trial: the next pack finds a warm desk.

Imported by the processes of Ray only, for it loads Ray Tune.
"""

import math
import threading
import uuid
from pathlib import Path
from typing import Any

import ray as ray_library
from ray.tune import PlacementGroupFactory, Trainable
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from launcher.contract.backend import Ended, Moved
from launcher.contract.batch_folder import Batch, Inbox
from launcher.on_ray.ray_seat import Seat, end_process
from sweeps.record import Status

_ray: Any = ray_library  # its own types say little

PART_S = 60.0
"""After the leader's end of a pack, its companions have so long to come to theirs."""
REPORT_S = 0.1
"""Between two looks for a new point of the curve."""
PERCENT_DONE, TRAIN_LOSS, HAS_FINISHED = "percent_done", "train_loss", "has_finished"
"""What a trial that competes reports, at points of its curve and at its end."""


class PackTrainable(Trainable):
    """Runs the pack that its config names; with several hosts, as the leader of one actor on each of the others."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """Returns a bundle for each host, no two of them on one node: all of them or none."""
        hosts = int(config["hosts"])
        bundles: list[dict[str, float]] = [dict(config["bundle"]) for _ in range(hosts)]
        bundles[0].update(config["leader"])
        return PlacementGroupFactory(bundles, strategy="STRICT_SPREAD" if hosts > 1 else "PACK")

    def setup(self, config: dict[str, Any]) -> None:
        """Takes a seat, and has companions take theirs; called once in the life of the actor."""
        count = int(config["hosts"])
        rendezvous = str(Path(config["rendezvous_dir"]) / uuid.uuid4().hex)
        self._seat = Seat(0, count, rendezvous)
        self._companions = [_companion(config["bundle"], rank, count, rendezvous) for rank in range(1, count)]
        self._racing: threading.Thread | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next pack to a desk that is warm."""
        self._folder = str(Path(new_config["batches_dir"]) / new_config["batch"])
        self._place = int(new_config["place"])
        self._steps = int(new_config["steps"])
        self._is_racing = bool(new_config["cell"])
        return True

    def step(self) -> dict[str, Any]:
        """Returns once the pack is done; a trial that competes with others, at each new point of its curve."""
        if not self._is_racing:
            self._run()
            return {"done": True}
        if self._racing is None:
            self._inbox = Inbox(Batch(folder=Path(self._folder)))
            self._has_finished = False
            self._racing = threading.Thread(target=self._run, name="pack", daemon=True)
            self._racing.start()
        while self._racing.is_alive():
            self._racing.join(REPORT_S)
            point = self._latest_point()
            if point is not None and self._racing.is_alive():
                return point
        self._latest_point()
        self._racing = None
        return {"done": True, HAS_FINISHED: self._has_finished}

    def _latest_point(self) -> dict[str, Any] | None:
        """Returns the last new point of the racing trial's curve."""
        point: dict[str, Any] | None = None
        for event in self._inbox.read_pack(self._place):
            if isinstance(event, Ended):
                self._has_finished = event.outcome.status is Status.FINISHED
            elif isinstance(event, Moved) and math.isfinite(event.progress.train_loss):
                done = 100.0 * event.progress.step / max(1, self._steps)
                point = {PERCENT_DONE: done, TRAIN_LOSS: event.progress.train_loss}
        return point

    def cleanup(self) -> None:
        """Lets the companions go."""
        for companion in self._companions:
            _ray.kill(companion)

    def _run(self) -> None:
        theirs: list[Any] = [companion.run.remote(self._folder, self._place) for companion in self._companions]
        self._seat.run(self._folder, self._place, lambda: not _have_failed(theirs))
        if theirs:
            done, _ = _ray.wait(theirs, num_returns=len(theirs), timeout=PART_S)
            if len(done) < len(theirs) or _have_failed(theirs):
                end_process("a companion on another host has not come to the end of the pack")


def _companion(bundle: dict[str, float], rank: int, count: int, rendezvous: str) -> Any:
    """Returns the seat on another host of this trial's placement group."""
    others = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU")}
    group: Any = get_current_placement_group()
    strategy = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=rank)
    options: dict[str, Any] = {
        "num_cpus": bundle.get("CPU", 0),
        "num_gpus": bundle.get("GPU", 0),
        "resources": others,
        "scheduling_strategy": strategy,
    }
    remote: Any = _ray.remote(Seat)
    return remote.options(**options).remote(rank, count, rendezvous)


def _have_failed(references: list[Any]) -> bool:
    """Returns whether one of the calls has ended badly so far."""
    done: list[Any] = _ray.wait(references, num_returns=len(references), timeout=0)[0] if references else []
    try:
        _ray.get(done)
    except Exception:
        return True
    return False
