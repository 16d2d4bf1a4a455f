"""docs/guides/{jsonl,webhook,asgi,django}.md: their programs run as they stand on the page."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from django.test import Client, RequestFactory, override_settings

from benchmarks.scripted_server import ScriptedServer
from sdk.environment import Secret, inherited
from sdk.moderation.platforms.django import UploadMiddleware
from sdk.moderation.platforms.django_settings import DjangoSettings
from sdk.moderation.platforms.orders import ActionOrder, ItemLine, NoticeOrder, UndoOrder
from sdk.moderation.platforms.webhook import PLUGIN, Webhook, WebhookSettings
from sdk.moderation.rules import read_policy
from tests.sdk.moderation.fakes import django_site  # noqa: F401 - configures Django
from tests.sdk.moderation.fakes.webhook import SECRET

GUIDES = Path(__file__).parents[3] / "docs" / "guides"
FENCE = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> dict[str, str]:
    """Return the blocks of a language, by title, or by number where they have none."""
    found = FENCE.findall((GUIDES / page).read_text("utf-8"))
    return {
        title or str(number): text
        for number, (kind, title, text) in enumerate(found)
        if kind == language
    }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        monkeypatch.setenv("PINCLIP_BASE_URL", server.url)
        yield server


@pytest.mark.parametrize("name", ["starlette", "fastapi", "litestar"])
def test_each_application_of_the_asgi_guide_says_what_was_found(
    server: ScriptedServer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"site_of_{name}"
    (tmp_path / f"{module}.py").write_text(blocks("asgi.md", "python")[name])
    monkeypatch.syspath_prepend(tmp_path)

    async def scene() -> Any:
        site: Any = __import__(module)
        transport = httpx.ASGITransport(site.app)
        async with site.client, httpx.AsyncClient(transport=transport) as web:
            files = {"picture": ("a.png", b"likely_ai:1", "image/png")}
            return (await web.post("http://site.example/photos", files=files)).json()

    assert asyncio.run(scene()) == {"bytes": 11, "verdicts": "likely_ai"}


def test_the_policy_of_the_asgi_guide_asks_for_what_is_refused() -> None:
    [text] = blocks("asgi.md", "toml").values()

    [rule] = read_policy(text, name="guide").rules

    assert rule.action == "quarantine"


def test_the_view_of_the_django_guide_says_what_was_found(server: ScriptedServer) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    project: dict[str, Any] = {}
    for text in blocks("django.md", "python").values():
        exec(text, project)
    picture = SimpleUploadedFile("a.png", b"likely_ai:1", "image/png")

    with override_settings(MIDDLEWARE=project["MIDDLEWARE"], PINCLIP=project["PINCLIP"]):
        assert Client().get("/photos").status_code == 200  # the names can be imported
        middleware = UploadMiddleware(project["upload"])
        answer: Any = middleware(RequestFactory().post("/photos", {"picture": picture}))

    assert json.loads(answer.content) == {"bytes": 11, "verdicts": "likely_ai"}
    assert answer.headers["pinclip-verdicts"] == "likely_ai"


def test_the_django_guide_has_every_setting_and_its_default() -> None:
    page = (GUIDES / "django.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)`(?:, `\w+`)? \| ([^|]+) \|", page, re.MULTILINE))

    fields = {field.name: field.default for field in msgspec.structs.fields(DjangoSettings)}

    assert rows.keys() | {"base_url", "max_body_bytes"} == fields.keys()
    assert rows["wait_seconds"] == f"`{fields['wait_seconds']}`"
    assert rows["max_images"] == f"`{fields['max_images']}`"
    assert rows["mode"] == f'`"{fields["mode"]}"`'


def test_the_lines_of_the_jsonl_guide_are_items_and_orders() -> None:
    items, orders = (text.splitlines() for text in blocks("jsonl.md", "json").values())

    assert [msgspec.json.decode(line, type=ItemLine).id for line in items] == ["post-1", "post-2"]
    for line in orders:
        read = msgspec.json.decode(line, type=ActionOrder | NoticeOrder | UndoOrder, strict=True)
        assert msgspec.to_builtins(read).keys() <= json.loads(line).keys() | {"revision", "url"}


def test_the_reader_of_the_jsonl_guide_obeys_each_order_once(tmp_path: Path) -> None:
    [program] = blocks("jsonl.md", "python").values()
    _, orders = blocks("jsonl.md", "json").values()
    torn = orders.splitlines()[0][:30]

    done = subprocess.run(
        [sys.executable, "-c", program],
        input=f"{torn}\n{orders}{orders}",
        capture_output=True,
        text=True,
        check=True,
    )

    assert [line.split() for line in done.stdout.splitlines()] == [
        ["action", "post-1", "label"],
        ["notice", "post-1"],
        ["undo", "post-1", "label"],
    ]


def test_the_program_of_the_webhook_guide_posts_an_item(tmp_path: Path) -> None:
    [program] = blocks("webhook.md", "python").values()
    settings = WebhookSettings(
        webhook_bot_secret=Secret(SECRET),
        webhook_bot_target="http://127.0.0.1:1/",
        webhook_bot_port=0,
        webhook_bot_inbox=tmp_path / "inbox.sqlite3",
    )

    async def scene() -> tuple[str, str]:
        async with PLUGIN.open(settings) as platform:
            assert isinstance(platform, Webhook)
            environ = inherited(PINCLIP_WEBHOOK_BOT_SECRET=SECRET, BOT=platform.address)
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", program],
                env=environ,
                capture_output=True,
                text=True,
                check=True,
            )
            items = platform.items(None)
            item = await anext(items)
            await items.aclose()  # type: ignore[attr-defined]
            return done.stdout.strip(), item.id

    assert asyncio.run(scene()) == ("202", "post-17")


def test_the_webhook_guide_names_settings_that_there_are() -> None:
    page = (GUIDES / "webhook.md").read_text("utf-8")
    named = set(re.findall(r"PINCLIP_(WEBHOOK\w+)", page))

    fields = {field.name.upper() for field in msgspec.structs.fields(WebhookSettings)}

    assert named <= fields
