import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.record import CostClock
from training import clock
from training.clock import Heartbeat, Stopwatch

PARTS = [field.name for field in dataclasses.fields(CostClock)]


@given(st.lists(st.tuples(st.sampled_from(PARTS), st.floats(0, 1e6)), max_size=20))
def test_the_parts_add_up_to_the_total(spans: list[tuple[str, float]]) -> None:
    """What was counted as any part is in the total, once; training is steps and waiting for images."""
    watch = Stopwatch(CostClock(step_s=2.0, checkpoint_s=1.0))
    for part, seconds in spans:
        watch.add(part, seconds)
    assert watch.clock.total_s == pytest.approx(3.0 + sum(seconds for _, seconds in spans))
    training = sum(seconds for part, seconds in spans if part in ("step_s", "input_wait_s"))
    assert watch.training_s == pytest.approx(2.0 + training)


def test_a_block_is_timed_as_its_part() -> None:
    """Time within the block counts, and as nothing else."""
    watch = Stopwatch(CostClock())
    with watch.on("evaluation_s"):
        sum(range(1000))
    assert watch.clock.evaluation_s > 0
    assert watch.clock.total_s == watch.clock.evaluation_s


def test_what_a_killed_attempt_did_after_its_checkpoint_is_lost(tmp_path: Path) -> None:
    """An attempt beats and dies by kill -9; the next knows how much was done beyond the checkpoint."""
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom sweeps.record import CostClock\n"
        "from training.clock import Heartbeat\n"
        "Heartbeat(Path(sys.argv[1])).beat(CostClock(step_s=7.0, compile_s=3.0))\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    folder = tmp_path / "not there yet"
    killed = subprocess.run([sys.executable, "-c", program, str(folder)], check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == -9
    assert Heartbeat(folder).lost_s(CostClock(step_s=4.0, compile_s=3.0)) == pytest.approx(3.0)
    assert Heartbeat(folder).lost_s(CostClock()) == pytest.approx(10.0)


def test_a_second_kill_before_a_checkpoint_loses_both_attempts(tmp_path: Path) -> None:
    """What was lost is in the clock of the attempt that found it, and so in its own beats."""
    Heartbeat(tmp_path).beat(CostClock(step_s=5.0))
    first = Heartbeat(tmp_path).lost_s(CostClock())
    Heartbeat(tmp_path).beat(CostClock(step_s=2.0, lost_s=first))
    assert Heartbeat(tmp_path).lost_s(CostClock()) == pytest.approx(7.0)


def test_nothing_is_lost_where_nothing_is_known(tmp_path: Path) -> None:
    """No folder, no note, a torn note, and a checkpoint that is younger than the note all lose nothing."""
    assert Heartbeat(None).lost_s(CostClock()) == 0
    Heartbeat(None).beat(CostClock(step_s=1.0))
    assert Heartbeat(tmp_path).lost_s(CostClock()) == 0
    Heartbeat(tmp_path).beat(CostClock(step_s=1.0))
    assert Heartbeat(tmp_path).lost_s(CostClock(step_s=2.0)) == 0
    (tmp_path / "heartbeat.json").write_text('{"step_s": 1')
    assert Heartbeat(tmp_path).lost_s(CostClock()) == 0


def test_beats_are_rare_and_the_last_one_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat soon after another one is not written: steps may be short, disks slow."""
    heart = Heartbeat(tmp_path)
    heart.beat(CostClock(step_s=1.0))
    heart.beat(CostClock(step_s=2.0))
    assert json.loads((tmp_path / "heartbeat.json").read_text())["step_s"] == 1.0
    monkeypatch.setattr(clock, "_BEAT_EVERY_S", 0.0)
    heart.beat(CostClock(step_s=3.0))
    assert json.loads((tmp_path / "heartbeat.json").read_text())["step_s"] == 3.0
