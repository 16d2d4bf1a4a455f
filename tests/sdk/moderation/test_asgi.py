"""The ASGI middleware in three real frameworks, with a scripted pinclip server on loopback.

An image is what the server says of it: bytes that begin with a verdict's word.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from benchmarks.scripted_server import ScriptedServer
from sdk import AsyncClient
from sdk.errors import InputError
from sdk.moderation.journal import Mode
from sdk.moderation.platform import ActionKind
from sdk.moderation.platforms.asgi import UploadMiddleware
from sdk.moderation.policy import Decision
from sdk.moderation.rules import read_policy
from sdk.moderation.testing import picture
from sdk.moderation.uploads import UploadCheck, UploadRules
from tests.sdk.moderation.fakes.web import SITES, Site, shown

AI, CLEAR = b"likely_ai:1", b"no_sign_of_ai:2"
STRICT = read_policy('[[rule]]\nverdict = "likely_ai"\naction = "quarantine"\n', name="strict")
ENFORCE = UploadRules(mode=Mode.ENFORCE)

Web = Callable[..., Coroutine[Any, Any, httpx.Response]]


@pytest.fixture(params=list(SITES))
def site(request: pytest.FixtureRequest) -> Site:
    return SITES[request.param]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@asynccontextmanager
async def visiting(site: Site, base_url: str, **how: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a browser of the site, whose middleware asks the server at `base_url`."""
    async with AsyncClient(base_url=base_url, max_retries=0) as client:
        transport = httpx.ASGITransport(site(client=client, **how))
        async with httpx.AsyncClient(transport=transport, base_url="http://site.example") as web:
            yield web


def sent(
    site: Site, server: ScriptedServer | str, *, path: str = "/photos", **what: Any
) -> httpx.Response:
    """Return the site's answer to one upload; `how` goes to the middleware."""
    how = what.pop("how", {})

    async def scene() -> httpx.Response:
        url = server if isinstance(server, str) else server.url
        async with visiting(site, url, **how) as web:
            return await web.post(path, **what)

    return asyncio.run(scene())


def image(data: bytes, kind: str = "image/png") -> tuple[str, bytes, str]:
    return ("picture.png", data, kind)


def nobody() -> str:
    """Return an address where no server is."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_the_application_gets_the_form_unchanged_and_what_was_found(
    site: Site, server: ScriptedServer
) -> None:
    text = "Grüße\r\n--not-a-boundary"
    answer = sent(
        site,
        server,
        data={"title": text},
        files={"a": image(AI), "b": image(CLEAR), "c": ("notes.txt", b"text", "text/plain")},
    )

    assert answer.json() == {
        "arrived": {"title": text, "a": shown(AI), "b": shown(CLEAR), "c": shown(b"text")},
        "verdicts": "likely_ai, no_sign_of_ai",
        "action": "report",
    }
    assert answer.headers["pinclip-verdicts"] == "likely_ai, no_sign_of_ai"
    assert len(server.looks) == 2


def test_enforce_refuses_what_the_policy_puts_aside(site: Site, server: ScriptedServer) -> None:
    answer = sent(
        site,
        server,
        files={"a": image(CLEAR), "b": image(AI)},
        how={"rules": ENFORCE, "policy": STRICT},
    )

    problem = answer.json()
    assert answer.status_code == problem["status"] == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "upload_flagged"
    assert [(one["name"], one["verdict"]) for one in problem["images"]] == [
        ("a", "no_sign_of_ai"),
        ("b", "likely_ai"),
    ]
    assert "1 in 100" in problem["detail"]
    assert problem["images"][1]["scan_id"] in problem["detail"]


@pytest.mark.parametrize(
    ("rules", "policy", "data"),
    [
        pytest.param({"mode": "observe"}, STRICT, AI, id="observe"),
        pytest.param({"mode": "review"}, STRICT, AI, id="review"),
        pytest.param({"mode": "enforce"}, STRICT, b"inconclusive:1", id="not sure"),
        pytest.param({"mode": "enforce"}, None, AI, id="a policy that only reports"),
        pytest.param({"mode": "enforce", "paths": ["/photo"]}, STRICT, AI, id="another path"),
        pytest.param(
            {"mode": "enforce"},
            read_policy(
                '[[rule]]\nverdict="likely_ai"\naction="remove"\nneeds_human=true\n', name="held"
            ),
            AI,
            id="a person must agree",
        ),
    ],
)
def test_nothing_else_is_refused(
    server: ScriptedServer, rules: dict[str, Any], policy: Any, data: bytes
) -> None:
    how = {"rules": UploadRules(**rules), "policy": policy}

    answer = sent(SITES["starlette"], server, files={"a": image(data)}, how=how)

    assert (answer.status_code, answer.json()["arrived"]) == (200, {"a": shown(data)})


@pytest.mark.parametrize(
    ("mode", "policy", "told"),
    [("observe", STRICT, []), ("review", STRICT, ["quarantine"]), ("enforce", None, ["report"])],
)
def test_people_are_told_of_what_is_let_in(
    server: ScriptedServer, mode: str, policy: Any, told: list[str]
) -> None:
    heard: list[str | None] = []

    async def on_review(check: UploadCheck, scope: Any) -> None:
        heard.append(check.decision.action)
        raise RuntimeError("the mail server is down")  # which is no reason to refuse an upload

    how = {"rules": UploadRules(mode=mode), "policy": policy, "on_review": on_review}

    answer = sent(SITES["starlette"], server, files={"a": image(AI)}, how=how)

    assert (answer.status_code, heard) == (200, told)


def test_an_upload_is_let_in_when_the_server_is_down(site: Site) -> None:
    answer = sent(site, nobody(), files={"a": image(AI)}, how={"rules": ENFORCE, "policy": STRICT})

    assert answer.status_code == 200
    assert answer.json()["verdicts"] == "not_checked"


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_an_upload_is_let_in_whatever_the_server_refuses(
    server: ScriptedServer, status: int
) -> None:
    server.answers(status)

    answer = sent(SITES["starlette"], server, files={"a": image(AI)}, how={"rules": ENFORCE})

    assert (answer.status_code, answer.json()["verdicts"]) == (200, "not_checked")


CLOSED = UploadRules(mode=Mode.ENFORCE, fail_closed=True)


def test_fail_closed_refuses_what_could_not_be_checked(site: Site) -> None:
    answer = sent(site, nobody(), files={"a": image(AI)}, how={"rules": CLOSED})

    assert (answer.status_code, answer.json()["code"]) == (503, "upload_unchecked")
    assert int(answer.headers["retry-after"]) > 0


def test_fail_closed_does_not_ask_to_repeat_what_will_never_be_checked(
    server: ScriptedServer,
) -> None:
    answer = sent(
        SITES["starlette"], server, files={"a": image(b"decode_failed:")}, how={"rules": CLOSED}
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "upload_unreadable")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\n", id="torn"),
        pytest.param({"content-type": "multipart/form-data"}, b"--x--", id="no boundary"),
        pytest.param(
            [("content-type", "text/plain"), ("content-type", "image/png")], AI, id="two types"
        ),
        pytest.param(
            {"content-type": "image/png", "content-encoding": "gzip"}, AI, id="compressed"
        ),
    ],
)
def test_fail_closed_lets_no_body_by_that_cannot_be_searched(
    server: ScriptedServer, headers: Any, body: bytes
) -> None:
    open_, closed = (
        sent(
            SITES["starlette"],
            server,
            path="/raw",
            content=body,
            headers=headers,
            how={"rules": UploadRules(mode=Mode.ENFORCE, fail_closed=fail_closed)},
        )
        for fail_closed in (False, True)
    )

    assert open_.json()["arrived"] == {"body": shown(body)}
    assert (closed.status_code, closed.json()["code"]) == (422, "upload_unreadable")


def test_a_slow_server_holds_an_upload_no_longer_than_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, answers nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        rules = UploadRules(mode=Mode.ENFORCE, wait_seconds=0.1, fail_closed=True)

        answer = sent(SITES["starlette"], url, files={"a": image(AI)}, how={"rules": rules})

    assert answer.json()["images"] == [
        {"name": "a", "verdict": "not_checked", "code": "upload_too_slow"}
    ]


@pytest.mark.parametrize(
    ("kind", "data", "verdicts"),
    [
        ("image/png", AI, "likely_ai"),
        ("application/octet-stream", picture(9), "inconclusive"),
        ("application/octet-stream", b"no image", None),
        ("application/json", b"{}", None),
        ("image/png", b"", None),
    ],
)
def test_a_body_may_be_an_image_itself(
    site: Site, server: ScriptedServer, kind: str, data: bytes, verdicts: str | None
) -> None:
    answer = sent(site, server, path="/raw", content=data, headers={"content-type": kind})

    assert answer.json()["arrived"] == {"body": shown(data)}
    assert answer.json()["verdicts"] == verdicts


def test_an_image_that_is_called_something_else_is_found_by_its_bytes(
    server: ScriptedServer,
) -> None:
    files = {"a": ("notes.txt", picture(1), "text/plain"), "b": ("b.txt", b"text", "text/plain")}

    answer = sent(SITES["starlette"], server, files=files)

    assert answer.json()["verdicts"] == "inconclusive"


def test_every_image_of_one_field_is_checked_up_to_the_limit(server: ScriptedServer) -> None:
    files = [("a", image(b"no_sign_of_ai:%d" % number)) for number in range(5)]
    how = {"rules": UploadRules(max_images=3)}

    answer = sent(SITES["starlette"], server, files=files, how=how)

    assert answer.json()["verdicts"] == ", ".join(["no_sign_of_ai"] * 3 + ["not_checked"] * 2)
    assert len(server.looks) == 3


def test_what_comes_behind_the_limit_streams_through(site: Site, server: ScriptedServer) -> None:
    chunks = [b"no_sign_of_ai:" + b"0" * 50_000, b"1" * 50_000, b"2" * 50_000, b"3"]

    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    answer = sent(
        site,
        server,
        path="/raw",
        content=body(),
        headers={"content-type": "image/png"},
        how={"rules": UploadRules(max_body_bytes=60_000)},
    )

    assert answer.json()["arrived"] == {"body": shown(b"".join(chunks))}
    assert answer.json()["verdicts"] == "not_checked"
    assert server.looks == []


def test_an_image_too_large_for_the_server_is_told_apart_from_the_others(
    server: ScriptedServer,
) -> None:
    huge = b"\x89PNG\r\n\x1a\n" + bytes(20 * 1024 * 1024)

    answer = sent(SITES["starlette"], server, files={"a": image(huge), "b": image(AI)})

    assert answer.json()["arrived"] == {"a": shown(huge), "b": shown(AI)}
    assert answer.json()["verdicts"] == "not_checked, likely_ai"


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Serve an application by a real server, in this event loop."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_level="critical"))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()


def test_a_large_form_in_chunks_over_real_http_arrives_whole(
    site: Site, server: ScriptedServer
) -> None:
    images = {f"image{number}": b"no_sign_of_ai:%d" % number * 200_000 for number in range(3)}

    async def scene() -> Any:
        files = {name: image(data) for name, data in images.items()}
        async with (
            AsyncClient(base_url=server.url) as client,
            served(site(client=client)) as url,
            httpx.AsyncClient(verify=False, trust_env=False) as web,
        ):
            return (await web.post(f"{url}/photos", files=files)).json()

    answer = asyncio.run(scene())

    assert answer["arrived"] == {name: shown(data) for name, data in images.items()}
    assert answer["verdicts"] == "no_sign_of_ai, no_sign_of_ai, no_sign_of_ai"


def test_an_upload_that_breaks_off_is_not_checked_and_reaches_the_application_as_it_is(
    server: ScriptedServer,
) -> None:
    heard: list[dict[str, Any]] = []
    is_over = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not heard or heard[-1]["type"] != "http.disconnect":
            heard.append(await receive())
        is_over.set()

    async def scene() -> None:
        lines = "POST /raw HTTP/1.1", "Host: x", "Content-Type: image/png", "Content-Length: 100"
        head = "\r\n".join([*lines, "", ""]).encode()
        async with (
            AsyncClient(base_url=server.url) as client,
            served(UploadMiddleware(app, client=client)) as url,
            asyncio.timeout(10),
        ):
            _, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
            writer.write(head + AI)
            await writer.drain()
            writer.close()
            await is_over.wait()

    asyncio.run(scene())

    assert b"".join(message.get("body", b"") for message in heard) == AI
    assert all(message.get("more_body", True) for message in heard)
    assert server.looks == []


def test_a_websocket_and_a_get_go_through_untouched() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append((scope, receive, send))

    async def scene() -> None:
        async with AsyncClient() as client:
            middleware = UploadMiddleware(app, client=client)
            for given in asked:
                await middleware(*given)

    async def receive() -> Any: ...
    async def send(message: Any) -> None: ...

    asked: list[Any] = [
        ({"type": "websocket", "path": "/"}, receive, send),
        ({"type": "http", "method": "GET", "path": "/"}, receive, send),
    ]
    asyncio.run(scene())

    assert scopes == asked


def test_rules_that_cannot_be_are_told_all_at_once() -> None:
    with pytest.raises(InputError) as raised:
        UploadRules(mode="block", paths=["photos"], wait_seconds=0, max_images=0, fail_closed=True)

    for word in ("mode", "paths", "wait_seconds", "max_images", "fail_closed"):
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("path", "is_covered"),
    [("/photos", True), ("/photos/1", True), ("/photosets", False), ("/", False)],
)
def test_a_path_covers_what_is_below_it(path: str, is_covered: bool) -> None:
    assert UploadRules(paths=("/photos/",)).covers("POST", path) is is_covered


def test_an_action_is_never_more_than_the_law_allows(server: ScriptedServer) -> None:
    """A policy of one's own is held to the same law as the bot's."""

    class Harsh:
        def decide(self, item: Any, looked: Any) -> Any:
            return Decision(action=ActionKind.REMOVE, scan_id=looked[0].result.id)

    answer = sent(
        SITES["starlette"],
        server,
        files={"a": image(b"inconclusive:1")},
        how={"rules": ENFORCE, "policy": Harsh()},
    )

    assert (answer.status_code, answer.json()["action"]) == (200, "report")
