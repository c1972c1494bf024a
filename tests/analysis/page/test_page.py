import itertools
import json
import re
from html.parser import HTMLParser

import pytest

from analysis.page.page import page_html
from tests.analysis.page.pages import HOSTILE, PAGES, of_records, page_of, study

FETCHING = {
    ("script", "src"),
    ("link", "href"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("object", "data"),
}


class Reader(HTMLParser):
    """Collects what a browser would see in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.data = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps the element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Closes the element, which must be the one opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keeps text, and the page's data apart."""
        if self.open and self.open[-1] == "script" and self.elements[-1][1].get("id") == "data":
            self.data += data
        elif self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def read(html: str) -> Reader:
    """Returns the page as read; every element in it was closed."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


@pytest.mark.parametrize("name", PAGES)
def test_is_one_file(name: str) -> None:
    """Nothing in a page is fetched, and its policy forbids it."""
    reader = read(page_of(name))
    fetched = [values[key] for tag, values in reader.elements for key in values if (tag, key) in FETCHING]
    assert all(value is None or value.startswith("data:") for value in fetched)
    policies = [str(v.get("content")) for _, v in reader.elements if v.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'") and "sha256-" in policies[0]
    assert "@import" not in page_of(name) and "url(" not in page_of(name).replace("url(#", "")


@pytest.mark.parametrize("name", PAGES)
def test_charts_have_places(name: str) -> None:
    """Each figure has its chart, each chart its figure, and every table that dots stand for is there."""
    reader = read(page_of(name))
    data = json.loads(reader.data)
    figures = [values["data-chart"] for tag, values in reader.elements if tag == "figure"]
    assert sorted(map(str, figures)) == sorted(chart["name"] for chart in data["charts"])
    for chart in data["charts"]:
        for layer in chart["layers"]:
            if layer["kind"] != "dots":
                continue
            table = data["tables"][layer["table"]]
            count = len(table["series"])
            assert all(len(column) == count for column in table.values())
            assert layer["rows"] is None or all(0 <= row < count for row in layer["rows"])
            assert chart["y"]["key"] in table, chart["name"]
            assert all(-1 <= series < len(data["series"]) for series in table["series"])


@pytest.mark.parametrize("name", PAGES)
def test_headings_and_labels(name: str) -> None:
    """There is one first heading, no level is skipped, every id is unique and every region has a name."""
    reader = read(page_of(name))
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    ids = [values["id"] for _, values in reader.elements if "id" in values]
    assert len(ids) == len(set(ids))
    labelled = {values["aria-labelledby"] for _, values in reader.elements if "aria-labelledby" in values}
    assert labelled <= set(ids)
    assert all(values.get("aria-label") for _, values in reader.elements if values.get("role") in ("region", "group"))


def test_answer_comes_first() -> None:
    """The first words behind the title are the configuration, its loss and the interval."""
    text = " ".join(" ".join(read(page_of("study")).text).split())
    answer = text.index("With 20k core-hours, train")
    assert answer < text.index("log-log slope") < text.index("Loss against compute")
    assert re.search(r"train F\d\+? for [\d.]+ epochs? at peak learning rate [\d.]+ ?; expect a held-out loss of", text)
    assert re.search(r"\(90% of runs: [\d.]+ to [\d.]+\)", text)


def test_far_budget_is_refused() -> None:
    """Where no answer is honest, that is the answer, with what to type."""
    text = " ".join(" ".join(read(page_of("far")).text).split())
    assert "With 1000M core-hours there is no honest answer" in text


def test_failures_are_told() -> None:
    """Every run is in the list with how it ended, and what no fit uses is counted with its reason."""
    reader = read(page_of("study"))
    runs = json.loads(reader.data)["tables"]["runs"]
    assert len(runs["status"]) == len(study())
    assert {"finished", "diverged", "failed", "out_of_memory", "killed"} == set(runs["status"])
    diverged = runs["status"].index("diverged")
    assert runs["loss"][diverged] is None and runs["peak_lr"][diverged] == 0.4
    assert sum(taint is not None for taint in runs["taint"]) == 1
    text = " ".join(reader.text)
    for word in ("diverged", "out of memory", "failed", "killed", "tainted"):
        assert word in text


def test_commands_to_repeat_it() -> None:
    """Code, sweep and fit can be typed again as they were."""
    text = " ".join(read(page_of("study")).text)
    for command in (
        "git checkout abc1234",
        "make sweep BUDGET=10k STUDY=small SEEDS=2",
        "python analysis/fit_scaling.py --study small",
        "make sweep PICK=reports/small/pick.yaml",
    ):
        assert command in text


def test_hostile_names() -> None:
    """A name that is a script stays a name, in the text, in attributes and in the data."""
    html = page_of("hostile")
    assert "<img src=x" not in html and "window.hurt=1</script>" not in html
    reader = read(html)
    assert [tag for tag, _ in reader.elements].count("script") == 2
    assert any("window.hurt" in text for text in reader.text)
    assert any("</script><script>window.hurt=1" in one["name"] for one in json.loads(reader.data)["series"])
    assert HOSTILE[:20] not in html


def test_default_study_is_small() -> None:
    """The page of some 500 runs is far below 2 MB."""
    records = study()
    html = page_html(*of_records(records, 1e4))
    data = json.loads(read(html).data)
    per_run = len(json.dumps(data["tables"]["runs"])) / len(records)
    assert len(html.encode()) + 520 * per_run < 1e6
