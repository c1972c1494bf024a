"""Which way a pack is trained: what was said, what was measured, and when measuring is worth its time."""

import dataclasses
from pathlib import Path

import jax
import pytest

from sweeps.compute import ComputeSpec
from sweeps.trial import Trial
from tests.training.small_nets import TRIAL, changed
from tests.training.small_pool import DATA, TOKENS
from tests.training.small_streams import SmallStream
from training import pack_choice, pack_times
from training.data import fed_source
from training.pack_choice import can_pack, pack_mode
from training.pack_step import PackGrid, arranged
from training.pack_times import PackTimes, kept, measure

PAIR = (changed(TRIAL, family="vit", shape=TOKENS), changed(TRIAL, family="vit", shape=TOKENS, peak_lr=0.05))
AUTO = ComputeSpec()
TIMES = PackTimes(device="abacus", model="tiny", seeds=1, rates=2, separate_s=1.0, scan_s=0.99, vmap_s=0.5)


def mode(trials: tuple[Trial, ...] = PAIR, packing: str = "auto") -> str:
    """Returns what is chosen."""
    return pack_mode(trials, data_dir=Path(), compute=dataclasses.replace(AUTO, packing=packing))


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[PackGrid]:
    """Nothing is known yet; measuring takes no time and finds vmap twice as fast. Returns what was measured."""
    grids: list[PackGrid] = []

    def found(trials: object, grid: PackGrid, data_dir: Path, compute: ComputeSpec) -> PackTimes:
        grids.append(grid)
        return TIMES

    monkeypatch.setattr(pack_choice, "_known", {})
    monkeypatch.setattr(pack_times, "measure", found)
    monkeypatch.setattr(pack_times, "_file", lambda key: tmp_path / "cache" / f"{key}.json")
    return grids


@pytest.mark.parametrize("packing", ["separate", "scan", "vmap"])
def test_what_a_person_says_is_done_unmeasured(packing: str, measured: list[PackGrid]) -> None:
    """No time is spent on finding out."""
    assert mode(packing=packing) == packing and not measured


def test_short_packs_are_trained_separately_unmeasured(measured: list[PackGrid]) -> None:
    """Two compilations would cost more than the pack."""
    assert mode() == "separate" and not measured


def test_long_packs_are_measured_once_for_all_processes(
    measured: list[PackGrid], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process reads what the first has found; a torn file is measured again."""
    monkeypatch.setattr(pack_choice, "WORTH_COMPILATIONS", 0.0)
    assert mode() == mode() == "vmap" and len(measured) == 1
    pack_choice._known.clear()
    assert mode() == "vmap" and len(measured) == 1
    pack_choice._known.clear()
    monkeypatch.setattr(pack_times, "kept", lambda key: None)
    assert mode() == "vmap" and len(measured) == 2
    assert mode((*PAIR, changed(PAIR[0], peak_lr=0.2))) == "vmap"
    assert [grid.rates for grid in measured] == [2, 2, 3]


def test_a_torn_file_says_nothing(tmp_path: Path) -> None:
    """It is no reason to fail."""
    pack_times.keep("key", TIMES)
    assert kept("key") == TIMES
    (tmp_path / "cache" / "key.json").write_text('{"device": ')
    assert kept("key") is None and kept("another") is None


@pytest.mark.parametrize(
    ("scan_s", "vmap_s", "fastest"),
    [(0.9, 0.5, "vmap"), (0.5, 0.9, "scan"), (0.99, 0.98, "separate"), (None, None, "separate"), (None, 0.5, "vmap")],
)
def test_the_fastest_way_wins_by_more_than_noise(scan_s: float | None, vmap_s: float | None, fastest: str) -> None:
    """What does not fit the device is not chosen."""
    assert dataclasses.replace(TIMES, scan_s=scan_s, vmap_s=vmap_s).fastest == fastest


@pytest.mark.parametrize(
    "trials",
    [PAIR[:1], (PAIR[0], changed(PAIR[0], epochs=2.0)), (PAIR[0], TRIAL)],
    ids=["one", "lengths", "programs"],
)
def test_what_has_not_one_program_and_one_length_is_no_pack(trials: tuple[Trial, ...]) -> None:
    """Nobody is asked how to train it."""
    assert not can_pack(trials, Path()) and mode(trials, packing="vmap") == "separate"


def test_spread_trials_and_fed_images_are_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They fall back to separate runs."""
    assert can_pack(PAIR, Path())
    with monkeypatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 2)
        assert mode(packing="vmap") == "separate"
    monkeypatch.setattr(
        pack_choice, "open_source", lambda data, data_dir: fed_source(SmallStream(DATA, bad_samples=()), DATA)
    )
    assert mode(packing="vmap") == "separate"


def test_all_ways_are_timed() -> None:
    """On the device at hand, each takes some time."""
    order, grid = arranged(PAIR)
    found = measure([PAIR[place] for place in order], grid, Path(), AUTO)
    assert (found.seeds, found.rates, found.device) == (1, 2, jax.devices()[0].device_kind)
    assert found.scan_s is not None and found.vmap_s is not None
    assert min(found.separate_s, found.scan_s, found.vmap_s) > 0


def test_a_way_that_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device too small for all members at once trains them separately."""

    def too_large(*words: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(pack_times, "pack_programs_of", too_large)
    found = measure(PAIR, arranged(PAIR)[1], Path(), AUTO)
    assert (found.scan_s, found.vmap_s, found.fastest) == (None, None, "separate")
