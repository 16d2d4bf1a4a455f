"""Records the walk of quickstart.md into images/bot.svg: docs/record.py AI_IMAGE REAL_IMAGE.

Everything is run as shown, on a system of its own with the default model; nothing is typed by
hand. Long lines are cut at the width of the picture. Needs the environment that the tests use.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from benchmarks.running_system import RunningSystem, free_port
from sdk.moderation.report import REPORT_ITEMS
from tests.journeys.test_bot import Bot, overturned

PICTURE = Path(__file__).with_name("images") / "bot.svg"
PINCLIP = str(Path(sys.executable).with_name("pinclip"))
POLICY = '[[rule]]\nverdict = "likely_ai"\naction = "label"\n'
WIDTH = 118
WITHOUT_FONTS = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Without what it would fetch from a font server: the reader's own monospace font serves."""


def main(argv: list[str]) -> int:
    """Run the walk and write the picture."""
    ai, real = (str(Path(name).resolve()) for name in argv)
    with (
        tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as state,
        tempfile.TemporaryDirectory() as folder,
        RunningSystem(Path(state), free_port()) as system,
    ):
        walk = Walk(system, Path(folder))
        walk.observe(ai, real)
        walk.run("bot", "report")
        walk.run("bot", "mode", "enforce")
        walk.enforce(ai, real)
        walk.console.save_svg(str(PICTURE), title="pinclip bot", code_format=WITHOUT_FONTS)
    return 0


class Walk:
    """A terminal in which commands are run and recorded."""

    def __init__(self, system: RunningSystem, folder: Path) -> None:
        self.console = Console(record=True, width=WIDTH, highlight=False)
        self._folder = folder
        self._base_url = system.base_url
        self._environ = {**system.environ, "PINCLIP_BASE_URL": system.base_url}
        (folder / "policy.toml").write_text(POLICY)

    def observe(self, ai: str, real: str) -> None:
        """Let the bot look at as many items as a report needs, four of them AI."""
        image = {True: ai, False: real}
        lines = [
            json.dumps({"id": f"{number}", "images": [image[number % 50 == 0]]})
            for number in range(REPORT_ITEMS)
        ]
        posts = self._folder / "posts.jsonl"
        posts.write_text("\n".join(lines) + "\n")
        self._prompt("pinclip bot run jsonl --policy policy.toml < posts.jsonl")
        with posts.open() as stdin:
            argv = [PINCLIP, "bot", "run", "jsonl", "--policy", "policy.toml"]
            done = subprocess.run(  # noqa: S603 - our own command
                argv,
                env=self._environ,
                cwd=self._folder,
                stdin=stdin,
                capture_output=True,
                text=True,
                check=True,
            )
        said = done.stderr.splitlines()
        self._show([*said[:2], "...", *said[-2:]])

    def run(self, *words: str) -> None:
        """Run one command of pinclip and show what it prints."""
        self._prompt(f"pinclip {' '.join(words)}")
        done = subprocess.run(  # noqa: S603 - our own command
            [PINCLIP, *words],
            env=self._environ,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=True,
        )
        self._show((done.stdout + done.stderr).splitlines())

    def enforce(self, ai: str, real: str) -> None:
        """Let the bot act, overturn the verdict, and show that it takes its label back."""
        self._prompt("your-posts | pinclip bot run jsonl")
        bot = Bot([PINCLIP, "bot", "run", "jsonl"], self._environ, self._folder)
        try:
            bot.tell(id="real", images=[real])
            bot.tell(id="new", images=[ai])
            label = bot.until(lambda order: order["type"] == "action")
            bot.until(lambda order: order["type"] == "notice")
            self._show(json.dumps(order) for order in bot.orders)
            self._note(f"a person appeals {label['scan_id']}, and another overturns the verdict")
            shown = len(bot.orders)
            overturned(self._base_url, label["scan_id"])
            bot.until(lambda order: order["type"] == "notice" and order.get("is_undo", False))
            self._show(json.dumps(order) for order in bot.orders[shown:])
            bot.end()
        finally:
            bot.kill()

    def _prompt(self, command: str) -> None:
        self.console.print(Text(f"$ {command}", style="bold"))

    def _note(self, text: str) -> None:
        self.console.print(Text(f"# {text}", style="italic"))

    def _show(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.console.print(Text(line), overflow="ellipsis", no_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
