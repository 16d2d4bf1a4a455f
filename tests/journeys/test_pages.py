"""README.md and docs/quickstart.md, as a stranger types them: one folder, one shell, every block.

    fenced blocks of a page --> `bash` in a folder that looks like the sources --> what is promised

What the pages cannot know is put in their place: the address of the server and of a picture, and
`your-posts`, the stranger's own program. The system runs already, so `make up` does nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from standardwebhooks import Webhook

import sdk
from benchmarks.running_system import Origin, RunningSystem
from benchmarks.scripted_server import ScriptedServer
from sdk.environment import inherited
from sdk.moderation.clock import SystemClock
from sdk.moderation.report import REPORT_ITEMS
from sdk.moderation.rules import read_policy
from tests.journeys.conftest import FIXED

pytestmark = [pytest.mark.redis, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
QUICKSTART = ROOT / "docs" / "quickstart.md"
PAGES = [README, *ROOT.glob("docs/**/*.md")]
PICTURE = re.compile(r"https://example\.org/picture\.jpg")
AROUND = """
make() { :; }
your-posts() { cat posts; }
trap 's=$?; case $s in %s) ;; *) exit $s ;; esac' ERR
"""
SECRET = "whsec_" + "A" * 43 + "="


def blocks(page: Path, language: str, *, under: str = "") -> list[str]:
    """Return the fenced blocks of a language, of a whole page or of what stands under a heading."""
    text = page.read_text("utf-8")
    if under:
        text = re.split(r"^## ", text.partition(f"\n## {under}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def typed(console: str) -> str:
    """Return what is typed in a block that shows prompts."""
    return "\n".join(re.findall(r"^(?:\$|   ) (.*)$", console, re.MULTILINE))


class Shell:
    """A folder like the sources', and what a shell prints that is started there."""

    def __init__(self, folder: Path, *, url: str, picture: str, **settings: str) -> None:
        self.folder = folder
        self._picture = picture
        self._url = url
        self._environ = inherited(PINCLIP_BASE_URL=url, **settings)
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "server").symlink_to(ROOT / "server")

    def run(self, text: str, *, statuses: tuple[int, ...] = (0,)) -> str:
        """Run the lines in one shell; each must end with one of the statuses."""
        passed = "|".join(map(str, statuses))
        done = subprocess.run(
            ["bash", "-c", f"{AROUND % passed}\n{self.placed(text)}"],
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode in statuses, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def placed(self, text: str) -> str:
        """Return the text with the addresses that there are."""
        return PICTURE.sub(self._picture, text).replace("http://127.0.0.1:8417", self._url)

    def python(self, program: str) -> str:
        """Run a program with the Python that the page puts on the path."""
        (self.folder / "program.py").write_text(self.placed(program))
        return self.run(". .venv/bin/activate; python program.py")


@pytest.fixture
def shell(tmp_path: Path, system: RunningSystem, origin: Origin) -> Shell:
    return Shell(tmp_path, url=system.base_url, picture=origin.url("white.png"))


def test_quickstart_leads_to_a_verdict(shell: Shell) -> None:
    start = "".join(blocks(QUICKSTART, "sh", under="A server"))
    verdict = "".join(blocks(QUICKSTART, "sh", under="A verdict"))

    printed = shell.run(start + verdict, statuses=(0, 10, 12))
    [program] = blocks(QUICKSTART, "python")

    assert "server/example.jpg: " in printed
    assert "ok       check: " in printed
    assert shell.python(program) == "0.03\n"


@pytest.fixture
def bot_shell(tmp_path: Path) -> Iterator[Shell]:
    """The same on a server that answers at once: the bot looks at hundreds of items."""
    (tmp_path / "ai.png").write_bytes(b"likely_ai:1")
    with ScriptedServer() as server:
        yield Shell(tmp_path, url=server.url, picture="ai.png")


def test_quickstart_leads_from_observing_to_a_label_and_back(bot_shell: Shell) -> None:
    shell = bot_shell
    observe, look, undo = blocks(QUICKSTART, "sh", under="A bot")
    [policy] = blocks(QUICKSTART, "toml", under="A bot")
    line, orders = blocks(QUICKSTART, "json", under="A bot")
    (shell.folder / "policy.toml").write_text(policy)
    posts = [shell.placed(line).replace('"7"', f'"{n}"') for n in range(REPORT_ITEMS + 1)]

    def after(lines: list[str], text: str) -> list[dict[str, str]]:
        (shell.folder / "posts").write_text("".join(lines))
        printed = shell.run(f". .venv/bin/activate\n{text}").splitlines()
        return [json.loads(line) for line in printed if line.startswith("{")]

    observed = after(posts[:-1], observe + look)
    acted = after(posts[-1:], observe)
    undone = after([], undo)

    shown = [json.loads(text) for text in orders.splitlines()]
    assert observed == []
    assert [order["type"] for order in acted] == ["action", "notice"]
    assert [order["type"] for order in undone] == ["undo", "notice"]
    for seen, order in zip(shown, [*acted, undone[0]], strict=True):
        assert seen.keys() <= order.keys()
        assert order["type"] == seen["type"]
        assert order.get("text", "").startswith(seen.get("text", "").removesuffix("..."))


def test_readme_leads_a_bot_to_enforcing(bot_shell: Shell) -> None:
    [policy] = blocks(README, "toml", under="A bot that can undo")
    [console] = blocks(README, "console", under="A bot that can undo")
    (bot_shell.folder / "policy.toml").write_text(policy)
    (bot_shell.folder / "posts").write_text(
        "".join(f'{{"id": "{number}", "images": ["ai.png"]}}\n' for number in range(REPORT_ITEMS))
    )

    printed = bot_shell.run(f". .venv/bin/activate\n{typed(console)}")

    assert f"label {REPORT_ITEMS}" in printed
    assert printed.splitlines()[-1] == "enforce"


def test_readme_shows_the_verdict_that_http_gives(shell: Shell) -> None:
    [ask] = blocks(README, "", under="Ways to ask")[:1]
    [shown] = blocks(README, "json", under="Ways to ask")

    answer = json.loads(shell.run(ask))

    assert answer["status"] == "completed"
    assert set(re.findall(r'"(\w+)":', shown)) <= names(answer)


def names(value: object) -> set[str]:
    """Return the names of all fields of an answer."""
    if isinstance(value, list):
        return set().union(*map(names, value))
    if isinstance(value, dict):
        return set(value).union(*map(names, value.values()))
    return set()


def test_readme_has_the_id_of_the_weights_that_ship() -> None:
    weights = pytest.importorskip("pinclip.weights")
    [shown] = blocks(README, "json", under="Ways to ask")

    shipped = weights.open_weights()

    assert f'{{"id": "{shipped.meta.id}", "weights_sha256": "{shipped.sha256[:8]}..."}}' in shown


def test_python_of_the_readme_checks_a_picture(shell: Shell) -> None:
    [program] = blocks(README, "python", under="Ways to ask")

    assert shell.python(program) == "likely AI; 3.0% of real photos get this\n"


@pytest.fixture
def keyed(origin: Origin) -> Iterator[RunningSystem]:
    """A system of its own: once it has a key, it asks everybody for one."""
    with (
        tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as folder,
        RunningSystem(Path(folder), origin.port, **FIXED) as system,
    ):
        yield system


def test_readme_leads_a_platform_to_its_key_webhook_and_batch(
    tmp_path: Path, keyed: RunningSystem
) -> None:
    [console] = blocks(README, "console", under="For a platform")
    state = keyed.environ["PINCLIP_STATE_DIR"]
    shell = Shell(tmp_path, url=keyed.base_url, picture="", PINCLIP_STATE_DIR=state)

    printed = shell.run(f". .venv/bin/activate\n{typed(console)}")

    assert re.findall(r'"id":"(whk|batch)_', printed) == ["whk", "batch"]


def test_python_of_the_readme_opens_a_signed_event(
    system: RunningSystem, origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    [program] = blocks(README, "python", under="For a platform")
    with sdk.Client(base_url=system.base_url) as client:
        scan = client.check(origin.url("white.png"))
    now = datetime.fromtimestamp(SystemClock().now(), UTC)
    event = {
        "id": "evt_1",
        "type": "scan.completed",
        "timestamp": now,
        "sequence": 1,
        "data": {"scan": scan},
    }
    body = msgspec.json.encode(event).decode()
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("evt_1", now, body),
    }

    exec(program, {"raw_body": body.encode(), "headers": headers, "secret": SECRET})

    assert capsys.readouterr().out == "scan.completed likely_ai\n"


def test_no_page_has_a_program_saved_under_a_name_of_the_standard_library() -> None:
    saved = {
        (page.name, name)
        for page in PAGES
        for name in re.findall(r"(?i:save (?:this|it) as) `(\w+)\.py`", page.read_text("utf-8"))
    }

    assert saved >= {("reddit.md", "get_token"), ("asgi.md", "app")}
    assert {each for each in saved if each[1] in sys.stdlib_module_names} == set()


@pytest.mark.parametrize(("guide", "point"), [("policy.md", "balanced"), ("asgi.md", "strict")])
def test_limits_of_the_guides_can_be_kept_by_the_model_that_ships(guide: str, point: str) -> None:
    weights = pytest.importorskip("pinclip.weights")
    rate = weights.open_weights().meta.slices["photo"].points[point].false_alarm_rate

    policies = [
        read_policy(text, name=guide) for text in blocks(ROOT / "docs/guides" / guide, "toml")
    ]
    limits = [
        rule.max_false_alarm_rate
        for policy in policies
        for rule in policy.rules
        if rule.max_false_alarm_rate is not None
    ]

    assert limits
    assert [limit for limit in limits if limit < rate] == []
