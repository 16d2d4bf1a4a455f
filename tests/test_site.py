"""The pages of docs/ build into a site without a warning, and the site asks nobody for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdk.environment import inherited

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT,
        env=inherited(NO_MKDOCS_2_WARNING="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_of_the_reference_has_its_names(site: Path) -> None:
    client = (site / "reference" / "client" / "index.html").read_text()
    moderation = (site / "reference" / "moderation" / "index.html").read_text()
    wire = (site / "reference" / "wire" / "index.html").read_text()

    assert 'id="sdk.Client.check_many"' in client
    assert 'id="sdk.AsyncClient.check"' in client
    assert 'id="sdk._scans.Scans.receipt"' in client
    assert 'id="sdk._models.Models.list"' in client
    assert 'id="sdk.moderation.platform.Platform"' in moderation
    assert 'id="sdk.moderation.platform.Item.cursor"' in moderation
    assert 'id="sdk.wire.Verdict.NO_SIGN_OF_AI"' in wire
    assert 'id="sdk.wire.OperatingPoint.expected_false_alarm_rate"' in wire
    # Examples are code, and no quotations, which is what three angle brackets are to Markdown.
    assert "<blockquote>" not in client


def test_what_pages_link_to_outside_docs_is_carried_along(site: Path) -> None:
    page = (site / "operations" / "index.html").read_text()

    assert 'href="../files/deploy/prometheus/alerts.yml"' in page
    carried = site / "files" / "deploy" / "prometheus" / "alerts.yml"
    assert carried.read_bytes() == (ROOT / "deploy" / "prometheus" / "alerts.yml").read_bytes()


def test_every_link_between_pages_leads_to_a_file(site: Path) -> None:
    link = re.compile(r'<a [^>]*href="(?![a-z]+:|#)([^"#?]+)')

    dead = {
        (page.relative_to(site).as_posix(), target)
        for page in site.rglob("*.html")
        if page.name != "404.html"  # whose links begin at the host's root
        for target in link.findall(page.read_text())
        if not (there := page.parent / target).is_file() and not (there / "index.html").is_file()
    }

    assert dead == set()


def test_every_decision_is_listed(site: Path) -> None:
    page = (site / "decisions" / "index.html").read_text()

    records = {file.stem for file in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}

    assert {name for name in records if f'href="{name}/"' not in page} == set()
    assert '<li><a href="0012-noise-on-frozen-features/">0012 The default model' in page


def test_pages_hold_no_drawing_that_the_site_cannot_show() -> None:
    pages = (ROOT / "docs").rglob("*.md")

    assert [page.name for page in pages if "```mermaid" in page.read_text("utf-8")] == []


def test_links_of_the_readme_lead_to_files() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", (ROOT / "README.md").read_text("utf-8"))

    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="https?://[^"]*"')
    pages = list(site.rglob("*.html"))

    found = {match for page in pages for match in loaded.findall(page.read_text())}

    assert len(pages) > 30
    assert {match for match in found if 'rel="canonical"' not in match} == set()
