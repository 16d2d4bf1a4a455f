"""The report: one page that needs nothing, the same figures as JSON, charts without pictures."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pinclip.data.manifest import Row
from pinclip.evidence import report, robustness, sections, tables
from pinclip.evidence.bench import Bench
from pinclip.evidence.scores import EvidenceError, Tool

HOSTILE = "<script>alert(1)</script> $x_1$ & co"


class Page(HTMLParser):
    """Tags with their attributes, and that every tag opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def row(k: int, label: str) -> Row:
    return Row(
        file=f"{label}/{k}.png",
        label=label,
        source=f"{label}{k % 4} {HOSTILE}",
        group=f"{label}{k % 24}",
        fold=k % 5,
        style=("photo", "portrait", "painting")[k % 3],
        sha256_of_original="",
        generator=HOSTILE if label == "ai" else "",
    )


def thumbnail(file: str) -> bytes | None:
    if file.endswith("1.png"):
        return None
    data = BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "JPEG")
    return data.getvalue()


@pytest.fixture(scope="module")
def made() -> report.Report:
    rng = np.random.default_rng(0)
    rows = tuple(row(k, ("real", "ai")[k % 2]) for k in range(240))
    bench = Bench(rows)
    scores = [rng.normal(size=240) + bench.is_ai for _ in range(3)]
    names = (f"ours {HOSTILE}", "theirs")
    tools = [
        Tool(name=name, score=score, kind="logit", cut=0.0, origin="drawn", seen="held out")
        for name, score in zip(names, scores, strict=False)
    ]
    unscored = dict.fromkeys(names, 3)
    found, comparisons = tables.measure(tools, bench, unscored=unscored, count=60, seed=0)
    worse = {"clean": scores[0], "jpeg_40": scores[2], "half": scores[1]}
    robust = robustness.Robustness(
        tool=names[0],
        seen="held out",
        real=120,
        ai=120,
        threshold=1.0,
        clear_below=-1.0,
        thresholds_from="drawn",
        corruptions=robustness.compare(worse, bench, (1.0, -1.0), count=60, seed=0),
    )
    return report.Report(
        format=report.FORMAT,
        version="0",
        set="drawn",
        data_sha256="0" * 64,
        images=240,
        real=120,
        ai=120,
        sources=8,
        groups=48,
        folds=5,
        draws=60,
        seed=0,
        notes=["read me"],
        tools=found,
        comparisons=comparisons,
        robustness=[robust],
    )


def test_the_page_asks_for_nothing_from_outside(made):
    page = Page(report.page(made, thumbnail))

    used = [tag for tag, _ in page.tags]
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "a"} & set(used)
    assert all(image["src"].startswith("data:image/") for image in page.of("img"))
    policy = next(one for one in page.of("meta") if "http-equiv" in one)
    assert policy["content"].startswith("default-src 'none'; img-src data:;")


def test_names_are_text_on_the_page_and_in_the_charts(made):
    text = report.page(made, thumbnail)

    assert "<script" not in text
    assert "&lt;script&gt;" in text
    for chart in sections.charts(made):
        svg = base64.b64decode(chart.uri.partition(",")[2]).decode()
        assert "<script" not in svg
        assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_every_picture_is_described_and_missing_ones_are_left_out(made):
    page = Page(report.page(made, thumbnail))

    assert all(image["alt"] for image in page.of("img"))
    shown = sum(image["src"].startswith("data:image/jpeg") for image in page.of("img"))
    known = sum(not one.file.endswith("1.png") for tool in made.tools for one in tool.mistakes)
    assert shown == known > 0


def test_the_page_shows_every_table_with_the_figures_of_the_json(made):
    text = report.page(made, thumbnail)

    titles = [table.title for table in sections.tables(made)]
    for title in ("All images", "Averages", "By slice", "By family", "Real sources", "AI sources"):
        assert title in titles
    assert any(title.startswith("Robustness of ours") for title in titles)
    auroc = made.tools[1].overall.figures["auroc"]
    assert f"{auroc.value:.3f}<small>[{auroc.groups[0]:.3f}, {auroc.groups[1]:.3f}]" in text
    recall = made.tools[0].overall.figures["ai_recall"].value
    assert f"{100 * recall:.1f} %<small>" in text
    assert "read me" in text


def test_tables_have_a_cell_for_every_column(made):
    for table in sections.tables(made):
        for row in table.rows:
            assert len(row.cells) == len(table.columns)
            assert len(row.counts) == len(table.counts)


def test_json_holds_the_whole_report(made, tmp_path):
    report.write(made, tmp_path / "out", thumbnail)

    assert report.read_report(tmp_path / "out" / "report.json") == made
    assert (tmp_path / "out" / ".gitignore").read_text() == "*\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".gitignore",
        "report.html",
        "report.json",
    ]


def test_a_json_that_is_no_report_is_refused(tmp_path):
    (tmp_path / "report.json").write_text("{}")

    with pytest.raises(EvidenceError, match="is no report"):
        report.read_report(tmp_path / "report.json")


def test_figures_are_the_same_bytes_each_time_and_hold_no_picture(made, tmp_path):
    report.write_figures(made, tmp_path / "first")
    report.write_figures(made, tmp_path / "second")

    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == ["generators.svg", "roc.svg"]
    for name in names:
        svg = (tmp_path / "first" / name).read_text()
        assert svg == (tmp_path / "second" / name).read_text()
        assert "<image" not in svg
        assert not re.search(r"href=\"(?!#)", svg)


def test_the_terminal_shows_a_line_for_each_tool(made):
    lines = sections.summary(made).splitlines()

    assert "120 real and 120 AI images of 48 groups" in lines[0]
    assert [line.split()[0] for line in lines[2:4]] == ["ours", "theirs"]
    assert lines[-1] == "note: read me"
    assert len(lines) == 5


def test_the_template_is_beside_the_code_that_fills_it():
    assert (Path(report.__file__).parent / "report.html.jinja").is_file()
