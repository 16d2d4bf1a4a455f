"""Hooks of mkdocs.yml: what a code host does by itself for files and folders, the site has too.

    docs/operations.md: [alerts](../deploy/prometheus/alerts.yml)
                                    |
    site: operations/ -> files/deploy/prometheus/alerts.yml, byte for byte

    docs/decisions/*.md, first lines --> decisions/index.md, a list

A link to what is not there stays as it is, and the strict build refuses it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DECISIONS = "decisions/index.md"
HEADING = re.compile(r"^# (\d{4})\W*")
NUMBER = re.compile(r"decisions/(?P<name>\d{4}-.*)")
LINK = re.compile(r"\]\((?P<path>(?:\.\./)+[^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file of the repository that a page links to, and the list of decisions."""
    wanted = {
        target
        for file in files.documentation_pages()
        for link in LINK.finditer(file.content_string)
        if (target := _outside(file.src_uri, link["path"])) is not None
    }
    for target in sorted(wanted):
        files.append(File.generated(config, f"files/{target}", abs_src_path=str(ROOT / target)))
    files.append(File.generated(config, DECISIONS, content=_decisions(files)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn the links that leave this folder to what was carried into the site."""
    source = page.file.src_uri

    def turned(link: re.Match[str]) -> str:
        target = _outside(source, link["path"])
        if target is None:
            return link[0]
        up = posixpath.relpath(f"files/{target}", posixpath.dirname(source) or ".")
        return f"]({up}"

    return LINK.sub(turned, markdown)


def _decisions(files: Files) -> str:
    """Return a page that leads to each decision, the newest first."""
    lines = [
        "# Decisions",
        "",
        "Why things are as they are; a record is superseded, never edited.",
        "",
    ]
    for file in sorted(files.documentation_pages(), key=lambda file: file.src_uri, reverse=True):
        number = NUMBER.match(file.src_uri)
        if number is not None:
            title = HEADING.sub(r"\1 ", file.content_string.partition("\n")[0])
            lines.append(f"- [{title}]({number['name']})")
    return "\n".join(lines)


def _outside(source: str, path: str) -> str | None:
    """Return the file that a link of a page means, from the root, if it is not one of docs/."""
    target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), path))
    if target.startswith(("docs/", "..")) or not (ROOT / target).is_file():
        return None
    return target
