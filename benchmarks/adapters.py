"""How big is each adapter of sdk.moderation, and which cases of the conformance suite does it pass?

    NAME.py and what only it imports --> lines of code: no blank, no comment, no docstring
    its conformance test, run now    --> passed, and skipped by name

One JSON line; 1 if an adapter has more than LINES, or a case fails.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
import tokenize
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.measuring import at_most, tell

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "sdk" / "moderation" / "platforms"
LINES = 250
ADAPTERS = {
    "jsonl": ("jsonl", "orders"),
    "webhook": ("webhook", "webhook_inbox", "webhook_server", "orders"),
    "discord": ("discord", "discord_source", "discord_records"),
    "reddit": ("reddit", "reddit_connection", "reddit_posts", "reddit_flair"),
    "mastodon": ("mastodon", "mastodon_calls", "mastodon_posts"),
    "bluesky": ("bluesky", "ozone"),
    "lemmy": ("lemmy", "lemmy_calls"),
}
INLINE = {
    "asgi": ("asgi", "asgi_body", "asgi_search"),
    "django": ("django", "django_settings"),
}
"""Those that stand in an application, and no Platform: the suite is not for them."""
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def main() -> int:
    """Count, run, print; 1 if a bar is missed or a case fails."""
    cases = conformance()
    found = {}
    for name, modules in (ADAPTERS | INLINE).items():
        lines = {module: code_lines(FOLDER / f"{module}.py") for module in modules}
        found[name] = {"lines": lines, "of all": sum(lines.values()), **cases.get(name, {})}
    most = max(one["of all"] for one in found.values())
    failed = sum(len(one["failed"]) for one in cases.values())
    bars = [
        at_most("lines of code, largest adapter", most, LINES),
        at_most("cases failed", failed, 0),
    ]
    return tell({"name": "adapters", "adapters": found, "bars": bars})


def code_lines(file: Path) -> int:
    """Return how many lines of a file hold code."""
    with file.open("rb") as source:
        tokens = [one for one in tokenize.tokenize(source.readline) if one.type not in NO_CODE]
    lines = {line for one in tokens[1:-1] for line in range(one.start[0], one.end[0] + 1)}
    return len(lines - docstring_lines(file))


def docstring_lines(file: Path) -> set[int]:
    """Return the lines of strings that are statements of their own."""
    return {
        line
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str) and node.end_lineno is not None
        for line in range(node.lineno, node.end_lineno + 1)
    }


def conformance() -> dict[str, dict[str, list[str]]]:
    """Run the conformance test of each adapter; return its cases by what came of them."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"
        tests = [f"tests/sdk/moderation/test_{name}.py" for name in ADAPTERS]
        argv = [sys.executable, "-m", "pytest", "-q", "-n0", "-k", "conform"]
        argv += ["-o", "junit_family=legacy", f"--junitxml={told}"]
        subprocess.run([*argv, *tests], cwd=ROOT, check=True, stdout=sys.stderr)
        tree = ET.parse(told)
    return {
        test.attrib["classname"].rpartition("test_")[2]: _by_state(one.attrib["value"])
        for test in tree.iter("testcase")
        for one in test.iter("property")
    }


def _by_state(report: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"passed": [], "skipped": [], "failed": []}
    for line in report.splitlines():
        state, case = line.split()[:2]
        found[state].append(case)
    return found


if __name__ == "__main__":
    sys.exit(main())
