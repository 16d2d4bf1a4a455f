"""The Django middleware under Django's own test client and its ASGI handler.

An image is what the scripted server says of it: bytes that begin with a verdict's word.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import httpx
import pytest
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, override_settings

from benchmarks.scripted_server import ScriptedServer
from sdk.moderation.testing import picture
from tests.sdk.moderation.fakes import django_site
from tests.sdk.moderation.fakes.web import shown

SITE = "tests.sdk.moderation.fakes.django_site"
AI, CLEAR = b"likely_ai:1", b"no_sign_of_ai:2"
STRICT = '[[rule]]\nverdict = "likely_ai"\naction = "quarantine"\n'

django.setup()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server
        gc.collect()  # closes what the middleware keeps open


@pytest.fixture
def strict(tmp_path: Path) -> str:
    path = tmp_path / "strict.toml"
    path.write_text(STRICT)
    return str(path)


def by_wsgi(path: str, data: Any, **more: Any) -> tuple[int, Any, Any]:
    answer = Client().post(path, data, **more)
    return answer.status_code, answer.json(), answer.headers


def by_asgi(path: str, data: Any) -> tuple[int, Any, Any]:
    """Send the same form by httpx to Django's ASGI handler."""
    files = [
        (name, (file.name, file.read(), file.content_type))
        for name, value in data.items()
        if not isinstance(value, str)
        for file in (value if isinstance(value, list) else [value])
    ]
    texts = {name: value for name, value in data.items() if isinstance(value, str)}

    async def scene() -> httpx.Response:
        transport = httpx.ASGITransport(get_asgi_application())
        async with httpx.AsyncClient(transport=transport, base_url="http://site.example") as web:
            return await web.post(path, files=files, data=texts)

    answer = asyncio.run(scene())
    return answer.status_code, answer.json(), answer.headers


WAYS = [
    pytest.param(by_wsgi, "/photos", id="wsgi"),
    pytest.param(by_asgi, "/photos", id="asgi"),
    pytest.param(by_asgi, "/photos-async", id="asgi, async view"),
]


def image(data: bytes, kind: str = "image/png") -> SimpleUploadedFile:
    return SimpleUploadedFile("picture.png", data, kind)


def rules(server: ScriptedServer | str, **more: Any) -> Any:
    url = server if isinstance(server, str) else server.url
    return override_settings(PINCLIP={"base_url": url, **more})


def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(("send", "path"), WAYS)
def test_the_view_gets_the_form_unchanged_and_what_was_found(
    server: ScriptedServer, send: Any, path: str
) -> None:
    large = b"no_sign_of_ai:" + b"0" * 150_000  # which Django keeps on disk
    notes = SimpleUploadedFile("notes.txt", b"text", "text/plain")

    with rules(server):
        data = {"title": "Grüße", "a": [image(AI), image(large)], "notes": notes}
        _, said, headers = send(path, data)

    assert said == {
        "verdicts": "likely_ai, no_sign_of_ai",
        "action": "report",
        "form": {"title": "Grüße"},
        "files": {"a": [shown(AI), shown(large)], "notes": [shown(b"text")]},
    }
    assert headers["pinclip-verdicts"] == "likely_ai, no_sign_of_ai"
    assert len(server.looks) == 2


@pytest.mark.parametrize(("send", "path"), WAYS)
def test_enforce_refuses_what_the_policy_puts_aside(
    server: ScriptedServer, strict: str, send: Any, path: str
) -> None:
    with rules(server, mode="enforce", policy=strict):
        status, problem, headers = send(path, {"a": image(AI)})

    assert (status, problem["code"]) == (422, "upload_flagged")
    assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("send", "path"), WAYS)
def test_people_are_told_of_what_is_let_in(server: ScriptedServer, send: Any, path: str) -> None:
    django_site.HEARD.clear()

    with rules(server, mode="review", on_review=f"{SITE}.on_review"):
        status, _, headers = send(path, {"a": image(AI)})

    assert (status, django_site.HEARD) == (200, [("report", path)])
    assert "pinclip-verdicts" not in headers


@pytest.mark.parametrize(("send", "path"), WAYS)
@pytest.mark.parametrize("fail_closed", [False, True])
def test_a_server_that_is_down_refuses_an_upload_only_if_it_is_to(
    send: Any, path: str, fail_closed: bool
) -> None:
    with rules(nobody(), mode="enforce", fail_closed=fail_closed):
        status, said, _ = send(path, {"a": image(AI)})

    assert status == (503 if fail_closed else 200)
    assert said.get("code") == ("upload_unchecked" if fail_closed else None)


def test_a_slow_server_holds_an_upload_no_longer_than_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, answers nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with rules(url, wait_seconds=0.1):
            _, said, _ = by_wsgi("/photos", {"a": [image(AI) for _ in range(6)]})
        gc.collect()

    assert said["verdicts"] == ", ".join(["not_checked"] * 6)


@pytest.mark.parametrize(
    ("kind", "data", "verdicts"),
    [
        ("image/png", AI, "likely_ai"),
        ("application/octet-stream", picture(9), "inconclusive"),
        ("application/octet-stream", b"no image", None),
        ("application/json", b"{}", None),
        ("image/png", b"likely_ai:" + b"0" * 300_000, "not_checked"),
    ],
)
def test_a_body_may_be_an_image_itself(
    server: ScriptedServer, kind: str, data: bytes, verdicts: str | None
) -> None:
    with rules(server):
        _, said, _ = by_wsgi("/raw", data, content_type=kind)

    assert (said["body"], said["verdicts"]) == (shown(data), verdicts)


def test_a_form_that_django_cannot_read_is_answered_as_django_does(server: ScriptedServer) -> None:
    with rules(server, mode="enforce"):
        answer = Client().post("/photos", b"--x", content_type="multipart/form-data")

    assert answer.status_code == 400


def test_images_over_the_limits_are_not_checked(server: ScriptedServer) -> None:
    huge = b"\x89PNG\r\n\x1a\n" + bytes(20 * 1024 * 1024)

    with rules(server, max_images=2):
        _, said, _ = by_wsgi("/photos", {"a": [image(huge), image(AI), image(CLEAR)]})

    assert said["verdicts"] == "not_checked, likely_ai, not_checked"


def test_a_path_that_is_not_named_is_not_checked(server: ScriptedServer) -> None:
    with rules(server, paths=["/avatars"]):
        _, said, _ = by_wsgi("/photos", {"a": image(AI)})

    assert said["verdicts"] is None


@pytest.mark.parametrize(
    "faulty",
    [
        pytest.param({"mode": "block"}, id="mode"),
        pytest.param({"modus": "observe"}, id="unknown name"),
        pytest.param({"paths": ["photos"]}, id="path"),
        pytest.param({"fail_closed": True}, id="fail_closed without enforce"),
        pytest.param({"policy": "missing.toml"}, id="policy file"),
        pytest.param({"policy": "no.such.policy"}, id="policy path"),
        pytest.param({"on_review": "no.such.function"}, id="on_review"),
        pytest.param({"base_url": "example.org"}, id="base_url"),
    ],
)
def test_settings_that_cannot_work_stop_the_project_at_its_start(faulty: dict[str, Any]) -> None:
    with override_settings(PINCLIP=faulty), pytest.raises(ImproperlyConfigured):
        Client().post("/photos", {})
