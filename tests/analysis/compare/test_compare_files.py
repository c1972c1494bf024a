import io
import json

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from analysis.compare.compare_files import FIGURES, write_comparison, write_maps
from analysis.compare.compare_json import comparison_json
from analysis.compare.compare_text import print_comparison, print_maps
from analysis.compare.map_figure import maps_figure
from sweeps.errors import StudyError
from tests.analysis.synthetic_families import comparison, family_records


@pytest.fixture(scope="module")
def result():
    """A comparison of two families, the second of which needs half as much again."""
    return comparison(
        family_records("a", noise=0.005), family_records("b", multiplier=1.5, noise=0.005, random_seed=1), others=True
    )


def test_json_has_the_keys_that_programs_ask_for(result):
    """verdict, gap and compute_multiplier as the house has them, at the budgets asked for."""
    found = comparison_json(result, (5000.0, 20_000.0))

    assert found["verdict"] == result.verdict and "b needs" in found["verdict"]
    for name in ("gap", "compute_multiplier"):
        assert [row["budget_core_hours"] for row in found[name]] == [5000.0, 20_000.0]
        for row in found[name]:
            assert set(row) == {"a", "b", "budget", "budget_core_hours", "value", "low", "high"}
            assert (row["a"], row["b"]) == ("a", "b")
            assert row["low"] <= row["value"] <= row["high"]
    assert found["compute_multiplier"][0]["value"] == pytest.approx(1.5, rel=0.1)
    assert {law["family"] for law in found["laws"]} == {"a", "b"}
    assert {law["name"] for law in found["laws"]} <= {"power", "power_floor"}
    assert [one["axis"] for one in found["by_axis"]] == ["core_hours", "billed", "params", "macs"]
    assert found["refused"] is None


def test_json_is_plain_json(result):
    """No number that JSON cannot hold, and no array."""
    assert json.loads(json.dumps(comparison_json(result), allow_nan=False)) == comparison_json(result)


def test_budgets_outside_the_range_are_left_out(result):
    """Nothing is extrapolated."""
    found = comparison_json(result, (10.0, 5000.0, 1e7))

    assert [row["budget_core_hours"] for row in found["gap"]] == [5000.0]


def test_without_budgets_the_ends_of_the_range_are_read(result):
    """The first and the last reading are at the ends of what both cover."""
    (pair,) = comparison_json(result)["pairs"]
    budgets = [row["budget"] for row in comparison_json(result)["gap"]]

    assert (budgets[0], budgets[-1]) == pytest.approx((pair["from"], pair["to"]))


def test_files_are_written_and_are_the_same_the_second_time(result, tmp_path):
    """The same comparison writes the same bytes."""
    written = write_comparison(result, tmp_path)
    first = {path.name: path.read_bytes() for path in written}

    assert {path.name for path in written} == {"compare.json"} | {
        f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")
    }
    assert {path.name: path.read_bytes() for path in write_comparison(result, tmp_path)} == first


def test_a_folder_that_cannot_be_made_is_an_error(result, tmp_path):
    """The message says what to type instead."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="--out DIR"):
        write_comparison(result, tmp_path / "file" / "folder")


def test_figures_are_for_callers_to_use(result):
    """What draws returns a figure of matplotlib."""
    for draw in FIGURES.values():
        assert isinstance(draw(result), Figure)


def test_the_gap_figure_is_headed_by_the_verdict_and_names_its_pairs(result):
    """Whoever sees the figure alone reads the answer."""
    figure = FIGURES["families_gap"](result)
    assert figure is not None

    assert " ".join(figure.get_suptitle().split()) == result.verdict
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["b against a"]


def test_on_one_axis_alone_there_is_nothing_to_set_side_by_side(tmp_path):
    """The figure of an earlier comparison goes, for it would pass for this one."""
    alone = comparison(family_records("a"), family_records("b"))
    (tmp_path / "families_by_axis.png").write_text("of an earlier comparison")
    write_comparison(alone, tmp_path)

    assert not (tmp_path / "families_by_axis.png").exists()


def test_maps_of_studies_stand_side_by_side(result, tmp_path):
    """A column a study, a row a limit; nothing where a study has no map."""
    figure = maps_figure([result, result])
    assert figure is not None and len(figure.axes) == 4
    assert figure.axes[0].get_title().startswith("synthetic: ")
    written = write_maps([result, result], tmp_path)
    assert [path.name for path in written] == ["families_map.png", "families_map.svg"]
    alone = comparison(family_records("a"), family_records("b"))
    assert maps_figure([result, alone]) is None


def test_the_terminal_shows_who_leads_where(result):
    """Parts of the map, its corners and the words for what is not sure."""
    out = io.StringIO()
    print_maps([result], console=Console(file=out, width=100))
    text = " ".join(out.getvalue().split())

    for words in ("within limits of", "a leads on", "b leads on 0% 0%", "small, cheap a a", "large, dear"):
        assert words in text


def test_json_has_the_maps(result):
    """Every place of them, by name."""
    found = comparison_json(result)["maps"]
    assert [one["limit"] for one in found] == ["macs", "params"]
    for one in found:
        assert {name for row in one["leader"] for name in row} == {"a"}
        assert len(one["leader"]) == len(one["computes"]) and len(one["leader"][0]) == len(one["sizes"])
        assert one["area"]["b"] == {"sure": 0.0, "not_sure": 0.0}
        assert [corner["leader"] for corner in one["corners"]] == ["a"] * 4


def test_the_terminal_shows_the_verdict_first(result):
    """Then budgets, axes and warnings."""
    out = io.StringIO()
    print_comparison(result, (5000.0,), console=Console(file=out, width=100))
    text = " ".join(out.getvalue().split())

    assert text.startswith(f"study synthetic: a, b {result.verdict}.")
    for words in ("multiplier of b", "5k", "at equal", "inference MACs", "warning: nothing at equal measured"):
        assert words in text
